"""Temperature: one number that makes a network's confidence mean what it says.

A network trained to certainty is too sure of itself. Dividing its logits by a temperature T
before the softmax changes no answer, and T is chosen so that images it was not trained on are
as likely as they can be.

Source: Guo et al., "On Calibration of Modern Neural Networks", 2017, section 4.2.
"""

import numpy as np

from numdraw.nn.layers import Array

LOWEST, HIGHEST = 0.05, 20.0  # a temperature outside says that something else is wrong


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
