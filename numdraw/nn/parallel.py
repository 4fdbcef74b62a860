"""The gradient of a batch, computed in micro-batches on several threads.

A batch is cut into micro-batches of a fixed size, small enough that what a layer keeps stays in
the processor's cache. Threads take them as they come, each with a replica of the network that
shares the parameters' values; NumPy releases the GIL while it computes. Each micro-batch
has a vector of its own for its gradients, and at the end these are summed in the order of the
micro-batches. Floating-point sums depend on their order and on nothing else here, so the result is
the same, bit for bit, on one thread or on many, as long as BLAS itself uses one
(`one_blas_thread`).

Several processes can share a batch: each takes some of its micro-batches, and a `Group` adds up
what they found. The parts are then summed in another order, which changes the last bits.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from queue import LifoQueue
from threading import Lock
from typing import Protocol, TypeAlias

import numpy as np

from numdraw.nn.layers import Array
from numdraw.nn.losses import SoftmaxCrossEntropy
from numdraw.nn.network import Sequential
from numdraw.nn.optim import PART

# mallopt's parameters, numbered as in glibc's malloc.h, and their new values in bytes.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
MALLOPT = {
    M_TRIM_THRESHOLD: 1 << 30,  # free memory kept at the heap's end: more than a step frees
    M_TOP_PAD: 1 << 26,  # by how much the heap grows at once: more than a step takes
    M_MMAP_THRESHOLD: 1 << 25,  # larger arrays are mapped by themselves; glibc takes no more
}

Load: TypeAlias = Callable[[int, slice], tuple[Array, Array, np.random.Generator]]


class Group(Protocol):
    """Processes that train the same network, each on its share of every batch.

    Attributes:
        rank: this process, counted from 0.
        size: how many there are.
    """

    rank: int
    size: int

    def sum(self, vector: Array) -> None:
        """Add up the processes' vectors; in place, each gets the sum, of the same bits."""


class ParallelGradient:
    """Sets a network's `grads` to the mean gradient over a batch, and moves its statistics.

    Attributes:
        executor: the threads, which other work of the same training may use between batches.
    """

    def __init__(
        self,
        network: Sequential,
        loss: SoftmaxCrossEntropy,
        *,
        micro_batch: int,
        threads: int,
        group: Group | None = None,
    ) -> None:
        """Start the threads.

        Args:
            network: whose gradient is wanted.
            loss: of its logits.
            micro_batch: examples in a micro-batch; the result's last bits depend on it.
            threads: how many work at once; the result does not depend on it.
            group: the processes that share the batches; None if this one is alone.

        Raises:
            ValueError: micro_batch or threads is below 1.
        """
        if micro_batch < 1 or threads < 1:
            raise ValueError(
                "ParallelGradient expected micro_batch and threads of at least 1, "
                f"got {micro_batch} and {threads}"
            )
        self.network = network
        self.loss = loss
        self.micro_batch = micro_batch
        self.group = group
        self.executor = ThreadPoolExecutor(threads)
        self._replicas: LifoQueue[Sequential] = LifoQueue()
        for _ in range(threads):
            self._replicas.put(network.replica())
        self._parts: list[Array] = []  # a micro-batch's sums each

    def __call__(self, batch_size: int, load: Load) -> float:
        """The mean loss over the batch; its gradient is in `network.grads`.

        Every process of a group calls it with the same batch, and gets the same.

        Args:
            batch_size: N.
            load: given a micro-batch's number and its slice of [0, N), returns its examples
                (n, ...), their labels (n,) and the random numbers to use for it. Runs on the
                threads, so the work of making examples is shared out too.

        Returns:
            The loss in nats.
        """
        starts = range(0, batch_size, self.micro_batch)
        rank, size = (0, 1) if self.group is None else (self.group.rank, self.group.size)
        mine = range(rank, len(starts), size)  # none, where there are more processes than parts
        while len(self._parts) < len(mine):
            self._parts.append(np.empty_like(self.network.sums))

        def work(k: int) -> float:
            part = slice(starts[k], min(starts[k] + self.micro_batch, batch_size))
            examples, labels, rng = load(k, part)
            # The loss is a mean over this part; the batch's mean weighs the parts by their size.
            share = len(labels) / batch_size
            replica = self._replicas.get()
            try:
                replica.sum_into(self._parts[k // size])
                x = replica.to_batch_last(examples)
                logits = replica.forward(x, train=True, rng=rng)
                replica.observed *= share
                loss, dlogits = self.loss(logits, labels)
                dlogits *= share
                replica.backward(dlogits)
            finally:
                self._replicas.put(replica)
            return loss * share

        loss = np.array([sum(self.executor.map(work, mine))], np.float64)
        self._sum_parts(len(mine))
        if self.group is not None:
            # The short one first: who is early waits there, and the long one finds all ready.
            self.group.sum(loss)
            self.group.sum(self.network.sums)
        self.network.update_statistics()
        return float(loss[0])

    def _sum_parts(self, count: int) -> None:
        total = self.network.sums
        if count == 0:
            total[:] = 0.0
            return
        first, *others = self._parts[:count]

        def work(start: int) -> None:
            here = slice(start, start + PART)
            so_far = first[here]
            for part in others:
                so_far = np.add(so_far, part[here], out=total[here])
            if not others:
                total[here] = so_far

        list(self.executor.map(work, range(0, total.size, PART)))

    def close(self) -> None:
        """End the threads."""
        self.executor.shutdown()


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
    """A context in which BLAS uses one thread, so that the threads above have a core each.

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
                    from threadpoolctl import threadpool_limits

                    self._limit.enter_context(threadpool_limits(limits=1, user_api="blas"))
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limit.close()


_ONE_BLAS_THREAD = _OneBlasThread()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
