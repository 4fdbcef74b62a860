"""Convolution of one image by itself, in tiles of 2 x 2 outputs, with the pooling that follows.

A tile's outputs need (k + 1) x (k + 1) inputs, some of which its neighbours need too. Laid out with
the place in the tile first and the tiles after it,

    columns    ((k + 1)**2, T*C)    what T tiles need: row (i, j) is that pixel of each of them
    outputs    (4, T*M)             what they give, likewise

the tiles stand side by side in every matrix product, and max pooling by 2 is the largest of four
rows. Nothing is computed that the pooling leaves out.

**From one channel** (10 us for 28 x 28 px; by windows 24) the products of a tile are one
matrix. Its rows are the M kernels at each of the four places of a tile, with zeros around them, and
at last the bias, which meets a row of ones:

    outputs = weight @ [columns, 1]        (4*M, (k + 1)**2 + 1) @ ((k + 1)**2 + 1, T)

**From many channels**, by kernels of 3 x 3, it is Winograd's minimal filtering F(2 x 2, 3 x 3), in
16 multiplications a tile and pair of channels where windows take 36. With d a tile's inputs (4, 4)
and g a kernel (3, 3), its outputs (2, 2) are

    A.T @ [(G @ g @ G.T) * (B.T @ d @ B)] @ A

and the sum over channels is taken inside the brackets. Each of the three transforms multiplies a
matrix from both sides, which is one product of the Kronecker square with the matrix as a vector:

    transformed = kron(B.T, B.T) @ columns             (16, 16) @ (16, T*C)
    products[e] = transformed[e] @ kernels[e]          16 times (T, C) @ (C, M)
    outputs     = kron(A.T, A.T) @ products + bias     (4, 16) @ (16, T*M)

The kernels' transform is done once. B and A hold only 0, 1 and -1: in float32 the logits move by
1e-6 of the largest.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, section 4.1.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from numdraw.nn.conv import Conv2d
from numdraw.nn.layers import Array, Shape

Step: TypeAlias = Callable[[Array], Array]

B_T = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
A_T = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])


class TiledConv2d:
    """A convolution of one image (H, W, C), and the max pooling by 2 and the ReLU that follow it.

    It has a copy of the parameters, and holds no other state: `step` gives what does.
    """

    def __init__(self, layer: Conv2d, shape: Shape, *, pooled: bool, relu: bool) -> None:
        """Transform the kernels.

        Args:
            layer: one that `fits` says yes to.
            shape: (H, C, W), of an image.
            pooled: whether max pooling by 2 follows.
            relu: whether ReLU follows, before the pooling or after it, which is the same.
        """
        k, self._padding = layer.kernel, layer.padding
        height, self._channels, width = shape
        self._image = height, width
        self._size = height + 2 * layer.padding - k + 1, width + 2 * layer.padding - k + 1
        self._pooled, self._relu = pooled, relu
        self._side = k + 1  # px, of a tile's inputs
        weight, bias = layer.weight.value, layer.bias.value
        self._outputs = len(bias)
        if self._channels == 1:
            kernels = np.zeros((2, 2, len(bias), k + 1, k + 1), weight.dtype)
            for i, j in np.ndindex(2, 2):
                kernels[i, j, :, i : i + k, j : j + k] = weight[:, :, 0].transpose(2, 0, 1)
            rows = kernels.reshape(4 * len(bias), -1)
            self._weight = np.concatenate([rows, np.tile(bias, 4)[:, None]], axis=1)
        else:
            # (16, 9) @ (9, C*M) -> (16, C*M)
            kernels = np.kron(G, G) @ weight.reshape(9, -1)
            self._weight = kernels.reshape(16, *weight.shape[2:]).astype(weight.dtype)
        self._bias = bias.copy()

    @staticmethod
    def fits(layer: Conv2d, *, pooled: bool) -> bool:
        """Whether tiles are a way to do it: by kernels of 3 x 3, or pooled from one channel."""
        one = layer.weight.value.shape[2] == 1
        return layer.stride == 1 and (pooled if one else layer.kernel == 3)

    def step(self) -> Step:
        """A function, (H, W, C) -> (H_out, W_out, M); one call at a time.

        It writes into memory of its own, a tenth faster than into new: what it returns may be part
        of it, and holds until the next call.
        """
        side, channels, dtype = self._side, self._channels, self._weight.dtype
        # Where the outputs' sides are odd, pooling leaves the last ones out; else a tile has fewer.
        rows, columns = (n // 2 if self._pooled else (n + 1) // 2 for n in self._size)
        padded = np.zeros((2 * rows + side - 2, 2 * columns + side - 2, channels), dtype)
        height, width = self._image
        inner = padded[self._padding :, self._padding :][:height, :width]
        seen = slice(inner.shape[0]), slice(inner.shape[1])  # no tile reaches the rest
        row, column, channel = padded.strides
        tiles = np.ndarray(  # as_strided, in a fifth of its time
            (side, side, rows, columns, channels),
            dtype,
            padded,
            0,
            (row, column, 2 * row, 2 * column, channel),
        )
        inputs = np.ones((side * side + 1, rows * columns * channels), dtype)
        laid_out = inputs[:-1].reshape(tiles.shape)
        one = channels == 1
        product = self._one(inputs) if one else self._many(inputs[:-1], rows * columns)
        relu, pooled, size = self._relu, self._pooled, self._size
        lowest = 0 if relu else -np.inf
        shape = (2, 2, rows, columns, self._outputs)

        def step(x: Array) -> Array:
            inner[...] = x[seen]
            laid_out[...] = tiles
            outputs = product()
            if pooled:
                largest: Array = np.maximum.reduce(outputs, axis=0, initial=lowest)
                if not one:
                    return largest.reshape(rows, columns, -1)
                by_channel: Array = largest.reshape(-1, rows, columns)
                return np.transpose(by_channel, (1, 2, 0))
            if relu:
                np.maximum(outputs, 0, out=outputs)
            image: Array = outputs.reshape(shape).transpose(2, 0, 3, 1, 4)
            image = image.reshape(2 * rows, 2 * columns, -1)
            return image[: size[0], : size[1]]

        return step

    def _one(self, inputs: Array) -> Callable[[], Array]:
        """From one channel: (4, M*T) of the columns and their row of ones."""
        weight = self._weight
        outputs = np.empty((len(weight), inputs.shape[1]), inputs.dtype)
        by_place = outputs.reshape(4, -1)

        def product() -> Array:
            np.dot(weight, inputs, out=outputs)
            return by_place

        return product

    def _many(self, inputs: Array, tiles: int) -> Callable[[], Array]:
        """From many channels: (4, T*M) of the columns."""
        kernels, dtype = self._weight, inputs.dtype
        transform = np.kron(B_T, B_T).astype(dtype)
        # The bias is a row more of the products, which each output gets once.
        back = np.concatenate([np.kron(A_T, A_T), np.ones((4, 1))], axis=1).astype(dtype)
        transformed = np.empty_like(inputs)
        by_element = transformed.reshape(16, tiles, -1)
        products = np.empty((17, tiles * self._outputs), dtype)
        products[16] = np.tile(self._bias, tiles)
        of_kernels = products[:16].reshape(16, tiles, -1)
        outputs = np.empty((4, products.shape[1]), dtype)

        def product() -> Array:
            np.dot(transform, inputs, out=transformed)
            np.matmul(by_element, kernels, out=of_kernels)
            return np.dot(back, products, out=outputs)

        return product
