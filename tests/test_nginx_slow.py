"""nginx/numdraw.conf: clients that are slow, and clients that hold on to what they have."""

import asyncio
import contextlib
import socket
import time

from tests.loading import run_coroutine
from tests.serving import SECONDS, serving
from tests.through_nginx import DRAWING, NO_RATE, ask, assert_problem, load

SLOW = 500  # connections; of each kind half
ADDRESSES = 5  # limit_conn lets each have 100


def test_one_address_cannot_hold_all_connections() -> None:
    unfinished = b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n12"
    few = {"limit_conn        numdraw_open 100;": "limit_conn numdraw_open 5;"}
    with serving(app=[], edits=few) as site, contextlib.ExitStack() as stack:
        for _ in range(5):
            assert ask(site, "GET", "/").status == 200
            connection = socket.create_connection(("127.0.0.1", site.port), timeout=SECONDS)
            stack.enter_context(connection).sendall(unfinished)
            time.sleep(0.05)
        assert_problem(ask(site, "GET", "/"), 429, "fewer requests from one address")


def test_a_request_that_never_ends_is_cut_off() -> None:
    quick = {
        "client_header_timeout     10s": "client_header_timeout 1s",
        "client_body_timeout       10s": "client_body_timeout 1s",
    }
    with serving(app=[], edits=quick) as site:
        for start in (
            b"GET / HTTP/1.1\r\nHo",
            b"POST /api/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9",
        ):
            with socket.create_connection(("127.0.0.1", site.port), timeout=SECONDS) as slow:
                slow.sendall(start + (b"\r\n\r\n12" if b"Length" in start else b""))
                began = time.monotonic()
                with contextlib.suppress(ConnectionResetError):
                    assert slow.recv(1000) == b""
                assert time.monotonic() - began > 0.5


def test_five_hundred_slow_clients_keep_nobody_from_being_answered() -> None:
    with serving(workers=2, edits=NO_RATE) as site:
        came = run_coroutine(_ask_beside_slow_clients(site.port))
        assert came == {"slow": 0, "others": 50}
        with load(site) as outcomes:
            time.sleep(0.5)
    assert set(outcomes) == {200}


async def _ask_beside_slow_clients(port: int) -> dict[str, int]:
    """How many slow clients had an answer or an end, and how many others were answered with 200."""
    head = b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "
    body = b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"
    stop = asyncio.Event()
    open_now = asyncio.Semaphore(0)

    async def slow(number: int) -> int:
        source = (f"127.0.0.{2 + number % ADDRESSES}", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source)
        with contextlib.closing(writer):
            writer.write(head if number % 2 else body)
            open_now.release()
            while not stop.is_set():
                writer.write(b"a")
                try:
                    await asyncio.wait_for(reader.read(1), 0.5)
                except TimeoutError:
                    continue
                return 1
        return 0

    async def other() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            writer.write(
                b"POST /api/predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(DRAWING)
            )
            writer.write(DRAWING)
            return int((await reader.readline()).startswith(b"HTTP/1.1 200 "))

    tasks = [asyncio.create_task(slow(number)) for number in range(SLOW)]
    for _ in range(SLOW):
        await asyncio.wait_for(open_now.acquire(), SECONDS)
    others = 0
    for _ in range(50):
        others += await asyncio.wait_for(other(), SECONDS)
    stop.set()
    return {"slow": sum(await asyncio.gather(*tasks)), "others": others}
