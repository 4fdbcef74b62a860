"""Layers and networks that several tests use, and what the tests of layers share."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from numdraw.nn.layers import Array, Layer, ReLU, Shape
from numdraw.nn.network import Sequential
from numdraw.nn.norm import BatchNorm


@contextmanager
def unchanged(layer: Layer) -> Iterator[None]:
    """A block after which the layer must hold what it held before, to the last number."""
    before = copy.deepcopy(vars(layer))
    yield
    assert vars(layer).keys() == before.keys()
    for name, kept in before.items():
        now = getattr(layer, name)
        if hasattr(kept, "value"):  # a Parameter or a Statistic
            for part, numbers in vars(kept).items():
                assert np.array_equal(getattr(now, part), numbers), (name, part)
        else:
            assert np.array_equal(now, kept), name


class Doubled(Layer):
    """A layer of somebody else's."""

    def forward(
        self, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> Array:
        doubled: Array = 2 * x
        return doubled

    def input_gradient(self, dout: Array) -> Array:
        raise NotImplementedError

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


class LeakyReLU(ReLU):
    """Derived from a layer that the library knows, and not that layer."""

    def forward(
        self, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> Array:
        leaked: Array = np.maximum(x, 0.1 * x)
        return leaked


def as_trained(network: Sequential, *, positive: bool = False) -> Sequential:
    """The network with biases, statistics and scales that are not those of the start.

    Args:
        network: changed in place.
        positive: keep batch norm's scales above 0.
    """
    noise = np.random.default_rng(1).normal(size=network.values.size)
    network.values += 0.1 * noise.astype(np.float32)
    network.statistics[:] = np.random.default_rng(2).uniform(0.5, 2.0, network.statistics.size)
    for layer in network.layers:
        if isinstance(layer, BatchNorm) and not positive:
            layer.weight.value[::2] *= -1
    return network
