import copy
import pickle
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from numdraw.nn.checkpoint import CheckpointError
from numdraw.nn.gradcheck import numerical_gradient, relative_error
from numdraw.nn.layers import Array, Dropout, Flatten, Linear, ReLU
from numdraw.nn.losses import SoftmaxCrossEntropy
from numdraw.nn.network import CHUNK, Sequential
from numdraw.nn.norm import BatchNorm
from numdraw.nn.optim import AdamW


def small(dtype: type = np.float64) -> Sequential:
    rng = np.random.default_rng(0)
    layers = [Flatten(), Linear(6, 5, rng=rng, dtype=dtype), ReLU(), Dropout(0.3)]
    return Sequential([*layers, Linear(5, 3, rng=rng, dtype=dtype)], (2, 3))


def test_gradient_of_the_whole_net_equals_the_loss_slope() -> None:
    network, loss = small(), SoftmaxCrossEntropy(0.1)
    x = np.random.default_rng(1).normal(size=(2, 3, 7))
    labels = np.array([0, 1, 2, 0, 1, 2, 0])

    def run() -> tuple[float, np.ndarray]:
        return loss(network.forward(x, train=True, rng=np.random.default_rng(2)), labels)

    _, dlogits = run()
    network.backward(dlogits)
    slope = numerical_gradient(lambda: run()[0], network.values)
    assert relative_error(network.grads, slope) < 1e-6


def test_layers_parameters_are_views_of_one_vector() -> None:
    network = small()
    parameters = network.parameters()
    assert list(parameters) == ["linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias"]
    assert network.values.size == 6 * 5 + 5 + 5 * 3 + 3
    network.values[:] = np.arange(53)
    assert parameters["linear1.bias"].value.tolist() == [30, 31, 32, 33, 34]
    assert all(np.shares_memory(p.grad, network.grads) for p in parameters.values())


def test_call_takes_the_batch_first_and_gives_it_first() -> None:
    network = small()
    examples = np.random.default_rng(1).normal(size=(4, 2, 3))
    logits = network(examples)
    assert logits.shape == (4, 3)
    assert logits[2] == pytest.approx(network(examples[2:3])[0])
    assert pytest.approx(network.forward(np.moveaxis(examples, 0, -1))) == logits.T


@pytest.mark.parametrize("n", [0, 1, CHUNK, CHUNK + 1])
def test_call_takes_any_number_of_examples(n: int) -> None:
    assert small()(np.ones((n, 2, 3))).shape == (n, 3)


def test_examples_of_another_shape_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"Sequential expected examples of shape \(N, 2, 3\), got \(4, 3, 2\)"
    ):
        small()(np.ones((4, 3, 2)))


def test_layers_that_do_not_fit_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"Linear expected input \(9,\), got \(5,\)"):
        Sequential([Linear(6, 5, rng=rng), Linear(9, 3, rng=rng)], (6,))


def test_summary_lists_layers_shapes_and_parameters() -> None:
    assert small().summary().splitlines() == [
        "layer     output  parameters",
        "----------------------------",
        "flatten1  6                0",
        "linear1   5               35",
        "relu1     5                0",
        "dropout1  5                0",
        "linear2   3               18",
        "----------------------------",
        "total                     53",
    ]


def test_replica_follows_the_values_and_keeps_its_own_gradients() -> None:
    network = small()
    twin = network.replica()
    network.values += 1.0
    x = np.ones((2, 3, 4))
    assert (twin.forward(x) == network.forward(x)).all()
    twin.forward(x.copy(), train=True, rng=np.random.default_rng(0))
    twin.backward(np.ones((3, 4)))
    assert twin.grads.any()
    assert not network.grads.any()


def test_moved_a_network_keeps_its_state_in_the_other_memory() -> None:
    network = small()
    left, before = network.replica(), network.state.copy()
    vectors: list[Array] = []

    def zeros(size: int, dtype: npt.DTypeLike) -> Array:
        vectors.append(np.zeros(size, dtype))
        return vectors[-1]

    network.move_to(zeros)
    state, sums = vectors
    assert (state == before).all()
    for parameter in network.parameters().values():
        assert np.shares_memory(parameter.value, state)
        assert np.shares_memory(parameter.grad, sums)
    network.values += 1.0
    assert (left.state == before).all()


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))]
)
def test_a_copy_predicts_the_same_and_trains_by_itself(
    duplicate: Callable[[Sequential], Sequential],
) -> None:
    layers = [*small().layers, BatchNorm(3, dtype=np.float64)]
    network = Sequential(layers, (2, 3))
    network.values += 0.5  # as something learnt
    network.statistics += 0.5
    x = np.random.default_rng(1).normal(size=(4, 2, 3))
    before = network(x)
    twin = duplicate(network)
    assert (twin(x) == before).all()
    twin.backward(twin.forward(twin.to_batch_last(x), train=True, rng=np.random.default_rng(2)))
    assert twin.grads.any()
    assert not network.grads.any()
    twin.values -= twin.grads
    twin.update_statistics()
    assert (network(x) == before).all()
    assert not (twin(x) == before).any()


def test_a_shallow_copy_is_a_replica() -> None:
    network = small()
    twin = copy.copy(network)
    assert twin.state is network.state
    assert np.shares_memory(network.parameters()["linear1.bias"].grad, network.grads)
    assert not np.shares_memory(twin.grads, network.grads)


def test_arrays_round_trip_between_networks() -> None:
    network, other = small(), small()
    other.values += 1.0
    other.load_arrays(network.arrays())
    assert (other.values == network.values).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("linear1.bias"), "got.*linear1.weight"),
        (lambda arrays: arrays.update(extra=np.zeros(1)), "expected the arrays.*got.*extra"),
        (
            lambda arrays: arrays.update({"linear1.bias": np.zeros(4)}),
            r"expected linear1.bias of float64 \(5,\), got float64 \(4,\)",
        ),
        (
            lambda arrays: arrays.update({"linear1.bias": np.zeros(5, np.float32)}),
            r"expected linear1.bias of float64 \(5,\), got float32 \(5,\)",
        ),
        (
            lambda arrays: arrays.update({"linear1.bias": np.full(5, np.nan)}),
            "expected finite numbers in linear1.bias, got NaN or inf",
        ),
    ],
)
def test_arrays_of_another_network_are_refused_and_change_nothing(
    change: Callable[[dict[str, np.ndarray]], object], message: str
) -> None:
    network = small()
    before, arrays = network.values.copy(), small().arrays()
    arrays["linear2.weight"] += 1.0
    change(arrays)
    with pytest.raises(CheckpointError, match=message):
        network.load_arrays(arrays)
    assert (network.values == before).all()


def test_overfits_32_images() -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.random((32, 2, 3)), rng.integers(0, 3, 32)
    layers = [Flatten(), Linear(6, 64, rng=rng), ReLU(), Linear(64, 3, rng=rng)]
    network, loss = Sequential(layers, (2, 3)), SoftmaxCrossEntropy()
    optimizer = AdamW(network.values, network.grads)
    x = network.to_batch_last(images)
    for _ in range(600):
        value, dlogits = loss(network.forward(x, train=True), labels)
        network.backward(dlogits)
        optimizer.step(0.02)
    assert value < 0.01
    assert (network(images).argmax(axis=1) == labels).all()
