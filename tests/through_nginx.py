"""What the tests of nginx share: requests over real connections, and what each answer must have."""

import contextlib
import http.client
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.serving import NGINX, SECONDS, Site

DRAWING = json.dumps({"strokes": [[[100, 60], [90, 200], [110, 60]]]}).encode()
# Loads come from one address; the tests of the limits have them as they are.
NO_RATE = {"zone=numdraw_api:10m    rate=20r/s": "zone=numdraw_api:10m rate=100000r/s"}
JSON_HEADERS = {"Content_Type": "application/json"}
NO_DOCUMENT = "default-src 'none'; frame-ancestors 'none'"
ON_EVERY_ANSWER = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Server": "nginx",  # without its version
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# An application of a few lines for what ours never does: be slow, show what it was sent.
ECHO = """
import bjoern, json, os, sys, time

asked = []

def app(environ, start_response):
    asked.append(environ["PATH_INFO"])
    if environ["PATH_INFO"] == "/api/slow":
        time.sleep(3)
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    sent = {key: value for key, value in environ.items() if type(value) is str}
    answer = json.dumps({**sent, "bytes": len(body), "asked": asked}).encode()
    cors = [("Access-Control-Allow-Origin", "https://elsewhere.example"), ("Vary", "Origin")]
    hidden = [("X-Frame-Options", "from the application"), ("X-Request-Id", "from the application")]
    length = ("Content-Length", str(len(answer)))
    start_response("200 OK", [("Content-Type", "application/json"), length, *cors, *hidden])
    return [answer]

listening = bjoern.bind_and_listen("unix:" + sys.argv[1])
os.chmod(sys.argv[1], 0o666)
bjoern.server_run(listening, app)
"""


@dataclass(frozen=True)
class Answer:
    """One answer: header names in lower case, each with all its values."""

    status: int
    headers: Mapping[str, list[str]]
    body: bytes

    def header(self, name: str) -> str | None:
        values = self.headers.get(name.lower(), [])
        assert len(values) < 2, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None


def ask(
    site: Site,
    method: str,
    path: str,
    body: bytes | None = None,
    *,
    source: str = "127.0.0.1",
    **headers: str,
) -> Answer:
    """Send one request on a connection of its own; `_` in a header's name stands for `-`.

    Args:
        source: the address that the request comes from.
    """
    connection = http.client.HTTPConnection(
        "127.0.0.1", site.port, timeout=SECONDS, source_address=(source, 0)
    )
    with contextlib.closing(connection):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        response = connection.getresponse()
        return read(response)


def send(site: Site, *packets: bytes) -> list[Answer]:
    """Send raw bytes, in packets of their own, and return all answers until the end."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for packet in packets:
            connection.sendall(packet)
            time.sleep(0.05)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    answers = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        length = int(re.findall(rb"(?i)content-length: (\d+)", head)[0])
        lines = head.decode("latin-1").split("\r\n")
        named = http.client.HTTPMessage()
        for line in lines[1:]:
            name, _, value = line.partition(": ")
            named[name] = value
        status = int(lines[0].split()[1])
        answers.append(Answer(status, gathered(named), rest[:length]))
        received = rest[length:]
    return answers


def read(response: http.client.HTTPResponse) -> Answer:
    return Answer(response.status, gathered(response.headers), response.read())


def gathered(headers: http.client.HTTPMessage) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for name, value in headers.items():
        result.setdefault(name.lower(), []).append(value)
    return result


def assert_problem(answer: Answer, status: int, detail: str) -> None:
    """Check an error's form, its headers, and that its detail holds a text."""
    assert answer.status == status, answer
    assert answer.header("Content-Type") == "application/problem+json"
    problem = json.loads(answer.body)
    assert set(problem) == {"type", "title", "status", "detail"}
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert detail in problem["detail"]
    assert answer.header("Cache-Control") == "no-store"
    assert answer.header("Content-Security-Policy") == NO_DOCUMENT
    assert_headers(answer)


def assert_headers(answer: Answer) -> None:
    for name, value in ON_EVERY_ANSWER.items():
        assert answer.header(name) == value, name
    assert re.fullmatch("[0-9a-f]{32}", answer.header("X-Request-Id") or "")


@contextlib.contextmanager
def load(site: Site) -> Iterator["Counter[int | str]"]:
    """Post drawings from four clients until the end of the block.

    Returns:
        how often each status or, where there was no answer, each error came.
    """
    came: Counter[int | str] = Counter()
    stop = threading.Event()

    def post() -> None:
        while not stop.wait(0.005):
            try:
                outcome: int | str = ask(
                    site, "POST", "/api/predict", DRAWING, Content_Type="application/json"
                ).status
            except OSError as error:
                outcome = repr(error)
            came[outcome] += 1

    clients = [threading.Thread(target=post) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        yield came
    finally:
        stop.set()
        for client in clients:
            client.join()


def wait_until(what: str, true: Callable[[], bool]) -> None:
    """Ask until it is so; fails after a long while."""
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, f"waited {SECONDS} s in vain for: {what}"
        time.sleep(0.02)


def tls_edits(folder: Path, port: int) -> dict[str, str]:
    """Make a certificate, cert.pem, and the edits of numdraw-tls.conf that put it in place."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    key, cert = folder / "key.pem", folder / "cert.pem"
    name = ["-subj", "/CN=numdraw.example.org", "-addext", "subjectAltName=DNS:numdraw.example.org"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subprocess.run(
        ["openssl", "req", "-x509", *kind, *name, "-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )
    live = "/etc/letsencrypt/live/numdraw.example.org"
    here = f"listen 127.0.0.1:{port} ssl"
    edits = {f"{live}/fullchain.pem": str(cert), f"{live}/privkey.pem": str(key)}
    if nginx_version() < (1, 25, 1):
        return {**edits, "listen 443 ssl http2": f"{here} http2"}
    return {  # what the file's comment says
        **edits,
        "listen 443 ssl http2;": f"{here};\n    http2 on;",
        "listen 443 ssl http2 default_server;": f"{here} default_server;\n    http2 on;",
    }


def nginx_version() -> tuple[int, ...]:
    if NGINX is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    said = subprocess.run([NGINX, "-v"], capture_output=True, text=True, check=True).stderr
    [version] = re.findall(r"nginx/([0-9.]+)", said)
    return tuple(int(part) for part in version.split("."))


def echo() -> list[str | Path]:
    """The command of the application ECHO."""
    pytest.importorskip("bjoern", reason="bjoern is not installed: pip install bjoern")
    return [sys.executable, "-c", ECHO]


def processes(site: Site) -> list[str]:
    """The server's process and its children, the workers if it has any."""
    assert site.app is not None
    assert site.app.poll() is None
    children = Path(f"/proc/{site.app.pid}/task/{site.app.pid}/children")
    return [str(site.app.pid), *children.read_text().split()]
