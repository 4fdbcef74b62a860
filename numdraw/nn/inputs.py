"""What a user hands to a classifier: parameters, examples and labels, checked.

Where scikit-learn's checks want certain words in an error, they come first in it; and where
scikit-learn is loaded, its own classes of errors and warnings are used, which its callers catch.
"""

import math
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from numdraw.nn.layers import Array, Shape
from numdraw.nn.optim import Constant, Cosine, OneCycle, Schedule

SOLVERS = ("adamw", "sgd")
SCHEDULES: dict[str, Callable[[float, int, int], Schedule]] = {
    "constant": Constant,
    "cosine": Cosine,
    "onecycle": OneCycle,
}
LARGEST = float(np.finfo(np.float32).max)  # what a network of float32 can take

RandomState: TypeAlias = int | np.random.Generator | np.random.RandomState | None


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Do nothing where all parameters of a `Classifier` are what its `__init__` says.

    Raises:
        ValueError: one is not.
    """
    for name, (wanted, holds) in _WANTED.items():
        if not holds(parameters[name]):
            raise ValueError(f"Classifier expected {name} to be {wanted}, got {parameters[name]!r}")


def as_sizes(hidden_layer_sizes: int | Sequence[int]) -> list[int]:
    """The units of each hidden layer; one number is one layer."""
    if isinstance(hidden_layer_sizes, Iterable):
        return list(hidden_layer_sizes)
    return [hidden_layer_sizes]


def as_examples(X: npt.ArrayLike, shape: Shape | None = None) -> Array:
    """X as an array of numbers, (N, ...), the first axis counting the examples.

    Args:
        X: of real numbers, or of objects that `float` takes; integers stay integers.
        shape: what one example must be like, where that is known.

    Raises:
        TypeError, ValueError: it is something else.
    """
    if hasattr(X, "toarray"):
        raise ValueError(
            f"Classifier expected a dense X, got a sparse {type(X).__name__}; use X.toarray()"
        )
    examples = np.asarray(X)
    if np.iscomplexobj(examples):
        raise ValueError(
            f"Complex data not supported: Classifier expected real numbers in X, "
            f"got {examples.dtype}"
        )
    if examples.dtype.kind in "mM":
        raise ValueError(f"Classifier expected numbers in X, got {examples.dtype}")
    if examples.dtype.kind not in "biuf":
        examples = examples.astype(np.float64)
    if examples.ndim < 2:
        raise ValueError(
            f"Classifier expected X of shape (N, ...), got {examples.shape}. "
            "Reshape your data: X[None] is one example, X[:, None] examples of one feature"
        )
    features = math.prod(examples.shape[1:])
    if features == 0:
        raise ValueError(
            f"Classifier expected features in X, got 0 feature(s) (shape={examples.shape}) "
            "while a minimum of 1 is required."
        )
    if len(examples) == 0:
        raise ValueError(f"Classifier expected examples in X, got none (shape={examples.shape})")
    if shape is not None and examples.shape[1:] != shape:
        if features == math.prod(shape):
            raise ValueError(
                f"Classifier expected examples of shape {shape} in X, as those of `fit`, "
                f"got {examples.shape[1:]}"
            )
        raise ValueError(
            f"X has {features} features, but Classifier is expecting {math.prod(shape)} features "
            f"as input: examples of shape {shape}, got {examples.shape[1:]}"
        )
    low, high = float(examples.min()), float(examples.max())
    if not -LARGEST <= low <= high <= LARGEST:  # false too where they are NaN
        raise ValueError("Classifier expected finite float32 numbers in X, got NaN, inf or larger")
    return examples


def as_labels(y: npt.ArrayLike | None, count: int) -> Array:
    """Y as an array of `count` labels.

    Raises:
        ValueError: it has another shape.
    """
    if y is None:
        raise ValueError("Classifier requires y to be passed, but the target y is None")
    labels = np.asarray(y)
    if labels.shape == (count, 1):
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected: "
            f"Classifier expected y of shape ({count},), got ({count}, 1); use y.ravel()",
            sklearn_class("DataConversionWarning", UserWarning),
            stacklevel=3,  # who called `fit`
        )
        labels = labels.ravel()
    if labels.shape != (count,):
        raise ValueError(f"Classifier expected y of shape ({count},), got {labels.shape}")
    return labels


def as_classes(labels: npt.ArrayLike) -> Array:
    """The different labels, sorted: (K,).

    Raises:
        ValueError: they are measures and no labels, cannot be sorted, or there are fewer than two.
    """
    labels = np.asarray(labels)
    if labels.dtype.kind == "f" and not (np.isfinite(labels) & (labels == labels.round())).all():
        raise ValueError(
            "Unknown label type: continuous. Classifier expected whole numbers or other labels "
            "in y, got fractions, NaN or inf"
        )
    try:
        classes = np.unique(labels)
    except TypeError as error:
        raise ValueError(
            f"Classifier expected labels of one type in y, got some that do not compare: {error}"
        ) from error
    if len(classes) < 2:
        raise ValueError(
            f"Classifier expected at least 2 classes in y, got {len(classes)} class: {classes}"
        )
    return classes


def as_seed(random_state: RandomState) -> int:
    """The seed itself, or one that a generator or, with None, the system draws.

    Raises:
        ValueError: it is nothing of that kind.
    """
    if random_state is None:
        return int.from_bytes(np.random.default_rng().bytes(8), "little")
    if isinstance(random_state, np.random.Generator | np.random.RandomState):
        return int.from_bytes(random_state.bytes(8), "little")
    if not isinstance(random_state, int | np.integer) or random_state < 0:
        raise ValueError(
            "Classifier expected random_state to be None, a whole number of at least 0 or a "
            f"NumPy generator, got {random_state!r}"
        )
    return int(random_state)


def sklearn_class(name: str, otherwise: type) -> type:
    """The class of that name in sklearn.exceptions, where the program has loaded it."""
    found: type = getattr(sys.modules.get("sklearn.exceptions"), name, otherwise)
    return found


def _is_count(value: Any) -> bool:
    return isinstance(value, int | np.integer) and bool(value >= 1)


def _is_real(value: Any) -> bool:
    return isinstance(value, float | int | np.floating | np.integer)


_COUNT = ("a whole number of at least 1", _is_count)

_WANTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "hidden_layer_sizes": (
        "whole numbers of at least 1",
        lambda value: all(map(_is_count, as_sizes(value))),
    ),
    "network": ("None or callable", lambda value: value is None or callable(value)),
    "solver": (f"one of {SOLVERS}", lambda value: value in SOLVERS),
    "weight_decay": (
        "a number of at least 0",
        lambda value: _is_real(value) and 0 <= value < math.inf,
    ),
    "momentum": ("a number in [0, 1)", lambda value: _is_real(value) and 0 <= value < 1),
    "batch_size": _COUNT,
    "learning_rate": (f"one of {(*SCHEDULES,)}", lambda value: value in (*SCHEDULES,)),
    "learning_rate_init": (
        "a number above 0",
        lambda value: _is_real(value) and 0 < value < math.inf,
    ),
    "max_iter": _COUNT,
    "tol": ("a number", lambda value: _is_real(value) and not math.isnan(value)),
    "n_iter_no_change": _COUNT,
    "validation_fraction": ("a number in (0, 1)", lambda value: _is_real(value) and 0 < value < 1),
    "callbacks": (
        "a list of callables",
        lambda value: isinstance(value, list | tuple) and all(map(callable, value)),
    ),
    "threads": ("None or " + _COUNT[0], lambda value: value is None or _is_count(value)),
}
