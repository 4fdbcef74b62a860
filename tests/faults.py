"""The faults that the server must survive, each under a steady load through a real nginx.

    with scene() as running:
        seconds = kill_workers(running, 3)
        assert running.failed() == {}

scripts/bench faults runs them at length, tests/test_faults.py in short.
"""

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numdraw import _resources
from tests.loading import RATE, Load, Window, drawn_bodies, parsed
from tests.running import SECONDS, alive, wait_until
from tests.serving import ROOT, Site, serving
from tests.starters import SUPERVISOR

WORKERS = 2
CALM = 0.5  # s; requests that were due just before all was well may still fail
DRIP = 1.0  # s between a slow client's bytes
SLOW_ADDRESSES = 32  # that slow clients come from
IDLE = 64  # connections that take what file descriptors there are
SPARE = 4  # descriptors that a worker has left for connections
DISK = "1m"  # size of a disk that gets full


@dataclass
class Scene:
    """A server under load.

    Attributes:
        began: s on the monotonic clock; requests that were due earlier count nowhere.
    """

    site: Site
    load: Load
    supervised: bool
    began: float

    @property
    def master(self) -> int:
        """The master's process id; 0 while there is none."""
        started = master_of(self.site)
        return next(iter(children(started)), 0) if self.supervised else started

    def workers(self) -> list[int]:
        """The process ids of the workers that live now."""
        return children(self.master) if self.master else []

    def errors(self, message: str) -> list[dict[str, Any]]:
        """The lines of the error log with that message."""
        lines = (self.site.folder / "app.log").read_text().splitlines()
        found = [json.loads(line) for line in lines if f'"message":"{message}"' in line]
        return [line for line in found if line["message"] == message]

    def is_ready(self) -> bool:
        """Whether /health/ready says so."""
        try:
            return ask(self.site.socket, b"GET /health/ready HTTP/1.0\r\n\r\n") == 200
        except OSError:
            return False

    def recovery(self, since: float, gone: Sequence[int] = ()) -> float:
        """Wait until all is well again; returns the seconds until it was.

        Args:
            since: when the fault came, on the monotonic clock.
            gone: workers that must be replaced.
        """
        wait_until(lambda: self._is_whole(gone))
        whole = time.monotonic()
        time.sleep(CALM)
        self.load.settle()
        ends = [sample.due + sample.latency for sample in self.load.failures()]
        return max([whole, *(end for end in ends if end > since)]) - since

    def _is_whole(self, gone: Sequence[int]) -> bool:
        workers = self.workers()
        return len(workers) == WORKERS and not set(workers) & set(gone) and self.is_ready()

    def failed(self) -> Counter[str]:
        """Why requests failed so far, and how many."""
        return self.window().failed

    def window(self) -> Window:
        """What became of the requests since `began`, after waiting for those that are due."""
        return self.load.window(self.began, self.load.settle())

    def calm(self, seconds: float = 1.0) -> Window:
        """What became of the requests of the next seconds."""
        since = time.monotonic()
        time.sleep(seconds)
        return self.load.window(since, self.load.settle())


@contextlib.contextmanager
def scene(
    *options: str | Path,
    via: Sequence[str] = ("-m", "numdraw.serve"),
    rate: float = RATE,
    edits: Mapping[str, str] | None = None,
) -> Iterator[Scene]:
    """A server with two workers, nginx and a load that found all well.

    Args:
        options: of numdraw.serve.
        via: what Python runs to serve.
        rate: requests/s.
        edits: texts in nginx's files and what to put in their place.
    """
    command = [sys.executable, *via, *options, "--workers", str(WORKERS), "--socket"]
    with (
        serving(app=command, edits=edits) as site,
        Load(site.port, drawn_bodies(), rate=rate) as load,
    ):
        running = Scene(site, load, via[1] == SUPERVISOR, load.began)
        wait_until(lambda: running._is_whole(()))
        running.began = time.monotonic()
        yield running


def kill_workers(running: Scene, times: int, pause: float = 0.2) -> float:
    """kill -9 of one worker after another; returns the longest that one was missed, in s."""
    longest = 0.0
    for turn in range(times):
        victim = running.workers()[turn % WORKERS]
        since = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        longest = max(longest, running.recovery(since, [victim]))
        time.sleep(pause)
    return longest


def reload(running: Scene, times: int, pause: float = 0.0) -> float:
    """Load the weights anew; returns the longest that it took, in s."""
    longest = 0.0
    for turn in range(times):
        old = running.workers()
        since = time.monotonic()
        os.kill(running.master, signal.SIGHUP)
        _wait_for_lines(running, "reloaded", turn + 1)
        longest = max(longest, running.recovery(since, old))
        time.sleep(pause)
    return longest


