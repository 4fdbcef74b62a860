"""The gradient of a batch, computed in micro-batches by several workers.

A batch is cut into micro-batches of a fixed size, small enough that what a layer keeps stays in
the processor's cache. The workers of a `Team` share them out, each with a replica of the network
that shares the parameters' values. Each micro-batch has a vector of its own for its gradients, and
at the end these are summed in the order of the micro-batches. Floating-point sums depend on their
order and on nothing else here, so the result is the same, bit for bit, for one worker or many, as
long as BLAS itself uses one thread (`one_blas_thread`).

Several ranks can share a batch, each with a team of its own: each takes some of its micro-batches,
and a `Group` adds up what they found. The parts are then summed in another order, which changes the
last bits.
"""

import ctypes
import math
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import cache
from threading import Lock
from typing import Any, Protocol, TypeAlias

import numpy as np

from numdraw.nn.layers import Array
from numdraw.nn.losses import SoftmaxCrossEntropy
from numdraw.nn.network import Sequential
from numdraw.nn.team import Team

# mallopt's parameters, numbered as in glibc's malloc.h, and their new values in bytes.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
MALLOPT = {
    M_TRIM_THRESHOLD: 1 << 30,  # free memory kept at the heap's end: more than a step frees
    M_TOP_PAD: 1 << 26,  # by how much the heap grows at once: more than a step takes
    M_MMAP_THRESHOLD: 1 << 25,  # larger arrays are mapped by themselves; glibc takes no more
}

Load: TypeAlias = Callable[..., tuple[Array, Array, np.random.Generator]]


class Group(Protocol):
    """Ranks, which train the same network, each on its share of every batch: MPI's processes.

    Attributes:
        rank: this one, counted from 0.
        size: how many there are.
    """

    rank: int
    size: int

    def sum(self, vector: Array) -> None:
        """Add up the ranks' vectors; in place, each gets the sum, of the same bits."""


