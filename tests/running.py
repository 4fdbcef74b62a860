"""numdraw.serve for the tests: a real process with real bjoern workers."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SECONDS = 30.0  # until something must have happened, on a busy machine


@dataclass
class Server:
    """A running master."""

    process: "subprocess.Popen[str]"
    out: list[str] = field(default_factory=list)  # the access log
    err: list[str] = field(default_factory=list)  # what it says, and the error log

    @property
    def address(self) -> str:
        """What it says that it serves at: a URL with a last slash, or unix:PATH."""
        for line in self.err:
            if found := re.fullmatch(r"numdraw\.serve: ready at (\S+) \(.*\)\n", line):
                return found[1]
        raise AssertionError(f"the server is not ready; it says: {self.err}")

    @property
    def port(self) -> int:
        """Of the address."""
        return int(self.address.rsplit(":", 1)[1].rstrip("/"))

    def errors(self, message: str) -> list[dict[str, Any]]:
        """The lines of the error log with that message."""
        lines = [json.loads(line) for line in list(self.err) if line.startswith("{")]
        return [line for line in lines if line["message"] == message]

    def requests(self) -> list[dict[str, Any]]:
        """The lines of the access log."""
        return [json.loads(line) for line in list(self.out)]

    def workers(self) -> list[int]:
        """The process ids of the workers that live now."""
        pids = [line["pid"] for line in self.errors("worker started")]
        return [pid for pid in pids if alive(pid)]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


@contextlib.contextmanager
def running(*args: str | Path) -> Iterator[Server]:
    """Run `python -m numdraw.serve` until the end of the block.

    Args:
        args: of the command line; a free port of the loopback address without --socket or --port.
    """
    pytest.importorskip("bjoern", reason="bjoern is not installed: pip install 'numdraw[serve]'")
    command = [sys.executable, "-m", "numdraw.serve", *map(str, args)]
    if "--socket" not in args and "--port" not in args:
        command += ["--port", "0"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    server = Server(process)
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
            lambda: any("ready at" in line for line in server.err) or process.poll() is not None
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
