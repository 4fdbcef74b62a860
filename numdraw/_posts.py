"""The posts that a master fills with workers: who is there, and when there will be somebody."""

import math
import os
from dataclasses import dataclass

from numdraw._log import MAX_TRACEBACK

STEADY = 5.0  # s; a worker that lived so long did not die of how it starts
FIRST_DELAY, LAST_DELAY = 0.1, 5.0  # s between starts of a worker that keeps dying; it doubles
CRASH_LOOP = 3  # short lives in a row; from there on it is told as what it is


@dataclass
class Process:
    """A worker's process.

    Attributes:
        place: the number of its row in the monitor.
        load: of the weights that it works with, counted from 0.
        trace: a file in memory that holds the interpreter's last tracebacks; -1 for none.
        started: s on the monotonic clock.
        told: when it was told to drain; inf, if it was not.
        hung: whether it was killed because it did not get on, or did not end in time.
    """

    pid: int
    place: int
    load: int
    trace: int
    started: float
    told: float = math.inf
    hung: bool = False


@dataclass
class Post:
    """One of the N posts for a worker: its process, or when there will be one.

    Attributes:
        former: in a reload, the process that is being replaced.
        due: when to start one, in s on the monotonic clock.
        delay: s from the last one's end until then.
        short_lives: how many in a row.
    """

    process: Process | None = None
    former: Process | None = None
    due: float = 0.0
    delay: float = 0.0
    short_lives: int = 0

    def ended(self, lived: float, now: float) -> None:
        """Plan the next start: at once after a steady life, later and later otherwise."""
        self.process = None
        if lived >= STEADY:
            self.delay, self.short_lives = 0.0, 0
        else:
            self.short_lives += 1
            self.delay = min(max(FIRST_DELAY, 2 * self.delay), LAST_DELAY)
        self.due = now + self.delay


def make_trace() -> int:
    """A file in memory for the interpreter's tracebacks; -1 where the system has none.

    Raises:
        OSError: no descriptor or memory is left.
    """
    return os.memfd_create("trace") if hasattr(os, "memfd_create") else -1


def read_trace(trace: int) -> str:
    """The end of what the interpreter wrote down."""
    if trace < 0:
        return ""
    size = os.fstat(trace).st_size
    return os.pread(trace, MAX_TRACEBACK, max(0, size - MAX_TRACEBACK)).decode("ascii", "replace")


def close_trace(trace: int) -> None:
    """Give the file back."""
    if trace >= 0:
        os.close(trace)
