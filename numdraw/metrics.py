"""How good answers are: error, confusion, and whether confidence means what it says."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from numdraw.nn.layers import Array

BINS = 15  # of equal width, as in Guo et al. 2017
RESAMPLES = 500  # of a bootstrap: enough for two digits of an interval
Z_95 = 1.96  # standard deviations on both sides of the mean that hold 95% of a normal distribution


@dataclass(frozen=True, eq=False)  # arrays have no single truth to compare by
class CalibrationBins:
    """Answers sorted into B bins by their confidence.

    Attributes:
        counts: (B,) answers in each.
        confidences: (B,) their mean confidence; 0 in an empty bin.
        accuracies: (B,) the share of right answers among them; 0 in an empty bin.
    """

    counts: Array
    confidences: Array
    accuracies: Array


def scores(probabilities: Array, labels: Array) -> dict[str, Any]:
    """What is said of a network on one set of images: "images", "error", "nll" and "ece".

    Args:
        probabilities: (N, K).
        labels: (N,).
    """
    digits = probabilities.argmax(axis=1)
    confidences = probabilities[np.arange(len(digits)), digits]
    return {
        "images": len(labels),
        "error": error_rate(digits, labels),
        "nll": negative_log_likelihood(probabilities, labels),
        "ece": expected_calibration_error(confidences, digits == labels),
    }


def error_rate(digits: Array, labels: Array) -> float:
    """The share of wrong digits, in [0, 1]; both are (N,)."""
    return float(np.mean(digits != labels))


def confusion_matrix(digits: Array, labels: Array, classes: int = 10) -> Array:
    """(classes, classes) counts: row = label, column = digit answered."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (labels, digits), 1)
    return matrix


def negative_log_likelihood(probabilities: Array, labels: Array) -> float:
    """The mean of -log of the label's probability, in nats.

    Args:
        probabilities: (N, K).
        labels: (N,).
    """
    of_label = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(of_label, np.finfo(np.float64).tiny)).mean())


def expected_calibration_error(confidences: Array, correct: Array, bins: int = BINS) -> float:
    """ECE: how far confidence is from accuracy, on average, in [0, 1].

    Answers are sorted into bins by their confidence; each bin's mean confidence is held against
    the share of right answers in it, and the differences are averaged by the bins' sizes.

    Args:
        confidences: (N,) in [0, 1].
        correct: (N,) booleans.
        bins: how many, of equal width.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017, section 2.
    """
    binned = calibration_bins(confidences, correct, equal_width(confidences, bins), bins)
    gaps = np.abs(binned.confidences - binned.accuracies)
    return float((binned.counts * gaps).sum() / len(confidences))


def calibration_bins(
    confidences: Array, correct: Array, index: Array, bins: int
) -> CalibrationBins:
    """What each bin holds.

    Args:
        confidences: (N,) in [0, 1].
        correct: (N,) booleans.
        index: (N,) whole numbers, the bin of each.
        bins: how many there are.
    """
    counts = np.bincount(index, minlength=bins)
    share = 1.0 / np.maximum(counts, 1)
    return CalibrationBins(
        counts,
        share * np.bincount(index, weights=confidences, minlength=bins),
        share * np.bincount(index, weights=correct.astype(np.float64), minlength=bins),
    )


def equal_width(confidences: Array, bins: int = BINS) -> Array:
    """The bin of each confidence, (N,), among bins of equal width from 0 to 1."""
    index: Array = np.minimum((confidences * bins).astype(np.int64), bins - 1)
    return index


def detection_scores(digits: Array, others: Array) -> dict[str, float]:
    """What is said of telling digits from others: "images", "auroc" and "fpr95".

    Args:
        digits: (N,) scores of digits, which should be high.
        others: (M,) scores of what is none: "images" is M.
    """
    return {
        "images": len(others),
        "auroc": auroc(digits, others),
        "fpr95": false_positive_rate(digits, others),
    }


def auroc(positives: Array, negatives: Array) -> float:
    """The chance that a positive's score is above a negative's; of equal ones, half.

    It is the area under the receiver operating characteristic.

    Source: Hanley and McNeil, "The Meaning and Use of the Area under a Receiver Operating
    Characteristic (ROC) Curve", 1982.
    """
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, "left")
    not_above = np.searchsorted(ordered, positives, "right")
    return float((below + not_above).mean() / (2 * len(negatives)))


def false_positive_rate(positives: Array, negatives: Array, rate: float = 0.95) -> float:
    """The share of negatives that a threshold lets pass which lets `rate` of the positives pass."""
    below = int((1 - rate) * len(positives) + 1e-9)  # of the positives
    threshold = float(np.sort(positives)[below])
    return float((negatives >= threshold).mean())


def brier_score(probabilities: Array, labels: Array) -> float:
    """The mean squared distance of the probabilities from the truth, from 0 to 2.

    Args:
        probabilities: (N, K); what a row lacks to 1 is the probability of something else, and
            counts as an answer that is wrong.
        labels: (N,).

    Source: Brier, "Verification of Forecasts Expressed in Terms of Probability", 1950.
    """
    wrong = probabilities.astype(np.float64)
    rest = 1.0 - wrong.sum(axis=1)
    wrong[np.arange(len(labels)), labels] -= 1.0
    return float(((wrong**2).sum(axis=1) + rest**2).mean())


def bootstrap_interval(statistic: Callable[..., Any], *arrays: Array) -> tuple[float, float]:
    """The 95% confidence interval of a statistic of N examples, by drawing N of them anew.

    Args:
        statistic: a number, of arrays like these.
        arrays: each (N, ...), an example a row.

    Source: Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979; the percentiles.
    """
    rng, total = np.random.default_rng(0), len(arrays[0])
    drawn = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(total, size=total)
        drawn.append(float(statistic(*(array[chosen] for array in arrays))))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """The 95% confidence interval of a share of which `count` out of `total` were seen.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.
    """
    share, z_squared = count / total, Z_95**2 / total
    centre = share + z_squared / 2
    half = Z_95 * math.sqrt((share * (1 - share) + z_squared / 4) / total)
    low, high = (centre - half) / (1 + z_squared), (centre + half) / (1 + z_squared)
    # where none or all were seen, an end is 0 or 1 but for rounding
    return (low if count else 0.0), (high if count < total else 1.0)
