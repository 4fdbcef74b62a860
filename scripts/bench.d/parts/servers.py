"""The servers of the comparison: numdraw's, FastAPI's, Flask's, and bjoern alone, behind nginx too.

All run the same way: on the loopback address or, behind nginx, on a unix socket; NumPy's BLAS with
one thread; no access log. nginx has the files of the checkout without their limits, which would
refuse what a benchmark sends.
"""

import contextlib
import http.client
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.parts import nginx
from benchmarks.parts.report import blas
from benchmarks.parts.served import variables

ROOT = Path(__file__).resolve().parents[3]
DIRECT, NGINX = "direct", "nginx"
NUMDRAW, FASTAPI, BARE = "numdraw", "FastAPI", "bjoern alone"
FLASK, FLASK_THREADS = "Flask", "Flask, threads"
UNREAD = ", unread"  # after a name: the server answers the same to all drawings, without reading
PREDICT = "/api/predict"
THREADS = 4  # of a worker of gunicorn's kind gthread
PATIENCE = 60.0  # s until a server must answer, on a busy machine
POLL = 0.005  # s
LIMITS = re.compile(r"^\s*limit_(?:req|conn)\s[^;]*;", re.MULTILINE)


class ServerError(RuntimeError):
    """A server that did not start, or does not answer as numdraw does."""


@dataclass(frozen=True)
class Served:
    """A running server.

    Attributes:
        name: NUMDRAW or another.
        path: DIRECT or NGINX.
        workers: how many processes answer.
        port: of the loopback address, its own or nginx's.
        process: the server, or its master.
        nginx: in front of it.
    """

    name: str
    path: str
    workers: int
    port: int
    process: "subprocess.Popen[bytes]" = field(repr=False)
    nginx: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"


class Servers:
    """Starts servers and ends them; a context.

    Attributes:
        nginx: the program, None where there is none.
    """

    def __init__(self, folder: Path) -> None:
        """Prepare a folder that any user may enter, as nginx's workers must."""
        self.nginx = nginx.program()
        self.folder = folder
        folder.chmod(0o755)
        packages = folder / "packages"
        packages.mkdir()
        (packages / "benchmarks").symlink_to(ROOT / "scripts" / "bench.d")
        self.model = folder / "network.onnx"
        self._environment = {
            **os.environ,
            **blas(1),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{packages}:{ROOT}",
            variables.MODEL: str(self.model),
        }
        # Modules of an installed server are compiled once, and not at every start.
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._count = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Servers":
        """Nothing; leaving the context ends the servers."""
        return self

    def __exit__(self, *error: object) -> None:
        """End all that run, all at once."""
        for process in self._processes:
            process.terminate()
        self._stack.close()

    def export(self) -> None:
        """Write the network for ONNX Runtime.

        Raises:
            ServerError: it could not be written.
        """
        command = [sys.executable, "-m", "numdraw.onnx", str(self.model)]
        done = subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True
        )
        if done.returncode:
            raise ServerError(f"numdraw.onnx expected to write the network, got: {done.stderr}")

    def start(self, name: str, path: str, workers: int) -> Served:
        """A server that starts; `wait` says when it answers."""
        port = _free_port()
        if path == DIRECT:
            process = self._run(_command(name, workers, port=port), unread=name.endswith(UNREAD))
            return Served(name, path, workers, port, process)
        self._count += 1
        place = self.folder / f"site-{self._count}"
        place.mkdir()
        unix = place / "numdraw.sock"
        process = self._run(_command(name, workers, unix=unix), unread=name.endswith(UNREAD))
        nginx.files(place, f"127.0.0.1:{port}", ROOT / "public", unix)
        for conf in place.rglob("*.conf"):
            conf.write_text(LIMITS.sub("", conf.read_text()))
        front = self._run([str(part) for part in nginx.command(place)])
        return Served(name, path, workers, port, process, front)

    def first_answer(self, name: str, body: bytes) -> float:
        """The seconds from a server's start, on a unix socket with one worker, to its first answer.

        Raises:
            ServerError: it does not answer.
        """
        self._count += 1
        unix = self.folder / f"first-{self._count}.sock"
        start = time.perf_counter()
        with contextlib.ExitStack() as stack:
            process = self._run(_command(name, 1, unix=unix), stack)
            while not _answers(unix, body):
                if process.poll() is not None or time.perf_counter() - start > PATIENCE:
                    raise ServerError(f"{name} expected to answer, got this log: {self._log()}")
                time.sleep(POLL)
            return time.perf_counter() - start

    def wait(self, served: Served, body: bytes) -> None:
        """Return when a server answers a drawing.

        Raises:
            ServerError: it does not.
        """
        end = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, _ = post(served, body)
                if status == 200:
                    return
            processes = [served.process, *([served.nginx] if served.nginx else [])]
            if time.monotonic() > end or any(each.poll() is not None for each in processes):
                raise ServerError(f"{served} expected to answer, got this log: {self._log()}")
            time.sleep(10 * POLL)

    def _run(
        self,
        command: Sequence[str],
        stack: contextlib.ExitStack | None = None,
        *,
        unread: bool = False,
    ) -> "subprocess.Popen[bytes]":
        environment = {**self._environment, variables.UNREAD: "1" if unread else ""}
        with (self.folder / "servers.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip  # shorter so
        if stack is None:
            self._processes.append(process)
        (stack or self._stack).callback(_end, process)
        return process

    def _log(self) -> str:
        return (self.folder / "servers.log").read_text(errors="replace")[-2000:]


def post(served: Served, body: bytes) -> tuple[int, bytes]:
    """The status and the answer to a drawing, on a connection of its own.

    Raises:
        OSError, http.client.HTTPException: there is no answer.
    """
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        headers = {"Content-Type": "application/json", "Connection": "close"}
        connection.request("POST", PREDICT, body, headers)
        response = connection.getresponse()
        return response.status, response.read()


def _command(name: str, workers: int, *, port: int = 0, unix: Path | None = None) -> list[str]:
    """How a server is started."""
    python = [sys.executable, "-m"]
    count = ["--workers", str(workers)]
    host = "127.0.0.1"
    at = ["--host", host, "--port", str(port)]
    if name == NUMDRAW:
        where = at if unix is None else ["--socket", str(unix)]
        return [*python, "numdraw.serve", "--no-access-log", *count, *where]
    if name.removesuffix(UNREAD) == FASTAPI:
        where = at if unix is None else ["--uds", str(unix)]
        return [
            *python, "uvicorn", "benchmarks.parts.served.fastapi_app:app", *count, *where,
            "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--no-proxy-headers",
            "--log-level", "warning",
        ]  # fmt: skip  # shorter so
    address = f"{host}:{port}" if unix is None else f"unix:{unix}"
    if name in (BARE, NUMDRAW + UNREAD):
        app = "bare_app" if name == BARE else "unread_app"
        return [*python, f"benchmarks.parts.served.{app}", address]
    kind = (
        ["sync"] if name.removesuffix(UNREAD) == FLASK else ["gthread", "--threads", str(THREADS)]
    )
    return [
        *python, "gunicorn", "benchmarks.parts.served.flask_app:app", *count, "--bind", address,
        "--preload", "--log-level", "warning", "--worker-class", *kind,
    ]  # fmt: skip  # shorter so


def _answers(unix: Path, body: bytes) -> bool:
    """Whether a server on a unix socket answers a drawing with 200."""
    head = (
        f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
        connection.settimeout(PATIENCE)
        connection.connect(str(unix))
        connection.sendall(head.encode("ascii") + body)
        return connection.recv(64).split(b" ")[1:2] == [b"200"]
    return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
