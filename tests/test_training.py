import multiprocessing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numdraw import models
from numdraw.data import read_split, split_validation
from numdraw.nn.checkpoint import CheckpointError
from numdraw.nn.parallel import one_blas_thread
from numdraw.nn.team import Team
from numdraw.training import RECIPES, Options, Training, TrainingError
from tests.teams import of_processes

OPTIONS = Options(epochs=3, batch_size=96, hidden=(16,), validation=100, dropout=0.2)


def training(
    folder: Path, options: Options = OPTIONS, *, workers: int = 2, team: Team | None = None
) -> Training:
    examples = read_split(folder, "train")
    return Training(
        options,
        *split_validation(examples, options.validation, rng=options.split_rng()),
        team=team or Team(workers),
    )


def run(training: Training, steps: int = 10**6) -> Training:
    """Go on until finished, or until so many steps are taken."""
    with one_blas_thread():
        while not training.finished:
            while training.batch < training.batches:
                if steps == 0:
                    return training
                training.step()
                steps -= 1
            training.end_epoch()
    return training


CONVNET = replace(OPTIONS, arch="convnet", channels=(2, 3, 4, 4), averaging=0.9, lr=0.02)
BOTH = pytest.mark.parametrize("options", [OPTIONS, CONVNET], ids=["mlp", "convnet"])


def bits(training: Training) -> tuple[Any, ...]:
    arrays, meta = training.state()
    return {name: array.tobytes() for name, array in arrays.items()}, meta


def test_learns_an_easy_task(made_data: Path) -> None:
    result = run(training(made_data, replace(OPTIONS, epochs=15, lr=0.01, dropout=0.0)))
    result.keep_best()
    test = read_split(made_data, "t10k")
    assert (result.predict(test.images).argmax(axis=1) == test.labels).mean() > 0.9
    assert result.history[0]["loss"] > 2 * result.history[-1]["loss"]


@BOTH
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_do_not_change_a_bit(made_data: Path, options: Options, workers: int) -> None:
    expected = bits(run(training(made_data, options, workers=2)))
    assert bits(run(training(made_data, options, workers=workers))) == expected


@of_processes
def test_processes_are_forked_before_the_first_step(made_data: Path, kind: type[Team]) -> None:
    """For until then there is no second thread, and later there may be: a progress bar's."""
    with kind(2) as team:
        training(made_data, team=team)
        assert len(multiprocessing.active_children()) == 1


def test_a_batch_size_beyond_the_data_takes_all_of_it(made_data: Path) -> None:
    result = training(made_data, replace(OPTIONS, batch_size=10**9))  # room for no such batch
    assert result.batches == 1
    assert result.step() > 0


def test_the_averaged_network_follows_the_trained_one(made_data: Path) -> None:
    result = training(made_data, CONVNET)
    start = result.network.state.copy()
    result.step()
    keep = 2 / 11  # (1 + t) / (10 + t) at t = 1
    expected = keep * start + (1 - keep) * result.network.state
    assert result.averaged.state == pytest.approx(expected, abs=1e-6)
    for _ in range(200):
        before, t = result.averaged.state.copy(), result.optimizer.steps + 1
        result.batch %= result.batches
        result.step()
        keep = min(0.9, (1 + t) / (10 + t))
    expected = keep * before + (1 - keep) * result.network.state
    assert keep == 0.9
    assert result.averaged.state == pytest.approx(expected, abs=1e-6)
    assert (result.averaged.state != result.network.state).any()


def test_nothing_is_averaged_where_averaging_is_0(made_data: Path) -> None:
    result = training(made_data)
    assert result.averaged is result.network


