"""Layers and whole networks against PyTorch: outputs, gradients, statistics, ten training steps.

Layers are compared in float64, where only rounding is left to differ: a wrong formula cannot hide.
"""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pytest

from numdraw.models import build, convnet_architecture, lenet_architecture, mlp_architecture
from numdraw.nn.conv import Conv2d
from numdraw.nn.layers import Flatten, Layer, Parameter, Statistic
from numdraw.nn.losses import SoftmaxCrossEntropy
from numdraw.nn.network import Sequential
from numdraw.nn.norm import BatchNorm
from numdraw.nn.optim import SGD, AdamW, Optimizer
from numdraw.nn.pool import AvgPool2d, MaxPool2d

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed: pip install 'numdraw[torch]' to compare with it"
)

N = 32
RNG = np.random.default_rng(0)
IMAGES = RNG.random((N, 28, 28)).astype(np.float32)
LABELS = RNG.integers(0, 10, N)
SMOOTHING = 0.1

# Of the largest number compared. A network's sums have some 1,000 terms, added in another order.
FLOAT64 = 1e-12  # float64 rounds at 1e-16
FLOAT32 = 1e-5  # float32 rounds at 6e-8


def close(ours: np.ndarray, theirs: Any, tolerance: float) -> bool:
    """Whether two arrays differ by no more than `tolerance` times the largest number."""
    expected: np.ndarray = theirs.detach().numpy()
    assert ours.shape == expected.shape
    assert ours.dtype == expected.dtype
    return bool(np.abs(ours - expected).max() <= tolerance * np.abs(expected).max())


def batch_first(x: np.ndarray) -> np.ndarray:
    """(H, C, W, N) -> (N, C, H, W), and (D, N) -> (N, D)."""
    turned: np.ndarray = x.transpose(3, 1, 0, 2) if x.ndim == 4 else x.T
    return turned


def their_layout(parameter: np.ndarray) -> np.ndarray:
    """A convolution's weight (k, k, C, M) -> (M, C, k, k); any other as it is."""
    return parameter.transpose(3, 2, 0, 1) if parameter.ndim == 4 else parameter


def copy_into(pairs: Iterable[tuple[np.ndarray, Any]]) -> None:
    """Give their parameters and statistics our values."""
    with torch.no_grad():
        for mine, its in pairs:
            its.copy_(torch.tensor(mine))


def check_layer(ours: Layer, theirs: Any, shape: tuple[int, ...]) -> None:
    """Outputs and all gradients of two layers are equal in float64, from random parameters."""
    rng = np.random.default_rng(2)
    for parameter in ours.parameters().values():
        parameter.value[...] = rng.normal(size=parameter.value.shape)
    theirs = theirs.double()
    mine = [their_layout(parameter.value) for parameter in ours.parameters().values()]
    copy_into(zip(mine, theirs.parameters(), strict=True))
    x = rng.normal(1.0, 2.0, shape)
    their_x = torch.tensor(batch_first(x), requires_grad=True)
    their_out = theirs(their_x)
    out = ours.forward(x, train=True)
    assert close(batch_first(out), their_out, FLOAT64)
    dout = rng.normal(size=out.shape)
    their_out.backward(torch.tensor(batch_first(dout)))
    assert close(batch_first(ours.backward(dout)), their_x.grad, FLOAT64)
    for parameter, its in zip(ours.parameters().values(), theirs.parameters(), strict=True):
        assert close(their_layout(parameter.grad), its.grad, FLOAT64)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [
        (1, 1, 0), (3, 1, 0), (3, 1, 1), (5, 1, 2), (5, 1, 4), (2, 2, 0), (3, 2, 1), (4, 3, 2),
        (3, 4, 0), (6, 5, 2),
    ],
)  # fmt: skip  # shorter so
def test_convolutions_are_equal(kernel: int, stride: int, padding: int) -> None:
    ours = Conv2d(3, 4, kernel, stride=stride, padding=padding, rng=None, dtype=np.float64)
    theirs = torch.nn.Conv2d(3, 4, kernel, stride=stride, padding=padding)
    check_layer(ours, theirs, (9, 3, 8, 5))


@pytest.mark.parametrize("size", [1, 2, 3, 4])  # of 9 x 8: all but 1 leave a row or a column out
def test_poolings_are_equal(size: int) -> None:
    check_layer(MaxPool2d(size), torch.nn.MaxPool2d(size), (9, 3, 8, 5))
    check_layer(AvgPool2d(size), torch.nn.AvgPool2d(size), (9, 3, 8, 5))


def their_batch_norm(shape: tuple[int, ...]) -> Any:
    return torch.nn.BatchNorm2d(4) if len(shape) == 4 else torch.nn.BatchNorm1d(4)


@pytest.mark.parametrize("shape", [(4, 7), (3, 4, 2, 5)])
def test_batch_norms_are_equal(shape: tuple[int, ...]) -> None:
    check_layer(BatchNorm(4, dtype=np.float64), their_batch_norm(shape), shape)