def reload_damaged(running: Scene, weights: Path, times: int, pause: float = 0.0) -> float:
    """Reload a file that is damaged in one way after another; the workers stay.

    Args:
        weights: the file that the server was started with; it is whole again afterwards.

    Returns:
        The longest until the server said so, in s.
    """
    whole = weights.read_bytes()
    workers = running.workers()
    harms: list[Callable[[], object]] = [
        lambda: weights.write_bytes(whole[: len(whole) // 2]),
        lambda: weights.write_bytes(b""),
        lambda: weights.write_bytes(whole[:3000] + bytes(3000) + whole[6000:]),
        weights.unlink,
        lambda: weights.write_bytes(b"PK\3\4 no weights"),
    ]
    longest = 0.0
    for turn in range(times):
        harms[turn % len(harms)]()
        since = time.monotonic()
        os.kill(running.master, signal.SIGHUP)
        _wait_for_lines(running, "reload failed", turn + 1)
        longest = max(longest, time.monotonic() - since)
        time.sleep(pause)
        assert running.workers() == workers, "a damaged file cost a worker"
        weights.write_bytes(whole)
    return longest


@contextlib.contextmanager
def slow_clients(running: Scene, headers: int, bodies: int) -> Iterator[Callable[[], int]]:
    """Clients that send a byte a second until the end of the block, and come back when cut off.

    Args:
        headers: clients that never end their header.
        bodies: clients that never end their drawing.

    Yields:
        How many are connected.
    """
    clients: dict[int, socket.socket] = {}
    stopping = threading.Event()
    starts = [b"POST /api/predict HTTP/1.1\r\nX-Slow: "] * headers + [
        b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 20000\r\n\r\n[",
    ] * bodies

    def drip() -> None:
        while not stopping.wait(DRIP):
            for place in range(len(starts)):
                if place not in clients:
                    clients[place] = connect(place)
                elif cut_off(clients[place]):
                    clients.pop(place).close()

    def connect(place: int) -> socket.socket:
        own = f"127.0.2.{1 + place % SLOW_ADDRESSES}"
        client = socket.create_connection(
            ("127.0.0.1", running.site.port), SECONDS, source_address=(own, 0)
        )
        client.sendall(starts[place])
        client.setblocking(False)
        return client

    for place in range(len(starts)):
        clients[place] = connect(place)
    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield lambda: len(clients)
    finally:
        stopping.set()
        thread.join()
        for client in clients.values():
            client.close()


def cut_off(client: socket.socket) -> bool:
    """Send one more byte; whether the server has closed the connection."""
    try:
        client.send(b" ")
        return client.recv(4096) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def stop_worker(running: Scene) -> float:
    """SIGSTOP of a worker, which it can't notice; returns the s until it was replaced."""
    victim = running.workers()[0]
    since = time.monotonic()
    os.kill(victim, signal.SIGSTOP)
    return running.recovery(since, [victim])


def hang(running: Scene, how: str) -> tuple[float, int]:
    """A request that never ends, to a server run by HANGING.

    Args:
        how: "loop" or "lock".

    Returns:
        s until the worker was replaced, and the status that the request got.
    """
    workers = running.workers()
    since = time.monotonic()
    request = f"POST /api/predict?{how} HTTP/1.0\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    status = ask(("127.0.0.1", running.site.port), request)
    gone = [pid for pid in workers if not alive(pid)]
    return running.recovery(since, gone), status


def exhaust_descriptors(running: Scene, seconds: float) -> float:
    """Take all descriptors of both workers for so long; returns the s until all was well."""
    for pid in running.workers():
        used = len(os.listdir(f"/proc/{pid}/fd"))
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + SPARE, hard))
    with contextlib.ExitStack() as held:
        for _ in range(IDLE):
            client = held.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(SECONDS)
            client.connect(str(running.site.socket))
        time.sleep(seconds)
    return running.recovery(time.monotonic())


@contextlib.contextmanager
def small_disk() -> Iterator[Path | None]:
    """A folder on a disk of its own; None where this user may mount none."""
    with tempfile.TemporaryDirectory(prefix="numdraw-disk-") as name:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", name]
        if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
            yield None
            return
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


def fill_disk(running: Scene, disk: Path, seconds: float) -> float:
    """Leave the logs no room for so long; returns the s until they went on."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    log = disk / "access.log"
    time.sleep(seconds)
    full = log.stat().st_size
    since = time.monotonic()
    ballast.unlink()
    wait_until(lambda: log.stat().st_size > full)
    return time.monotonic() - since


def unblock(running: Scene) -> bytes:
    """Read what BLOCKED's pipe holds, and what follows within a second."""
    fd = os.open(f"/proc/{running.master}/fd/1", os.O_RDONLY | os.O_NONBLOCK)
    read = b""
    end = time.monotonic() + 1
    try:
        while time.monotonic() < end:
            with contextlib.suppress(BlockingIOError):
                read += os.read(fd, 65536)
            time.sleep(0.01)
    finally:
        os.close(fd)
    return read


def kill_master(running: Scene, times: int) -> float:
    """kill -9 of the master that a supervisor starts again; returns the longest outage, in s."""
    longest = 0.0
    for _ in range(times):
        victim, workers = running.master, running.workers()
        since = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        longest = max(longest, running.recovery(since, [victim, *workers]))
        _wait_for_end(workers)
    return longest


def _wait_for_lines(running: Scene, message: str, count: int) -> None:
    wait_until(lambda: len(running.errors(message)) == count)


def _wait_for_end(pids: Sequence[int]) -> None:
    wait_until(lambda: not any(map(alive, pids)))


def weights_copy(folder: Path) -> Path:
    """The package's weights as a file of their own."""
    copy = folder / "digits.npz"
    copy.write_bytes((_resources.find("weights") / "digits.npz").read_bytes())
    return copy


def bench(*args: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run scripts/bench in the environment that runs now."""
    return subprocess.run(
        [ROOT / "scripts" / "bench", *args],
        env={**os.environ, "NUMDRAW_VENV": sys.prefix}, capture_output=True, text=True,
    )  # fmt: skip  # shorter so


def master_of(site: Site) -> int:
    """The process id of the master that a site was started with."""
    assert site.app is not None
    return site.app.pid


def children(pid: int) -> list[int]:
    """The process ids of a process's children that live."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [child for child in map(int, text.split()) if alive(child)]


def ask(address: Path | tuple[str, int], request: bytes) -> int:
    """Send one request; returns the status of the answer, 0 if there was none."""
    family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(SECONDS)
        client.connect(str(address) if isinstance(address, Path) else address)
        client.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            if not (chunk := client.recv(65536)):
                return 0
            answer += chunk
    return parsed(answer)[0]
