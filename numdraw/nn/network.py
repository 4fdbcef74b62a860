"""A network: layers one after another, their parameters packed in one vector."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from numdraw.nn.checkpoint import CheckpointError
from numdraw.nn.layers import Array, Layer, Parameter, Shape, Statistic

CHUNK = 64  # examples predicted at once: enough for BLAS, and the activations stay in the cache
MOMENTUM = 0.1  # the weight of a new batch in the running averages of statistics; PyTorch's


class Sequential:
    """Layers applied in turn; `network(images)` gives the logits.

    Outside a network the batch comes first, (N, 28, 28); inside it comes last, (28, 28, N).
    `network(...)` and `to_batch_last` turn it; `forward` and `backward` work inside.

    All parameters stand one after another in the vector `values`, and their gradients in `grads`;
    each layer's arrays are views into them. So an optimiser is a formula on two vectors.
    Statistics, which are batch norm's running averages, follow the parameters in `state`; what a
    batch observed of them follows the gradients in `sums`. So averaging, summing and saving each
    treat one vector.

    Attributes:
        layers: the layers, first to last.
        input_shape: one example's shape.
        shapes: of an example, before the first layer and after each.
        state: (P + S,), all that training changes.
        values: (P,), its first part: the parameters.
        statistics: (S,), its rest: the running averages of what layers observe.
        sums: (P + S,), what a batch gives for each of them.
        grads: (P,), its first part; `backward` sets it.
        observed: (S,), its rest; `forward(train=True)` sets it.
    """

    def __init__(self, layers: Sequence[Layer], input_shape: Shape) -> None:
        """Pack the layers' parameters into one vector.

        Args:
            layers: first to last.
            input_shape: one example's shape, without the batch.

        Raises:
            ValueError: a layer cannot take what the one before gives.
        """
        self.layers = list(layers)
        self.input_shape = tuple(input_shape)
        self.shapes = [self.input_shape]  # what goes into each layer, and what leaves the last
        for layer in self.layers:
            self.shapes.append(layer.output_shape(self.shapes[-1]))
        arrays = [held.value for held in self._named().values()]
        dtype = np.result_type(*arrays) if arrays else np.dtype(np.float32)
        parts = [np.zeros(0, dtype), *(array.ravel() for array in arrays)]
        self.state = np.concatenate(parts, dtype=dtype)
        self._bind(np.zeros_like(self.state))

    def move_to(self, zeros: Callable[[int, np.dtype[Any]], Array]) -> None:
        """Move `state` and `sums` to other memory.

        Views and replicas made before keep the old vectors, so call it first. Gradients start at 0.

        Args:
            zeros: given a size and a dtype, returns a vector of zeros; `Team.zeros`.
        """
        state = zeros(self.state.size, self.state.dtype)
        state[:] = self.state
        self.state = state
        self._bind(zeros(state.size, state.dtype))

    def _bind(self, sums: Array) -> None:
        """Make every parameter and statistic a view into `state` and `sums`."""
        named = self._named().values()
        for held, view in zip(named, _views(self.state, named), strict=True):
            held.value = view
        parameters = sum(held.value.size for held in named if isinstance(held, Parameter))
        self.values, self.statistics = self.state[:parameters], self.state[parameters:]
        self.sum_into(sums)

    def sum_into(self, sums: Array) -> None:
        """Make `backward` write the gradients, and `forward` what it observes, to another vector.

        Args:
            sums: (P + S,), of the parameters' dtype.
        """
        self.sums = sums
        self.grads, self.observed = sums[: self.values.size], sums[self.values.size :]
        named = self._named().values()
        for held, view in zip(named, _views(sums, named), strict=True):
            if isinstance(held, Parameter):
                held.grad = view
            else:
                held.observed = view

    def layer_names(self) -> list[str]:
        """A name a layer: its class and how many of that class came before: linear1, relu1, ..."""
        counts: dict[str, int] = {}
        names = []
        for layer in self.layers:
            kind = type(layer).__name__.lower()
            counts[kind] = counts.get(kind, 0) + 1
            names.append(f"{kind}{counts[kind]}")
        return names

    def parameters(self) -> dict[str, Parameter]:
        """Every parameter, by `layer.param`."""
        return {
            f"{layer_name}.{name}": parameter
            for layer_name, layer in zip(self.layer_names(), self.layers, strict=True)
            for name, parameter in layer.parameters().items()
        }

    def _named(self) -> dict[str, Parameter | Statistic]:
        """Every parameter, and then every statistic, by `layer.name`."""
        statistics = {
            f"{layer_name}.{name}": statistic
            for layer_name, layer in zip(self.layer_names(), self.layers, strict=True)
            for name, statistic in layer.statistics().items()
        }
        return {**self.parameters(), **statistics}

    def update_statistics(self) -> None:
        """Move the running averages towards what was observed of the last batch.

        `ParallelGradient` calls it; who calls `forward` and `backward` calls it after them.
        """
        self.statistics += MOMENTUM * (self.observed - self.statistics)

    def to_batch_last(self, examples: Array) -> Array:
        """(N, ...) -> (..., N), contiguous, in the parameters' dtype.

        Raises:
            ValueError: an example does not have the network's input shape.
        """
        if examples.shape[1:] != self.input_shape:
            wanted = ("N", *self.input_shape)
            raise ValueError(
                f"Sequential expected examples of shape ({', '.join(map(str, wanted))}), "
                f"got {examples.shape}"
            )
        return np.ascontiguousarray(np.moveaxis(examples, 0, -1), dtype=self.values.dtype)

    def __call__(self, examples: Array) -> Array:
        """The logits of examples, as predicted: (N, ...) -> (N, K)."""
        examples = np.asarray(examples)
        if len(examples) == 0:
            x = self.to_batch_last(examples)  # has the right shape, or raises
            return np.zeros((0, *self.shapes[-1]), x.dtype)
        parts = [
            self.forward(self.to_batch_last(examples[start : start + CHUNK])).T
            for start in range(0, len(examples), CHUNK)
        ]
        return np.concatenate(parts)

    def forward(
        self, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> Array:
        """The last layer's output.

        Args:
            x: (..., N); left as it is unless a layer that works in place comes first.
            train: keep what `backward` needs.
            rng: for the layers that draw random numbers in training.

        Returns:
            (K, N).
        """
        for layer in self.layers:
            x = layer.forward(x, train=train, rng=rng)
        return x

    def backward(self, dout: Array) -> None:
        """Set `grads` from the gradient at the output, after `forward(train=True)`.

        What lies before the first layer with parameters is not computed: nobody asks for it.

        Args:
            dout: (K, N); it may be overwritten.
        """
        first = next((i for i, layer in enumerate(self.layers) if layer.parameters()), None)
        if first is None:
            return
        for layer in reversed(self.layers[first + 1 :]):
            dout = layer.backward(dout)
        self.layers[first].parameter_gradients(dout)

    def replica(self) -> "Sequential":
        """A network that shares `state`; all else that changes is its own.

        So several workers can train on parts of a batch at once.
        """
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        twin.layers = [layer.replica() for layer in self.layers]
        twin._bind(np.zeros_like(self.state))
        return twin

    def __copy__(self) -> "Sequential":
        """A `replica`: the layers of a network are views into its own vectors, and no other's."""
        return self.replica()

    def __reduce__(self) -> tuple[type["Sequential"], tuple[list[Layer], Shape]]:
        """For pickle and deepcopy: the copied layers, packed anew into vectors of their own."""
        return type(self), (self.layers, self.input_shape)

    def arrays(self) -> dict[str, Array]:
        """A copy of every parameter and statistic, by `layer.param`."""
        return {name: held.value.copy() for name, held in self._named().items()}

    def load_arrays(self, arrays: Mapping[str, Array], where: str = "arrays") -> None:
        """Take over the parameters and statistics of a weights file.

        Args:
            arrays: exactly the names, shapes and dtypes of `arrays()`.
            where: whose arrays they are, for the message.

        Raises:
            CheckpointError: a name, shape or dtype differs, or a number is not finite.
                The network is as before.
        """
        values = {name: held.value for name, held in self._named().items()}
        if set(arrays) != set(values):
            raise CheckpointError(
                f"{where} expected the arrays {sorted(values)}, got {sorted(arrays)}"
            )
        for name, wanted in values.items():
            got = arrays[name]
            if got.shape != wanted.shape or got.dtype != wanted.dtype:
                raise CheckpointError(
                    f"{where} expected {name} of {wanted.dtype} {wanted.shape}, "
                    f"got {got.dtype} {got.shape}"
                )
            if not np.isfinite(got).all():
                raise CheckpointError(f"{where} expected finite numbers in {name}, got NaN or inf")
        for name, value in values.items():
            value[...] = arrays[name]

    def summary(self) -> str:
        """A table of the layers: name, output shape, number of parameters."""
        rows = [("layer", "output", "parameters")]
        for name, layer, shape in zip(
            self.layer_names(), self.layers, self.shapes[1:], strict=True
        ):
            count = sum(p.value.size for p in layer.parameters().values())
            rows.append((name, " x ".join(map(str, shape)), f"{count:,}"))
        rows.append(("total", "", f"{self.values.size:,}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            f"{name:<{widths[0]}}  {shape:<{widths[1]}}  {count:>{widths[2]}}".rstrip()
            for name, shape, count in rows
        ]
        rule = "-" * max(map(len, lines))
        return "\n".join(itertools.chain(lines[:1], [rule], lines[1:-1], [rule], lines[-1:]))


def _views(vector: Array, named: Iterable[Parameter | Statistic]) -> Iterator[Array]:
    """Views into a vector, one after another, with the shapes of those values."""
    start = 0
    for held in named:
        stop = start + held.value.size
        yield vector[start:stop].reshape(held.value.shape)
        start = stop