@pytest.mark.parametrize("count", [1, 90, 91])
def test_other_ink_takes_turns(made_data: Path, count: int) -> None:
    """Every image of MNIST's in each epoch; of other ink a third, and all of it in three."""
    mnist, valid = split_validation(read_split(made_data, "train"), 100, rng=OPTIONS.split_rng())
    ink = mnist.examples.take(np.arange(count))
    result = Training(replace(OPTIONS, epochs=6), mnist + ink, valid, team=Team(1))
    third = -(-count // 3)
    assert result.images == len(mnist) + third
    epochs = []
    for epoch in range(6):
        result.epoch = epoch
        result._set_order()
        shown = np.sort(result._order)
        assert shown[: len(mnist)].tolist() == list(range(len(mnist)))
        assert len(np.unique(shown[len(mnist) :])) == third
        epochs.append(shown[len(mnist) :])
    for turns in epochs[:3], epochs[3:]:
        assert set(np.concatenate(turns)) == set(range(len(mnist), len(mnist) + count))
    assert count == 1 or epochs[0].tolist() != epochs[3].tolist()


def test_every_recipe_builds_its_architecture(made_data: Path) -> None:
    for name, options in RECIPES.items():
        assert options.recipe == name
        assert Options.from_json(asdict(options), "here") == options
        assert options.architecture(10)["name"] == options.arch
        assert models.build(options.architecture(11), rng=None).values.size < 1_000_000


@pytest.mark.parametrize("name", ["recipe", "arch"])
def test_options_of_unknown_names_are_refused(name: str) -> None:
    options = {**asdict(OPTIONS), name: "vgg"}
    with pytest.raises(CheckpointError, match=r"here expected a recipe of mlp, .* got .*'vgg'"):
        Options.from_json(options, "here")


def test_another_seed_changes_everything(made_data: Path) -> None:
    one, other = training(made_data), training(made_data, replace(OPTIONS, seed=1))
    assert (one.network.values != other.network.values).any()
    assert (one.valid.images != other.valid.images).any()
    assert one.step() != other.step()


@BOTH
@pytest.mark.parametrize("steps", [0, 1, 5, 6, 7, 17])
def test_going_on_from_a_state_gives_the_same_bits(
    made_data: Path, options: Options, steps: int
) -> None:
    expected = bits(run(training(made_data, options)))
    stopped = run(training(made_data, options), steps)
    arrays, meta = stopped.state()
    saved = {name: array.copy() for name, array in arrays.items()}
    resumed = training(made_data, options, workers=1)
    resumed.load(saved, meta, where="here")
    assert resumed.optimizer.steps == steps
    assert bits(run(resumed)) == expected


def test_keeps_the_best_epoch(made_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = {  # the second epoch is right everywhere, and surest; the others are wrong
        0: lambda labels: -np.eye(10)[labels],
        1: lambda labels: 5.0 * np.eye(10)[labels],
        2: lambda labels: -np.eye(10)[labels],
    }
    result = training(made_data)
    seen = {}
    monkeypatch.setattr(result, "predict", lambda images: logits[result.epoch](result.valid.labels))
    for epoch in range(3):
        result.step()
        seen[epoch] = result.network.values.copy()
        result.end_epoch()
    assert result.best_epoch == 2
    result.keep_best()
    assert (result.network.values == seen[1]).all()


def test_equal_errors_are_decided_by_the_loss(
    made_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = training(made_data)
    scale = [1.0, 9.0, 3.0]  # right everywhere, with growing sureness, then less
    monkeypatch.setattr(
        result, "predict", lambda images: scale[result.epoch] * np.eye(10)[result.valid.labels]
    )
    for _ in range(3):
        result.step()
        result.end_epoch()
    assert [entry["validation_error"] for entry in result.history] == [0, 0, 0]
    assert result.best_epoch == 2


def test_stops_when_validation_does_not_improve(
    made_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = training(made_data, replace(OPTIONS, epochs=50, patience=4))
    monkeypatch.setattr(result, "predict", lambda images: np.zeros((100, 10)))
    run(result)
    assert (result.best_epoch, result.epoch) == (1, 5)


def test_a_loss_that_is_not_finite_stops_with_advice(made_data: Path) -> None:
    result = training(made_data)
    result.network.values[:] = np.nan
    with pytest.raises(
        TrainingError,
        match="training expected a finite loss and gradient, got nan in batch 1 of epoch 1; "
        r"train anew with a lower --lr than 0\.002",
    ):
        result.step()


def test_options_round_trip() -> None:
    options = replace(OPTIONS, hidden=(5, 6))
    stored = asdict(options)
    stored["hidden"] = list(stored["hidden"])  # as JSON gives it back
    assert Options.from_json(stored, "here") == options


def test_a_validation_loss_that_is_not_finite_stops_too(made_data: Path) -> None:
    result = training(made_data)
    result.network.values[:] = np.inf
    with pytest.raises(TrainingError, match="got a validation loss of nan of epoch 1; train anew"):
        result.end_epoch()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", 2.5, "expected a int as its option epochs, got 2.5"),
        ("lr", "fast", "expected a float as its option lr, got 'fast'"),
        ("batch_size", 0, "expected epochs, batch_size and validation of at least 1, got 3, 0 and"),
    ],
)
def test_options_of_the_wrong_kind_are_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=f"here {message}"):
        Options.from_json({**asdict(OPTIONS), name: value}, "here")


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": 1},
        {"epoch": "0"},
        {"epoch": True},
        {"batch": 99, "steps": 99},
        {"steps": 5},
        {"best_epoch": 1},
        {"history": None},
        {"history": [{}], "epoch": 1, "best_epoch": 1, "steps": 6},
        {"loss_sum": None},
    ],
)
def test_a_checkpoint_that_contradicts_itself_is_refused(
    made_data: Path, changes: dict[str, Any]
) -> None:
    arrays, meta = training(made_data).state()
    with pytest.raises(CheckpointError, match="here expected epoch, batch, steps and history of"):
        training(made_data).load(arrays, {**meta, **changes}, where="here")


@pytest.mark.parametrize(
    "values", [None, {}, {**asdict(OPTIONS), "augmentation": 3}, {**asdict(OPTIONS), "more": 1}]
)
def test_other_options_are_refused(values: Any) -> None:
    with pytest.raises(CheckpointError, match=r"here expected (the )?training options.*, got"):
        Options.from_json(values, "here")


def test_command_repeats_the_options() -> None:
    assert replace(OPTIONS, hidden=(5, 6), lr=0.5, seed=9).command() == (
        "python -m numdraw.train --arch mlp --epochs 3 --batch-size 96 --lr 0.5 --seed 9 "
        "--hidden 5 6 --validation 100"
    )
    assert RECIPES["fast"].command().startswith("python -m numdraw.train --fast --epochs ")
    assert "--hidden" not in RECIPES["convnet"].command()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays, meta: arrays.pop("state"), "expected a checkpoint of this network"),
        (
            lambda arrays, meta: arrays.update(state=np.zeros(3, np.float32)),
            "expected a checkpoint of this network",
        ),
        (
            lambda arrays, meta: arrays.update(state=arrays["state"] * np.float32(np.nan)),
            "expected finite numbers, got NaN or inf",
        ),
        (lambda arrays, meta: meta.pop("steps"), r"expected \['steps'\] in its meta, got none"),
        (
            lambda arrays, meta: meta.update(data={"train": "0"}),
            r"begun with, SHA-256 {'train': '0'}, got {.*}; name their folders with --data",
        ),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(
    made_data: Path, change: Any, message: str
) -> None:
    arrays, meta = training(made_data).state()
    arrays, meta = dict(arrays), dict(meta)
    change(arrays, meta)
    with pytest.raises(CheckpointError, match=message):
        training(made_data).load(arrays, meta, where="here")
