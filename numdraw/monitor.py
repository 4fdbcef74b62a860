"""What /metrics tells: numbers in memory that the master and its workers share, as Prometheus text.

Each process writes to a row of its own and to no other, so nothing is locked and nothing waits; the
answer is the sum of the rows. A row outlives its worker: the next one in its place counts on.

row      version (64 bytes, ASCII)  pid  ready  beat  |  the counters, a float64 each
row 0    the master's: restarts, reloads, its lost lines of the logs
"""

import contextlib
import mmap
import os
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from numdraw.models import CLASSES
from numdraw.wsgi import REASONS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

FILE, OTHER = "file", "other"  # the routes of the page's files, and of what is not there

# Upper bounds; a last one without end stands behind them.
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
CONFIDENCES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)

RESTARTS = ("ended", "hung")
RELOADS = ("done", "failed")

_VERSION_BYTES = 64
_NUMBER_BYTES = 8
_PID, _READY, _BEAT, _FIRST = range(4)
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Monitor:
    """The rows of a master and its workers, and their sum.

    Attributes:
        rows: the master's first.
    """

    def __init__(self, routes: Iterable[str], *, workers: int = 1, spare: int = 0) -> None:
        """Share memory with the processes that will be forked.

        Args:
            routes: the application's.
            workers: how many there are to be.
            spare: how many more may live for a while, while they replace others.
        """
        self._workers = workers
        self._columns = _Columns(routes)
        size = _VERSION_BYTES + self._columns.width * _NUMBER_BYTES
        total = (1 + workers + spare) * size
        self._memory = memoryview(mmap.mmap(-1, total))
        self.rows = [
            Row(self._memory[start : start + size], self._columns)
            for start in range(0, total, size)
        ]
        self.started = time.time()

    def text(self) -> str:
        """All of it in Prometheus' text format; of routes, those that were asked.

        Source: https://prometheus.io/docs/instrumenting/exposition_formats/
        """
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        columns = self._columns
        numbers = [sum(its) for its in zip(*(row.numbers for row in self.rows), strict=True)]
        ready = [row for row in self.rows[1:] if row.ready]

        name = "numdraw_requests_total"
        yield from _family(name, "counter", "Requests answered, by route and status.")
        for (route, status), column in columns.requests.items():
            # A fault's series is there before the fault: else the first ones would be no increase.
            if numbers[column] or status >= 500:
                yield f'{name}{{route="{route}",status="{status}"}} {numbers[column]:.0f}'

        name = "numdraw_request_duration_seconds"
        yield from _family(name, "histogram", "Time in the application, by route.")
        for route, column in columns.durations.items():
            counts = numbers[column : column + len(SECONDS) + 1]
            if any(counts):
                total = numbers[column + len(SECONDS) + 1]
                yield from _histogram(name, f'route="{route}"', SECONDS, counts, total)

        name = "numdraw_digits_total"
        yield from _family(name, "counter", "Digits read in drawings, by digit.")
        for digit in range(CLASSES):
            yield f'{name}{{digit="{digit}"}} {numbers[columns.digits + digit]:.0f}'

        name = "numdraw_refusals_total"
        yield from _family(name, "counter", "Drawings that were taken for no digit.")
        yield f"{name} {numbers[columns.refusals]:.0f}"

        name = "numdraw_confidence"
        yield from _family(name, "histogram", "Confidence of the answers.")
        end = columns.confidences + len(CONFIDENCES) + 1
        counts = numbers[columns.confidences : end]
        yield from _histogram(name, "", CONFIDENCES, counts, numbers[end])

        name = "numdraw_corrections_total"
        yield from _family(name, "counter", "Drawings kept with what people say they are.")
        yield f"{name} {numbers[columns.corrections]:.0f}"

        name = "numdraw_model_info"
        yield from _family(name, "gauge", "1 for each version of the model that answers now.")
        for version in sorted({row.version for row in ready}):
            yield f'{name}{{version="{version}"}} 1'

        name = "numdraw_workers"
        yield from _family(name, "gauge", "Workers that are ready.")
        yield f"{name} {min(len(ready), self._workers)}"  # in a reload one post may have two

        name = "numdraw_worker_restarts_total"
        yield from _family(name, "counter", "Workers that ended unasked, or hung and were killed.")
        for reason in RESTARTS:
            yield f'{name}{{reason="{reason}"}} {numbers[columns.restarts[reason]]:.0f}'

        name = "numdraw_reloads_total"
        yield from _family(name, "counter", "Reloads of the weights.")
        for result in RELOADS:
            yield f'{name}{{result="{result}"}} {numbers[columns.reloads[result]]:.0f}'

        name = "numdraw_log_lines_lost_total"
        yield from _family(name, "counter", "Lines of the logs that could not be written.")
        yield f"{name} {numbers[columns.lost]:.0f}"

        name = "numdraw_resident_memory_bytes"
        yield from _family(name, "gauge", "Of master and workers, shared pages in each.")
        yield f"{name} {sum(_resident(row.pid) for row in self.rows if row.pid)}"

        name = "numdraw_start_time_seconds"
        yield from _family(name, "gauge", "When the master started, since 1970.")
        yield f"{name} {self.started:.3f}"


