import numpy as np
import pytest

from numdraw.nn.optim import SGD, AdamW, Constant, Cosine, OneCycle, Optimizer, Schedule
from numdraw.nn.team import LARGEST_ALONE, ProcessTeam, Team


def test_sgd_two_steps_by_hand() -> None:
    values, grads = np.array([1.0]), np.array([0.5])
    optimizer = SGD(values, grads, momentum=0.9, weight_decay=0.1)
    optimizer.step(0.1)  # velocity = 0.5 + 0.1 * 1 = 0.6; value = 1 - 0.06
    assert values == pytest.approx([0.94])
    optimizer.step(0.1)  # velocity = 0.9 * 0.6 + 0.5 + 0.1 * 0.94 = 1.134; value = 0.94 - 0.1134
    assert values == pytest.approx([0.8266])


def test_adamw_two_steps_by_hand() -> None:
    values, grads = np.array([1.0]), np.array([0.5])
    optimizer = AdamW(values, grads, betas=(0.9, 0.99), eps=0.1, weight_decay=0.2)
    # mean = 0.05, variance = 0.0025; undone bias: 0.5 and 0.25, so the step is 0.5 / (0.5 + 0.1)
    optimizer.step(0.1)
    assert values == pytest.approx([1 * (1 - 0.1 * 0.2) - 0.1 * 0.5 / 0.6])
    before = values.copy()
    grads[:] = -0.25
    # mean = 0.9 * 0.05 - 0.1 * 0.25 = 0.02; variance = 0.99 * 0.0025 + 0.01 * 0.0625 = 0.0031
    optimizer.step(0.1)
    step = (0.02 / (1 - 0.9**2)) / (np.sqrt(0.0031 / (1 - 0.99**2)) + 0.1)
    assert values == pytest.approx(before * 0.98 - 0.1 * step)


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_threads_give_the_same_bits(kind: type[Optimizer]) -> None:
    rng = np.random.default_rng(0)
    start = rng.normal(size=LARGEST_ALONE + 17).astype(np.float32)
    grads = rng.normal(size=start.size).astype(np.float32)
    results = []
    with Team(3) as threads:
        for team in (None, threads):
            values = start.copy()
            optimizer = kind(values, grads, team=team)
            for _ in range(3):
                optimizer.step(0.01)
            results.append(values)
    assert (results[0] == results[1]).all()
    assert (results[0] != start).all()


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_vectors_that_the_team_does_not_share_are_refused(kind: type[Optimizer]) -> None:
    team = ProcessTeam(2)
    values = team.zeros(5, np.float64)
    with pytest.raises(ValueError, match=f"{kind.__name__} expected an array in its team's shared"):
        kind(values, np.zeros(5), team=team)


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_loaded_state_goes_on_to_the_same_bits(kind: type[Optimizer]) -> None:
    rng = np.random.default_rng(0)
    values, grads = rng.normal(size=5), rng.normal(size=5)
    optimizer = kind(values, grads)
    optimizer.step(0.01)
    saved_values = values.copy()
    saved = {name: array.copy() for name, array in optimizer.state().items()}
    optimizer.step(0.01)
    other = kind(saved_values, grads)
    other.load_state(saved, steps=1)
    other.step(0.01)
    assert (saved_values == values).all()


def test_constant_rises_in_a_line_and_stays() -> None:
    schedule = Constant(1.0, total_steps=6, warmup=4)
    assert [schedule(step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_cosine_falls_to_zero() -> None:
    schedule = Cosine(2.0, total_steps=10, warmup=2)
    assert schedule(0) == 1.0
    assert schedule(2) == 2.0
    assert schedule(6) == pytest.approx(1.0)
    assert schedule(10) == pytest.approx(0.0)
    assert schedule(11) == pytest.approx(0.0)


def test_one_cycle_rises_from_a_25th_and_falls_to_a_10_000th() -> None:
    schedule = OneCycle(1.0, total_steps=100, warmup=30)
    assert schedule(0) == pytest.approx(1 / 25)
    assert schedule(15) == pytest.approx((1 / 25 + 1) / 2)
    assert schedule(30) == pytest.approx(1.0)
    assert schedule(65) == pytest.approx((1 + 1e-4) / 2)
    assert schedule(100) == pytest.approx(1e-4)


@pytest.mark.parametrize("kind", [Constant, Cosine, OneCycle])
def test_no_warmup_starts_at_the_top(kind: type[Schedule]) -> None:
    assert kind(0.5, total_steps=10)(0) == 0.5


@pytest.mark.parametrize("kind", [Constant, Cosine, OneCycle])
def test_warmup_longer_than_training_is_refused(kind: type[Schedule]) -> None:
    with pytest.raises(ValueError, match=r"expected warmup in \[0, 10\], got 11"):
        kind(0.1, total_steps=10, warmup=11)
