"""The networks that are compared, as ours and as others lay them out, and the work in them."""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from numdraw import models
from numdraw.data import Examples, Part, data_folder, read_split, split_validation
from numdraw.nn.conv import Conv2d
from numdraw.nn.layers import Array, Flatten, Layer, Linear
from numdraw.nn.network import Sequential
from numdraw.training import RECIPES, Options

TOLERANCE = 1e-3  # of the largest logit; float32 sums in another order differ by a hundredth of it


Race: TypeAlias = tuple[Options, Part, Examples]


def network(name: str) -> Sequential:
    """The network of a recipe: lenet, convnet, mlp; the same each time.

    Its statistics are not those of the start, which would hide a mistake in them.
    """
    rng = np.random.default_rng(0)
    built = models.build(RECIPES[name].architecture(), rng=rng)
    built.statistics[:] = rng.uniform(0.5, 2.0, built.statistics.size)
    return built


@lru_cache(maxsize=1)
def examples(folder: str | None) -> Examples:
    """MNIST's training files; None is the usual folder."""
    return read_split(data_folder(folder), "train")


def batch(folder: str | None, count: int) -> tuple[Array, Array]:
    """So many images (N, 28, 28) float32 in [0, 1], and their labels (N,); in a circle."""
    every = examples(folder)
    some = every.take(np.arange(count) % len(every))
    return models.as_images(some.images), some.labels


def race(folder: str | None, images: int, epochs: int | None, validation: int, seed: int) -> Race:
    """The recipe "fast", and what it trains and validates on.

    Args:
        folder: of MNIST; None is the usual one.
        images: the first so many of the training files.
        epochs: in place of the recipe's own; None leaves it those.
        validation: how many of the images are held out.
        seed: says which, and where the training starts.
    """
    recipe = RECIPES["fast"]
    options = replace(recipe, epochs=epochs or recipe.epochs, validation=validation, seed=seed)
    every = examples(folder)
    some = every.take(np.arange(min(images, len(every))))
    return options, *split_validation(some, validation, rng=options.split_rng())


def channels_first(network: Sequential) -> Iterator[tuple[Layer, dict[str, Array]]]:
    """Each layer, and its arrays for images (N, C, H, W) in place of (H, C, W, N).

    A convolution's weight is (M, C, k, k). The first Linear after a Flatten takes the features in
    the order (C, H, W).
    """
    flat = None
    for layer, shape in zip(network.layers, network.shapes, strict=False):
        arrays = {name: of.value for name, of in layer.parameters().items()}
        arrays |= {name: of.value for name, of in layer.statistics().items()}
        if isinstance(layer, Conv2d):
            arrays["weight"] = arrays["weight"].transpose(3, 2, 0, 1)
        elif isinstance(layer, Flatten):
            flat = shape
        elif isinstance(layer, Linear) and flat is not None:
            if len(flat) == 3:
                weight = arrays["weight"].reshape(-1, *flat).transpose(0, 2, 1, 3)
                arrays["weight"] = weight.reshape(len(weight), -1)
            flat = None
        yield layer, {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def check_same(who: str, logits: Array, expected: Array) -> None:
    """Hold another library's logits to be ours.

    Raises:
        ValueError: they are not.
    """
    difference = float(np.abs(logits - expected).max())
    if not difference <= TOLERANCE * float(np.abs(expected).max()):
        raise ValueError(f"{who} expected our logits, got others, by up to {difference:.3g}")


def flops(name: str) -> dict[str, int]:
    """The floating-point operations of the products for one image in a training step.

    A multiplication and an addition are two. What multiplies a zero of the rim is not counted, and
    neither is what is not a product: bias, pooling, batch norm, ReLU.

    Returns:
        "forward", "weights": for the weights' gradient, "inputs": for the layers' input gradients,
        which the first layer need not compute, and "total".
    """
    built = network(name)
    pairs = [
        products
        for layer, shape in zip(built.layers, built.shapes, strict=False)
        if (products := _products(layer, shape))
    ]
    forward, inputs = 2 * sum(pairs), 2 * sum(pairs[1:])
    counts = {"forward": forward, "weights": forward, "inputs": inputs}
    return {**counts, "total": sum(counts.values())}


def _products(layer: Layer, shape: tuple[int, ...]) -> int:
    """How many numbers of the weight meet how many of one input."""
    if isinstance(layer, Linear):
        return int(layer.weight.value.size)
    if isinstance(layer, Conv2d):
        _, _, channels_in, channels_out = layer.weight.value.shape
        height, _, width = shape
        return int(channels_in * channels_out) * _inside(layer, height) * _inside(layer, width)
    return 0


def _inside(layer: Conv2d, size: int) -> int:
    """How many rows of all windows together lie inside of the image; or columns."""
    k, s, p = layer.kernel, layer.stride, layer.padding
    starts = range(-p, size + p - k + 1, s)
    return sum(min(start + k, size) - max(start, 0) for start in starts)
