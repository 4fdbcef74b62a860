"""The layers: each computes its output, and the gradients that training needs of it.

Backpropagation is the chain rule, read from the loss backwards. Let L be the loss, a number, and
let a layer compute `out` from `x`. Whoever comes after the layer hands it `dout`, which holds
dL/d(out[i]) for every element i. The layer owes two things:

    its parameters' gradients      dL/dp    = sum over i of dL/d(out[i]) * d(out[i])/dp
    the gradient at its input, dx  dL/dx[j] = sum over i of dL/d(out[i]) * d(out[i])/dx[j]

and `dx` is the `dout` of the layer before. `parameter_gradients` pays the first debt,
`input_gradient` the second. A parameter's gradient is the sum over the batch's columns of
what each contributes; that the loss is a mean shows in `dout` alone.

Between `forward(train=True)` and the gradients a layer keeps what its equations need of x.
`forward(train=False)` keeps nothing and writes nothing to the layer, so threads can share one.
"""

import copy
import math
from abc import ABC, abstractmethod
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Shape: TypeAlias = tuple[int, ...]
LayerT = TypeVar("LayerT", bound="Layer")


class Parameter:
    """Something that training changes: a value, and the gradient of the loss with respect to it."""

    def __init__(self, value: Array) -> None:
        """Hold a value, with a gradient of 0.

        Args:
            value: any shape, float32 or float64; `grad` has the same.
        """
        self.value = value
        self.grad = np.zeros_like(value)


class Statistic:
    """Something that a layer measures while training, and uses when it predicts.

    Attributes:
        value: the running average over batches, that `forward(train=False)` uses.
        observed: what the last `forward(train=True)` measured, with value's shape.
    """

    def __init__(self, value: Array) -> None:
        """Hold a first value, with nothing observed.

        Args:
            value: any shape, float32 or float64.
        """
        self.value = value
        self.observed = np.zeros_like(value)


