import numpy as np
import pytest

from numdraw.nn.gradcheck import numerical_gradient, relative_error
from numdraw.nn.losses import SoftmaxCrossEntropy, log_softmax, softmax

K, N = 3, 5
LABELS = np.array([0, 2, 1, 1, 0])


def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(K, N))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_gradient_equals_the_loss_slope(label_smoothing: float) -> None:
    loss, z = SoftmaxCrossEntropy(label_smoothing), logits()
    _, dlogits = loss(z, LABELS)
    slope = numerical_gradient(lambda: loss(z, LABELS)[0], z)
    assert relative_error(dlogits, slope) < 1e-6


def test_equal_logits_cost_log_k() -> None:
    value, dlogits = SoftmaxCrossEntropy()(np.zeros((K, 1)), np.array([1]))
    assert value == pytest.approx(np.log(3))
    assert dlogits[:, 0] == pytest.approx([1 / 3, -2 / 3, 1 / 3])


def test_smoothing_worked_by_hand() -> None:
    # targets (0.9 + 0.1/2, 0.1/2); probabilities (0.8, 0.2)
    z = np.log(np.array([[0.8], [0.2]]))
    value, dlogits = SoftmaxCrossEntropy(0.1)(z, np.array([0]))
    assert value == pytest.approx(-0.95 * np.log(0.8) - 0.05 * np.log(0.2))
    assert dlogits[:, 0] == pytest.approx([0.8 - 0.95, 0.2 - 0.05])


def test_huge_logits_stay_finite() -> None:
    z = np.array([[1e4], [-1e4], [0.0]], np.float32)
    value, dlogits = SoftmaxCrossEntropy()(z, np.array([1]))
    assert value == pytest.approx(2e4)
    assert np.isfinite(dlogits).all()
    assert softmax(z)[:, 0].tolist() == [1, 0, 0]


def test_softmax_sums_to_one_and_log_softmax_is_its_logarithm() -> None:
    z = logits()
    assert softmax(z).sum(axis=0) == pytest.approx(np.ones(N))
    assert np.exp(log_softmax(z)) == pytest.approx(softmax(z))


def test_inputs_are_left_alone_and_dtype_kept() -> None:
    z = logits().astype(np.float32)
    before = z.copy()
    _, dlogits = SoftmaxCrossEntropy()(z, LABELS)
    assert (z == before).all()
    assert dlogits.dtype == np.float32


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_smoothing_outside_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"expected label_smoothing in \[0, 1\), got"):
        SoftmaxCrossEntropy(value)
