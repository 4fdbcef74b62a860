"""Workers that do the same work at once, each its own share: threads, or forked processes.

NumPy lets go of the GIL while it computes, so threads do compute side by side. But between two
calls each of them needs the GIL for a few microseconds, and the others wait: of a small network's
training that is a fifth. Processes have a GIL each. They share the memory that was asked for with
`zeros`; all else is as it was when they were forked.
"""

import mmap
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from numdraw.nn.layers import Array

if TYPE_CHECKING:  # a predictor, which never forks, starts without them
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

PART = 32 * 1024  # elements worked on at once: six float32 vectors of it stay in 1 MiB of L2
LARGEST_ALONE = 8 * PART  # elements; AdamW takes 0.28 ms for so many, and 0.2 ms on two processes
JOIN_TIMEOUT = 5.0  # s; for a process that comes to its end, maybe from the middle of its work
THREADS = "/proc/self/task"  # of Linux: an entry for each thread of this process

Answer: TypeAlias = tuple[Any, Exception | None]  # what work returned, or what it raised


class WorkerError(ValueError):
    """A process of a team cannot be had, or came to its end before the team did."""


class Team:
    """Workers that are threads; worker 0 is the calling one. A context: leaving it ends the others.

    Attributes:
        size: how many workers.
    """

    def __init__(self, size: int) -> None:
        """Plan the workers.

        Args:
            size: how many, the caller included.

        Raises:
            ValueError: it is below 1.
        """
        if size < 1:
            raise ValueError(f"{type(self).__name__} expected a size of at least 1, got {size}")
        self.size = size
        self._jobs: list[Callable[..., Any]] = []
        self._executor: ThreadPoolExecutor | None = None
        self._closed = False

    def zeros(self, size: int, dtype: npt.DTypeLike) -> Array:
        """A vector of zeros (size,) in memory that all workers share."""
        return np.zeros(size, dtype)

    def expect_shared(self, array: Array, who: str) -> None:
        """Raise a ValueError unless all workers share the array's memory.

        Args:
            array: written to by one worker and read by others.
            who: needs it so, for the message.
        """
        # nothing to look at: threads share all memory

    def job(self, work: Callable[..., Any]) -> Callable[..., list[Any]]:
        """A function that has every worker do a piece of work.

        Args:
            work: called as work(worker, *args) by each; worker counts them from 0.

        Returns:
            Called with args, of which other processes get copies, it returns what the workers
            returned, in their order. If some raise, it raises the first of their exceptions, once
            all are done. A WorkerError where a process has come to its end, and a Ctrl-C, close the
            team; a ValueError once it is closed.
        """
        number = len(self._jobs)
        self._jobs.append(work)

        def run(*args: Any) -> list[Any]:
            self.start()
            try:
                waits = [self._ask(worker, number, args) for worker in range(1, self.size)]
                answers = [self._answer(0, number, args), *(wait() for wait in waits)]
            except BaseException:  # Ctrl-C, or a dead process: answers are left that nobody asked
                self.close()
                raise
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

        Returns:
            Called with args, it has the work done on all elements.
        """
        starts = range(0, size, PART)
        workers = 1 if size <= LARGEST_ALONE else self.size

        def share(worker: int, *args: Any) -> None:
            work([slice(start, start + PART) for start in starts[worker::workers]], *args)

        return partial(share, 0) if workers == 1 else self.job(share)

    def start(self) -> None:
        """Start the workers, if they have not been; the first job does so too.

        Raises:
            ValueError: the team was closed.
        """
        if self._closed:
            raise ValueError(
                f"{type(self).__name__} expected no more work once closed, got some; make another"
            )

    def close(self) -> None:
        """End the workers."""
        self._closed = True
        if self._executor is not None:
            self._executor.shutdown()

    def __enter__(self) -> "Team":
        """Itself; leaving the context ends the workers."""
        return self

    def __exit__(self, *error: object) -> None:
        """End the workers."""
        self.close()

    def _ask(self, worker: int, number: int, args: tuple[Any, ...]) -> Callable[[], Answer]:
        """Have another worker begin with a job; what is returned waits for its answer."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self.size - 1)
        return self._executor.submit(self._answer, worker, number, args).result

    def _answer(self, worker: int, number: int, args: tuple[Any, ...]) -> Answer:
        try:
            return self._jobs[number](worker, *args), None
        except Exception as error:
            return None, error


