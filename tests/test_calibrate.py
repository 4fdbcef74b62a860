import numpy as np
import pytest

from numdraw.calibrate import REFUSED, calibrate, digit_scores, fit_temperature, temper
from numdraw.metrics import negative_log_likelihood


def sampled(temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax at a temperature."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 4, (20_000, 10))
    cumulative = temper(logits, temperature).cumsum(axis=1)
    return logits, (rng.random((20_000, 1)) > cumulative).sum(axis=1).clip(max=9)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_finds_the_temperature_that_labels_were_drawn_at(temperature: float) -> None:
    assert fit_temperature(*sampled(temperature)) == pytest.approx(temperature, rel=0.03)


def test_no_neighbour_is_better() -> None:
    logits, labels = sampled(1.7)
    best = fit_temperature(logits, labels)
    nll = [negative_log_likelihood(temper(logits, best * f), labels) for f in (0.99, 1, 1.01)]
    assert nll[1] < min(nll[0], nll[2])


def test_a_network_that_is_always_right_gets_the_lowest_temperature() -> None:
    assert fit_temperature(np.eye(3) * 5, np.arange(3)) == pytest.approx(0.05)


def test_one_that_knows_nothing_gets_the_highest() -> None:
    assert fit_temperature(np.eye(3) * 5, np.array([1, 2, 0])) == pytest.approx(20)


def test_temper_sums_to_one_and_keeps_the_order() -> None:
    logits = np.array([[1000.0, 0.0, -1000.0]], np.float32)
    for temperature in (0.1, 1.0, 500.0):
        p = temper(logits, temperature)
        assert p.dtype == np.float64
        assert p.sum() == pytest.approx(1)
        assert p[0].argmax() == 0
    assert p[0] == pytest.approx(np.exp([2, 0, -2]) / np.exp([2, 0, -2]).sum())


def test_digit_scores_are_the_log_odds_of_a_digit() -> None:
    logits = np.random.default_rng(0).normal(0, 5, (50, 11))
    p = temper(logits, 1.0)
    assert digit_scores(logits) == pytest.approx(np.log((1 - p[:, 10]) / p[:, 10]))


def test_digit_scores_without_an_output_for_no_digit_are_the_free_energy() -> None:
    logits = np.array([[1.0] + [0.0] * 9, [2000.0] + [0.0] * 9])
    assert digit_scores(logits) == pytest.approx([np.log(np.e + 9), 2000.0])


def test_the_threshold_refuses_few_digits() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (4000, 11))
    labels = rng.integers(0, 11, 4000)
    found = calibrate(logits, labels)
    refused = digit_scores(logits[labels < 10]) < found.threshold
    assert refused.mean() == pytest.approx(REFUSED, abs=5e-4)
    assert found.temperature == fit_temperature(logits, labels)
