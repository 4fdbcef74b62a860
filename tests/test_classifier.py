"""`Classifier` by itself, on NumPy alone; test_scikit_learn.py tries it with scikit-learn."""

import copy
import io
import math
import pickle
import subprocess
import sys
import threading
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numdraw.nn import (
    AdamW,
    AddChannel,
    BatchNorm,
    Classifier,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    ReLU,
    Sequential,
)
from numdraw.nn import classifier as module
from numdraw.nn.layers import Array, Shape
from numdraw.nn.parallel import cores
from numdraw.nn.team import Team

ROOT = Path(__file__).parent.parent


def blobs(n: int = 150, noise: float = 0.3) -> tuple[Array, Array]:
    """Points in 4 dimensions around 3 corners, and the corners' names."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n)
    X = np.eye(4)[labels] + noise * rng.normal(size=(n, 4))
    return X, np.array(["red", "green", "blue"])[labels]


def images(n: int = 90) -> tuple[Array, Array]:
    """Noise of 6 x 6 px with a bright row, whose number is the label."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n)
    X = 0.5 * rng.random((n, 6, 6))
    X[np.arange(n), 2 * labels] += 1
    return X, labels


def with_dropout(input_shape: Shape, classes: int, *, rng: np.random.Generator) -> Sequential:
    [features] = input_shape
    layers = [Linear(features, 16, rng=rng), ReLU(), Dropout(0.3), Linear(16, classes, rng=rng)]
    return Sequential(layers, input_shape)


def convolutional(input_shape: Shape, classes: int, *, rng: np.random.Generator) -> Sequential:
    layers = [AddChannel(), Conv2d(1, 4, 3, rng=rng), BatchNorm(4), ReLU(), Flatten()]
    return Sequential([*layers, Linear(64, classes, rng=rng)], input_shape)


def small(**parameters: Any) -> Classifier:
    return Classifier(**{"hidden_layer_sizes": 8, "random_state": 0, "max_iter": 20, **parameters})


def same_bits(one: Classifier, other: Classifier) -> bool:
    mine, its = one.network_.arrays(), other.network_.arrays()
    return mine.keys() == its.keys() and all((mine[name] == its[name]).all() for name in mine)


@pytest.mark.parametrize(
    "names",
    [["a", "b", "c"], [7, -1, 3], [0.0, 2.0, 4.0], np.array(["x", "yy", "z"], object)],
    ids=["strings", "ints", "floats", "objects"],
)
def test_learns_labels_of_any_type(names: Any) -> None:
    X, y = blobs()
    y = np.asarray(names)[np.unique(y, return_inverse=True)[1]]
    classifier = small(batch_size=25, learning_rate_init=0.01, max_iter=40)
    classifier.fit(X[:100], y[:100])
    assert classifier.classes_.tolist() == sorted(names)
    assert classifier.predict(X).dtype == y.dtype
    assert classifier.score(X[100:], y[100:]) > 0.9  # measured, with 8 seeds: 0.96 to 0.98


def test_probabilities_are_one_a_class_in_the_order_of_classes() -> None:
    X, y = blobs()
    classifier = small(learning_rate_init=0.01).fit(X, y)
    probabilities = classifier.predict_proba(X)
    assert probabilities.shape == (150, 3)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert (classifier.classes_[probabilities.argmax(axis=1)] == classifier.predict(X)).all()


def test_lists_are_taken_as_arrays_are() -> None:
    X, y = blobs(30)
    assert same_bits(small().fit(X.tolist(), y.tolist()), small().fit(X, y))


def test_an_epoch_is_told_by_every_attribute() -> None:
    X, y = blobs()
    classifier = small(max_iter=5).fit(X, y)
    assert classifier.n_iter_ == len(classifier.loss_curve_) == 5
    assert classifier.loss_ == classifier.loss_curve_[-1] < classifier.loss_curve_[0]
    assert classifier.best_loss_ == min(classifier.loss_curve_)
    assert classifier.validation_scores_ is None
    assert classifier.best_validation_score_ is None
    assert classifier.n_features_in_ == 4


def test_loss_is_the_mean_over_the_epochs_examples() -> None:
    X, y = blobs(130)  # a batch of 128 and one of 2
    classifier = small(solver="sgd", learning_rate_init=1e-30, max_iter=1).fit(X, y)
    p = classifier.predict_proba(X)[np.arange(130), np.searchsorted(classifier.classes_, y)]
    assert classifier.loss_ == pytest.approx(-np.log(p).mean(), rel=1e-5)


