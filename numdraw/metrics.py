"""How good answers are: error, confusion, and whether confidence means what it says."""

from typing import Any

import numpy as np

from numdraw.nn.layers import Array

BINS = 15  # of equal width, as in Guo et al. 2017


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
    index = np.minimum((confidences * bins).astype(np.int64), bins - 1)
    confidence_sums = np.bincount(index, weights=confidences, minlength=bins)
    correct_sums = np.bincount(index, weights=correct.astype(np.float64), minlength=bins)
    return float(np.abs(confidence_sums - correct_sums).sum() / len(confidences))
