import numpy as np
import pytest

from numdraw.metrics import (
    confusion_matrix,
    error_rate,
    expected_calibration_error,
    negative_log_likelihood,
    scores,
)


def test_error_rate_counts_differences() -> None:
    assert error_rate(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5])) == 0.25


def test_confusion_has_labels_in_rows() -> None:
    matrix = confusion_matrix(np.array([1, 1, 0]), np.array([0, 0, 0]), classes=2)
    assert matrix.tolist() == [[1, 2], [0, 0]]


def test_nll_is_the_mean_of_minus_log_p_of_the_label() -> None:
    p = np.array([[0.5, 0.5], [0.2, 0.8]])
    assert negative_log_likelihood(p, np.array([0, 1])) == pytest.approx(
        -(np.log(0.5) + np.log(0.8)) / 2
    )


def test_nll_of_an_impossible_label_is_finite() -> None:
    assert 700 < negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1])) < 710


def test_ece_by_hand() -> None:
    # Two bins of five: [0.5, ...) holds 0.9 0.9 0.7 with accuracy 2/3; [0, 0.5) holds 0.4, wrong.
    confidences, correct = np.array([0.9, 0.9, 0.7, 0.4]), np.array([True, False, True, False])
    expected = 3 / 4 * abs(2.5 / 3 - 2 / 3) + 1 / 4 * 0.4
    assert expected_calibration_error(confidences, correct, bins=2) == pytest.approx(expected)


def test_ece_of_certainty_that_is_right_is_zero() -> None:
    assert expected_calibration_error(np.ones(3), np.ones(3, bool)) == 0


def test_scores_puts_them_together() -> None:
    p = np.array([[0.9, 0.1], [0.6, 0.4]])
    assert scores(p, np.array([0, 1])) == {
        "images": 2,
        "error": 0.5,
        "nll": pytest.approx(-(np.log(0.9) + np.log(0.4)) / 2),
        "ece": pytest.approx((0.1 + 0.6) / 2),
    }
