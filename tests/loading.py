"""A steady load: so many predictions a second through nginx, whether answers come or not.

Open loop: a request is due at its time however late those before it are, and its latency counts
from then. A server that stands still for a second so shows all that it owes, where clients that
wait for their answers would have asked nothing.
"""

import asyncio
import contextlib
import gzip
import json
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from tests.ink import drawings_folder

T = TypeVar("T")

RATE = 100.0  # requests/s; two cores have some left for everything else
PATIENCE = 30.0  # s that a client waits for an answer; nginx gives up long before
ADDRESSES = 64  # that the clients come from, for nginx limits what one may ask
STALE = 20.0  # s; nginx closes an idle connection after 30, which could cross a request
CONTENT_TYPE = "application/json"
INK = ("pendigits-train", "uji-digits")  # files of drawings, where they are at hand


class Sample(NamedTuple):
    """One request, answered or not.

    Attributes:
        due: s on the monotonic clock.
        latency: s from then to the end of the answer.
        failure: why it failed, "" if it did not.
    """

    due: float
    latency: float
    failure: str


@dataclass(frozen=True)
class Window:
    """What became of the requests of some seconds.

    Attributes:
        failed: how many for which reason.
        p50, p99, worst: ms, of those that were answered; nan if none was.
    """

    requests: int
    failed: Counter[str]
    p50: float
    p99: float
    worst: float


class Load:
    """Sends requests from a thread of its own until the end of the block.

    Every other request has a connection of its own, as a first visit has; the rest share kept
    ones. An answer counts if it is a 200 and byte for byte what the same drawing got before.

    Attributes:
        cpu: s of processor time that sending and reading took so far.
        late: s, the longest that a request left after it was due.
    """

    def __init__(self, port: int, bodies: Sequence[bytes], *, rate: float = RATE) -> None:
        """Plan the load; it starts with the block."""
        self.cpu = 0.0
        self.late = 0.0
        self.rate = rate
        self._port = port
        self._bodies = bodies
        self._answers: dict[int, bytes] = {}
        self._samples: list[Sample] = []
        self._pending: dict[int, float] = {}  # when each request in hand was due
        self._kept: dict[str, tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._send_all()), daemon=True)

    def __enter__(self) -> "Load":
        """Start."""
        self.began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and wait for the answers that are due."""
        self._stopping.set()
        self._thread.join()

    def settle(self) -> float:
        """Wait until every request that is due by now has ended; returns what now was."""
        now = time.monotonic()
        while any(due <= now for due in list(self._pending.values())):
            time.sleep(0.01)
        return now

    def window(self, since: float, until: float) -> Window:
        """Sum up the requests that were due in that time and have ended."""
        samples = [sample for sample in list(self._samples) if since <= sample.due < until]
        latencies = sorted(1000 * sample.latency for sample in samples if not sample.failure)
        return Window(
            requests=len(samples),
            failed=Counter(sample.failure for sample in samples if sample.failure),
            p50=_rank(latencies, 0.5),
            p99=_rank(latencies, 0.99),
            worst=_rank(latencies, 1.0),
        )

    def failures(self) -> list[Sample]:
        """Every request that failed so far."""
        return [sample for sample in list(self._samples) if sample.failure]

    async def _send_all(self) -> None:
        tasks: set[asyncio.Task[None]] = set()
        number = 0
        while not self._stopping.is_set():
            due = self.began + number / self.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self.late = max(self.late, time.monotonic() - due)
            self._pending[number] = due
            task = asyncio.create_task(self._one(number, due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
            self.cpu = time.thread_time()
        if tasks:
            await asyncio.wait(tasks)
        for _, _, writer in self._kept.values():
            writer.close()

    async def _one(self, number: int, due: float) -> None:
        try:
            failure = await asyncio.wait_for(self._ask(number), PATIENCE)
        except asyncio.TimeoutError:
            failure = "no answer"
        except (OSError, EOFError) as error:
            failure = type(error).__name__
        self._samples.append(Sample(due, time.monotonic() - due, failure))
        del self._pending[number]

    async def _ask(self, number: int) -> str:
        """Send one request; returns why it failed, "" if it did not."""
        which = number % len(self._bodies)
        body = self._bodies[which]
        own = f"127.0.1.{1 + number % ADDRESSES}"
        alone = number % 2 == 0
        reader, writer = (not alone and self._take_kept(own)) or await asyncio.open_connection(
            "127.0.0.1", self._port, local_addr=(own, 0)
        )
        keep = False
        try:
            writer.write(
                f"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {CONTENT_TYPE}\r\n"
                f"Content-Length: {len(body)}\r\n"
                f"Connection: {'close' if alone else 'keep-alive'}\r\n\r\n".encode()
                + body
            )
            head = await reader.readuntil(b"\r\n\r\n")
            status, length, close = parsed(head)
            answer = await reader.readexactly(length)
            keep = not alone and not close and own not in self._kept
        finally:
            if keep:
                self._kept[own] = time.monotonic(), reader, writer
            else:
                writer.close()
        if status != 200:
            return f"status {status}"
        return "" if self._answers.setdefault(which, answer) == answer else "another answer"

    def _take_kept(self, own: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        since, reader, writer = self._kept.pop(own, (0.0, None, None))
        if reader is None or writer is None:
            return None
        if time.monotonic() - since < STALE and not reader.at_eof():
            return reader, writer
        writer.close()
        return None


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns, run in a thread: this one's loop may be the browser tests'."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def parsed(head: bytes) -> tuple[int, int, bool]:
    """An answer's status, its body's length, and whether the connection ends with it."""
    lines = head.lower().split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines[1:] if b": " in line)
    status = int(lines[0].split()[1])
    return status, int(headers.get(b"content-length", 0)), headers.get(b"connection") == b"close"


def drawn_bodies(count: int = 200) -> list[bytes]:
    """Bodies for /api/predict: real ink where it is at hand, else a three drawn by many hands."""
    drawings = []
    for name in INK:
        with (
            contextlib.suppress(FileNotFoundError),
            gzip.open(drawings_folder() / f"{name}.jsonl.gz", "rt") as lines,
        ):
            drawings += [json.loads(line)["strokes"] for line in islice(lines, count // 2)]
    rng = random.Random(0)
    while len(drawings) < count:
        tilt, wide = rng.uniform(-0.2, 0.2), rng.uniform(50, 80)
        bows = [(t / 20 * math.pi, k) for k in (0, 1) for t in range(21)]
        three = [
            [120 + wide * math.sin(t) + tilt * (60 - y), y]
            for t, k in bows
            for y in [60 + 100 * k + 50 * (1 - math.cos(t))]
        ]
        drawings.append([[[round(x, 1), round(y, 1)] for x, y in three]])
    return [json.dumps({"strokes": strokes}).encode() for strokes in drawings]


def _rank(ordered: Sequence[float], share: float) -> float:
    """The value that so large a share does not exceed; nan if there is none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan
