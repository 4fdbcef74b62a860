"""What a trained network's logits say: how sure it is of a digit, and whether it is one at all.

Two numbers are fitted to validation images, and stored in the weights: a temperature, which makes
the confidence mean what it says, and the least score that a digit has.

A network trained to certainty is too sure of itself. Dividing its logits by a temperature T
before the softmax changes no answer, and T is chosen so that images it was not trained on are
as likely as they can be.

Source: Guo et al., "On Calibration of Modern Neural Networks", 2017, section 4.2.
"""

from dataclasses import dataclass

import numpy as np

from numdraw.models import CLASSES, NO_DIGIT
from numdraw.nn.layers import Array

LOWEST, HIGHEST = 0.05, 20.0  # a temperature outside says that something else is wrong
REFUSED = 0.003  # the share of validation digits that may be taken for no digit


@dataclass(frozen=True)
class Calibration:
    """How to read a network's logits.

    Attributes:
        temperature: divides them, before the softmax.
        threshold: the least score (see `digit_scores`) of what is taken for a digit.
    """

    temperature: float
    threshold: float


def calibrate(logits: Array, labels: Array) -> Calibration:
    """The temperature with the lowest cross-entropy, and the threshold that refuses few digits.

    Args:
        logits: (N, 10) or (N, 11), of examples that were not trained on.
        labels: (N,), 10 for no digit; at least one is a digit.
    """
    scores = digit_scores(logits[labels < CLASSES])
    return Calibration(fit_temperature(logits, labels), float(np.quantile(scores, REFUSED)))


def digit_scores(logits: Array) -> Array:
    """How much each example looks like a digit, in nats: (N, K) -> (N,) float64.

    With a logit for "no digit" it is the log of the odds of a digit against that, and without one
    what is left of it:

        log(sum over digits of exp(logit)) - logit of no digit

    Source: Liu, Wang, Owens and Li, "Energy-based Out-of-distribution Detection", 2020, equation 4,
    for the first term alone.
    """
    scores: Array = np.logaddexp.reduce(logits[:, :CLASSES], axis=1, dtype=np.float64)
    if logits.shape[1] > NO_DIGIT:
        scores -= logits[:, NO_DIGIT]
    return scores


def fit_temperature(logits: Array, labels: Array) -> float:
    """The temperature with the lowest mean cross-entropy.

    With b = 1/T the cross-entropy of one example is log(sum of exp(b z)) - b z[label]. It is
    convex in b, and its slope is (the mean of z under the softmax of b z) - z[label]: bisection
    on the mean slope finds where it is 0.

    Args:
        logits: (N, K), of examples that were not trained on.
        labels: (N,).

    Returns:
        T, in [0.05, 20].
    """
    z = logits.astype(np.float64)
    of_label = z[np.arange(len(labels)), labels]

    def slope(b: float) -> float:
        p = temper(z, 1.0 / b)
        return float(((p * z).sum(axis=1) - of_label).mean())

    low, high = 1.0 / HIGHEST, 1.0 / LOWEST
    for _ in range(60):  # halves the interval each time: far below float64's resolution
        middle = 0.5 * (low + high)
        if slope(middle) > 0.0:
            high = middle
        else:
            low = middle
    return 1.0 / (0.5 * (low + high))


def temper(logits: Array, temperature: float) -> Array:
    """The probabilities at a temperature: (N, K) -> (N, K) float64, each row summing to 1."""
    z = logits / np.float64(temperature)
    z -= z.max(axis=-1, keepdims=True)
    p: Array = np.exp(z, out=z)
    p /= p.sum(axis=-1, keepdims=True)
    return p
