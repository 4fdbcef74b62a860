import numpy as np
import pytest

from numdraw.nn.gradcheck import check_gradients
from numdraw.nn.layers import Linear
from numdraw.nn.losses import SoftmaxCrossEntropy
from numdraw.nn.network import MOMENTUM, Sequential
from numdraw.nn.norm import BatchNorm
from tests.layers import unchanged

N, D = 5, 4
SHAPES = [(D, N), (3, D, 2, N)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def layer_of(dtype: type[np.floating] = np.float64) -> BatchNorm:
    layer = BatchNorm(D, dtype=dtype)
    layer.weight.value[...] = rng(3).normal(size=D)
    layer.bias.value[...] = rng(4).normal(size=D)
    return layer


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_equal_the_loss_slope(shape: tuple[int, ...]) -> None:
    errors = check_gradients(layer_of(), rng(1).normal(2.0, 3.0, shape), rng=rng())
    assert set(errors) == {"x", "weight", "bias"}
    assert max(errors.values()) < 1e-6


@pytest.mark.parametrize(("shape", "axes"), [(SHAPES[0], (1,)), (SHAPES[1], (0, 2, 3))])
def test_training_normalises_each_feature(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    out = BatchNorm(D, dtype=np.float64).forward(rng(1).normal(50.0, 3.0, shape), train=True)
    assert out.mean(axis=axes) == pytest.approx(np.zeros(D), abs=1e-12)
    assert out.std(axis=axes) == pytest.approx(np.ones(D), abs=1e-4)


def test_a_large_mean_does_not_drown_the_variance() -> None:
    x = rng(1).normal(1000.0, 1.0, (D, 1000)).astype(np.float32)
    out = BatchNorm(D).forward(x.copy(), train=True)
    expected = x.astype(np.float64)
    expected -= expected.mean(axis=1, keepdims=True)
    expected /= expected.std(axis=1, keepdims=True)
    assert out == pytest.approx(expected, abs=1e-3)


def test_predicting_uses_the_running_averages_and_writes_nothing() -> None:
    layer = layer_of()
    layer.mean.value[...] = 2.0
    layer.variance.value[...] = 9.0
    x = rng(1).normal(size=(D, N))
    kept = x.copy()
    with unchanged(layer):
        out = layer.forward(x)
    weight, bias = layer.weight.value[:, None], layer.bias.value[:, None]
    assert out == pytest.approx(weight * (kept - 2) / np.sqrt(9 + 1e-5) + bias)
    assert (x == kept).all()


def test_running_averages_move_when_the_network_is_told() -> None:
    network = Sequential([BatchNorm(D, dtype=np.float64)], (D,))
    x = rng(1).normal(5.0, 2.0, (D, N))
    mean, variance = x.mean(axis=1), x.var(axis=1, ddof=1)
    network.forward(x.copy(), train=True)
    assert network.statistics.tolist() == [0] * D + [1] * D
    network.update_statistics()
    expected = np.concatenate([MOMENTUM * mean, 1 - MOMENTUM + MOMENTUM * variance])
    assert network.statistics == pytest.approx(expected)
    arrays = network.arrays()
    assert sorted(arrays) == [
        f"batchnorm1.{name}" for name in ("bias", "mean", "variance", "weight")
    ]
    assert (arrays["batchnorm1.mean"] == network.statistics[:D]).all()


def test_statistics_count_as_no_parameters() -> None:
    network = Sequential([Linear(D, 3, rng=rng()), BatchNorm(3)], (D,))
    assert network.values.size == network.grads.size == 3 * D + 3 + 3 + 3
    assert network.statistics.size == network.observed.size == 6
    network.forward(np.ones((D, N), np.float32) * np.arange(N, dtype=np.float32), train=True)
    network.backward(SoftmaxCrossEntropy()(np.zeros((3, N), np.float32), np.zeros(N, int))[1])
    assert network.observed[3:].all()
    assert (network.sums[: network.grads.size] == network.grads).all()


def test_a_single_value_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 values a feature in training, got 1"):
        BatchNorm(D).forward(np.ones((D, 1)), train=True)


@pytest.mark.parametrize("shape", [(5,), (3, 5, 3), (4, 4)])
def test_another_input_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"BatchNorm expected input \(4,\) or \(H, 4, W\), got"):
        BatchNorm(D).output_shape(shape)
