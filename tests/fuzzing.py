"""Sends what tests/mutations.py makes, and says what should not have come back.

scripts/bench fuzz does so at length, tests/test_fuzz.py in short.
"""

import asyncio
import contextlib
import heapq
import io
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from time import thread_time
from typing import Any, NoReturn

from numdraw.app import App
from tests.loading import run_coroutine
from tests.mutations import LEGACY, PREDICT, http_request, json_body

ALLOWED = {200, 400, 411, 413, 415, 422}  # answers to a POST of whatever body
# nginx's own words for a Transfer-Encoding or an HTTP version that it does not know, by RFC 9112.
NOT_FAULTS = {501, 505}
CONNECTIONS = 32  # at once
ADDRESSES = 1000  # that they come from, for nginx limits what one may ask
QUIET = 0.1  # s without a byte: the server waits for more than will come
PATIENCE = 15.0  # s; nginx closes within 10
SLOWEST = 10  # that are kept

Packets = list[bytes]


@dataclass
class Found:
    """What came back.

    Attributes:
        statuses: how many answers had which; 0 stands for a connection without one.
        wrong: what should not be, each with the request that did it.
        slowest: s of processor time, path and body; the slowest last. In-process only.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[tuple[str, bytes]] = field(default_factory=list)
    slowest: list[tuple[float, str, bytes]] = field(default_factory=list)


def requests(seed: int, count: int) -> Iterator[Packets]:
    """So many connections' damaged bytes."""
    rng = random.Random(seed)
    return (http_request(rng) for _ in range(count))


def bodies(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """So many damaged bodies, each with its path; one in five is for /predict_number/."""
    rng = random.Random(seed)
    for _ in range(count):
        path = LEGACY if rng.random() < 0.2 else PREDICT
        yield path, json_body(rng, path)


def posts(wanted: Iterable[tuple[str, bytes]]) -> Iterator[Packets]:
    """The bodies as sound requests."""
    for path, body in wanted:
        yield [
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
        ]


def ask_all(app: App, wanted: Iterable[tuple[str, bytes]]) -> Found:
    """Post bodies to the application itself."""
    found = Found()
    for path, body in wanted:
        start = thread_time()
        status, content_type, answer = _post(app, path, body)
        seconds = thread_time() - start
        found.statuses[status] += 1
        if fault := _fault_of(status, content_type, answer):
            found.wrong.append((f"{path}: {fault}", body))
        slow = (seconds, path, body)
        if len(found.slowest) < SLOWEST:
            heapq.heappush(found.slowest, slow)
        else:
            heapq.heappushpop(found.slowest, slow)
    found.slowest.sort()
    return found


def send_all(port: int, wanted: Iterable[Packets], *, only: set[int] | None = None) -> Found:
    """Send each on a connection of its own through nginx.

    Args:
        only: statuses that may come, to requests that are sound; None says that they are not, and
            allows all but errors of the server.
    """
    return run_coroutine(_send_all(port, enumerate(wanted), only))


async def _send_all(
    port: int, wanted: Iterator[tuple[int, Packets]], only: set[int] | None
) -> Found:
    found = Found()

    async def client() -> None:
        for number, packets in wanted:  # shared by all clients
            try:
                answer = await asyncio.wait_for(
                    _exchange(port, number, packets, only is None), PATIENCE
                )
            except asyncio.TimeoutError:
                found.wrong.append((f"no end within {PATIENCE:g} s", b"".join(packets)))
                continue
            statuses = [int(text) for text in re.findall(rb"HTTP/1\.1 (\d{3}) [A-Z]", answer)]
            found.statuses.update(statuses or [0])
            for status in statuses or [0]:
                bad = (
                    status >= 500 and status not in NOT_FAULTS
                    if only is None
                    else status not in only
                )
                if bad:
                    found.wrong.append((f"status {status}", b"".join(packets)))

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return found


async def _exchange(port: int, number: int, packets: Packets, end: bool) -> bytes:
    """Send the packets, and in the end, where the server waits for more, that no more comes.

    Returns:
        All that came back.
    """
    place = number % ADDRESSES
    own = f"127.1.{place // 250}.{1 + place % 250}"
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(own, 0))
    received = b""
    with contextlib.closing(writer), contextlib.suppress(OSError):  # the server has had enough
        for packet in packets:
            writer.write(packet)
            await writer.drain()
            await asyncio.sleep(0.001 if len(packets) > 1 else 0)
        while True:
            try:
                chunk = await asyncio.wait_for(reader.read(65536), QUIET if end else None)
            except asyncio.TimeoutError:
                writer.write_eof()
                end = False
            else:
                received += chunk
                if not chunk:
                    break
    return received


def _post(app: App, path: str, body: bytes) -> tuple[int, str, bytes]:
    """Status, Content-Type and body of an answer."""
    started: list[tuple[str, dict[str, str]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> None:
        started.append((status, dict(headers)))

    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "",
        "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body), "wsgi.url_scheme": "http",
    }  # fmt: skip  # shorter so
    answer = b"".join(app(environ, start_response))
    [(status, headers)] = started
    return int(status[:3]), headers["Content-Type"], answer


def _fault_of(status: int, content_type: str, answer: bytes) -> str:
    """What is wrong with an answer, "" if nothing is."""
    if status not in ALLOWED:
        return f"status {status}"
    if content_type != ("application/json" if status == 200 else "application/problem+json"):
        return f"Content-Type {content_type}"
    try:
        value = json.loads(answer, parse_constant=_no_constant)
    except ValueError as error:
        return f"no JSON: {error}"
    if status != 200:
        return "" if value["status"] == status else f"a problem of status {value['status']}"
    if not 0 <= sum(value.get("probabilities", [])) <= 1.001:  # the rest: that it is no digit
        return f"probabilities that add up to {sum(value['probabilities'])}"
    return "" if 0 <= float(value["confidence"]) <= 100 else f"confidence {value['confidence']}"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def batches(
    wanted: Iterator[Any], size: int, send: Callable[[Iterator[Any]], Found]
) -> Iterator[Found]:
    """Send so many at a time, and tell of each."""
    while batch := list(islice(wanted, size)):
        yield send(iter(batch))
