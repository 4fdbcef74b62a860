import numpy as np
import pytest

from numdraw.nn.gradcheck import check_gradients
from numdraw.nn.layers import Dropout, Flatten, Layer, Linear, Parameter, ReLU
from tests.layers import unchanged

N, D, M = 5, 4, 3
TOLERANCE = 1e-6


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def away_from_zero(*shape: int) -> np.ndarray:
    x = rng(1).normal(size=shape)
    return x + 0.1 * np.sign(x)


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (Linear(D, M, rng=rng(), dtype=np.float64), away_from_zero(D, N)),
        (ReLU(), away_from_zero(D, N)),
        (Flatten(), away_from_zero(2, 3, 4, N)),
        (Dropout(0.4), away_from_zero(D, N)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_gradients_equal_the_loss_slope(layer: Layer, x: np.ndarray) -> None:
    errors = check_gradients(layer, x, rng=rng())
    assert set(errors) == {"x", *layer.parameters()}
    assert max(errors.values()) < TOLERANCE


def test_linear_worked_by_hand() -> None:
    layer = Linear(2, 1, rng=rng())
    layer.weight.value[...] = [[2, 3]]
    layer.bias.value[...] = [10]
    x = np.array([[1, 0], [1, 5]], np.float32)  # two examples, (1, 1) and (0, 5)
    assert layer.forward(x, train=True).tolist() == [[15, 25]]
    dx = layer.backward(np.array([[1, 2]], np.float32))
    assert layer.weight.grad.tolist() == [[1, 11]]  # 1 * (1, 1) + 2 * (0, 5)
    assert layer.bias.grad.tolist() == [3]
    assert dx.tolist() == [[2, 4], [3, 6]]


def test_linear_starts_with_variance_two_over_inputs() -> None:
    weight = Linear(500, 400, rng=rng()).weight.value
    assert weight.var() == pytest.approx(2 / 500, rel=0.02)
    assert weight.dtype == np.float32


def test_linear_refuses_another_input_shape() -> None:
    with pytest.raises(ValueError, match=r"Linear expected input \(4,\), got \(5,\)"):
        Linear(D, M, rng=rng()).output_shape((5,))


def test_relu_cuts_at_zero() -> None:
    layer = ReLU()
    assert layer.forward(np.array([-1.0, 0.0, 2.0]), train=True).tolist() == [0, 0, 2]
    assert layer.input_gradient(np.ones(3)).tolist() == [0, 0, 1]


def test_dropout_zeroes_its_share_and_keeps_the_mean() -> None:
    out = Dropout(0.25).forward(np.ones((100, 1000), np.float32), train=True, rng=rng())
    assert set(np.unique(out)) == {np.float32(0), np.float32(1 / 0.75)}
    assert (out == 0).mean() == pytest.approx(0.25, abs=0.01)
    assert out.mean() == pytest.approx(1, abs=0.01)


def test_dropout_passes_everything_when_predicting() -> None:
    x = away_from_zero(D, N)
    assert Dropout(0.9).forward(x) is x


def test_dropout_wants_an_rng_to_train() -> None:
    with pytest.raises(ValueError, match="Dropout expected an rng when training, got None"):
        Dropout(0.5).forward(np.ones((D, N)), train=True)


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_dropout_refuses_a_probability_outside(p: float) -> None:
    with pytest.raises(ValueError, match=r"Dropout expected p in \[0, 1\), got"):
        Dropout(p)


@pytest.mark.parametrize(
    "layer", [Linear(D, D, rng=rng()), ReLU(), Flatten(), Dropout(0.5)], ids=lambda x: str(type(x))
)
def test_predicting_writes_nothing_to_the_layer_or_its_input(layer: Layer) -> None:
    x = away_from_zero(D, N)
    kept = x.copy()
    with unchanged(layer):
        layer.forward(x)
    assert (x == kept).all()


def test_replica_shares_values_and_has_gradients_of_its_own() -> None:
    layer = Linear(D, M, rng=rng())
    twin = layer.replica()
    assert isinstance(twin, Linear)
    assert twin.weight.value is layer.weight.value
    twin.forward(np.ones((D, N), np.float32), train=True)
    twin.backward(np.ones((M, N), np.float32))
    assert twin.weight.grad.any()
    assert not layer.weight.grad.any()


def test_parameter_starts_without_gradient() -> None:
    assert Parameter(np.ones(3)).grad.tolist() == [0, 0, 0]