# --- random numbers and threads ---------------------------------------------------------------


@pytest.mark.parametrize("threads", [2, 5, None])
def test_threads_give_the_same_bits(threads: int | None) -> None:
    X, y = blobs(350)
    one, many = (
        small(network=with_dropout, batch_size=150, threads=count).fit(X, y)
        for count in (1, threads)
    )
    assert same_bits(one, many)
    assert one.loss_curve_ == many.loss_curve_


def test_the_seed_decides_and_is_recorded() -> None:
    X, y = blobs(30)
    first, same, other = (small(random_state=seed, max_iter=2).fit(X, y) for seed in (1, 1, 2))
    assert same_bits(first, same)
    assert not same_bits(first, other)
    drawn = small(random_state=None, max_iter=2).fit(X, y)
    assert not same_bits(drawn, small(random_state=None, max_iter=2).fit(X, y))
    assert same_bits(drawn, small(random_state=drawn.seed_, max_iter=2).fit(X, y))


def test_every_epoch_has_its_own_order_and_every_micro_batch_its_own_random_numbers() -> None:
    drawn: list[float] = []
    seen: list[Array] = []

    class Spy(Dropout):
        def forward(self, x: Array, *, train: bool = False, rng: Any = None) -> Array:
            if train:
                seen.append(x[0].copy())
                drawn.append(rng.random())
            return super().forward(x, train=train, rng=rng)

    def spied(input_shape: Shape, classes: int, *, rng: np.random.Generator) -> Sequential:
        return Sequential([Spy(0.0), Linear(1, classes, rng=rng)], input_shape)

    X, y = np.arange(200)[:, None], np.arange(200) % 2
    small(network=spied, batch_size=100, max_iter=2, threads=1).fit(X, y)
    assert [len(part) for part in seen] == [64, 36] * 4  # 2 epochs of 2 batches
    assert len(set(drawn)) == 8
    first, second = np.concatenate(seen[:4]), np.concatenate(seen[4:])
    assert sorted(first) == sorted(second) == list(range(200))
    assert (first != second).any()


def test_unshuffled_examples_come_in_their_order() -> None:
    X, y = blobs(30)
    kept, shuffled = (
        small(shuffle=on, batch_size=10, max_iter=1).fit(X, y) for on in (False, True)
    )
    assert not same_bits(kept, shuffled)
    by_hand = small(shuffle=False, batch_size=10)
    for start in (0, 10, 20):
        by_hand.partial_fit(X[start : start + 10], y[start : start + 10], np.unique(y))
    assert same_bits(kept, by_hand)


# --- going on ---------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adamw", "sgd"])
def test_partial_fits_are_one_fit_even_through_a_pickle(solver: str) -> None:
    X, y = blobs()
    whole = small(network=with_dropout, solver=solver, max_iter=5).fit(X, y)
    parts = small(network=with_dropout, solver=solver)
    for _ in range(5):
        parts = pickle.loads(pickle.dumps(parts.partial_fit(X, y, classes=np.unique(y))))
    assert same_bits(whole, parts)
    assert whole.loss_curve_ == parts.loss_curve_


def test_partial_fit_takes_classes_that_come_later() -> None:
    X, y = blobs()
    classifier = small(learning_rate_init=0.05).partial_fit(
        X[y == "red"], y[y == "red"], [*"ab", *y]
    )
    assert classifier.classes_.tolist() == ["a", "b", "blue", "green", "red"]
    for _ in range(30):
        classifier.partial_fit(X, y)
    assert classifier.score(X, y) > 0.9  # measured, with 5 seeds: 0.97 to 0.99


def test_another_solver_begins_with_nothing_remembered() -> None:
    X, y = blobs()
    classifier = small().partial_fit(X, y, np.unique(y)).set_params(solver="sgd")
    fresh = copy.deepcopy(classifier).set_params(warm_start=True, max_iter=1).fit(X, y)
    assert same_bits(classifier.partial_fit(X, y), fresh)


def test_a_warm_start_begins_with_nothing_remembered_too() -> None:
    X, y = blobs()
    classifier = small().partial_fit(X, y, np.unique(y))
    warm = copy.deepcopy(classifier).set_params(warm_start=True, max_iter=1).fit(X, y)
    assert not same_bits(classifier.partial_fit(X, y), warm)


