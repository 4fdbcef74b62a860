"""Why a drawing is read as it is: each step to the image, what speaks for a digit, what layers see.

What speaks for a digit is found by covering: a small patch of the image's ink is taken away, and
the network is asked again. No gradient is needed, and the answer is in plain words: without this
ink the digit would be so much less probable.

Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014, section
4.2, for covering parts of an image.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numdraw import preprocess
from numdraw.models import CLASSES
from numdraw.nn.conv import Conv2d
from numdraw.nn.layers import Array, Flatten, Layer, Linear
from numdraw.nn.network import Sequential
from numdraw.nn.pool import AvgPool2d, MaxPool2d
from numdraw.predictor import Predictor

PATCH = 5  # px, rows and columns: a line of 2.3 px, faint edges included, goes wholly

_POOLS = (MaxPool2d, AvgPool2d)


@dataclass(frozen=True)
class ReceptiveField:
    """Which pixels a unit depends on: in row r of its layer, rows offset + stride * r and on.

    The same holds for columns. Pixels outside of the image count as empty.

    Attributes:
        size: rows and columns of pixels.
        stride: px from one unit's to the next one's.
        offset: the first pixel of the unit in row 0, negative where the image has a rim of zeros.
    """

    size: int
    stride: int
    offset: int

    def behind(self, kernel: int, stride: int, padding: int = 0) -> "ReceptiveField":
        """Of a unit that has a window of kernel x kernel of these units."""
        return ReceptiveField(
            size=self.size + (kernel - 1) * self.stride,
            stride=self.stride * stride,
            offset=self.offset - padding * self.stride,
        )


@dataclass(frozen=True, eq=False)  # arrays have no single truth to compare by
class LayerOutput:
    """What a layer gives for the drawing.

    Attributes:
        name: of the layer, as in the weights file: "conv2d1".
        kind: "convolution", "pooling" or "linear".
        values: (C, H, W) at least 0, as the ReLU behind the layer leaves them; of linear layers
            (1, 1, M), and of the last one, behind which there is no ReLU, the logits.
        receptive_field: which pixels a unit depends on; None where it depends on all.
        filters: (C, k, k), of the first convolution, batch norm folded in; None of all others.
    """

    name: str
    kind: str
    values: Array = field(repr=False)
    receptive_field: ReceptiveField | None = None
    filters: Array | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)  # arrays have no single truth to compare by
class Explanation:
    """Why a drawing is read as one digit, or not as another.

    Attributes:
        digit: the one explained, 0..9.
        probabilities: (10,) float64, as in `Prediction`.
        rendered: the image and the steps to it.
        importance: (28, 28) float64, in nats: how much lower the log odds of `digit` against all
            else are without the ink of the PATCH x PATCH px around a pixel. Above 0 that ink speaks
            for the digit, below 0 against it, and where there is none it is 0.
        layers: what they give, first to last.
    """

    digit: int
    probabilities: Array = field(repr=False)
    rendered: preprocess.Rendered = field(repr=False)
    importance: Array = field(repr=False)
    layers: list[LayerOutput] = field(repr=False)


def explain(predictor: Predictor, drawing: Any, digit: int | None = None) -> Explanation:
    """Why a predictor reads a drawing of one digit as it does.

    Args:
        drawing: as for `Predictor.predict`.
        digit: which digit to speak for; None is the predictor's best guess.

    Raises:
        DrawingError: as for `Predictor.predict`.
        ValueError: the digit is not in 0..9.
    """
    if digit is not None and digit not in range(CLASSES):
        raise ValueError(f"digit expected a whole number from 0 to {CLASSES - 1}, got {digit!r}")
    rendered = preprocess.render(drawing)
    answer = predictor.predict_images(rendered.image[None])
    if digit is None:
        digit = int(answer.digits[0])
    temperature = predictor.calibration.temperature
    return Explanation(
        digit=digit,
        probabilities=answer.probabilities[0],
        rendered=rendered,
        importance=importance(predictor.network, rendered.image, digit, temperature),
        layers=layer_outputs(predictor.network, rendered.image),
    )


def importance(network: Sequential, image: Array, digit: int, temperature: float) -> Array:
    """How much each pixel's neighbourhood speaks for a digit: (28, 28) float64, in nats.

    Args:
        image: (28, 28) float32 in [0, 1], 1 = ink.
        temperature: divides the logits.
    """
    side = np.arange(preprocess.SIDE)
    near = np.abs(side[:, None] - side) <= PATCH // 2  # (28, 28): which rows a patch covers
    rows, columns = np.nonzero(near @ (image > 0) @ near)  # patches with ink in them
    patches = near[rows][:, :, None] & near[columns][:, None]
    covered = np.where(patches, image.dtype.type(0), image)
    odds = _log_odds(network(np.concatenate([image[None], covered])), digit, temperature)
    falls = np.zeros(image.shape)
    falls[rows, columns] = odds[0] - odds[1:]
    return falls


def layer_outputs(network: Sequential, image: Array) -> list[LayerOutput]:
    """What the layers of a network give for an image.

    A convolution is shown as the ReLU leaves it, but before the pooling between them, at which it
    is small; the pooled image follows as an output of its own.

    Args:
        image: (28, 28) float32 in [0, 1], 1 = ink.
    """
    named = list(zip(network.layer_names(), network.layers, strict=True))
    starts = [at for at, (_, layer) in enumerate(named) if isinstance(layer, Conv2d | Linear)]
    x = _through([layer for _, layer in named[: starts[0]]], network.to_batch_last(image[None]))
    seen = ReceptiveField(1, 1, 0)
    outputs: list[LayerOutput] = []
    for start, stop in itertools.pairwise([*starts, len(named)]):
        (name, layer), following = named[start], named[start + 1 : stop]
        x = layer.forward(x)
        if isinstance(layer, Conv2d):
            seen = seen.behind(layer.kernel, layer.stride, layer.padding)
            # (k, k, C, M), C = 1 in a first layer -> (M, k, k)
            filters = None if outputs else layer.weight.value[:, :, 0].transpose(2, 0, 1)
            steps = [each for _, each in following if not isinstance(each, Flatten)]
            unpooled = _through([each for each in steps if not isinstance(each, _POOLS)], x)
            outputs.append(LayerOutput(name, "convolution", _image(unpooled), seen, filters))
            for pool_name, pool in following:
                if isinstance(pool, _POOLS):
                    seen = seen.behind(pool.size, pool.size)
                    pooled = _image(_through(steps, x))
                    outputs.append(LayerOutput(pool_name, "pooling", pooled, seen))
        x = _through([each for _, each in following], x)
        if isinstance(layer, Linear):
            outputs.append(LayerOutput(name, "linear", x.reshape(1, 1, -1)))
    return outputs


def _through(layers: Iterable[Layer], x: Array) -> Array:
    for layer in layers:
        x = layer.forward(x)
    return x


def _image(x: Array) -> Array:
    """(H, C, W, 1) -> (C, H, W)."""
    image: Array = x[..., 0].transpose(1, 0, 2)
    return image


def _log_odds(logits: Array, digit: int, temperature: float) -> Array:
    """The log of a digit's probability over that of all else, in nats: (N, K) -> (N,) float64."""
    z = logits / np.float64(temperature)
    others = np.delete(z, digit, axis=1)
    odds: Array = z[:, digit] - np.logaddexp.reduce(others, axis=1)
    return odds
