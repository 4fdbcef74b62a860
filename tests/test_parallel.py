import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from numdraw.nn.layers import Array, Dropout, Linear, ReLU
from numdraw.nn.losses import SoftmaxCrossEntropy
from numdraw.nn.network import MOMENTUM, Sequential
from numdraw.nn.norm import BatchNorm
from numdraw.nn.parallel import ParallelGradient, cores, one_blas_thread

RNG = np.random.default_rng(0)
EXAMPLES, LABELS = RNG.normal(size=(50, 6)), RNG.integers(0, 3, 50)


def network(p: float = 0.0, dtype: type = np.float64) -> Sequential:
    rng = np.random.default_rng(1)
    layers = [Linear(6, 8, rng=rng, dtype=dtype), ReLU(), Dropout(p)]
    return Sequential([*layers, Linear(8, 3, rng=rng, dtype=dtype)], (6,))


def load(k: int, part: slice) -> tuple[Array, Array, np.random.Generator]:
    return EXAMPLES[part], LABELS[part], np.random.default_rng([7, k])


def test_micro_batches_sum_to_the_whole_batch() -> None:
    whole, parts = network(), network()
    loss = SoftmaxCrossEntropy()
    x = whole.to_batch_last(EXAMPLES)
    value, dlogits = loss(whole.forward(x, train=True, rng=np.random.default_rng(0)), LABELS)
    whole.backward(dlogits)
    # 50 = 3 * 16 + 2: the last micro-batch is smaller, and must weigh less
    gradient = ParallelGradient(parts, loss, micro_batch=16, threads=2)
    assert gradient(50, load) == pytest.approx(value)
    assert parts.grads == pytest.approx(whole.grads)
    gradient.close()


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_give_the_same_bits(threads: int) -> None:
    results = []
    with one_blas_thread():
        for count in (1, threads):
            net = network(0.5, np.float32)
            gradient = ParallelGradient(net, SoftmaxCrossEntropy(), micro_batch=8, threads=count)
            losses = [gradient(50, load) for _ in range(3)]
            results.append((losses, net.grads.copy()))
            gradient.close()
    assert results[0][0] == results[1][0]
    assert (results[0][1] == results[1][1]).all()
    assert results[0][1].any()


def test_a_smaller_batch_forgets_the_larger_one() -> None:
    net = network()
    gradient = ParallelGradient(net, SoftmaxCrossEntropy(), micro_batch=8, threads=1)
    gradient(8, load)
    expected = net.grads.copy()
    gradient(50, load)
    gradient(8, load)
    assert (net.grads == expected).all()
    gradient.close()


def test_an_error_in_a_thread_reaches_the_caller() -> None:
    gradient = ParallelGradient(network(), SoftmaxCrossEntropy(), micro_batch=8, threads=2)

    def fail(k: int, part: slice) -> tuple[Array, Array, np.random.Generator]:
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        gradient(50, fail)
    gradient.close()


@pytest.mark.parametrize(("micro_batch", "threads"), [(0, 1), (1, 0)])
def test_nothing_below_one_is_taken(micro_batch: int, threads: int) -> None:
    with pytest.raises(ValueError, match="expected micro_batch and threads of at least 1"):
        ParallelGradient(network(), SoftmaxCrossEntropy(), micro_batch=micro_batch, threads=threads)


def test_blas_has_one_thread_until_the_last_that_wants_it_so_leaves() -> None:
    threadpoolctl = pytest.importorskip(
        "threadpoolctl", reason="threadpoolctl is not installed: pip install 'numdraw[train]'"
    )

    def blas_threads() -> int:
        infos = threadpoolctl.threadpool_info()
        return max(int(info["num_threads"]) for info in infos if info["user_api"] == "blas")

    with threadpoolctl.threadpool_limits(limits=2, user_api="blas"):
        first, second = one_blas_thread(), one_blas_thread()
        seen = []
        for step in (first.__enter__, second.__enter__):
            step()
            seen.append(blas_threads())
        for leave in (first.__exit__, second.__exit__):  # the first in is the first out
            leave(None, None, None)
            seen.append(blas_threads())
    assert seen == [1, 1, 1, 2]


def test_blas_stays_as_it_is_without_threadpoolctl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with one_blas_thread():
        pass


def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {1, 4, 6}, raising=False)
    assert cores() == 3
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert cores() == 1


def test_statistics_are_the_parts_averages_by_their_sizes() -> None:
    net = Sequential([BatchNorm(6, dtype=np.float64)], (6,))
    gradient = ParallelGradient(net, SoftmaxCrossEntropy(), micro_batch=16, threads=2)
    gradient(50, lambda k, part: (EXAMPLES[part].copy(), LABELS[part], np.random.default_rng(0)))
    gradient.close()
    parts = [EXAMPLES[start : start + 16] for start in range(0, 50, 16)]
    variance = sum(len(part) / 50 * part.var(axis=0, ddof=1) for part in parts)
    assert net.observed == pytest.approx(np.concatenate([EXAMPLES.mean(axis=0), variance]))
    started = np.repeat([0.0, 1.0], 6)
    assert net.statistics == pytest.approx(started + MOMENTUM * (net.observed - started))


class Thread:
    """One of a group of threads, each of which stands for a process."""

    def __init__(self, rank: int, vectors: dict[int, Array], barrier: Barrier) -> None:
        self.rank, self.size = rank, barrier.parties
        self._vectors, self._barrier = vectors, barrier

    def sum(self, vector: Array) -> None:
        self._vectors[self.rank] = vector.copy()
        self._barrier.wait()
        vector[:] = sum(self._vectors[rank] for rank in range(self.size))
        self._barrier.wait()


@pytest.mark.parametrize("size", [2, 3, 5])  # of four micro-batches, so that the fifth has none
def test_a_group_finds_what_one_process_finds(size: int) -> None:
    """To within the rounding of a sum in another order.

    Four parts take three additions, each of which rounds by 2**-53 of numbers below 8.
    """

    def net() -> Sequential:
        rng = np.random.default_rng(1)
        layers = [Linear(6, 8, rng=rng, dtype=np.float64), BatchNorm(8, dtype=np.float64), ReLU()]
        return Sequential([*layers, Dropout(0.5), Linear(8, 3, rng=rng, dtype=np.float64)], (6,))

    def gradient(group: Thread | None) -> tuple[float, Array, Array]:
        network = net()
        work = ParallelGradient(
            network, SoftmaxCrossEntropy(), micro_batch=16, threads=2, group=group
        )
        work(16, load)  # one micro-batch: most of the group have none
        loss = work(50, load)
        work.close()
        return loss, network.sums, network.state

    vectors: dict[int, Array] = {}
    barrier = Barrier(size)
    with ThreadPoolExecutor(size) as executor:
        members = [Thread(rank, vectors, barrier) for rank in range(size)]
        found = list(executor.map(gradient, members))
    loss, sums, state = gradient(None)
    assert 1 < np.abs(sums).max() < 8
    rounding = 2 * 3 * 2.0**-53 * 8
    for its_loss, its_sums, its_state in found:
        assert its_loss == pytest.approx(loss, rel=1e-15)
        assert np.abs(its_sums - sums).max() <= rounding
        assert np.abs(its_state - state).max() <= rounding
        assert (its_sums == found[0][1]).all()
