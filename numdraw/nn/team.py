"""Workers that do the same work at once, each its own share: threads, or forked processes.

NumPy lets go of the GIL while it computes, so threads do compute side by side. But between two
calls each of them needs the GIL for a few microseconds, and the others wait: of a small network's
training that is a fifth. Processes have a GIL each. They see the same memory where it was asked
for (`zeros`), and all else is as it was when they were forked.
"""

import mmap
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from numdraw.nn.layers import Array

TASKS = Path("/proc/self/task")  # of Linux: an entry for each thread of this process
PART = 32 * 1024  # elements worked on at once: six float32 vectors of it stay in 1 MiB of L2
ALONE = 8 * PART  # elements; a shorter vector is done before the others have heard of it
PATIENCE = 5.0  # s; for a process that was told to end, and may be in a piece of work

Answer: TypeAlias = tuple[Any, Exception | None]  # what work returned, or what it raised


class WorkerError(ChildProcessError):
    """A process of a team came to its end before its work did."""


class Team:
    """Threads. Worker 0 is the caller's own.

    A context, which ends the workers.

    Attributes:
        size: how many workers.
    """

    def __init__(self, size: int) -> None:
        """Plan the workers; they start with the first job.

        Args:
            size: how many, the caller included.

        Raises:
            ValueError: it is below 1.
        """
        if size < 1:
            raise ValueError(f"Team expected a size of at least 1, got {size}")
        self.size = size
        self._jobs: list[Callable[..., Any]] = []
        self._executor = ThreadPoolExecutor(size)  # a thread starts when there is work for it

    def zeros(self, size: int, dtype: npt.DTypeLike) -> Array:
        """A vector of zeros (size,) that all workers see."""
        return np.zeros(size, dtype)

    def expect_seen(self, array: Array, who: str) -> None:
        """Raise a ValueError unless all workers see the same array.

        Args:
            array: to be written to by one worker and read by another.
            who: needs it so, for the message.
        """

    def job(self, work: Callable[..., Any]) -> Callable[..., list[Any]]:
        """A function that has every worker do a piece of work.

        Args:
            work: called as work(rank, *args) by each worker; rank counts them from 0.

        Returns:
            Called with args, which other processes get as copies, it returns what the workers
            returned, in their order. If some raise, it raises the first of their exceptions, once
            all are done.
        """
        number = len(self._jobs)
        self._jobs.append(work)

        def run(*args: Any) -> list[Any]:
            waits = [self._start(rank, number, args) for rank in range(1, self.size)]
            answers = [self._answer(0, number, args), *(wait() for wait in waits)]
            for _, error in answers:
                if error is not None:
                    raise error
            return [value for value, _ in answers]

        return run

    def vector_job(self, size: int, work: Callable[..., None]) -> Callable[..., object]:
        """As `job`, for work that treats the elements of vectors one by one.

        The caller does it alone where the vectors are short.

        Args:
            size: the vectors' elements.
            work: called as work(parts, *args), changes the elements in these slices.
        """
        starts = range(0, size, PART)
        workers = 1 if size <= ALONE else self.size

        def share(rank: int, *args: Any) -> None:
            work([slice(start, start + PART) for start in starts[rank::workers]], *args)

        return partial(share, 0) if workers == 1 else self.job(share)

    def _start(self, rank: int, number: int, args: tuple[Any, ...]) -> Callable[[], Answer]:
        """Have another worker begin; what is returned waits for its answer."""
        return self._executor.submit(self._answer, rank, number, args).result

    def _answer(self, rank: int, number: int, args: tuple[Any, ...]) -> Answer:
        try:
            return self._jobs[number](rank, *args), None
        except Exception as error:
            return None, error

    def close(self) -> None:
        """End the workers."""
        self._executor.shutdown()

    def __enter__(self) -> "Team":
        """Itself; leaving the context ends the workers."""
        return self

    def __exit__(self, *error: object) -> None:
        """End the workers."""
        self.close()


class ProcessTeam(Team):
    """Processes, forked from this one with the first job. Only where `can_fork` says so.

    They end when this process does, however it ends: each reads from a pipe, and that closes.
    """

    def __init__(self, size: int) -> None:
        """See `Team`."""
        super().__init__(size)
        self._pipes: list[Connection] = []
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._seen: list[Array] = []

    def zeros(self, size: int, dtype: npt.DTypeLike) -> Array:
        """A vector of zeros (size,) in memory that a fork shares instead of copying it."""
        dtype = np.dtype(dtype)
        memory = mmap.mmap(-1, max(size, 1) * dtype.itemsize)
        vector = np.frombuffer(memory, dtype, count=size)
        self._seen.append(vector)
        return vector

    def expect_seen(self, array: Array, who: str) -> None:
        """See `Team.expect_seen`."""
        if not any(np.may_share_memory(array, seen) for seen in self._seen):
            raise ValueError(
                f"{who} expected an array that all processes of its team see, got one of this "
                "process; make it with the team's zeros (network.move_to(team.zeros))"
            )

    def job(self, work: Callable[..., Any]) -> Callable[..., list[Any]]:
        """See `Team.job`.

        Raises:
            RuntimeError: the processes were forked before, and do not know of the work.
        """
        if self._pipes:
            raise RuntimeError("ProcessTeam expected all jobs before the first is run, got another")
        return super().job(work)

    def _start(self, rank: int, number: int, args: tuple[Any, ...]) -> Callable[[], Answer]:
        if not self._pipes:
            self._fork()
        try:
            self._pipes[rank - 1].send((number, args))
        except OSError as error:
            raise self._ended(rank) from error
        return partial(self._receive, rank)

    def _receive(self, rank: int) -> Answer:
        try:
            answer: Answer = self._pipes[rank - 1].recv()
        except (EOFError, OSError) as error:
            raise self._ended(rank) from error
        return answer

    def _fork(self) -> None:
        context = multiprocessing.get_context("fork")
        for rank in range(1, self.size):
            ours, theirs = context.Pipe()
            process = context.Process(target=self._serve, args=(rank, ours, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def _serve(self, rank: int, ours: Connection, theirs: Connection) -> None:
        """What a forked process does: one job after another, until the pipe closes."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the first process
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for pipe in (ours, *self._pipes):  # the other ends: while one is open here, none closes
            pipe.close()
        with suppress(EOFError, OSError):
            while (asked := theirs.recv()) is not None:
                theirs.send(self._answer(rank, *asked))

    def _ended(self, rank: int) -> WorkerError:
        process = self._processes[rank - 1]
        process.join(PATIENCE)
        how = f"exit status {process.exitcode}"
        if process.exitcode is not None and process.exitcode < 0:
            how = f"its end by signal {-process.exitcode}"
        return WorkerError(
            f"worker {rank} of {self.size} expected to go on, got {how}; "
            "is there enough memory for all of them?"
        )

    def close(self) -> None:
        """End the processes."""
        super().close()
        for pipe in self._pipes:
            with suppress(OSError):
                pipe.send(None)
            pipe.close()
        for process in self._processes:
            process.join(PATIENCE)
            process.kill()
        self._pipes, self._processes = [], []


def can_fork() -> bool:
    """Whether a fork of this process is safe: on Linux, while it has no second thread.

    A fork has a copy of the first thread only, and of the locks as they were.
    """
    return sys.platform == "linux" and len(os.listdir(TASKS)) == 1
