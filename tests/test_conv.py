import numpy as np
import pytest

from numdraw.nn.conv import AvgPool2d, Conv2d, MaxPool2d
from numdraw.nn.gradcheck import check_gradients
from numdraw.nn.layers import Layer

H, C, W, N, M = 7, 2, 6, 3, 4
TOLERANCE = 1e-6


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def distinct(*shape: int) -> np.ndarray:
    """Numbers that differ by more than a gradient check moves them: no maximum changes hands."""
    size = int(np.prod(shape))
    return rng(1).permutation(size).reshape(shape) / size - 0.5


def convolution(x: np.ndarray, layer: Conv2d) -> np.ndarray:
    """The definition in words of loops: x (H, C, W, N)."""
    k, s, p = layer.kernel, layer.stride, layer.padding
    weight, bias = layer.weight.value, layer.bias.value
    padded = np.pad(x, ((p, p), (0, 0), (p, p), (0, 0)))
    rows, columns = (padded.shape[0] - k) // s + 1, (padded.shape[2] - k) // s + 1
    out = np.zeros((rows, len(bias), columns, x.shape[3]))
    for h in range(rows):
        for w in range(columns):
            window = padded[h * s : h * s + k, :, w * s : w * s + k]  # (k, C, k, N)
            out[h, :, w] = np.einsum("ijcm,icjn->mn", weight, window) + bias[:, None]
    return out


GEOMETRIES = [
    (kernel, stride, padding)
    for kernel in (1, 2, 3, 5)
    for stride in (1, 2, 3)
    for padding in range(min(kernel, 3))
] + [(6, 1, 5), (2, 4, 1), (3, 7, 0), (6, 5, 2)]


@pytest.mark.parametrize(("kernel", "stride", "padding"), GEOMETRIES)
def test_convolution_is_its_definition_and_its_gradients_are_the_slope(
    kernel: int, stride: int, padding: int
) -> None:
    layer = Conv2d(C, M, kernel, stride=stride, padding=padding, rng=rng(), dtype=np.float64)
    layer.bias.value[...] = rng(2).normal(size=M)
    x = rng(1).normal(size=(H, C, W, N))
    out = layer.forward(x)
    assert out == pytest.approx(convolution(x, layer), abs=1e-12)
    assert out.shape[:-1] == layer.output_shape((H, C, W))
    errors = check_gradients(layer, x, rng=rng())
    assert set(errors) == {"x", "weight", "bias"}
    assert max(errors.values()) < TOLERANCE


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
    assert layer.forward(x, train=True)[0, 0, :, 0].tolist() == [
        3,
        5,
    ]  # the column of 9s is left over
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


def test_conv_starts_with_variance_two_over_a_windows_inputs() -> None:
    weight = Conv2d(40, 50, 5, rng=rng()).weight.value
    assert weight.var() == pytest.approx(2 / (5 * 5 * 40), rel=0.02)
    assert weight.dtype == np.float32


@pytest.mark.parametrize(
    "layer", [Conv2d(C, M, 3, padding=1, rng=rng()), MaxPool2d(2), AvgPool2d(2)]
)
def test_float32_stays_float32(layer: Layer) -> None:
    out = layer.forward(distinct(H, C, W, N).astype(np.float32), train=True)
    assert out.dtype == np.float32
    assert layer.backward(out).dtype == np.float32


@pytest.mark.parametrize(("stride", "padding"), [(0, 0), (1, 3), (1, -1)])
def test_conv_refuses_impossible_windows(stride: int, padding: int) -> None:
    message = (
        r"Conv2d expected a stride of at least 1 and padding in \[0, 3\), "
        f"got {stride} and {padding}"
    )
    with pytest.raises(ValueError, match=message):
        Conv2d(1, 1, 3, stride=stride, padding=padding, rng=None)


def test_conv_refuses_another_input_shape() -> None:
    layer = Conv2d(C, M, 5, padding=1, rng=None)
    with pytest.raises(ValueError, match=r"Conv2d expected input \(H, 2, W\), got \(7, 3, 6\)"):
        layer.output_shape((7, 3, 6))
    with pytest.raises(ValueError, match=r"at least 5 x 5 px with a rim of 1, got 2 x 6"):
        layer.output_shape((2, C, 6))


@pytest.mark.parametrize("kind", [MaxPool2d, AvgPool2d])
def test_pooling_refuses_what_it_cannot_pool(kind: type[MaxPool2d | AvgPool2d]) -> None:
    with pytest.raises(ValueError, match=rf"{kind.__name__} expected a size of at least 1, got 0"):
        kind(0)
    with pytest.raises(ValueError, match=r"of at least 3 x 3 px, got \(2, 1, 6\)"):
        kind(3).output_shape((2, 1, 6))
    with pytest.raises(ValueError, match=r"expected input \(H, C, W\)"):
        kind(3).output_shape((12,))


@pytest.mark.parametrize(
    "layer", [Conv2d(C, M, 3, padding=2, rng=rng()), MaxPool2d(2), AvgPool2d(3)], ids=str
)
def test_predicting_writes_nothing_to_the_layer_or_its_input(layer: Layer) -> None:
    before, x = dict(vars(layer)), distinct(H, C, W, N)
    kept = x.copy()
    layer.forward(x)
    assert vars(layer) == before
    assert (x == kept).all()