def test_warm_start_goes_on_and_a_plain_fit_begins_anew() -> None:
    X, y = blobs()
    classifier = small(max_iter=3).fit(X, y)
    first = copy.deepcopy(classifier)
    assert same_bits(classifier.fit(X, y), first)
    classifier.set_params(warm_start=True).fit(X, y)
    assert classifier.n_iter_ == len(classifier.loss_curve_) == 6
    assert classifier.loss_curve_[:3] == first.loss_curve_
    assert classifier.loss_ < first.loss_
    assert not same_bits(classifier, first)


# --- stopping ---------------------------------------------------------------------------------


def test_early_stopping_brings_back_the_most_accurate_epoch() -> None:
    X, y = images()
    epochs: list[dict[str, Array]] = []
    classifier = small(
        network=convolutional,
        batch_size=16,
        learning_rate_init=0.002,
        early_stopping=True,
        n_iter_no_change=4,
        max_iter=50,
        validation_fraction=0.3,
        callbacks=[lambda classifier, record: epochs.append(classifier.network_.arrays())],
    ).fit(X, y)
    scores = classifier.validation_scores_
    assert scores is not None
    best = int(np.argmax(scores))  # the first of the best
    assert classifier.best_validation_score_ == scores[best] > scores[0]
    assert len(scores) == classifier.n_iter_ == best + 1 + 4 < 50
    assert classifier.best_loss_ is None
    kept = classifier.network_.arrays()
    assert "batchnorm1.mean" in kept
    for name, array in kept.items():
        assert (array == epochs[best][name]).all()
        assert not (array == epochs[-1][name]).all()


def test_held_out_examples_are_not_learnt_from() -> None:
    X, y = blobs()
    classifier = small(early_stopping=True, validation_fraction=0.2, max_iter=1).fit(X, y)
    train, valid = classifier._split(np.searchsorted(classifier.classes_, y))
    assert sorted([*train, *valid]) == list(range(150))
    share = [np.count_nonzero(y[valid] == name) / np.count_nonzero(y == name) for name in set(y)]
    assert share == pytest.approx([0.2] * 3, abs=0.02)
    X[valid] = 1e6
    again = small(early_stopping=True, validation_fraction=0.2, max_iter=1).fit(X, y)
    assert same_bits(classifier, again)


def test_one_example_is_left_to_learn_from_and_one_to_hold_out() -> None:
    for fraction in (0.01, 0.99):
        classifier = small(early_stopping=True, validation_fraction=fraction, max_iter=1)
        train, valid = classifier.fit([[0.0], [1.0]], [0, 1])._split(np.array([0, 1]))
        assert (len(train), len(valid)) == (1, 1)


def test_best_validation_score_need_not_be_the_last() -> None:
    def stop_at_a_worse_one(classifier: Classifier, record: dict[str, float]) -> bool:
        assert classifier.best_validation_score_ is not None
        return record["validation_score"] < classifier.best_validation_score_

    X, y = blobs(noise=1.0)
    classifier = small(
        batch_size=16,
        learning_rate_init=0.05,
        early_stopping=True,
        callbacks=[stop_at_a_worse_one],
    ).fit(X, y)
    scores = classifier.validation_scores_
    assert scores is not None
    assert classifier.best_validation_score_ == max(scores) > scores[-1]


def test_stops_when_the_loss_gets_no_better_by_tol() -> None:
    X, y = blobs()
    classifier = small(tol=1.0, n_iter_no_change=3).fit(X, y)
    assert classifier.n_iter_ == 4  # the first is better than nothing
    assert small(tol=-math.inf, n_iter_no_change=1, max_iter=30).fit(X, y).n_iter_ == 30


def test_callbacks_see_every_epoch_and_true_ends_the_training() -> None:
    X, y = blobs()
    seen = []

    def stop_at_three(classifier: Classifier, record: dict[str, float]) -> bool:
        assert classifier.n_iter_ == record["epoch"]
        assert classifier.score(X, y) >= 0
        return record["epoch"] == 3

    def note(classifier: Classifier, record: dict[str, float]) -> None:
        seen.append(record)

    classifier = small(callbacks=[stop_at_three, note]).fit(X, y)
    assert [record["loss"] for record in seen] == classifier.loss_curve_
    assert [record["epoch"] for record in seen] == [1, 2, 3]
    classifier.set_params(callbacks=[note], early_stopping=True, max_iter=2).fit(X, y)
    assert [record["validation_score"] for record in seen[3:]] == classifier.validation_scores_


