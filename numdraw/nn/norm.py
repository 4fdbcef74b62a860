"""Batch normalisation: keeps what goes through a network at a mean of 0 and a variance of 1."""

import numpy as np
import numpy.typing as npt

from numdraw.nn.layers import Array, Layer, Parameter, Shape, Statistic


class BatchNorm(Layer):
    """Batch normalisation of features (D, N), or of the channels of images (H, C, W, N).

    Each feature, or channel, is treated by itself. Let x[1] ... x[n] be its values in the batch, in
    images all their pixels:

        mean = sum of x / n        variance = sum of (x - mean)**2 / n
        xhat = (x - mean) / sqrt(variance + eps)
        out  = weight * xhat + bias

    **Backward.** weight and bias are a `Linear` of one feature:

        dweight = sum of dout * xhat        dbias = sum of dout        dxhat = weight * dout

    x reaches xhat in three ways: by itself, through the mean and through the variance. Write
    r = 1 / sqrt(variance + eps), and let x[j] alone change by a small e. Then the mean changes by
    e/n; the variance by 2/n * (x[j] - mean) * e (the mean's own change cancels, for the x - mean
    sum to 0); r by -r**3/2 times that, which is -r**2/n * xhat[j] * e; and so

        slope of xhat[i] in x[j] = r * ((1 where i = j) - 1/n - xhat[i] * xhat[j] / n)

    Summed over i, each with its dxhat[i]:

        dx[j] = r * (dxhat[j] - sum of dxhat / n - xhat[j] * (sum of dxhat * xhat) / n)
              = r * weight * (dout[j] - dbias / n - xhat[j] * dweight / n)

    **Predicting.** mean and variance are running averages over batches, so that an answer does not
    depend on what else is asked. They are `Statistic`s: `forward(train=True)` only observes, and
    `Sequential.update_statistics` moves the averages. A batch that is trained in micro-batches is
    normalised in each of them by itself, and the average of what they observed counts.

    In place when training: x, dout and the kept xhat are overwritten, so `input_gradient` can be
    asked for once a `forward`. Kept for the gradients: xhat and r.

    Source: Ioffe and Szegedy, "Batch Normalization", 2015, algorithms 1 and 2; Hoffer, Hubara and
    Soudry, "Train longer, generalize better", 2017, section 4, for normalising in small parts.
    """

    EPS = 1e-5  # keeps the division from 0; PyTorch's

    def __init__(self, features: int, *, dtype: npt.DTypeLike = np.float32) -> None:
        """Start as the identity on normalised data.

        Args:
            features: D, or C.
            dtype: float32 to train, float64 to check gradients.
        """
        self.weight = Parameter(np.ones(features, dtype))
        self.bias = Parameter(np.zeros(features, dtype))
        self.mean = Statistic(np.zeros(features, dtype))
        self.variance = Statistic(np.ones(features, dtype))

    def forward(
        self, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> Array:
        """(D, N) or (H, C, W, N), unchanged.

        Raises:
            ValueError: training on a single value, which has no variance.
        """
        groups = _groups(x)
        if not train:
            scale, shift = self.scale_and_shift()
            out = groups * scale[:, None]
            out += shift[:, None]
            return out.reshape(x.shape)
        n = groups.size // groups.shape[1]
        if n < 2:
            raise ValueError(
                "BatchNorm expected at least 2 values a feature in training, got 1; "
                "choose a batch size that leaves no single example"
            )
        mean = np.einsum("hcl->c", groups) / n
        groups -= mean[:, None]
        variance = np.einsum("hcl,hcl->c", groups, groups) / n
        self._r = 1 / np.sqrt(variance + variance.dtype.type(self.EPS))
        groups *= self._r[:, None]
        self._xhat = groups
        self.mean.observed[...] = mean
        # Over n - 1: what n values say of the variance of all there could be.
        np.multiply(variance, n / (n - 1), out=self.variance.observed)
        out = groups * self.weight.value[:, None]
        out += self.bias.value[:, None]
        return out.reshape(x.shape)

    def parameter_gradients(self, dout: Array) -> None:
        """Set dweight and dbias, (D,) or (C,)."""
        groups = _groups(dout)
        np.einsum("hcl,hcl->c", groups, self._xhat, out=self.weight.grad)
        np.einsum("hcl->c", groups, out=self.bias.grad)

    def input_gradient(self, dout: Array) -> Array:
        """(D, N) or (H, C, W, N), unchanged; after `parameter_gradients`, whose sums it needs."""
        groups = _groups(dout)
        n = groups.size // groups.shape[1]
        # dx = r * weight * (dout - xhat * dweight / n - dbias / n), in place of dout
        self._xhat *= (self.weight.grad / n)[:, None]
        groups -= self._xhat
        groups -= (self.bias.grad / n)[:, None]
        groups *= (self._r * self.weight.value)[:, None]
        return groups.reshape(dout.shape)

    def output_shape(self, input_shape: Shape) -> Shape:
        """The input's."""
        features = len(self.weight.value)
        if len(input_shape) not in (1, 3) or input_shape[-2:][0] != features:
            raise ValueError(
                f"BatchNorm expected input ({features},) or (H, {features}, W), got {input_shape}"
            )
        return input_shape

    def scale_and_shift(self) -> tuple[Array, Array]:
        """What it does when predicting, as `out = scale * x + shift`: two arrays (D,) or (C,)."""
        scale = self.weight.value / np.sqrt(
            self.variance.value + self.EPS, dtype=self.weight.value.dtype
        )
        return scale, self.bias.value - self.mean.value * scale


def _groups(x: Array) -> Array:
    """(D, N) as (1, D, N), and (H, C, W, N) as (H, C, W*N)."""
    return x[None] if x.ndim == 2 else x.reshape(*x.shape[:2], -1)
