import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from numdraw.models import build, convnet_architecture, lenet_architecture, mlp_architecture
from numdraw.nn.conv import Conv2d
from numdraw.nn.inference import FEW, MANY, Inference, fold_batch_norm
from numdraw.nn.layers import AddChannel, Array, Dropout, Flatten, Layer, Linear, ReLU
from numdraw.nn.network import CHUNK, Sequential
from numdraw.nn.norm import BatchNorm
from numdraw.nn.pool import AvgPool2d, MaxPool2d
from tests.layers import Doubled, LeakyReLU, as_trained


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def trained(layers: Sequence[Layer], *, positive: bool = False) -> Sequential:
    return as_trained(Sequential(layers, (12, 10)), positive=positive)


def convolutions() -> list[Layer]:
    return [
        AddChannel(),
        Conv2d(1, 6, 3, padding=1, rng=rng()),
        MaxPool2d(2),
        BatchNorm(6),
        ReLU(),
        Dropout(0.5),
        Conv2d(6, 4, 2, stride=2, rng=rng()),
        BatchNorm(4),
        Doubled(),
        ReLU(),
        Flatten(),
        Linear(3 * 4 * 2, 7, rng=rng()),
        BatchNorm(7),
        Doubled(),
    ]


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("count", [1, 5])
def test_the_logits_are_the_networks(positive: bool, count: int) -> None:
    network = trained(convolutions(), positive=positive)
    examples = rng(3).normal(size=(count, 12, 10))
    kept = examples.copy()
    logits = Inference(network)(examples)
    assert logits.shape == (count, 7)
    assert logits == pytest.approx(network(examples), rel=1e-4, abs=1e-4)
    assert (examples == kept).all()


@pytest.mark.parametrize(
    "layers",
    [
        [AddChannel(), AvgPool2d(2), Flatten()],
        [AddChannel(), MaxPool2d(3), Flatten()],  # leaves a column out
        [AddChannel(), AvgPool2d(5), BatchNorm(1), Flatten()],
        [AddChannel(), Conv2d(1, 30, 5, stride=3, padding=4, rng=rng()), Flatten()],
        [Flatten(), Dropout(0.1), ReLU(), Linear(120, 3, rng=rng())],
        [ReLU(), Flatten()],
        [LeakyReLU(), Flatten()],
    ],
    ids=lambda layers: "-".join(type(layer).__name__ for layer in layers),
)
def test_each_layer_does_to_one_example_what_it_does_to_a_batch(layers: list[Layer]) -> None:
    network = trained(layers)
    examples = rng(3).normal(size=(2, 12, 10))
    kept = examples.copy()
    one = np.concatenate([Inference(network)(examples[i : i + 1]) for i in range(2)])
    assert one == pytest.approx(network(examples), rel=1e-4, abs=1e-5)
    assert (examples == kept).all()


@pytest.mark.parametrize(
    "architecture",
    [mlp_architecture([32], 0.1), lenet_architecture(), convnet_architecture([4, 6, 8, 8], 0.1)],
    ids=lambda architecture: architecture["name"],
)
def test_the_named_architectures(architecture: dict[str, Any]) -> None:
    network = build(architecture, rng=rng())
    network.statistics[:] = rng(2).uniform(0.5, 2.0, network.statistics.size)
    images = rng(3).random((3, 28, 28), np.float32)
    inference = Inference(network)
    expected = network(images)
    assert inference(images) == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert inference(images[:1]) == pytest.approx(expected[:1], rel=1e-4, abs=1e-4)


def names(layers: Sequence[Layer]) -> list[str]:
    return [type(layer).__name__ for layer in layers]


def test_batch_norm_is_folded_where_it_can_be() -> None:
    layers = convolutions()
    trained(layers, positive=True)
    assert "BatchNorm" not in names(fold_batch_norm(layers))
    trained(
        layers
    )  # negative scales cannot pass the max pooling, but the convolution and the Linear
    assert names(fold_batch_norm(layers)).count("BatchNorm") == 1
    first = [BatchNorm(3), Linear(3, 2, rng=rng())]
    assert names(fold_batch_norm(first)) == ["BatchNorm", "Linear"]