class ProcessTeam(Team):
    """Workers that are processes, forked from the calling one. Only where `can_fork` says so.

    They end when the first process does, however it ends: each reads from a pipe, and that closes.
    """

    def __init__(self, size: int) -> None:
        """See `Team`."""
        super().__init__(size)
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        self._shared: list[Array] = []

    def zeros(self, size: int, dtype: npt.DTypeLike) -> Array:
        """See `Team.zeros`."""
        dtype = np.dtype(dtype)
        memory = mmap.mmap(-1, max(size, 1) * dtype.itemsize)  # a fork does not copy it
        vector = np.frombuffer(memory, dtype, count=size)
        self._shared.append(vector)
        return vector

    def expect_shared(self, array: Array, who: str) -> None:
        """See `Team.expect_shared`."""
        if not any(np.may_share_memory(array, shared) for shared in self._shared):
            raise ValueError(
                f"{who} expected an array in its team's shared memory, got one of this process's "
                "own; call network.move_to(team.zeros) first"
            )

    def job(self, work: Callable[..., Any]) -> Callable[..., list[Any]]:
        """See `Team.job`.

        Raises:
            ValueError: the processes were forked before, and do not know of the work.
        """
        if self._processes:
            raise ValueError(
                "ProcessTeam expected all jobs before it starts, got another; make it before"
            )
        return super().job(work)

    def start(self) -> None:
        """See `Team.start`.

        Raises:
            WorkerError: a process cannot be forked. The team is closed.
        """
        super().start()
        if self._processes:
            return
        from multiprocessing import get_context  # 5 ms, of which no predictor has need

        context = get_context("fork")
        try:
            for worker in range(1, self.size):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=self._serve, args=(worker, ours, theirs), daemon=True
                )
                process.start()
                theirs.close()
                self._pipes.append(ours)
                self._processes.append(process)
        except OSError as error:
            self.close()
            raise WorkerError(
                f"ProcessTeam expected to fork {self.size - 1} processes, got {error}; "
                "use fewer (--threads)"
            ) from error

    def close(self) -> None:
        """End the processes."""
        super().close()
        for pipe in self._pipes:
            with suppress(OSError):
                pipe.send(None)  # to close it may not do: a process forked later has this end too
            pipe.close()
        for process in self._processes:
            process.join(JOIN_TIMEOUT)
            process.kill()
        self._pipes, self._processes = [], []

    def _ask(self, worker: int, number: int, args: tuple[Any, ...]) -> Callable[[], Answer]:
        try:
            self._pipes[worker - 1].send((number, args))
        except OSError as error:
            raise self._ended(worker) from error
        return partial(self._receive, worker)

    def _receive(self, worker: int) -> Answer:
        try:
            value, error, trace = self._pipes[worker - 1].recv()
        except (EOFError, OSError) as gone:
            raise self._ended(worker) from gone
        if error is not None:
            error.__cause__ = WorkerError(f"in process {worker + 1} of {self.size}:\n{trace}")
        return value, error

    def _serve(self, worker: int, ours: "Connection", theirs: "Connection") -> None:
        """What a forked process does: one job after another, until the pipe closes."""
        os.setpgid(0, 0)  # signals to the group, as a terminal's Ctrl-C, are for the first process
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for pipe in (ours, *self._pipes):  # the other ends: while one is open here, none closes
            pipe.close()
        with suppress(EOFError, OSError):
            while (asked := theirs.recv()) is not None:
                theirs.send_bytes(_packed(*self._answer(worker, *asked)))

    def _ended(self, worker: int) -> WorkerError:
        process = self._processes[worker - 1]
        process.join(JOIN_TIMEOUT)
        status = process.exitcode
        how = f"signal {-status}" if status is not None and status < 0 else f"exit status {status}"
        return WorkerError(
            f"process {worker + 1} of {self.size} expected to end with its team, got {how}; "
            "if memory ran out, use fewer (--threads)"
        )


def _packed(value: Any, error: Exception | None) -> bytes:
    """The pickle of an answer, with the error's traceback; of what goes wrong with it, if it does.

    Not every exception can be pickled, and not every one that can be is made again by that.
    """
    trace = "".join(traceback.format_exception(error)) if error is not None else ""
    try:
        packed = pickle.dumps((value, error, trace))
        pickle.loads(packed)  # our own bytes
    except Exception as failure:
        told = f"{type(error).__name__}: {error}" if error is not None else f"{failure}"
        packed = pickle.dumps(
            (
                None,
                WorkerError(f"a worker expected an answer that can be pickled, got {told}"),
                trace,
            )
        )
    return packed


def can_fork() -> bool:
    """Whether a fork of this process is safe: on Linux, while it has no second thread.

    A fork has a copy of the calling thread only; locks that others held stay locked. So ask right
    before.
    """
    return sys.platform == "linux" and len(os.listdir(THREADS)) == 1


def make_team(size: int) -> Team:
    """Processes where this one `can_fork`, else threads."""
    return ProcessTeam(size) if can_fork() else Team(size)
