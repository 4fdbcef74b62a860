import numpy as np
import pytest

from numdraw.metrics import (
    auroc,
    bootstrap_interval,
    brier_score,
    calibration_bins,
    confusion_matrix,
    equal_width,
    error_rate,
    expected_calibration_error,
    false_positive_rate,
    negative_log_likelihood,
    scores,
    wilson_interval,
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


def test_bins_hold_counts_and_means() -> None:
    confidences, correct = np.array([0.9, 1.0, 0.8, 0.1]), np.array([True, False, True, True])
    index = equal_width(confidences, 3)
    assert index.tolist() == [2, 2, 2, 0]
    bins = calibration_bins(confidences, correct, index, 3)
    assert bins.counts.tolist() == [1, 0, 3]
    assert bins.confidences == pytest.approx([0.1, 0.0, 0.9])
    assert bins.accuracies == pytest.approx([1.0, 0.0, 2 / 3])


def test_wilson_interval_by_hand() -> None:
    # of 0 in n the ends are 0 and z^2 / (n + z^2); of all, 1 less these
    end = 1.96**2 / (10 + 1.96**2)
    assert wilson_interval(0, 10) == pytest.approx((0.0, end))
    assert wilson_interval(10, 10) == pytest.approx((1 - end, 1.0))
    # of half, 1/2 -+ z / (2 sqrt(n + z^2))
    half = 1.96 / (2 * (100 + 1.96**2) ** 0.5)
    assert wilson_interval(50, 100) == pytest.approx((0.5 - half, 0.5 + half))
    # of 48 in 10,000, with x = 48 + z^2 / 2 and m = n + z^2: (x -+ z sqrt(48 (1 - 48 / n)
    # + z^2 / 4)) / m = (49.9208 -+ 1.96 sqrt(48.7300)) / 10003.8416
    assert wilson_interval(48, 10_000) == pytest.approx((0.003622, 0.006358), abs=1e-6)


@pytest.mark.parametrize("total", [1, 7, 1000])
def test_wilson_interval_ends_at_0_and_1_exactly(total: int) -> None:
    assert wilson_interval(0, total)[0] == 0.0
    assert wilson_interval(total, total)[1] == 1.0


def test_auroc_counts_pairs() -> None:
    # above: 3 > 1, 3 > 2, 2 > 1; equal: 2 and 2; below: none
    assert auroc(np.array([3.0, 2.0]), np.array([1.0, 2.0])) == pytest.approx(3.5 / 4)
    assert auroc(np.array([1.0]), np.array([2.0, 3.0])) == 0
    assert auroc(np.array([1.0, 1.0]), np.array([1.0])) == 0.5


def test_auroc_is_scikit_learns() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    positives, negatives = rng.normal(1, 1, 200).round(1), rng.normal(0, 1, 300).round(1)
    truth = np.repeat([1, 0], [200, 300])
    expected = sklearn.roc_auc_score(truth, np.concatenate([positives, negatives]))
    assert auroc(positives, negatives) == pytest.approx(expected)


def test_false_positive_rate_lets_the_rate_of_positives_pass() -> None:
    positives = np.arange(100.0)  # 5 and all above it are 95
    assert false_positive_rate(positives, np.array([4.0, 5.0, 6.0, 200.0])) == 0.75
    assert false_positive_rate(positives, np.array([4.0, 5.0, 6.0, 200.0]), rate=1.0) == 1.0


def test_brier_by_hand() -> None:
    p = np.array([[0.7, 0.2], [0.5, 0.5]])  # 0.1 of the first is something else
    expected = ((0.3**2 + 0.2**2 + 0.1**2) + (0.5**2 + 0.5**2)) / 2
    assert brier_score(p, np.array([0, 1])) == pytest.approx(expected)


def test_bootstrap_interval_is_about_two_standard_errors() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    low, high = bootstrap_interval(np.mean, values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * 2 / 20, rel=0.15)
