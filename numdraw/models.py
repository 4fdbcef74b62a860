"""The named architectures, each made from a description that the weights file carries.

    name      network                                                    described by
    mlp       784 pixels, hidden layers, 10 logits                       hidden, dropout
    lenet     two convolutions of 5 x 5, each pooled, and 128 units      nothing more
    convnet   four convolutions with batch norm, pooled three times      channels, dropout

Pooling comes before batch norm and ReLU: these then have a quarter of the pixels to work on. For
ReLU that changes nothing, since max(max(a, 0), max(b, 0)) = max(max(a, b), 0); with batch norm it
is another network.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from numdraw.nn.conv import Conv2d
from numdraw.nn.layers import AddChannel, Array, Dropout, Flatten, Layer, Linear, ReLU
from numdraw.nn.network import Sequential
from numdraw.nn.norm import BatchNorm
from numdraw.nn.pool import MaxPool2d

INPUT = (28, 28)  # px, rows and columns of an image
CLASSES = 10
NO_DIGIT = 10  # the label of what is no digit, and the place of its logit where there is one
MAX_PARAMETERS = 10_000_000  # 40 MB; keeps a damaged description from asking for all the memory
MICRO_BATCH = 64  # examples; of 16, 32 and 64 the fastest for lenet and convnet

NAMES = ("mlp", "lenet", "convnet")
CONVNET_CHANNELS = (24, 48, 96, 96)  # 580 kB; wider was no better: see weights/README.md


def mlp_architecture(
    hidden: Sequence[int], dropout: float, outputs: int = CLASSES
) -> dict[str, Any]:
    """The description of a multilayer perceptron: 784 pixels, the hidden layers, the logits.

    Args:
        hidden: the units of each hidden layer.
        dropout: the probability of each hidden unit's dropping out.
        outputs: 10, or 11 where the last is "no digit".
    """
    return {"name": "mlp", "hidden": list(hidden), "dropout": dropout, "outputs": outputs}


def lenet_architecture(outputs: int = CLASSES) -> dict[str, Any]:
    """The description of a LeNet: the classic small convolutional network, with ReLU.

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document
    Recognition", 1998, section II; here with 16 and 32 channels, max pooling and ReLU.
    """
    return {"name": "lenet", "outputs": outputs}


def convnet_architecture(
    channels: Sequence[int], dropout: float, outputs: int = CLASSES
) -> dict[str, Any]:
    """The description of the network that numdraw ships.

    Args:
        channels: of each of the four convolutions.
        dropout: the probability of dropping out for what the last layer sees.
        outputs: 10, or 11 where the last is "no digit".
    """
    return {
        "name": "convnet",
        "channels": list(channels),
        "dropout": dropout,
        "outputs": outputs,
    }


def build(architecture: Mapping[str, Any], *, rng: np.random.Generator | None) -> Sequential:
    """A network with fresh parameters.

    Args:
        architecture: what a function above returns, or what a weights file holds.
        rng: draws the parameters; None leaves them 0, to be loaded.

    Raises:
        ValueError: the description is not one of an architecture known here.
    """
    name, dropout = architecture.get("name"), architecture.get("dropout", 0.0)
    hidden, channels = _counts(architecture.get("hidden")), _counts(architecture.get("channels"))
    outputs = architecture.get("outputs", CLASSES)
    if isinstance(dropout, int | float) and outputs in (CLASSES, CLASSES + 1):
        if name == "mlp" and hidden is not None:
            return _mlp(hidden, dropout, outputs, rng)
        if name == "lenet":
            return _lenet(outputs, rng)
        if name == "convnet" and channels is not None and len(channels) == 4:
            return _convnet(channels, dropout, outputs, rng)
    raise ValueError(
        'architecture expected {"name": "mlp", "hidden": [whole numbers above 0], '
        '"dropout": number}, {"name": "lenet"} or '
        '{"name": "convnet", "channels": [4 whole numbers above 0], "dropout": number}, '
        f'with "outputs" of {CLASSES} or {CLASSES + 1}, got {str(dict(architecture))[:200]}'
    )


def as_images(images: Array) -> Array:
    """Bytes 0..255 as what a network takes: float32 in [0, 1], 1 = ink."""
    scaled: Array = images * np.float32(1 / 255)
    return scaled


def _mlp(
    hidden: list[int], dropout: float, outputs: int, rng: np.random.Generator | None
) -> Sequential:
    steps = list(itertools.pairwise([math.prod(INPUT), *hidden, outputs]))
    _check_size(sum((features + 1) * units for features, units in steps), hidden)
    layers: list[Layer] = [Flatten()]
    for features, units in steps[:-1]:
        layers += [Linear(features, units, rng=rng), ReLU()]
        if dropout:
            layers.append(Dropout(dropout))
    layers.append(Linear(*steps[-1], rng=rng))
    return Sequential(layers, INPUT)


def _lenet(outputs: int, rng: np.random.Generator | None) -> Sequential:
    return Sequential(
        [
            AddChannel(),  # 28 x 28
            Conv2d(1, 16, 5, rng=rng),  # 24 x 24
            MaxPool2d(2),  # 12 x 12
            ReLU(),
            Conv2d(16, 32, 5, rng=rng),  # 8 x 8
            MaxPool2d(2),  # 4 x 4
            ReLU(),
            Flatten(),
            Linear(4 * 4 * 32, 128, rng=rng),
            ReLU(),
            Linear(128, outputs, rng=rng),
        ],
        INPUT,
    )


def _convnet(
    channels: list[int], dropout: float, outputs: int, rng: np.random.Generator | None
) -> Sequential:
    first, second, third, last = channels
    weights = 25 * first + 9 * (first * second + second * third + third * last)
    _check_size(weights + 3 * sum(channels) + (9 * last + 1) * outputs, channels)
    layers = [
        AddChannel(),  # 28 x 28
        Conv2d(1, first, 5, padding=2, rng=rng),
        MaxPool2d(2),  # 14 x 14
        BatchNorm(first),
        ReLU(),
        Conv2d(first, second, 3, padding=1, rng=rng),
        MaxPool2d(2),  # 7 x 7
        BatchNorm(second),
        ReLU(),
        Conv2d(second, third, 3, padding=1, rng=rng),
        BatchNorm(third),
        ReLU(),
        Conv2d(third, last, 3, padding=1, rng=rng),
        MaxPool2d(2),  # 3 x 3; the last row and column are left out
        BatchNorm(last),
        ReLU(),
        Flatten(),
        *([Dropout(dropout)] if dropout else []),
        Linear(3 * 3 * last, outputs, rng=rng),
    ]
    return Sequential(layers, INPUT)


def _counts(value: Any) -> list[int] | None:
    """The value, if it is a list of whole numbers above 0."""
    if isinstance(value, list) and all(type(number) is int and number > 0 for number in value):
        return value
    return None


def _check_size(parameters: int, widths: list[int]) -> None:
    if parameters > MAX_PARAMETERS:
        raise ValueError(
            f"architecture expected at most {MAX_PARAMETERS:,} parameters, "
            f"got {parameters:,} of layers of {str(widths)[:100]}"
        )
