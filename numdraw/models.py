"""The named architectures, each made from a description that the weights file carries."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from numdraw.nn.layers import Array, Dropout, Flatten, Layer, Linear, ReLU
from numdraw.nn.network import Sequential

INPUT = (28, 28)  # px, rows and columns of an image
CLASSES = 10
MAX_PARAMETERS = 10_000_000  # 40 MB; keeps a damaged description from asking for all the memory
MICRO_BATCH = 64  # examples; 784 x 64 inputs and what the layers keep of them fit into 1 MiB


def mlp_architecture(hidden: Sequence[int], dropout: float) -> dict[str, Any]:
    """The description of a multilayer perceptron: 784 pixels, the hidden layers, 10 logits.

    Args:
        hidden: the units of each hidden layer.
        dropout: the probability of each hidden unit's dropping out.
    """
    return {"name": "mlp", "hidden": list(hidden), "dropout": dropout}


def build(architecture: Mapping[str, Any], *, rng: np.random.Generator | None) -> Sequential:
    """A network with fresh parameters.

    Args:
        architecture: what `mlp_architecture` returns, or what a weights file holds.
        rng: draws the parameters; None leaves them 0, to be loaded.

    Raises:
        ValueError: the description is not one of an architecture known here.
    """
    hidden, dropout = architecture.get("hidden"), architecture.get("dropout")
    if (
        architecture.get("name") != "mlp"
        or not isinstance(hidden, list)
        or not all(type(units) is int and units > 0 for units in hidden)
        or not isinstance(dropout, int | float)
    ):
        raise ValueError(
            'architecture expected {"name": "mlp", "hidden": [numbers above 0], '
            f'"dropout": number}}, got {str(dict(architecture))[:200]}'
        )
    steps = list(itertools.pairwise([math.prod(INPUT), *hidden, CLASSES]))
    parameters = sum((features + 1) * units for features, units in steps)
    if parameters > MAX_PARAMETERS:
        raise ValueError(
            f"architecture expected at most {MAX_PARAMETERS:,} parameters, "
            f"got {parameters:,} of hidden layers {str(hidden)[:100]}"
        )
    layers: list[Layer] = [Flatten()]
    for features, units in steps[:-1]:
        layers += [Linear(features, units, rng=rng), ReLU()]
        if dropout:
            layers.append(Dropout(dropout))
    layers.append(Linear(*steps[-1], rng=rng))
    return Sequential(layers, INPUT)


def as_images(images: Array) -> Array:
    """Bytes 0..255 as what a network takes: float32 in [0, 1], 1 = ink."""
    scaled: Array = images * np.float32(1 / 255)
    return scaled
