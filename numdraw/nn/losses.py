"""The loss: how wrong the logits are, and which way each of them should move."""

import numpy as np

from numdraw.nn.layers import Array


def log_softmax(logits: Array) -> Array:
    """The logarithms of the classes' probabilities, in nats.

    log_softmax(z)[k] = z[k] - log(sum over j of exp(z[j])). Subtracting the largest logit first
    changes nothing (it cancels) and keeps exp from overflowing.

    Args:
        logits: (K, N).

    Returns:
        (K, N), each column the logarithm of K probabilities that sum to 1.
    """
    shifted = logits - logits.max(axis=0)
    shifted -= np.log(np.exp(shifted).sum(axis=0))
    result: Array = shifted
    return result


def softmax(logits: Array) -> Array:
    """The classes' probabilities, (K, N) -> (K, N), each column summing to 1."""
    exponentials = np.exp(logits - logits.max(axis=0))
    exponentials /= exponentials.sum(axis=0)
    result: Array = exponentials
    return result


class SoftmaxCrossEntropy:
    """Mean cross-entropy, in nats, between the labels and the softmax of the logits.

    Let z be one example's K logits, p = softmax(z), and t its target: K numbers that sum to 1,
    all on the label; with label smoothing e each class has e/K of it, and the label 1 - e more.

        L = - sum over k of t[k] * log p[k],      log p[k] = z[k] - log(sum over j of exp(z[j]))

    The derivative of that last logarithm by z[i] is exp(z[i]) / sum over j of exp(z[j]) = p[i], so

        dL/dz[i] = - t[i] + sum over k of t[k] * p[i] = p[i] - t[i]

    because t sums to 1: the gradient is the prediction less the truth. The loss is a mean over
    the N examples, so each column carries a factor of 1/N.

    Source: Szegedy et al., "Rethinking the Inception Architecture", 2016, section 7 (smoothing).
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        """Keep the smoothing.

        Args:
            label_smoothing: e, in [0, 1).

        Raises:
            ValueError: it is outside.
        """
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(
                f"SoftmaxCrossEntropy expected label_smoothing in [0, 1), got {label_smoothing}"
            )
        self.label_smoothing = label_smoothing

    def __call__(self, logits: Array, labels: Array) -> tuple[float, Array]:
        """The loss and its gradient.

        Args:
            logits: (K, N).
            labels: (N,), integers in [0, K).

        Returns:
            The mean loss in nats, and dlogits, (K, N).
        """
        classes, n = logits.shape
        columns = np.arange(n)
        log_p = log_softmax(logits)
        uniform = self.label_smoothing / classes
        on_label = 1.0 - self.label_smoothing
        # t = uniform everywhere, plus on_label at the label, so - sum t log p is these two sums.
        loss = -on_label * log_p[labels, columns].sum() - uniform * log_p.sum()
        dlogits = np.exp(log_p, out=log_p)  # p
        dlogits -= logits.dtype.type(uniform)
        dlogits[labels, columns] -= logits.dtype.type(on_label)  # p - t
        dlogits /= logits.dtype.type(n)
        return float(loss) / n, dlogits
