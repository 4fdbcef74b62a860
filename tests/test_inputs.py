import math
import sys
from typing import Any

import numpy as np
import pytest

from numdraw.nn.classifier import Classifier
from numdraw.nn.inputs import (
    as_classes,
    as_examples,
    as_labels,
    as_seed,
    check_parameters,
    sklearn_class,
)


class Sparse:
    """As much of SciPy's sparse matrices as is looked at."""

    def toarray(self) -> None: ...


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (Sparse(), r"expected a dense X, got a sparse Sparse; use X.toarray\(\)"),
        (np.ones((2, 2), complex), "Complex data not supported: .*real numbers in X, got complex"),
        ([1.0, 2.0], r"expected X of shape \(N, ...\), got \(2,\). Reshape your data: X\[None\]"),
        (np.ones((3, 0)), r"features in X, got 0 feature\(s\) \(shape=\(3, 0\)\) while a minimum"),
        (np.ones((0, 3)), r"expected examples in X, got none \(shape=\(0, 3\)\)"),
        ([[math.nan]], "expected finite float32 numbers in X, got NaN, inf or larger"),
        ([[0.0, -math.inf]], "expected finite float32 numbers in X"),
        ([[1e39]], "expected finite float32 numbers in X"),
        ([["one"]], "could not convert string to float"),
        (np.zeros((2, 2), "M8[s]"), r"expected numbers in X, got datetime64\[s\]"),
    ],
)
def test_examples_that_are_none_are_refused(X: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_examples(X)


def test_examples_of_another_shape_are_refused() -> None:
    message = r"X has 4 features, but Classifier is expecting 6 .* shape \(2, 3\), got \(2, 2\)"
    with pytest.raises(ValueError, match=message):
        as_examples(np.ones((5, 2, 2)), (2, 3))
    message = r"expected examples of shape \(2, 3\) in X, as those of `fit`, got \(6,\)"
    with pytest.raises(ValueError, match=message):
        as_examples(np.ones((5, 6)), (2, 3))
    assert as_examples(np.ones((5, 2, 3)), (2, 3)).shape == (5, 2, 3)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float32, np.float64])
def test_numbers_keep_their_dtype_and_objects_become_float(dtype: type) -> None:
    assert as_examples(np.ones((2, 2), dtype)).dtype == dtype
    assert as_examples(np.ones((2, 2), dtype).astype(object)).dtype == np.float64


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "Classifier requires y to be passed, but the target y is None"),
        ([1, 2], r"expected y of shape \(3,\), got \(2,\)"),
        (np.ones((3, 2)), r"expected y of shape \(3,\), got \(3, 2\)"),
        (1, r"expected y of shape \(3,\), got \(\)"),
    ],
)
def test_labels_of_another_number_are_refused(y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_labels(y, 3)


def test_a_column_of_labels_is_taken_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sklearn.exceptions", raising=False)
    message = r"A column-vector y .*: Classifier expected y of shape \(2,\), got \(2, 1\)"
    with pytest.warns(UserWarning, match=message) as caught:
        assert as_labels([["a"], ["b"]], 2).tolist() == ["a", "b"]
    assert caught[0].category is UserWarning


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.5, 1.0], "Unknown label type: continuous. .*expected whole numbers or other labels"),
        ([0.0, 1.0, math.nan], "Unknown label type: continuous"),
        ([0.0, 1.0, math.inf], "Unknown label type: continuous"),
        ([3, 3], r"expected at least 2 classes in y, got 1 class: \[3\]"),
        (np.array([1, "a"], object), "expected labels of one type in y, got some that do not comp"),
    ],
)
def test_classes_that_are_none_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_classes(labels)


def test_seeds_are_kept_or_drawn() -> None:
    assert as_seed(5) == as_seed(np.int64(5)) == 5
    for kind in (np.random.default_rng, np.random.RandomState):
        first, again = kind(1), kind(1)
        drawn = [as_seed(first), as_seed(first)]
        assert drawn == [as_seed(again), as_seed(again)]
        assert drawn[0] != drawn[1]
    assert as_seed(None) != as_seed(None)


@pytest.mark.parametrize("wrong", [-1, 1.0, "0"])
def test_seeds_that_are_none_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="expected random_state to be None, a whole number of at"):
        as_seed(wrong)


@pytest.mark.parametrize(
    ("name", "wrong", "wanted"),
    [
        ("hidden_layer_sizes", (5, 0), "whole numbers of at least 1"),
        ("hidden_layer_sizes", "12", "whole numbers of at least 1"),
        ("hidden_layer_sizes", None, "whole numbers of at least 1"),
        ("network", 3, "None or callable"),
        ("solver", "adam", r"one of \('adamw', 'sgd'\)"),
        ("weight_decay", -0.1, "a number of at least 0"),
        ("momentum", 1.0, r"a number in \[0, 1\)"),
        ("batch_size", 0, "a whole number of at least 1"),
        ("batch_size", "auto", "a whole number of at least 1"),
        ("learning_rate", "adaptive", r"one of \('constant', 'cosine', 'onecycle'\)"),
        ("learning_rate", [], r"one of \('constant', 'cosine', 'onecycle'\)"),
        ("learning_rate_init", 0.0, "a number above 0"),
        ("learning_rate_init", math.nan, "a number above 0"),
        ("max_iter", 2.5, "a whole number of at least 1"),
        ("tol", math.nan, "a number"),
        ("n_iter_no_change", 0, "a whole number of at least 1"),
        ("validation_fraction", 1.0, r"a number in \(0, 1\)"),
        ("callbacks", print, "a list of callables"),
        ("callbacks", [1], "a list of callables"),
        ("threads", 0, "None or a whole number of at least 1"),
    ],
)
def test_parameters_that_are_none_are_refused(name: str, wrong: Any, wanted: str) -> None:
    parameters = Classifier(**{name: wrong}).get_params()
    with pytest.raises(ValueError, match=f"Classifier expected {name} to be {wanted}, got "):
        check_parameters(parameters)


def test_the_default_parameters_are_taken() -> None:
    check_parameters(Classifier().get_params())


def test_own_errors_stand_in_where_scikit_learn_is_not_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "sklearn.exceptions", raising=False)
    assert sklearn_class("NotFittedError", ValueError) is ValueError
    with pytest.raises(ValueError, match="expected to be fitted before it predicts") as caught:
        Classifier().predict([[1]])
    assert caught.type is ValueError