class Layer(ABC):
    """What every layer can do. Shapes in the docstrings leave the batch, the last axis, out."""

    @abstractmethod
    def forward(
        self, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> Array:
        """The layer's output.

        Args:
            x: (..., N). In training it may be overwritten, so no layer may need its own output
                later.
            train: keep what the gradients need, and do what is only done in training.
            rng: the source of the layer's random numbers; only `Dropout` in training wants one.
        """

    @abstractmethod
    def input_gradient(self, dout: Array) -> Array:
        """`dx` for the `x` of the last `forward(train=True)`: once, after `parameter_gradients`.

        Args:
            dout: the gradient at the output, with the output's shape; it may be overwritten.
        """

    def parameter_gradients(self, dout: Array) -> None:  # noqa: B027  most layers have no parameters
        """Set `grad` of each parameter; nothing to do where a layer has none.

        Args:
            dout: the gradient at the output, with the output's shape; it is not changed.
        """

    def backward(self, dout: Array) -> Array:
        """Set the parameters' gradients and return `dx`."""
        self.parameter_gradients(dout)
        return self.input_gradient(dout)

    @abstractmethod
    def output_shape(self, input_shape: Shape) -> Shape:
        """The shape that an input of `input_shape` leaves with, the batch left out of both.

        Raises:
            ValueError: the layer cannot take such an input.
        """

    def parameters(self) -> dict[str, Parameter]:
        """The layer's parameters by name, in the order in which it made them."""
        return {name: p for name, p in vars(self).items() if isinstance(p, Parameter)}

    def statistics(self) -> dict[str, Statistic]:
        """The layer's statistics by name, in the order in which it made them."""
        return {name: s for name, s in vars(self).items() if isinstance(s, Statistic)}

    def replica(self: LayerT) -> LayerT:
        """A layer that shares the parameters' and statistics' values; all else is its own."""
        twin = copy.copy(self)
        for name, parameter in self.parameters().items():
            setattr(twin, name, Parameter(parameter.value))
        for name, statistic in self.statistics().items():
            setattr(twin, name, Statistic(statistic.value))
        return twin


class Linear(Layer):
    """A fully connected layer: `out = weight @ x + bias`.

    For one output of one example, a column n of x:

        out[m, n] = sum over d of weight[m, d] * x[d, n]  +  bias[m]

    so weight[m, d] touches out[m, n] alone, with factor x[d, n]; bias[m] with factor 1; and
    x[d, n] touches every out[m, n], with factor weight[m, d]. The chain rule collects them:

        dweight[m, d] = sum over n of dout[m, n] * x[d, n]       dweight = dout @ x.T
        dbias[m]      = sum over n of dout[m, n]                 dbias   = dout's row sums
        dx[d, n]      = sum over m of weight[m, d] * dout[m, n]  dx      = weight.T @ dout

    Weights start as normal numbers of variance 2/D, which keeps the signal's size through a ReLU;
    biases start at 0.

    Kept for the gradients: x, not copied.

    Source: He et al., "Delving Deep into Rectifiers", 2015, section 2.2 (the variance).
    """

    def __init__(
        self,
        features_in: int,
        features_out: int,
        *,
        rng: np.random.Generator | None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        """Draw the first weights.

        Args:
            features_in: D.
            features_out: M.
            rng: draws the first weights; None leaves them 0, where others will be loaded.
            dtype: float32 to train, float64 to check gradients.
        """
        weight = np.zeros((features_out, features_in), dtype)
        if rng is not None:
            weight[...] = rng.normal(0.0, np.sqrt(2.0 / features_in), weight.shape)
        self.weight = Parameter(weight)  # (M, D)
        self.bias = Parameter(np.zeros(features_out, dtype))  # (M,)

    def forward(
        self, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> Array:
        """(D, N) -> (M, N)."""
        out: Array = self.weight.value @ x  # (M, D) @ (D, N) -> (M, N)
        out += self.bias.value[:, None]
        if train:
            self._x = x
        return out

    def parameter_gradients(self, dout: Array) -> None:
        """Set dweight (M, D) and dbias (M,) from dout (M, N)."""
        np.matmul(dout, self._x.T, out=self.weight.grad)  # (M, N) @ (N, D) -> (M, D)
        np.sum(dout, axis=1, out=self.bias.grad)  # (M, N) -> (M,)

    def input_gradient(self, dout: Array) -> Array:
        """(M, N) -> (D, N)."""
        dx: Array = self.weight.value.T @ dout  # (D, M) @ (M, N) -> (D, N)
        return dx

    def output_shape(self, input_shape: Shape) -> Shape:
        """(D,) -> (M,)."""
        features_out, features_in = self.weight.value.shape
        if input_shape != (features_in,):
            raise ValueError(f"Linear expected input ({features_in},), got {input_shape}")
        return (features_out,)


class ReLU(Layer):
    """The rectifier: `out = max(x, 0)`, element by element.

    Where x > 0 the output is x itself, of slope 1; where x < 0 it is 0, of slope 0:

        dx = dout where x > 0, else 0

    At x = 0 there is a kink and no derivative; 0 is taken, as in PyTorch.

    In place: forward overwrites x when training (nobody else keeps it: the layer before is done
    with its output), and input_gradient overwrites dout. Kept for the gradients: where out, and so
    x, was above 0.
    """

    def forward(
        self, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> Array:
        """Any shape, unchanged."""
        zeros = np.zeros(x.shape[-2:], x.dtype)  # with a scalar, maximum takes 3 times as long
        out: Array = np.maximum(x, zeros, out=x if train else None)
        if train:
            self._positive = out > 0
        return out

    def input_gradient(self, dout: Array) -> Array:
        """Any shape, unchanged."""
        dout *= self._positive  # out = max(x, 0)
        return dout

    def output_shape(self, input_shape: Shape) -> Shape:
        """The input's."""
        return input_shape


class Flatten(Layer):
    """Lays each example's features in one column: (H, C, W, N) -> (H*C*W, N).

    Nothing is computed, so the gradient only goes back into the old shape.
    """

    def forward(
        self, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> Array:
        """(..., N) -> (product of ..., N)."""
        if train:
            self._shape = x.shape
        return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])

    def input_gradient(self, dout: Array) -> Array:
        """(product of ..., N) -> (..., N)."""
        return dout.reshape(self._shape)

    def output_shape(self, input_shape: Shape) -> Shape:
        """(H, C, W) -> (H*C*W,)."""
        return (math.prod(input_shape),)


class AddChannel(Layer):
    """Makes images of one channel of plain images: (H, W, N) -> (H, 1, W, N)."""

    def forward(
        self, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> Array:
        """(H, W, N) -> (H, 1, W, N)."""
        return x[:, None]

    def input_gradient(self, dout: Array) -> Array:
        """(H, 1, W, N) -> (H, W, N)."""
        return dout[:, 0]

    def output_shape(self, input_shape: Shape) -> Shape:
        """(H, W) -> (H, 1, W)."""
        if len(input_shape) != 2:
            raise ValueError(f"AddChannel expected input (H, W), got {input_shape}")
        return (input_shape[0], 1, input_shape[1])


class Dropout(Layer):
    """In training, sets each element to 0 with probability `p` and scales the others by 1/(1-p).

    With a mask that is 0 or 1/(1-p), drawn anew for every element of every batch:

        out = mask * x        so  dx = mask * dout

    The scaling keeps each element's mean, so that prediction, `train=False`, is `out = x`.

    In place when training, like ReLU: x and dout are overwritten. Kept: the mask.

    Source: Srivastava et al., "Dropout", JMLR 15, 2014, section 10 (the scaling).
    """

    def __init__(self, p: float) -> None:
        """Keep the probability.

        Args:
            p: the probability of a 0, in [0, 1).

        Raises:
            ValueError: p is outside.
        """
        if not 0.0 <= p < 1.0:
            raise ValueError(f"Dropout expected p in [0, 1), got {p}")
        self.p = p

    def forward(
        self, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> Array:
        """Any shape, unchanged.

        Raises:
            ValueError: training without an rng.
        """
        if not train:
            return x
        if rng is None:
            raise ValueError("Dropout expected an rng when training, got None")
        kept = rng.random(x.shape, dtype=np.float32) >= self.p
        self._mask = kept * x.dtype.type(1.0 / (1.0 - self.p))
        x *= self._mask
        return x

    def input_gradient(self, dout: Array) -> Array:
        """Any shape, unchanged."""
        dout *= self._mask  # out = mask * x
        return dout

    def output_shape(self, input_shape: Shape) -> Shape:
        """The input's."""
        return input_shape
