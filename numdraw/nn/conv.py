"""Convolution: a small linear layer that does the same everywhere in an image.

An image inside the network is (H, C, W, N): rows first, then channels, columns, examples. With the
rows outermost, k neighbouring rows of an image are one piece of memory, and so a matrix, without a
copy. `Conv2d` is built on that.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from numdraw.nn.layers import Array, Layer, Parameter, Shape


class Conv2d(Layer):
    """A convolution: every output pixel is the same small linear layer, applied to its window.

    With C channels in, M out, a window of k x k, stride s and a rim of p zeros, and x taken as 0
    outside of the image, output row h and column w of channel m are, for one example,

        out[h, m, w] = bias[m]
                     + sum over i, j, c of weight[i, j, c, m] * x[h*s + i - p, c, w*s + j - p]

    **As a matrix product.** First the columns of x are laid out, once for each j:

        cols[y, j, c, w] = x[y, c, w*s + j - p]

    The window of output row h is the rows y = h*s - p + i of cols, i = 0 ... k-1. They lie one
    after another in memory, so together they are a matrix, seen where it lies:

        window(h) = cols[h*s - p : h*s - p + k]  as (k*k*C, W_out*N), its rows counted by (i, j, c)

    and with weight seen as (k*k*C, M), counted alike,

        out[h] = weight.T @ window(h) + bias

    The windows of neighbouring rows overlap, but nothing is copied for that: x is written k times,
    and not the k*k times of the usual im2col. At the rim, rows of the window are missing; the
    rows of weight that belong to them are left out of the product.

    **Backward.** out[h] is a `Linear` of window(h), so, as there,

        dweight    = sum over h of window(h) @ dout[h].T
        dbias      = sum over h of dout[h]'s row sums
        dwindow(h) = weight @ dout[h]

    Row y of cols is in the windows of several h, wherever y = h*s - p + i, and its gradient is the
    sum of what it gets from each. Let weight[i] be seen as (k*C, M):

        dcols[y] = sum over i of weight[i] @ dout[(y + p - i) / s]      where that is a row of dout

    With s = 1 this is a convolution of dout: as i grows, the row of dout falls, so that the
    weight[i] side by side, last i first, make a matrix (k*C, k*M) which multiplies k neighbouring
    rows of dout, seen as (k*M, W_out*N). With s > 1, a row y gets something only from each s-th i,
    namely those that leave the same remainder as y + p: these are s convolutions, each of its own
    rows y. At last the columns, each of which was written once for each j:

        dx[y, c, w*s + j - p] += dcols[y, j, c, w]

    Weights start as normal numbers of variance 2/(k*k*C), biases at 0, as in `Linear`.

    Kept for the gradients: cols.

    Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, for
    stride and padding; Chellapilla, Puri and Simard, "High Performance Convolutional Neural
    Networks for Document Processing", 2006, section 3, for convolution as a matrix product.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        rng: np.random.Generator | None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        """Draw the first weights.

        Args:
            channels_in: C.
            channels_out: M.
            kernel: k, rows and columns of the window.
            stride: s, rows and columns from one window to the next.
            padding: p, zeros around the image; less than k.
            rng: draws the first weights; None leaves them 0, where others will be loaded.
            dtype: float32 to train, float64 to check gradients.

        Raises:
            ValueError: padding is not in [0, k), or another number is below 1.
        """
        if min(channels_in, channels_out, kernel, stride) < 1 or not 0 <= padding < kernel:
            raise ValueError(
                "Conv2d expected channels, kernel and stride of at least 1 and padding in "
                f"[0, kernel), got channels {channels_in} and {channels_out}, kernel {kernel}, "
                f"stride {stride} and padding {padding}"
            )
        self.kernel, self.stride, self.padding = kernel, stride, padding
        weight = np.zeros((kernel, kernel, channels_in, channels_out), dtype)
        if rng is not None:
            deviation = np.sqrt(2.0 / (kernel * kernel * channels_in))
            weight[...] = rng.normal(0.0, deviation, weight.shape)
        self.weight = Parameter(weight)  # (k, k, C, M)
        self.bias = Parameter(np.zeros(channels_out, dtype))  # (M,)

    def forward(
        self, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> Array:
        """(H, C, W, N) -> (H_out, M, W_out, N)."""
        height, _, width, n = x.shape
        rows, columns = self._size_out(height), self._size_out(width)
        cols = self._columns(x, columns)
        channels_out = len(self.bias.value)
        weight = self.weight.value.reshape(-1, channels_out)  # (k*k*C, M)
        out = np.empty((rows, channels_out, columns * n), x.dtype)
        _convolve_rows(weight.T, cols, out, self._bands(height))
        out += self.bias.value[:, None]
        if train:
            self._x_shape = x.shape
            self._cols = cols
        return out.reshape(rows, channels_out, columns, n)

    def parameter_gradients(self, dout: Array) -> None:
        """Set dweight (k, k, C, M) and dbias (M,) from dout (H_out, M, W_out, N)."""
        dout = dout.reshape(*dout.shape[:2], -1)  # (H_out, M, W_out*N)
        dweight = self.weight.grad.reshape(self.kernel, -1, dout.shape[1])  # a view
        dweight[...] = 0
        for band in self._bands(self._x_shape[0]):
            # out[h] = weight.T @ window(h), so, of the rows of windows that are seen,
            # (rows, seen*k*C, W_out*N) @ (rows, W_out*N, M) -> (rows, seen*k*C, M)
            parts = band.windows(self._cols) @ dout[band.rows].transpose(0, 2, 1)
            dweight[band.seen] += parts.sum(axis=0).reshape(-1, *dweight.shape[1:])
        np.einsum("hml->m", dout, out=self.bias.grad)

    def input_gradient(self, dout: Array) -> Array:
        """(H_out, M, W_out, N) -> (H, C, W, N)."""
        s, p = self.stride, self.padding
        weight = self.weight.value.reshape(self.kernel, -1, dout.shape[1])  # (k, k*C, M)
        dout = np.ascontiguousarray(dout.reshape(*dout.shape[:2], -1))  # (H_out, M, W_out*N)
        dcols = np.empty_like(self._cols)  # (H, k*C, W_out*N)
        for start in range(min(s, len(dcols))):
            dlines = dcols[start::s]  # rows y = start, start + s, ...
            last = (start + p) // s  # the last row of dout that row `start` has a part in
            weights = weight[(start + p) % s :: s][::-1]  # (n, k*C, M), last i first
            beside = weights.transpose(1, 0, 2).reshape(dlines.shape[1], -1)  # (k*C, n*M)
            bands = _bands(len(dout), len(dlines), len(weights), 1, len(weights) - 1 - last)
            # dcols[y] = sum over i of weight[i] @ dout[(y + p - i) / s]:
            # (k*C, n*M) @ (rows, n*M, W_out*N) -> (rows, k*C, W_out*N)
            _convolve_rows(beside, dout, dlines, bands)
        return self._columns_gradient(dcols)

    def output_shape(self, input_shape: Shape) -> Shape:
        """(H, C, W) -> (H_out, M, W_out), with H_out = (H + 2p - k) // s + 1."""
        _, k, channels_in, channels_out = self.weight.value.shape
        if len(input_shape) != 3 or input_shape[1] != channels_in:
            raise ValueError(f"Conv2d expected input (H, {channels_in}, W), got {input_shape}")
        height, _, width = input_shape
        if min(height, width) + 2 * self.padding < k:
            raise ValueError(
                f"Conv2d expected an image of at least {k} x {k} px with a rim of {self.padding}, "
                f"got {height} x {width}"
            )
        return (self._size_out(height), channels_out, self._size_out(width))

    def _size_out(self, size: int) -> int:
        return (size + 2 * self.padding - self.kernel) // self.stride + 1

    def _bands(self, height: int) -> "tuple[_Band, ...]":
        return _bands(height, self._size_out(height), self.kernel, self.stride, self.padding)

    def _columns(self, x: Array, columns: int) -> Array:
        """cols[y, j, c, w] = x[y, c, w*s + j - p]: (H, C, W, N) -> (H, k*C, W_out*N)."""
        height, channels, width, n = x.shape
        cols = np.empty((height, self.kernel, channels, columns, n), x.dtype)
        for j in range(self.kernel):
            here, there = self._inside(j, width, columns)
            cols[:, j, :, here] = x[:, :, there]
            if here.start > 0:
                cols[:, j, :, : here.start] = 0
            if here.stop < columns:
                cols[:, j, :, here.stop :] = 0
        return cols.reshape(height, self.kernel * channels, columns * n)

    def _columns_gradient(self, dcols: Array) -> Array:
        """dx[y, c, w*s + j - p] += dcols[y, j, c, w]: (H, k*C, W_out*N) -> (H, C, W, N)."""
        height, channels, width, n = self._x_shape
        dcols = dcols.reshape(height, self.kernel, channels, -1, n)
        dx = np.zeros(self._x_shape, dcols.dtype)
        for j in range(self.kernel):
            here, there = self._inside(j, width, dcols.shape[3])
            dx[:, :, there] += dcols[:, j, :, here]
        return dx

    def _inside(self, j: int, width: int, columns: int) -> tuple[slice, slice]:
        """The w with 0 <= w*s + j - p < W, and the columns w*s + j - p of x."""
        s, offset = self.stride, j - self.padding
        first = max(0, -(offset // s))  # the smallest w with w*s + offset >= 0
        stop = max(first, min(columns, (width - 1 - offset) // s + 1))
        there = (
            slice(first * s + offset, (stop - 1) * s + offset + 1, s) if stop > first else slice(0)
        )
        return slice(first, stop), there


@dataclass(frozen=True)
class _Band:
    """Neighbouring output rows of a convolution whose windows lack the same rows.

    Attributes:
        rows: the output rows.
        seen: the rows of the window that are there.
        start: the input row at which the first window's seen rows begin.
        stride: input rows from one window to the next.
    """

    rows: slice
    seen: slice
    start: int
    stride: int

    def windows(self, lines: Array) -> Array:
        """Each output row's window, a view: (H, D, L) contiguous -> (rows, seen * D, L)."""
        _, d, length = lines.shape
        step, line, element = lines.strides
        count = self.rows.stop - self.rows.start
        # What as_strided does, in a fifth of its time; NumPy checks that it stays inside of lines.
        windows: Array = np.ndarray(
            (count, (self.seen.stop - self.seen.start) * d, length),
            lines.dtype,
            lines,
            self.start * step,
            (self.stride * step, line, element),
        )
        return windows


@lru_cache(maxsize=1024)  # a few for each layer and image size
def _bands(height: int, rows: int, kernel: int, stride: int, before: int) -> tuple[_Band, ...]:
    """The bands of a convolution along the rows, in order; the window of row h starts at h*s - p.

    Args:
        height: input rows.
        rows: output rows.
        kernel: rows of a window.
        stride: s.
        before: p.
    """
    bands: list[_Band] = []
    for h in range(rows):
        top = h * stride - before
        first = min(max(0, -top), kernel)
        seen = slice(first, max(first, min(kernel, height - top)))
        if bands and bands[-1].seen == seen:
            bands[-1] = replace(bands[-1], rows=slice(bands[-1].rows.start, h + 1))
        else:
            bands.append(_Band(slice(h, h + 1), seen, top + first, stride))
    return tuple(bands)


def _convolve_rows(weight: Array, lines: Array, out: Array, bands: tuple[_Band, ...]) -> None:
    """out[h] = weight @ window(h).

    Args:
        weight: (M, k*D).
        lines: (H, D, L), contiguous.
        out: (rows, M, L), written to.
        bands: of the windows.
    """
    d = lines.shape[1]
    for band in bands:
        if band.seen.start == band.seen.stop:  # rows that no window reaches
            out[band.rows] = 0
        else:
            part = weight[:, band.seen.start * d : band.seen.stop * d]
            np.matmul(part, band.windows(lines), out=out[band.rows])
