"""Prediction: what a trained network computes, in fewer steps than training needs.

Batch norm is folded into the layer before it where that can be. One example by itself then takes a
path of its own, with the channels last, (H, W, C): in `Sequential` the batch comes last because
long runs of memory are what NumPy is fast at, and with one example no batch makes them. Its
convolutions are done in tiles where they can be; see `numdraw.nn.tiled`. A large batch is cut into
chunks, which threads take as they come.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np

from numdraw.nn.conv import Conv2d
from numdraw.nn.layers import (
    AddChannel,
    Array,
    Dropout,
    Flatten,
    Layer,
    Linear,
    Parameter,
    ReLU,
    Shape,
)
from numdraw.nn.network import CHUNK, Sequential
from numdraw.nn.norm import BatchNorm
from numdraw.nn.parallel import cores, one_blas_thread
from numdraw.nn.pool import AvgPool2d, MaxPool2d
from numdraw.nn.tiled import Step, TiledConv2d

FEW = 8  # examples that a convnet reads sooner one by one: 3 of them in 0.26 for 0.55 ms
MANY = 8 * CHUNK  # examples; with 256 of them threads made a small mlp slower, 3.1 for 2.4 ms

MakeStep: TypeAlias = Callable[[], Step]


class Inference:
    """The logits of a trained network: those of `Sequential`, sooner.

    It has a copy of the parameters. What it writes to when it predicts, each thread has for itself,
    so threads can share one.
    """

    def __init__(self, network: Sequential, *, threads: int | None = None) -> None:
        """Copy the network's parameters, batch norm folded into them.

        Args:
            network: trained; it may be trained further, which changes nothing here.
            threads: how many share a large batch, None for one a core; the logits do not depend
                on it.

        Raises:
            ValueError: threads is below 1.
        """
        self.threads = cores() if threads is None else threads
        if self.threads < 1:
            raise ValueError(f"Inference expected threads of at least 1, got {threads}")
        self.network = Sequential(fold_batch_norm(network.layers), network.input_shape)
        self._make_steps = list(_steps(self.network))
        self._few = FEW if any(type(each) is Conv2d for each in self.network.layers) else 1
        self._of_thread = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        """All but what threads have for themselves, so that it can be copied."""
        return {name: value for name, value in self.__dict__.items() if name != "_of_thread"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state; a thread makes its own part when it first predicts."""
        self.__dict__ |= state
        self._of_thread = threading.local()

    def __call__(self, examples: Array) -> Array:
        """The logits of examples: (N, ...) -> (N, K).

        Raises:
            ValueError: an example does not have the network's input shape.
        """
        network = self.network
        if not 0 < len(examples) <= self._few or examples.shape[1:] != network.input_shape:
            return self._batch(examples)
        try:
            steps = self._of_thread.steps
        except AttributeError:
            steps = self._of_thread.steps = [make() for make in self._make_steps]
        logits = np.empty((len(examples), *network.shapes[-1]), network.values.dtype)
        for i in range(len(examples)):
            x: Array = examples[i].astype(logits.dtype, copy=False)  # no step writes to it
            for step in steps:
                x = step(x)
            logits[i] = _swapped(x)
        return logits

    def _batch(self, examples: Array) -> Array:
        """The same of several examples, spread over threads if there are many.

        The threads end with the call: a process that forks afterwards has none.
        """
        if len(examples) < MANY:
            return self.network(examples)
        parts = [examples[start : start + CHUNK] for start in range(0, len(examples), CHUNK)]
        with one_blas_thread(), ThreadPoolExecutor(self.threads) as executor:
            return np.concatenate(list(executor.map(self.network, parts)))


def fold_batch_norm(layers: Sequence[Layer]) -> list[Layer]:
    """Copies of the layers, for prediction: without dropout, and with batch norm folded in.

    Predicting, batch norm is `scale * x + shift`. After a linear layer or a convolution that is

        scale * (weight @ x + bias) + shift = (scale * weight) @ x + (scale * bias + shift)

    and so a layer with other parameters. Max pooling in between changes nothing as long as no scale
    is negative, for then scale * max(a, b) + shift = max(scale * a + shift, scale * b + shift).
    Batch norm that follows something else, or has a negative scale there, stays what it is.
    """
    folded: list[Layer] = []
    for layer in layers:
        # By the very class, here and in `_step`: one derived from it may compute something else.
        if type(layer) is Dropout:
            continue
        if type(layer) is BatchNorm:
            scale, shift = layer.scale_and_shift()
            at = len(folded) - 1
            if at > 0 and type(folded[at]) is MaxPool2d and (scale >= 0).all():
                at -= 1
            before = folded[at] if at >= 0 else None
            if type(before) is Linear or type(before) is Conv2d:
                folded[at] = _scaled(before, scale, shift)
                continue
        folded.append(layer.replica())
    return folded


def _scaled(layer: Linear | Conv2d, scale: Array, shift: Array) -> Linear | Conv2d:
    """A layer whose output is `scale * out + shift`, for each output or channel."""
    scaled = layer.replica()
    # A Linear's outputs are the rows of its weight, a Conv2d's channels out are the last axis.
    rows = scale[:, None] if isinstance(layer, Linear) else scale
    scaled.weight = Parameter(layer.weight.value * rows)
    scaled.bias = Parameter(layer.bias.value * scale + shift)
    return scaled