@pytest.mark.parametrize("shape", [(4, 7), (3, 4, 2, 5)])
def test_batch_norms_learn_equal_statistics_and_predict_alike(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(2)
    layer, theirs = BatchNorm(4, dtype=np.float64), their_batch_norm(shape).double()
    ours = Sequential([layer], shape[:-1])
    ours.values[:] = rng.normal(size=ours.values.size)
    copy_into([(layer.weight.value, theirs.weight), (layer.bias.value, theirs.bias)])
    for _ in range(3):
        x = rng.normal(1.0, 2.0, shape)
        theirs(torch.tensor(batch_first(x)))
        ours.forward(x, train=True)
        ours.update_statistics()
    assert close(layer.mean.value, theirs.running_mean, FLOAT64)
    assert close(layer.variance.value, theirs.running_var, FLOAT64)
    x = rng.normal(1.0, 2.0, shape)
    expected = theirs.eval()(torch.tensor(batch_first(x)))
    assert close(batch_first(ours.forward(x)), expected, FLOAT64)


NAMES = ["mlp", "lenet", "convnet"]


def our_network(name: str) -> Sequential:
    architecture = {
        "mlp": mlp_architecture([48, 32], 0.0),
        "lenet": lenet_architecture(),
        "convnet": convnet_architecture([24, 48, 96, 96], 0.0),
    }[name]
    return build(architecture, rng=np.random.default_rng(1))


def their_network(name: str) -> Any:
    linear, relu, conv = torch.nn.Linear, torch.nn.ReLU, torch.nn.Conv2d
    pool, norm = torch.nn.MaxPool2d, torch.nn.BatchNorm2d
    add_channel, flatten = torch.nn.Unflatten(1, (1, 28)), torch.nn.Flatten()
    layers: dict[str, Callable[[], list[Any]]] = {
        "mlp": lambda: [
            *(flatten, linear(784, 48), relu()),
            *(linear(48, 32), relu()),
            linear(32, 10),
        ],
        "lenet": lambda: [
            *(add_channel, conv(1, 16, 5), pool(2), relu()),
            *(conv(16, 32, 5), pool(2), relu()),
            *(flatten, linear(512, 128), relu()),
            linear(128, 10),
        ],
        "convnet": lambda: [
            *(add_channel, conv(1, 24, 5, padding=2), pool(2), norm(24), relu()),
            *(conv(24, 48, 3, padding=1), pool(2), norm(48), relu()),
            *(conv(48, 96, 3, padding=1), norm(96), relu()),
            *(conv(96, 96, 3, padding=1), pool(2), norm(96), relu()),
            *(flatten, linear(864, 10)),
        ],
    }
    return torch.nn.Sequential(*layers[name]())


class Pair(NamedTuple):
    """Our network and PyTorch's, with the same parameters and statistics."""

    ours: Sequential
    theirs: Any

    @property
    def images(self) -> np.ndarray:
        return IMAGES.astype(self.ours.values.dtype)

    def our_step(self) -> float:
        """Set the gradients and move the statistics; return the loss."""
        x = self.ours.to_batch_last(IMAGES)
        loss, dlogits = SoftmaxCrossEntropy(SMOOTHING)(self.ours.forward(x, train=True), LABELS)
        self.ours.backward(dlogits)
        self.ours.update_statistics()
        return loss

    def their_step(self) -> float:
        self.theirs.train().zero_grad()
        logits = self.theirs(torch.tensor(self.images))
        loss = torch.nn.functional.cross_entropy(
            logits, torch.tensor(LABELS), label_smoothing=SMOOTHING
        )
        loss.backward()
        return float(loss.item())

    def parameters(self, vector: np.ndarray) -> dict[str, tuple[np.ndarray, Any]]:
        """Each parameter's part of our vector `values` or `grads`, in their layout; and theirs."""
        [flatten] = [i for i, layer in enumerate(self.ours.layers) if isinstance(layer, Flatten)]
        flattened = self.ours.shapes[flatten]
        found, start = {}, 0
        ours = self.ours.parameters().items()
        for (name, mine), its in zip(ours, self.theirs.parameters(), strict=True):
            shape = mine.value.shape
            array = their_layout(vector[start : start + mine.value.size].reshape(shape))
            if len(flattened) == 3 and shape[1:] == (math.prod(flattened),):
                # Our Flatten counts (H, C, W), theirs (C, H, W).
                array = array.reshape(-1, *flattened).transpose(0, 2, 1, 3).reshape(shape)
            found[name] = (array, its)
            start += mine.value.size
        return found

    def annulled(self) -> set[str]:
        """The biases that batch norm takes off again: their gradient is 0, but for rounding."""
        if not self.statistics():
            return set()
        return {name for name in self.ours.parameters() if re.fullmatch(r"conv2d\d\.bias", name)}

    def statistics(self) -> list[tuple[np.ndarray, Any]]:
        """The running averages, ours and theirs."""
        ours = [layer for layer in self.ours.layers if isinstance(layer, BatchNorm)]
        theirs = [layer for layer in self.theirs if hasattr(layer, "running_mean")]
        return [
            statistic
            for mine, its in zip(ours, theirs, strict=True)
            for statistic in (
                (mine.mean.value, its.running_mean),
                (mine.variance.value, its.running_var),
            )
        ]


def pair(name: str, dtype: type[np.floating]) -> Pair:
    """The two networks, no parameter left at the 0 or 1 it starts with."""
    rng = np.random.default_rng(2)
    ours = our_network(name)
    for layer in ours.layers:
        changing: list[Parameter | Statistic] = [*layer.parameters().values()]
        changing += layer.statistics().values()
        for of in changing:
            of.value = of.value.astype(dtype)
    ours = Sequential(ours.layers, ours.input_shape)
    ours.values += 0.02 * rng.normal(size=ours.values.size)
    ours.statistics[:] = rng.uniform(0.5, 2.0, ours.statistics.size)
    for layer in ours.layers:
        if isinstance(layer, BatchNorm):
            layer.weight.value[::2] *= -1
    theirs = their_network(name)
    two = Pair(ours, theirs.double() if dtype is np.float64 else theirs)
    copy_into([*two.parameters(ours.values).values(), *two.statistics()])
    return two


PRECISIONS = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float64, FLOAT64), (np.float32, FLOAT32)], ids=["64", "32"]
)


