import numpy as np
import pytest

from numdraw.nn.conv import Conv2d
from numdraw.nn.gradcheck import check_gradients
from tests.layers import unchanged

H, C, W, N, M = 7, 2, 6, 3, 4
TOLERANCE = 1e-6


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


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


def test_conv_starts_with_variance_two_over_a_windows_inputs() -> None:
    weight = Conv2d(40, 50, 5, rng=rng()).weight.value
    assert weight.var() == pytest.approx(2 / (5 * 5 * 40), rel=0.02)
    assert weight.dtype == np.float32


def test_float32_stays_float32() -> None:
    layer = Conv2d(C, M, 3, padding=1, rng=rng())
    out = layer.forward(rng(1).normal(size=(H, C, W, N)).astype(np.float32), train=True)
    assert out.dtype == np.float32
    assert layer.backward(out).dtype == np.float32


@pytest.mark.parametrize(
    ("channels_in", "channels_out", "kernel", "stride", "padding"),
    [
        (0, 1, 3, 1, 0), (1, 0, 3, 1, 0), (1, 1, 0, 1, 0), (1, 1, 3, 0, 0), (1, 1, 3, 1, 3),
        (1, 1, 3, 1, -1),
    ],
)  # fmt: skip  # shorter so
def test_conv_refuses_impossible_windows(
    channels_in: int, channels_out: int, kernel: int, stride: int, padding: int
) -> None:
    message = (
        r"Conv2d expected channels, kernel and stride of at least 1 and padding in \[0, kernel\), "
        f"got channels {channels_in} and {channels_out}, kernel {kernel}, stride {stride} and "
        f"padding {padding}"
    )
    with pytest.raises(ValueError, match=message):
        Conv2d(channels_in, channels_out, kernel, stride=stride, padding=padding, rng=None)


def test_conv_refuses_another_input_shape() -> None:
    layer = Conv2d(C, M, 5, padding=1, rng=None)
    with pytest.raises(ValueError, match=r"Conv2d expected input \(H, 2, W\), got \(7, 3, 6\)"):
        layer.output_shape((7, 3, 6))
    with pytest.raises(ValueError, match=r"at least 5 x 5 px with a rim of 1, got 2 x 6"):
        layer.output_shape((2, C, 6))


def test_predicting_writes_nothing_to_the_layer_or_its_input() -> None:
    layer, x = Conv2d(C, M, 3, padding=2, rng=rng()), rng(1).normal(size=(H, C, W, N))
    kept = x.copy()
    with unchanged(layer):
        layer.forward(x)
    assert (x == kept).all()
