"""Pooling: layers that make one pixel of each square of pixels."""

import numpy as np

from numdraw.nn.layers import Array, Layer, Shape


class _Pool2d(Layer):
    """What the pooling layers share: squares of k x k pixels, side by side.

    Rows and columns that do not fill a square are left out; their gradient is 0.
    """

    def __init__(self, size: int) -> None:
        """Keep the square's size.

        Args:
            size: k, rows and columns.

        Raises:
            ValueError: it is below 1.
        """
        if size < 1:
            raise ValueError(f"{type(self).__name__} expected a size of at least 1, got {size}")
        self.size = size

    def output_shape(self, input_shape: Shape) -> Shape:
        """(H, C, W) -> (H//k, C, W//k)."""
        k = self.size
        if len(input_shape) != 3 or min(input_shape[0], input_shape[2]) < k:
            raise ValueError(
                f"{type(self).__name__} expected input (H, C, W) of at least {k} x {k} px, "
                f"got {input_shape}"
            )
        height, channels, width = input_shape
        return (height // k, channels, width // k)


class MaxPool2d(_Pool2d):
    """The largest of each square of k x k pixels, the squares side by side.

    It is taken along the rows, then along the columns, for max(a, b, c, d) is
    max(max(a, b), max(c, d)), and each time pixel by pixel: with v_i the i-th of the k,

        best_0 = v_0      best_i = max(best_(i-1), v_i)      out = best_(k-1)

    The output moves with the largest alone, so all of dout goes to it. `later_i` says whether v_i
    was larger than all before it; then, from the last to the first,

        dv_i = dbest_i where later_i, else 0       dbest_(i-1) = dbest_i - dv_i

    and dv_0 = dbest_0. Of several that are equally large the first gets it all, the upper one of
    each column and then the left one; PyTorch's choice among them may be another.

    Rows and columns that do not fill a square are left out; their gradient is 0.

    Kept for the gradients: the booleans `later_i`.
    """

    def forward(
        self, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> Array:
        """(H, C, W, N) -> (H//k, C, W//k, N)."""
        best, row_masks = self._along(x, 0, train)
        out, column_masks = self._along(best, 2, train)
        if train:
            self._x_shape = x.shape
            self._masks = row_masks, column_masks
        return out

    def input_gradient(self, dout: Array) -> Array:
        """(H//k, C, W//k, N) -> (H, C, W, N)."""
        row_masks, column_masks = self._masks
        dbest = self._back_along(dout, 2, column_masks, (len(dout), *self._x_shape[1:]))
        return self._back_along(dbest, 0, row_masks, self._x_shape)

    def _along(self, x: Array, axis: int, train: bool) -> tuple[Array, list[Array]]:
        """The largest of each k neighbours on an axis, and `later_1` ... `later_(k-1)`."""
        best, *others = _every(x, axis, self.size)
        masks = []
        for value in others:
            if train:
                masks.append(value > best)
            best = np.maximum(best, value)
        return best, masks

    def _back_along(self, dbest: Array, axis: int, masks: list[Array], shape: Shape) -> Array:
        """The gradient at the input of `_along`, of that shape."""
        dx = _like_pooled(dbest, shape, self.size)
        dfirst, *dothers = _every(dx, axis, self.size)
        for dvalue, later in zip(reversed(dothers), reversed(masks), strict=True):
            np.multiply(dbest, later, out=dvalue)
            dbest = np.subtract(dbest, dvalue, out=dfirst)
        if not dothers:
            dfirst[...] = dbest
        return dx


class AvgPool2d(_Pool2d):
    """The mean of each square of k x k pixels, the squares side by side.

    Each of the k*k pixels of a square has a part of 1/(k*k) in it, so each gets as much of dout:

        out = sum of the square / (k*k)            dx = dout / (k*k) for all of the square

    Rows and columns that do not fill a square are left out; their gradient is 0.
    """

    def forward(
        self, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> Array:
        """(H, C, W, N) -> (H//k, C, W//k, N)."""
        if train:
            self._x_shape = x.shape
        out = _added(_every(_added(_every(x, 0, self.size)), 2, self.size))
        out *= out.dtype.type(1 / self.size**2)
        return out

    def input_gradient(self, dout: Array) -> Array:
        """(H//k, C, W//k, N) -> (H, C, W, N)."""
        dx = _like_pooled(dout, self._x_shape, self.size)
        dout = dout * dout.dtype.type(1 / self.size**2)
        for drows in _every(dx, 0, self.size):
            for dcolumns in _every(drows, 2, self.size):
                dcolumns[...] = dout
        return dx


def _every(x: Array, axis: int, k: int) -> list[Array]:
    """k views of every k-th row or column, from the first, from the second, ...; whole squares."""
    stop = x.shape[axis] // k * k
    everything = (slice(None),)
    return [x[everything * axis + (slice(i, stop, k),)] for i in range(k)]


def _added(arrays: list[Array]) -> Array:
    total: Array = arrays[0].copy()
    for array in arrays[1:]:
        total += array
    return total


def _like_pooled(dout: Array, shape: Shape, k: int) -> Array:
    """An array for the gradient at a pooling layer's input, 0 where no square reaches."""
    whole = shape[0] % k == 0 and shape[2] % k == 0
    return (np.empty if whole else np.zeros)(shape, dout.dtype)