class ParallelGradient:
    """Sets a network's `grads` to the mean gradient over a batch, and moves its statistics."""

    def __init__(
        self,
        network: Sequential,
        loss: SoftmaxCrossEntropy,
        load: Load,
        *,
        batch_size: int,
        micro_batch: int,
        team: Team,
        group: Group | None = None,
    ) -> None:
        """Plan the work.

        Args:
            network: whose gradient is wanted; with a `ProcessTeam`, call
                network.move_to(team.zeros) first.
            loss: of its logits.
            load: called as load(k, part, *where), returns the kth micro-batch's examples (n, ...),
                their labels (n,) and the random numbers to use for it; `part` is its slice of
                [0, N), and `where` what the gradient was called with. The workers call it, so the
                work of making examples is shared out too.
            batch_size: the largest N.
            micro_batch: examples in a micro-batch; the result's last bits depend on it.
            team: the workers; the result does not depend on how many.
            group: the ranks that share the batches; None if this one is alone.

        Raises:
            ValueError: batch_size or micro_batch is below 1, or the team does not share the
                network's memory.
        """
        if batch_size < 1 or micro_batch < 1:
            raise ValueError(
                "ParallelGradient expected batch_size and micro_batch of at least 1, "
                f"got {batch_size} and {micro_batch}"
            )
        for vector in (network.state, network.sums):
            team.expect_shared(vector, "ParallelGradient")
        self.network = network
        self.loss = loss
        self.load = load
        self.batch_size = batch_size
        self.micro_batch = micro_batch
        self.group = group
        self._replicas = [network.replica() for _ in range(team.size)]
        most, size = len(self._mine(batch_size)), network.sums.size
        self._parts = team.zeros(most * size, network.sums.dtype).reshape(most, size)
        self._losses = team.zeros(most, np.float64)
        self._compute = team.job(self._compute_share)
        self._sum = team.vector_job(size, self._sum_parts)

    def __call__(self, batch_size: int, *where: Any) -> float:
        """The mean loss over the batch; its gradient is in `network.grads`.

        Every rank of a group calls it with the same batch, and gets the same.

        Args:
            batch_size: N.
            where: which batch it is, for `load`.

        Returns:
            The loss in nats.

        Raises:
            ValueError: N is more than the batch_size that was planned for.
            WorkerError: a process of the team has come to its end.
        """
        if batch_size > self.batch_size:
            raise ValueError(
                f"ParallelGradient expected a batch of at most {self.batch_size}, got {batch_size}"
            )
        self._compute(batch_size, *where)
        count = len(self._mine(batch_size))
        loss = np.array([sum(self._losses[:count])], np.float64)  # in order, as the gradients
        self._sum(count)
        if self.group is not None:
            # The short one first: who is early waits there, and the long one finds all ready.
            self.group.sum(loss)
            self.group.sum(self.network.sums)
        self.network.update_statistics()
        return float(loss[0])

    def _mine(self, batch_size: int) -> range:
        """The numbers of this rank's micro-batches; none where there are more ranks than those."""
        rank, size = (0, 1) if self.group is None else (self.group.rank, self.group.size)
        return range(rank, micro_batches(batch_size, self.micro_batch), size)

    @np.errstate(over="ignore", invalid="ignore")  # the loss or the gradients tell
    def _compute_share(self, worker: int, batch_size: int, *where: Any) -> None:
        """Set the losses and the sums of a worker's micro-batches."""
        replica = self._replicas[worker]
        mine = list(enumerate(self._mine(batch_size)))
        for place, k in mine[worker :: len(self._replicas)]:
            start = k * self.micro_batch
            part = slice(start, min(start + self.micro_batch, batch_size))
            examples, labels, rng = self.load(k, part, *where)
            # The loss is a mean over this part; the batch's mean weighs the parts by their size.
            share = len(labels) / batch_size
            replica.sum_into(self._parts[place])
            x = replica.to_batch_last(examples)
            logits = replica.forward(x, train=True, rng=rng)
            replica.observed *= share
            loss, dlogits = self.loss(logits, labels)
            dlogits *= share
            replica.backward(dlogits)
            self._losses[place] = loss * share

    def _sum_parts(self, slices: list[slice], count: int) -> None:
        """Sum the first `count` micro-batches' vectors, in these slices; to 0 if there are none."""
        total = self.network.sums
        for here in slices:
            if count == 0:
                total[here] = 0.0
                continue
            so_far, *others = self._parts[:count, here]
            for part in others:
                so_far = np.add(so_far, part, out=total[here])
            if not others:
                total[here] = so_far


def micro_batches(batch_size: int, micro_batch: int) -> int:
    """How many micro-batches a batch is cut into, and so for how many workers it has work."""
    return math.ceil(batch_size / micro_batch)


def keep_freed_memory() -> None:
    """Let this process keep the memory that arrays give back, for the next arrays.

    Layers allocate the same sizes anew for each micro-batch. The C library would return them to
    the system in between, and the system hand them out again page by page, each filled with zeros:
    a fifth of a LeNet's training. It does nothing where the C library is not glibc.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            for parameter, value in MALLOPT.items():
                mallopt(parameter, value)


def one_blas_thread() -> AbstractContextManager[None]:
    """A context in which BLAS uses one thread, so that each worker has a core.

    Several threads may be in it at once: BLAS gets its threads back when the last one leaves.

    It takes the package threadpoolctl (extra `train`). Without it BLAS stays as it is; a program
    can set OPENBLAS_NUM_THREADS=1 (or MKL's, or OMP's) before it first imports NumPy.
    """
    return _ONE_BLAS_THREAD


class _OneBlasThread:
    """See `one_blas_thread`. How many threads BLAS uses is one number for the whole process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._limit = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                with suppress(ImportError):
                    self._limit.enter_context(_blas().limit(limits=1))
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limit.close()


_ONE_BLAS_THREAD = _OneBlasThread()


@cache  # to look through all libraries takes half a millisecond
def _blas() -> Any:
    """What threadpoolctl knows of the BLAS libraries that are loaded; NumPy's is, by now."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
