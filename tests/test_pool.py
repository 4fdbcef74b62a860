import numpy as np
import pytest

from numdraw.nn.gradcheck import check_gradients
from numdraw.nn.layers import Layer
from numdraw.nn.pool import AvgPool2d, MaxPool2d
from tests.layers import unchanged

H, C, W, N = 7, 2, 6, 3
TOLERANCE = 1e-6


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def distinct(*shape: int) -> np.ndarray:
    """Numbers that differ by more than a gradient check moves them: no maximum changes hands."""
    size = int(np.prod(shape))
    return rng(1).permutation(size).reshape(shape) / size - 0.5


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (MaxPool2d(2), (6, C, 4, N)),
        (MaxPool2d(2), (7, C, 5, N)),  # a row and a column are left over
        (MaxPool2d(3), (7, C, 6, N)),
        (MaxPool2d(1), (2, C, 3, N)),
        (AvgPool2d(2), (6, C, 4, N)),
        (AvgPool2d(3), (7, C, 8, N)),
    ],
    ids=str,
)
def test_pooling_gradients_equal_the_loss_slope(layer: Layer, shape: tuple[int, ...]) -> None:
    errors = check_gradients(layer, distinct(*shape), rng=rng())
    assert max(errors.values()) < TOLERANCE


def image(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)[:, None, :, None]


def test_max_pool_worked_by_hand() -> None:
    x = image([1, 2, 0, 0, 9], [3, 0, 0, 5, 9])
    layer = MaxPool2d(2)
    # The column of 9s fills no square.
    assert layer.forward(x, train=True)[0, 0, :, 0].tolist() == [3, 5]
    dx = layer.input_gradient(np.array([[[[7], [8]]]], np.float32))
    assert dx[:, 0, :, 0].tolist() == [[0, 0, 0, 0, 0], [7, 0, 0, 8, 0]]


def test_max_pool_gives_the_gradient_of_equals_to_the_first() -> None:
    layer = MaxPool2d(2)
    layer.forward(image([4, 4, 0, 1], [4, 4, 1, 1]), train=True)
    dx = layer.input_gradient(np.array([[[[7], [8]]]], np.float32))
    assert dx[:, 0, :, 0].tolist() == [[7, 0, 0, 0], [0, 0, 8, 0]]


def test_average_pool_worked_by_hand() -> None:
    layer = AvgPool2d(2)
    assert layer.forward(image([1, 2, 8], [3, 6, 8]), train=True).item() == 3
    dx = layer.input_gradient(np.full((1, 1, 1, 1), 8, np.float32))
    assert dx[:, 0, :, 0].tolist() == [[2, 2, 0], [2, 2, 0]]


@pytest.mark.parametrize("kind", [MaxPool2d, AvgPool2d])
def test_pooling_refuses_what_it_cannot_pool(kind: type[MaxPool2d | AvgPool2d]) -> None:
    with pytest.raises(ValueError, match=rf"{kind.__name__} expected a size of at least 1, got 0"):
        kind(0)
    with pytest.raises(ValueError, match=r"of at least 3 x 3 px, got \(2, 1, 6\)"):
        kind(3).output_shape((2, 1, 6))
    with pytest.raises(ValueError, match=r"expected input \(H, C, W\)"):
        kind(3).output_shape((12,))


@pytest.mark.parametrize("layer", [MaxPool2d(2), AvgPool2d(2)], ids=str)
def test_float32_stays_float32(layer: Layer) -> None:
    out = layer.forward(distinct(H, C, W, N).astype(np.float32), train=True)
    assert out.dtype == np.float32
    assert layer.backward(out).dtype == np.float32


@pytest.mark.parametrize("layer", [MaxPool2d(2), AvgPool2d(3)], ids=str)
def test_predicting_writes_nothing_to_the_layer_or_its_input(layer: Layer) -> None:
    x = distinct(H, C, W, N)
    kept = x.copy()
    with unchanged(layer):
        layer.forward(x)
    assert (x == kept).all()