@pytest.mark.parametrize("name", NAMES)
@PRECISIONS
def test_outputs_are_equal(name: str, dtype: type[np.floating], tolerance: float) -> None:
    two = pair(name, dtype)
    with torch.no_grad():
        assert close(two.ours(IMAGES), two.theirs.eval()(torch.tensor(two.images)), tolerance)


@pytest.mark.parametrize("name", NAMES)
@PRECISIONS
def test_loss_gradients_and_statistics_are_equal(
    name: str, dtype: type[np.floating], tolerance: float
) -> None:
    two = pair(name, dtype)
    assert two.our_step() == pytest.approx(two.their_step(), rel=tolerance)
    largest = np.abs(two.ours.grads).max()
    for key, (mine, its) in two.parameters(two.ours.grads).items():
        if key in two.annulled():
            assert max(np.abs(mine).max(), its.grad.abs().max()) <= tolerance * largest
        else:
            assert close(mine, its.grad, tolerance)
    for mine, its in two.statistics():
        assert close(mine, its, tolerance)


def our_sgd(ours: Sequential) -> Optimizer:
    return SGD(ours.values, ours.grads, momentum=0.9, weight_decay=0.01)


def their_sgd(theirs: Any) -> Any:
    return torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)


def our_adamw(ours: Sequential) -> Optimizer:
    return AdamW(ours.values, ours.grads, betas=(0.9, 0.99), weight_decay=0.05)


def their_adamw(theirs: Any) -> Any:
    return torch.optim.AdamW(theirs.parameters(), lr=0.002, betas=(0.9, 0.99), weight_decay=0.05)


@pytest.mark.parametrize(
    ("name", "our_kind", "their_kind", "lr"),
    [
        ("mlp", our_sgd, their_sgd, 0.05),
        ("mlp", our_adamw, their_adamw, 0.002),
        ("lenet", our_adamw, their_adamw, 0.002),
        ("convnet", our_adamw, their_adamw, 0.002),
    ],
    ids=["mlp-SGD", "mlp-AdamW", "lenet-AdamW", "convnet-AdamW"],
)
@pytest.mark.parametrize(
    ("dtype", "loss_tolerance", "tolerance"),
    [
        # AdamW divides a gradient by its own size, down to eps = 1e-8: rounding grows 1e8 times.
        (np.float64, 1e-12, 1e-9),
        # A sum that rounding carries over the kink of a ReLU or of max pooling changes the
        # gradient by as much as one pixel of one image has in it.
        (np.float32, 1e-4, 0.03),
    ],
    ids=["64", "32"],
)
def test_ten_training_steps_are_equal(
    name: str,
    our_kind: Callable[[Sequential], Optimizer],
    their_kind: Callable[[Any], Any],
    lr: float,
    dtype: type[np.floating],
    loss_tolerance: float,
    tolerance: float,
) -> None:
    two = pair(name, dtype)
    start = [mine.copy() for mine, _ in two.parameters(two.ours.values).values()]
    our_optimizer, their_optimizer = our_kind(two.ours), their_kind(two.theirs)
    for _ in range(10):
        our_loss, their_loss = two.our_step(), two.their_step()
        assert our_loss == pytest.approx(their_loss, rel=loss_tolerance)
        our_optimizer.step(lr)
        their_optimizer.step()
    after = two.parameters(two.ours.values)
    for (key, (mine, its)), before in zip(after.items(), start, strict=True):
        if key not in two.annulled():
            moved = float(np.linalg.norm(mine - before))
            assert moved > 0.01 * lr * math.sqrt(mine.size)
            assert np.linalg.norm(mine - its.detach().numpy()) < tolerance * moved
        elif dtype is np.float64:  # in float32 AdamW makes whole steps of the gradient's rounding
            assert np.abs(mine - its.detach().numpy()).max() < 1e-5 * lr
    for mine, its in two.statistics():
        if dtype is np.float64:  # the means hold the biases that are annulled
            assert np.abs(mine - its.numpy()).max() < 1e-5 * lr
