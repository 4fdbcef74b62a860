import numpy as np
import pytest

from numdraw.nn.conv import Conv2d
from numdraw.nn.layers import ReLU
from numdraw.nn.pool import MaxPool2d
from numdraw.nn.tiled import TiledConv2d


def convolution(channels: int, kernel: int, padding: int, dtype: type = np.float64) -> Conv2d:
    rng = np.random.default_rng(0)
    layer = Conv2d(channels, 4, kernel, padding=padding, rng=rng, dtype=dtype)
    layer.bias.value[:] = rng.normal(size=4)
    return layer


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("size", [(8, 6), (9, 6), (8, 7), (9, 7)])
@pytest.mark.parametrize(
    ("channels", "kernel", "padding", "pooled"),
    [
        (1, 5, 2, True),
        (1, 5, 0, True),
        (1, 3, 1, True),
        (1, 2, 1, True),
        (1, 1, 0, True),
        (3, 3, 1, True),
        (3, 3, 0, True),
        (3, 3, 2, True),
        (3, 3, 1, False),
        (3, 3, 0, False),
        (3, 3, 2, False),
    ],
)
def test_tiles_give_what_the_layers_give(
    channels: int, kernel: int, padding: int, pooled: bool, size: tuple[int, int], relu: bool
) -> None:
    layer = convolution(channels, kernel, padding)
    height, width = size
    assert TiledConv2d.fits(layer, pooled=pooled)
    step = TiledConv2d(layer, (height, channels, width), pooled=pooled, relu=relu).step()
    for seed in (1, 2):  # the second call finds the first one's numbers in the step's memory
        x = np.random.default_rng(seed).normal(size=(height, width, channels))
        expected = layer.forward(x.transpose(0, 2, 1)[..., None])
        expected = MaxPool2d(2).forward(expected) if pooled else expected
        expected = ReLU().forward(expected) if relu else expected
        assert step(x) == pytest.approx(expected[..., 0].transpose(0, 2, 1), rel=1e-12, abs=1e-12)


def test_float32_keeps_six_digits() -> None:
    layer = convolution(96, 3, 1, np.float32)
    x = np.random.default_rng(1).random((14, 14, 96), np.float32)
    exact = convolution(96, 3, 1).forward(x.transpose(0, 2, 1)[..., None].astype(np.float64))
    out = TiledConv2d(layer, (14, 96, 14), pooled=False, relu=False).step()(x)
    assert out.dtype == np.float32
    assert np.abs(out - exact[..., 0].transpose(0, 2, 1)).max() < 1e-5 * np.abs(exact).max()


def test_steps_have_memory_of_their_own() -> None:
    tiled = TiledConv2d(convolution(3, 3, 1), (8, 3, 8), pooled=False, relu=True)
    first, second = tiled.step(), tiled.step()
    x = np.random.default_rng(1).normal(size=(8, 8, 3))
    kept = (out := first(x)).copy()
    second(-x)
    assert (out == kept).all()


def test_training_further_changes_nothing() -> None:
    layer = convolution(3, 3, 1)
    step = TiledConv2d(layer, (8, 3, 8), pooled=True, relu=True).step()
    x = np.random.default_rng(1).normal(size=(8, 8, 3))
    before = step(x).copy()
    layer.weight.value[:] += 1
    layer.bias.value[:] += 1
    assert (step(x) == before).all()


def test_other_convolutions_do_not_fit() -> None:
    assert not TiledConv2d.fits(convolution(1, 5, 2), pooled=False)
    assert not TiledConv2d.fits(convolution(3, 5, 2), pooled=True)
    strided = Conv2d(3, 4, 3, stride=2, rng=None)
    assert not TiledConv2d.fits(strided, pooled=True)