def test_training_further_changes_nothing() -> None:
    network = trained(convolutions(), positive=True)
    inference = Inference(network)
    examples = rng(3).normal(size=(1, 12, 10))
    before = inference(examples)
    network.state[:] += 1
    assert (inference(examples) == before).all()


def test_another_shape_is_refused() -> None:
    message = r"expected examples of shape \(N, 12, 10\), got \(1, 28, 28\)"
    with pytest.raises(ValueError, match=message):
        Inference(trained(convolutions()))(np.zeros((1, 28, 28)))


class Noting(Doubled):
    """A layer that notes which threads use it."""

    def __init__(self) -> None:
        self.threads: set[str] = set()

    def forward(
        self, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> Array:
        self.threads.add(threading.current_thread().name)
        return x


MANY_EXAMPLES = rng(3).normal(size=(MANY + CHUNK + 3, 12, 10)).astype(np.float32)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_give_a_large_batch_the_same_bits(threads: int) -> None:
    network = trained(convolutions(), positive=True)
    inference = Inference(network, threads=threads)
    logits = inference(MANY_EXAMPLES)
    assert (logits == inference.network(MANY_EXAMPLES)).all()  # BLAS has one thread in the tests
    assert logits == pytest.approx(network(MANY_EXAMPLES), rel=1e-4, abs=1e-4)


def test_a_large_batch_is_spread_over_threads_that_end_with_the_call() -> None:
    noting = Noting()
    inference = Inference(Sequential([noting, Flatten()], (12, 10)), threads=2)
    inference.network.layers[0] = noting  # and not its copy
    alive = set(threading.enumerate())
    me = threading.current_thread().name
    inference(MANY_EXAMPLES[: MANY - 1])
    assert noting.threads == {me}
    inference(MANY_EXAMPLES)
    assert noting.threads - {me}
    assert set(threading.enumerate()) == alive


def test_callers_at_once_get_their_own_logits() -> None:
    inference = Inference(trained(convolutions(), positive=True), threads=2)
    batches = [MANY_EXAMPLES * np.float32(factor) for factor in (1, 2, 3, 4)]
    expected = [inference.network(batch) for batch in batches]
    with ThreadPoolExecutor(4) as callers:
        for logits, wanted in zip(callers.map(inference, batches), expected, strict=True):
            assert (logits == wanted).all()


def test_callers_at_once_get_their_own_logits_of_one_example() -> None:
    inference = Inference(build(convnet_architecture([4, 6, 8, 8], 0.0), rng=rng()))
    images = list(rng(3).random((200, 1, 28, 28), np.float32))
    expected = [inference(image) for image in images]
    with ThreadPoolExecutor(4) as callers:
        for logits, wanted in zip(callers.map(inference, images), expected, strict=True):
            assert (logits == wanted).all()


def test_logits_stay_what_they_were_when_others_follow() -> None:
    inference = Inference(trained([AddChannel(), Conv2d(1, 3, 3, rng=rng()), MaxPool2d(2)]))
    first = inference(MANY_EXAMPLES[:1])
    kept = first.copy()
    inference(MANY_EXAMPLES[1:2])
    assert (first == kept).all()


@pytest.mark.parametrize("count", [FEW, FEW + 1])
def test_a_few_examples_one_by_one_and_more_in_a_batch_give_the_same(count: int) -> None:
    network = trained(convolutions(), positive=True)
    examples = MANY_EXAMPLES[:count]
    assert Inference(network)(examples) == pytest.approx(network(examples), rel=1e-4, abs=1e-4)


def test_no_examples_give_no_logits() -> None:
    assert Inference(trained(convolutions()))(np.zeros((0, 12, 10))).shape == (0, 7)


def test_a_large_batch_of_another_shape_is_refused() -> None:
    message = rf"expected examples of shape \(N, 12, 10\), got \({CHUNK}, 28, 28\)"
    with pytest.raises(ValueError, match=message):
        Inference(trained(convolutions()), threads=2)(np.zeros((MANY, 28, 28)))


def test_no_threads_are_refused() -> None:
    with pytest.raises(ValueError, match="Inference expected threads of at least 1, got 0"):
        Inference(trained(convolutions()), threads=0)