class Row:
    """One process's numbers. The process itself writes them; `pid` is the master's to write.

    Attributes:
        numbers: float64, pid, ready and beat first.
    """

    def __init__(self, memory: memoryview, columns: "_Columns") -> None:
        """Keep a part of the memory, as it is."""
        self._text = memory[:_VERSION_BYTES]
        self.numbers = memory[_VERSION_BYTES:].cast("d")
        self._columns = columns

    @property
    def version(self) -> str:
        """Of the model."""
        return bytes(self._text).rstrip(b"\0").decode("ascii")

    @version.setter
    def version(self, version: str) -> None:
        # The name of an architecture and hexadecimal digits.
        self._text[:] = version.encode("ascii", "replace")[:_VERSION_BYTES].ljust(
            _VERSION_BYTES, b"\0"
        )

    @property
    def pid(self) -> int:
        """Of the process, 0 for none."""
        return int(self.numbers[_PID])

    @pid.setter
    def pid(self, pid: int) -> None:
        self.numbers[_PID] = pid

    @property
    def ready(self) -> bool:
        """Whether the process answers, and is not about to stop."""
        return bool(self.numbers[_READY])

    @ready.setter
    def ready(self, ready: bool) -> None:
        self.numbers[_READY] = ready

    @property
    def beat(self) -> float:
        """When the process last showed that it gets on, in s on the monotonic clock."""
        return self.numbers[_BEAT]

    @beat.setter
    def beat(self, now: float) -> None:
        self.numbers[_BEAT] = now

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        numbers, columns = self.numbers, self._columns
        numbers[columns.requests[route, status]] += 1
        first = columns.durations[route]
        numbers[first + bisect_left(SECONDS, seconds)] += 1
        numbers[first + len(SECONDS) + 1] += seconds

    def count_answer(self, digits: Sequence[int], confidence: float, *, is_digit: bool) -> None:
        """Count what a drawing was read as.

        Args:
            digits: left to right.
            confidence: that they are right.
            is_digit: whether all of them were taken for digits.
        """
        numbers, columns = self.numbers, self._columns
        for digit in digits:
            numbers[columns.digits + digit] += 1
        numbers[columns.refusals] += not is_digit
        numbers[columns.confidences + bisect_left(CONFIDENCES, confidence)] += 1
        numbers[columns.confidences + len(CONFIDENCES) + 1] += confidence

    def count_correction(self) -> None:
        """Count a drawing that was kept as a correction."""
        self.numbers[self._columns.corrections] += 1

    def count_restart(self, reason: str) -> None:
        """Count a worker that has to be replaced, for a reason of RESTARTS."""
        self.numbers[self._columns.restarts[reason]] += 1

    def count_reload(self, result: str) -> None:
        """Count a reload, with a result of RELOADS."""
        self.numbers[self._columns.reloads[result]] += 1

    def count_lost_line(self) -> None:
        """Count a line of a log that could not be written."""
        self.numbers[self._columns.lost] += 1


class _Columns:
    """Where in a row each counter stands; a histogram has its buckets and then its sum."""

    def __init__(self, routes: Iterable[str]) -> None:
        self.width = _FIRST
        routes = [*routes, FILE, OTHER]
        self.requests = {(route, status): self._take(1) for route in routes for status in REASONS}
        self.durations = {route: self._take(len(SECONDS) + 2) for route in routes}
        self.digits = self._take(CLASSES)
        self.refusals = self._take(1)
        self.confidences = self._take(len(CONFIDENCES) + 2)
        self.corrections = self._take(1)
        self.restarts = {reason: self._take(1) for reason in RESTARTS}
        self.reloads = {result: self._take(1) for result in RELOADS}
        self.lost = self._take(1)

    def _take(self, count: int) -> int:
        self.width += count
        return self.width - count


def _family(name: str, kind: str, meaning: str) -> Iterator[str]:
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} {kind}"


def _histogram(
    name: str, label: str, bounds: Sequence[float], counts: Sequence[float], total: float
) -> Iterator[str]:
    """A histogram's lines; Prometheus counts in each bucket what is in those below it too."""
    comma = "," if label else ""
    below = list(accumulate(counts))
    for bound, count in zip([*bounds, "+Inf"], below, strict=True):
        yield f'{name}_bucket{{{label}{comma}le="{bound}"}} {count:.0f}'
    labels = f"{{{label}}}" if label else ""
    yield f"{name}_sum{labels} {total!r}"
    yield f"{name}_count{labels} {below[-1]:.0f}"


def _resident(pid: int) -> int:
    """The bytes of memory that a process has; 0 where it cannot be told."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * _PAGE_BYTES
    return 0