@pytest.mark.parametrize(("threads", "expected"), [(3, 3), (None, min(cores(), 5)), (9, 5)])
def test_as_many_threads_work_as_asked_for(
    threads: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []

    class Spy(Team):
        def __init__(self, size: int) -> None:
            counts.append(size)
            super().__init__(size)

    monkeypatch.setattr(module, "Team", Spy)
    small(threads=threads, max_iter=1, batch_size=300).fit(*blobs(500))  # work for 5 at most
    assert counts == [expected]


@pytest.mark.parametrize("fails", [False, True])
def test_no_thread_is_left(fails: bool) -> None:
    before = threading.active_count()
    during = []

    def look(classifier: Classifier, record: dict[str, float]) -> None:
        during.append(threading.active_count())
        if fails:
            raise OSError("disk full")

    classifier = small(callbacks=[look], threads=2, max_iter=2)
    if fails:
        with pytest.raises(OSError, match="disk full"):
            classifier.fit(*blobs())
    else:
        classifier.fit(*blobs())
    assert max(during) > before
    assert threading.active_count() == before


# --- solvers, schedules, networks -------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # 8 steps: 2 epochs of 4 batches
        ("constant", [1] * 8),
        ("cosine", [0.5 + 0.5 * math.cos(math.pi * step / 8) for step in range(8)]),
        ("onecycle", [1 / 25, 0.52, 1]),  # 2 steps up, half way after the first; then down
    ],
)
def test_learning_rate_is_the_schedules(
    schedule: str, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = []

    class Spy(AdamW):
        def step(self, lr: float) -> None:
            rates.append(lr)
            super().step(lr)

    monkeypatch.setattr(module, "AdamW", Spy)
    small(learning_rate=schedule, learning_rate_init=0.1, batch_size=40, max_iter=2).fit(*blobs())
    assert len(rates) == 8
    assert rates[: len(expected)] == pytest.approx([0.1 * factor for factor in expected])
    assert rates == sorted(rates, reverse=True) or schedule == "onecycle"


def test_momentum_and_weight_decay_reach_the_solver() -> None:
    X, y = blobs()
    plain = small(solver="sgd", weight_decay=0.0, momentum=0.0).fit(X, y)
    for changed in ({"momentum": 0.5}, {"weight_decay": 0.1}):
        other = small(**{"solver": "sgd", "weight_decay": 0.0, "momentum": 0.0, **changed})
        assert not same_bits(plain, other.fit(X, y))
    assert not same_bits(small(weight_decay=0.0).fit(X, y), small(weight_decay=0.1).fit(X, y))


def test_hidden_layers_have_the_sizes_asked_for() -> None:
    X, y = blobs(30)
    for sizes, expected in [((6, 5), [6, 5, 3]), (7, [7, 3]), ((), [3]), ([9], [9, 3])]:
        network = small(hidden_layer_sizes=sizes, max_iter=1).fit(X, y).network_
        linear = [layer for layer in network.layers if isinstance(layer, Linear)]
        assert [len(layer.bias.value) for layer in linear] == expected
        assert isinstance(network.layers[-1], Linear)


@pytest.mark.parametrize("network", [None, convolutional])
def test_images_are_taken_as_they_are(network: Any) -> None:
    X, y = images()
    classifier = small(network=network, learning_rate_init=0.01).fit(X, y)
    assert classifier.score(X, y) == 1
    assert classifier.n_features_in_ == 36


def test_bytes_are_taken_as_they_are() -> None:
    X, y = images()
    as_bytes = (100 * X).astype(np.uint8)
    assert same_bits(small().fit(as_bytes, y), small().fit(as_bytes.astype(float), y))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            lambda shape, classes, rng: with_dropout(shape, 7, rng=rng),
            r"expected a network from \(4,\) to \(3,\), got one from \(4,\) to \(7,\)",
        ),
        (
            lambda shape, classes, rng: with_dropout((5,), classes, rng=rng),
            r"expected a network from \(4,\) to \(3,\), got one from \(5,\) to \(3,\)",
        ),
        (
            lambda shape, classes, rng: None,
            "expected network to return a Sequential, got None",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_refused(network: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(network=network).fit(*blobs())


# --- copies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [None, convolutional])
def test_copies_predict_the_same_bits(network: Any) -> None:
    X, y = images()
    classifier = small(network=network).fit(X, y)
    for twin in (copy.deepcopy(classifier), pickle.loads(pickle.dumps(classifier))):
        assert (twin.predict_proba(X) == classifier.predict_proba(X)).all()
        assert twin.loss_curve_ == classifier.loss_curve_


def test_another_process_predicts_the_same_bits(tmp_path: Path) -> None:
    X, y = blobs()
    classifier = small().fit(X, y)
    (tmp_path / "classifier.pickle").write_bytes(pickle.dumps((classifier, X)))
    code = (
        "import pickle, sys; classifier, X = pickle.load(open(sys.argv[1], 'rb'));"
        "sys.stdout.buffer.write(classifier.predict_proba(X).tobytes())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "classifier.pickle")]
    done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    assert done.stdout == classifier.predict_proba(X).tobytes()


def test_no_scikit_learn_is_needed() -> None:
    code = (
        "import sys; from numdraw.nn import Classifier;"
        "Classifier(max_iter=2).fit([[0], [1]], [0, 1]).predict([[0]]);"
        "print(any(name.startswith('sklearn') for name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "False\n"


# --- parameters and words ---------------------------------------------------------------------


def test_parameters_are_got_set_and_shown() -> None:
    classifier = Classifier(max_iter=5)
    assert classifier.get_params()["max_iter"] == 5
    assert classifier.set_params(solver="sgd", random_state=1) is classifier
    assert repr(classifier) == "Classifier(solver='sgd', max_iter=5, random_state=1)"
    assert Classifier(**classifier.get_params()).get_params() == classifier.get_params()
    with pytest.raises(
        ValueError, match=r"expected parameters among \['batch_size'.*got \['eta'\]"
    ):
        classifier.set_params(eta=1)


def test_verbose_writes_a_line_an_epoch() -> None:
    written = io.StringIO()
    with redirect_stdout(written):
        classifier = small(verbose=True, early_stopping=True, max_iter=2).fit(*blobs())
    assert classifier.validation_scores_ is not None
    last = f"epoch 2, loss {classifier.loss_:.6g}, validation_score "
    assert written.getvalue().count("\n") == 2
    assert f"{last}{classifier.validation_scores_[-1]:.6g}\n" in written.getvalue()


def test_a_training_that_diverges_says_so_and_leaves_no_network() -> None:
    X, y = blobs()
    classifier = small(solver="sgd", learning_rate_init=1e30)
    with pytest.raises(
        ValueError,
        match=r"expected a finite loss and finite parameters, got others in epoch \d+; lower "
        r"learning_rate_init from 1e\+30, or scale X to numbers around 0, of size 1",
    ):
        classifier.fit(X, y)
    with pytest.raises(ValueError, match="expected to be fitted before it predicts; call fit"):
        classifier.predict(X)


@pytest.mark.parametrize(
    "changed", [{"early_stopping": True}, {"learning_rate": "cosine"}], ids=str
)
def test_partial_fit_refuses_what_needs_an_end(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected early_stopping=False and learning_rate='const"):
        small(**changed).partial_fit(*blobs(), classes=["red", "green", "blue"])


def test_partial_fit_wants_the_classes_and_no_others() -> None:
    X, y = blobs()
    classifier = small()
    with pytest.raises(ValueError, match="partial_fit expected classes at first, got None"):
        classifier.partial_fit(X, y)
    classifier.partial_fit(X, y, np.unique(y))
    with pytest.raises(
        ValueError, match=r"expected the classes of its first call, .*got \['a' 'b'"
    ):
        classifier.partial_fit(X, y, ["a", "b"])
    with pytest.raises(ValueError, match=r"expected labels among \['blue' 'green' 'red'\] in y, "):
        classifier.partial_fit(X, np.where(y == "red", "pink", y))


def test_examples_of_another_shape_are_refused() -> None:
    X, y = blobs()
    classifier = small(max_iter=1, warm_start=True).fit(X, y)
    message = r"X has 3 features, but Classifier is expecting 4 features .*\(4,\), got \(3,\)"
    for call in (
        lambda: classifier.predict(X[:, :3]),
        lambda: classifier.score(X[:, :3], y),
        lambda: classifier.partial_fit(X[:, :3], y),
        lambda: classifier.fit(X[:, :3], y),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_score_refuses_labels_of_another_number() -> None:
    X, y = blobs()
    with pytest.raises(ValueError, match=r"expected y of shape \(150,\), got \(149,\)"):
        small(max_iter=1).fit(X, y).score(X, y[1:])