def _steps(network: Sequential) -> Iterator[MakeStep]:
    """What makes each step of one example's path, for a thread: of a layer, or of some in a row."""
    layers = [*network.layers, None, None]
    at = 0
    while (layer := layers[at]) is not None:
        shape, following, third = network.shapes[at], layers[at + 1], layers[at + 2]
        at += 1
        if type(layer) is Conv2d:
            pooled = type(following) is MaxPool2d and following.size == 2
            relu = type(third if pooled else following) is ReLU
            if TiledConv2d.fits(layer, pooled=pooled):
                yield TiledConv2d(layer, shape, pooled=pooled, relu=relu).step
                at += pooled + relu
                continue
        if type(layer) is Flatten and len(shape) == 3 and type(following) is Linear:
            yield _always(_flat_linear(following, shape))
            at += 1
            continue
        yield _always(_step(layer))


def _always(step: Step) -> MakeStep:
    """For a step that writes to nothing: threads share it."""
    return lambda: step


def _step(layer: Layer) -> Step:
    """What a layer does to one example; images are (H, W, C), and not (H, C, W) as in the layer."""
    if type(layer) is Conv2d:
        return _convolution(layer)
    if type(layer) is Linear:
        weight, bias = layer.weight.value, layer.bias.value
        return lambda x: weight @ x + bias
    if type(layer) is MaxPool2d:
        return lambda x: _pooled(x, layer.size, np.maximum)
    if type(layer) is AvgPool2d:
        share = layer.size**-2
        return lambda x: _pooled(x, layer.size, np.add) * x.dtype.type(share)
    if type(layer) is BatchNorm:
        scale, shift = layer.scale_and_shift()
        return lambda x: x * scale + shift
    if type(layer) is AddChannel:
        return lambda x: x[..., None]
    if type(layer) is Flatten:  # in the order that the next layer's weights are in
        return lambda x: _swapped(x).reshape(-1)
    if type(layer) is ReLU:
        return lambda x: np.maximum(x, 0)
    return lambda x: _as_batch(layer, x)


def _flat_linear(layer: Linear, shape: Shape) -> Step:
    """A Linear of a flattened image, with its weight in the order of (H, W, C), not (H, C, W)."""
    weight, bias = layer.weight.value, layer.bias.value
    weight = weight.reshape(-1, *shape).transpose(0, 1, 3, 2).reshape(weight.shape)
    return lambda x: weight @ x.reshape(-1) + bias


def _convolution(layer: Conv2d) -> Step:
    """(H, C, W) as (H, W, C) -> (H_out, W_out, M)."""
    k, s, p = layer.kernel, layer.stride, layer.padding
    channels_out = len(layer.bias.value)
    weight = layer.weight.value.reshape(-1, channels_out)  # (k*k*C, M)
    bias = layer.bias.value

    def step(x: Array) -> Array:
        if p:
            height, width, channels = x.shape
            padded = np.zeros((height + 2 * p, width + 2 * p, channels), x.dtype)
            padded[p:-p, p:-p] = x
            x = padded
        x = np.ascontiguousarray(x)
        rows, columns = (x.shape[0] - k) // s + 1, (x.shape[1] - k) // s + 1
        # (H_out*W_out, k*k*C) @ (k*k*C, M) -> (H_out*W_out, M)
        out = _windows(x, rows, columns, k, s) @ weight
        out += bias
        return out.reshape(rows, columns, channels_out)

    return step


def _windows(x: Array, rows: int, columns: int, k: int, s: int) -> Array:
    """Every window of an image (H, W, C), one a row: (H_out*W_out, k*k*C).

    They are copied in runs along the window's row, k*C numbers, or, where these are fewer than the
    windows in a row of output, along those: W_out numbers, and the matrix is seen transposed.
    """
    channels = x.shape[2]
    row, column, channel = x.strides
    windows: Array  # np.ndarray is as_strided, in a fifth of its time
    if k * channels >= columns:
        windows = np.ndarray(
            (rows, columns, k, k * channels), x.dtype, x, 0, (row * s, column * s, row, channel)
        )
        return windows.reshape(rows * columns, -1)
    windows = np.ndarray(
        (k, k, channels, rows, columns), x.dtype, x, 0, (row, column, channel, row * s, column * s)
    )
    windows = windows.reshape(-1, rows * columns).T
    return windows


def _pooled(x: Array, k: int, merge: np.ufunc) -> Array:
    """(H, W, C) -> (H//k, W//k, C): the squares' pixels merged, two at a time."""
    height, width = x.shape[0] // k * k, x.shape[1] // k * k
    lines = x[0:height:k]
    for i in range(1, k):
        lines = merge(lines, x[i:height:k])
    out = lines[:, 0:width:k]
    for j in range(1, k):
        out = merge(out, lines[:, j:width:k])
    return out


def _as_batch(layer: Layer, x: Array) -> Array:
    """What a layer that this module does not know does to one example."""
    batch = np.ascontiguousarray(_swapped(x)[..., None])
    return _swapped(layer.forward(batch)[..., 0])


def _swapped(x: Array) -> Array:
    """An image (H, W, C) as (H, C, W), or the other way round; features as they are."""
    return x.transpose(0, 2, 1) if x.ndim == 3 else x
