import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from numdraw.nn.layers import Array, Dropout, Linear, ReLU
from numdraw.nn.losses import SoftmaxCrossEntropy
from numdraw.nn.network import MOMENTUM, Sequential
from numdraw.nn.norm import BatchNorm
from numdraw.nn.optim import AdamW
from numdraw.nn.parallel import ParallelGradient, cores, one_blas_thread
from numdraw.nn.team import ProcessTeam, Team
from tests.teams import of_each_kind

RNG = np.random.default_rng(0)
EXAMPLES, LABELS = RNG.normal(size=(50, 6)), RNG.integers(0, 3, 50)


def network(p: float = 0.0, dtype: type = np.float64, hidden: int = 8) -> Sequential:
    rng = np.random.default_rng(1)
    layers = [Linear(6, hidden, rng=rng, dtype=dtype), ReLU(), Dropout(p)]
    return Sequential([*layers, Linear(hidden, 3, rng=rng, dtype=dtype)], (6,))


def load(k: int, part: slice, seed: int = 7) -> tuple[Array, Array, np.random.Generator]:
    return EXAMPLES[part].copy(), LABELS[part], np.random.default_rng([seed, k])


def alone(
    net: Sequential, *, batch_size: int = 50, micro_batch: int = 8, team: Team | None = None
) -> ParallelGradient:
    return ParallelGradient(
        net, SoftmaxCrossEntropy(), load, batch_size=batch_size, micro_batch=micro_batch,
        team=team or Team(1),
    )  # fmt: skip  # shorter so


def test_micro_batches_sum_to_the_whole_batch() -> None:
    whole, parts = network(), network()
    loss = SoftmaxCrossEntropy()
    x = whole.to_batch_last(EXAMPLES)
    value, dlogits = loss(whole.forward(x, train=True, rng=np.random.default_rng(0)), LABELS)
    whole.backward(dlogits)
    # 50 = 3 * 16 + 2: the last micro-batch is smaller, and must weigh less
    with Team(2) as team:
        gradient = ParallelGradient(parts, loss, load, batch_size=50, micro_batch=16, team=team)
        assert gradient(50) == pytest.approx(value)
    assert parts.grads == pytest.approx(whole.grads)


@of_each_kind
@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("hidden", [8, 40_000])  # too short to share out, and not
def test_any_workers_give_the_same_bits(kind: type[Team], size: int, hidden: int) -> None:
    results = []
    with one_blas_thread():
        for team in (Team(1), kind(size)):
            net = network(0.5, np.float32, hidden)
            net.move_to(team.zeros)
            gradient = ParallelGradient(
                net, SoftmaxCrossEntropy(), load, batch_size=50, micro_batch=8, team=team
            )
            optimizer = AdamW(net.values, net.grads, team=team)
            losses = []
            for seed in range(3):
                losses.append(gradient(50, seed))
                optimizer.step(0.01)
            results.append((losses, net.grads.copy(), net.values.copy()))
            team.close()
    assert results[0][0] == results[1][0]
    for one, other in zip(results[0][1:], results[1][1:], strict=True):
        assert (one == other).all()
        assert one.any()


def test_a_network_that_other_processes_do_not_share_is_refused() -> None:
    message = "ParallelGradient expected an array in its team's shared memory"
    with pytest.raises(ValueError, match=message):
        alone(network(), team=ProcessTeam(2))


def test_a_smaller_batch_forgets_the_larger_one() -> None:
    net = network()
    gradient = alone(net)
    gradient(8)
    expected = net.grads.copy()
    gradient(50)
    gradient(8)
    assert (net.grads == expected).all()


def test_an_error_in_a_worker_reaches_the_caller() -> None:
    def fail(k: int, part: slice) -> tuple[Array, Array, np.random.Generator]:
        raise OSError(f"micro-batch {k} is gone")

    with Team(2) as team:
        gradient = ParallelGradient(
            network(), SoftmaxCrossEntropy(), fail, batch_size=50, micro_batch=8, team=team
        )
        with pytest.raises(OSError, match="micro-batch 0 is gone"):
            gradient(50)


@pytest.mark.parametrize(("batch_size", "micro_batch"), [(0, 1), (1, 0)])
def test_nothing_below_one_is_taken(batch_size: int, micro_batch: int) -> None:
    with pytest.raises(ValueError, match="expected batch_size and micro_batch of at least 1"):
        alone(network(), batch_size=batch_size, micro_batch=micro_batch)


def test_a_batch_larger_than_planned_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a batch of at most 50, got 51"):
        alone(network())(51)


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
    with Team(2) as team:
        gradient = ParallelGradient(
            net, SoftmaxCrossEntropy(), load, batch_size=50, micro_batch=16, team=team
        )
        gradient(50)
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
        with Team(2) as team:
            work = ParallelGradient(
                network, SoftmaxCrossEntropy(), load, batch_size=50, micro_batch=16, team=team,
                group=group,
            )  # fmt: skip  # shorter so
            work(16)  # one micro-batch: most of the group have none
            loss = work(50)
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
