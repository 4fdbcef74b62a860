"""numdraw.serve for the tests: a real process with real bjoern workers."""

import contextlib
import functools
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from numdraw import serve

ROOT = Path(__file__).parent.parent
MAIN = "import sys; from numdraw import serve; sys.exit(serve.main(sys.argv[1:]))"
SECONDS = 30.0  # until something must have happened, on a busy machine


@dataclass
class Server:
    """A running master."""

    process: "subprocess.Popen[str]"
    log: Path | None = None  # the error log, where it is a file
    out: list[str] = field(default_factory=list)  # the access log
    err: list[str] = field(default_factory=list)  # what it says, and the error log

    @property
    def said(self) -> list[str]:
        """The lines of standard error, or of the error log in its place."""
        if self.log is not None and self.log.exists():
            return self.log.read_text().splitlines(keepends=True)
        return list(self.err)

    @functools.cached_property
    def address(self) -> str:
        """What it says that it serves at: a URL with a last slash, or unix:PATH."""
        for line in self.said:
            if found := re.fullmatch(r"numdraw\.serve: ready at (\S+) \(.*\)\n", line):
                return found[1]
        raise AssertionError(f"the server is not ready; it says: {self.said}")

    @property
    def port(self) -> int:
        """Of the address."""
        return int(self.address.rsplit(":", 1)[1].rstrip("/"))

    def errors(self, message: str) -> list[dict[str, Any]]:
        """The lines of the error log with that message."""
        lines = [json.loads(line) for line in self.said if line.startswith("{")]
        return [line for line in lines if line["message"] == message]

    def requests(self) -> list[dict[str, Any]]:
        """The lines of the access log."""
        return [json.loads(line) for line in list(self.out)]

    def workers(self) -> list[int]:
        """The process ids of the workers that live now."""
        pids = [line["pid"] for line in self.errors("worker started")]
        return [pid for pid in pids if alive(pid)]

    def metric(self, series: str) -> float:
        """The value of a series of /metrics, such as 'name{label="value"}'."""
        status, body = ask(self, "GET", "/metrics")
        assert status == 200
        [value] = [
            line.split()[-1]
            for line in body.decode().splitlines()
            if line.rsplit(" ", 1)[0] == series
        ]
        return float(value)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


@contextlib.contextmanager
def running(
    *args: str | Path, before: str = "", log: Path | None = None, **options: Any
) -> Iterator[Server]:
    """Run `python -m numdraw.serve` until the end of the block.

    Args:
        args: of the command line; a free port of the loopback address without --socket or --port.
        before: Python code that runs first in the same process.
        log: the file of --error-log.
        options: of subprocess.Popen.
    """
    pytest.importorskip("bjoern", reason="bjoern is not installed: pip install 'numdraw[serve]'")
    module = ["-c", f"{before}\n{MAIN}"] if before else ["-m", "numdraw.serve"]
    command = [sys.executable, *module, *map(str, args)]
    if not {"--socket", "--port"} & {*args} and "pass_fds" not in options:
        command += ["--port", "0"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    server = Server(process, log)
    assert process.stdout is not None
    assert process.stderr is not None
    readers = [
        threading.Thread(target=server.out.extend, args=(process.stdout,)),
        threading.Thread(target=server.err.extend, args=(process.stderr,)),
    ]
    for reader in readers:
        reader.start()
    try:
        wait_until(
            lambda: any("ready at" in line for line in server.said) or process.poll() is not None
        )
        assert server.address
        yield server
    finally:
        pids = server.workers()
        process.kill()
        process.wait()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for reader in readers:
            reader.join()
        process.stdout.close()
        process.stderr.close()


def wait_until(condition: Callable[[], Any], seconds: float = SECONDS) -> None:
    """Return as soon as the condition holds; fail after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"expected {condition} within {seconds} s"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self.path))


def connection_to(server: Server) -> http.client.HTTPConnection:
    """A connection that is opened with the first request."""
    if server.address.startswith("unix:"):
        return UnixConnection(Path(server.address.removeprefix("unix:")))
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)


def ask(server: Server, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    """Status and body of the answer to one request, which has a connection of its own."""
    connection = connection_to(server)
    headers = {"Content-Type": "application/json", "Connection": "close"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    with connection.getresponse() as response:
        result = response.status, response.read()
    connection.close()
    return result


def refusing(capfd: pytest.CaptureFixture[str], *args: str | Path) -> str:
    """What main says when it can't start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("numdraw._master.Master", None)  # a server would never return
        assert serve.main([str(arg) for arg in args]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("numdraw.serve: ")
    assert err.count("\n") == 1
    return err
