"""An open load: requests at a fixed rate, whether the ones before were answered or not.

    python open_load.py ADDRESS RATE SECONDS BODIES OUT

sends RATE requests a second to http://ADDRESS/api/predict for SECONDS, with the lines of BODIES in
turn, each on a connection of its own and from one of 250 addresses, 127.1.0.1 to 127.1.0.250. OUT
gets a JSON line each: "due", s from the start; "ms" from then to the whole answer, so a load that
lags behind hides nothing; "status", 0 where no answer came; "id", its X-Request-Id.
"""

import asyncio
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

CLIENTS = 250  # addresses; the limits of nginx count each by itself
PATIENCE = 15.0  # s; a person is long gone


async def load(address: str, rate: float, seconds: float, bodies: list[bytes]) -> list[Any]:
    """Send them all; returns a dict each."""
    start = time.monotonic() + 0.1
    tasks = []
    for number in range(round(rate * seconds)):
        due = start + number / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        client = f"127.1.0.{number % CLIENTS + 1}"
        request = _request(address, bodies[number % len(bodies)])
        tasks.append(asyncio.create_task(_asked(address, client, request, due, start)))
    return list(await asyncio.gather(*tasks))


def _request(address: str, body: bytes) -> bytes:
    return (
        f"POST /api/predict HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def _asked(
    address: str, client: str, request: bytes, due: float, start: float
) -> dict[str, Any]:
    try:
        answer = await asyncio.wait_for(_answer(address, client, request), PATIENCE)
    except (OSError, asyncio.TimeoutError):
        answer = b""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
    name = re.search(rb"\r\nX-Request-Id: ([0-9a-f]+)", head)
    return {
        "due": due - start,
        "ms": 1000 * (time.monotonic() - due),
        "status": int(status[1]) if status and body else 0,
        "id": name[1].decode() if name else "",
    }


async def _answer(address: str, client: str, request: bytes) -> bytes:
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port), local_addr=(client, 0))
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


if __name__ == "__main__":
    where, rate, seconds, bodies, out = sys.argv[1:]
    lines = Path(bodies).read_bytes().splitlines()
    answers = asyncio.run(load(where, float(rate), float(seconds), lines))
    Path(out).write_text("".join(json.dumps(answer) + "\n" for answer in answers))
