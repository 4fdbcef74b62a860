"""Hosts of their own on this machine: network namespaces on a bridge, and what runs in them.

    front 10.77.0.1 ── bridge ─┬─ host 1, 10.77.0.11
                               ├─ host 2, 10.77.0.12
                               └─ ...

The bridge is in front's namespace, so nothing of it is to be seen from outside, and no packet
leaves.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

FRONT = "10.77.0.1"
STOP_SECONDS = 10.0  # for what runs on a host; then it is killed

_STOP = {signal.SIGINT, signal.SIGTERM}


class HostError(RuntimeError):
    """A host could not be made, or what runs on it came to an end."""


def why_not() -> str | None:
    """Why this machine can't have such hosts, or None where it can."""
    if sys.platform != "linux":
        return f"network namespaces are Linux's, and this is {sys.platform}"
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    if shutil.which("ip") is None:
        return "ip is not installed: apt-get install iproute2"
    try:
        with Hosts(1):
            return None
    except HostError as error:
        return str(error)


class Hosts:
    """A namespace in front and so many behind it; a context, which ends and removes everything."""

    def __init__(self, count: int) -> None:
        """Plan them.

        Args:
            count: of the hosts behind.
        """
        name = f"numdraw-{os.getpid()}"
        self.front = f"{name}-front"
        self.names = [f"{name}-host{number}" for number in range(1, count + 1)]
        self.addresses = [f"10.77.0.{10 + number}" for number in range(1, count + 1)]
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Hosts":
        """Make the namespaces and their links."""
        try:
            for name in (self.front, *self.names):
                _ip("netns", "add", name)
                _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", self.front, "link", "add", "bridge", "type", "bridge")
            _ip("-n", self.front, "address", "add", f"{FRONT}/24", "dev", "bridge")
            _ip("-n", self.front, "link", "set", "bridge", "up")
            for number, (name, address) in enumerate(
                zip(self.names, self.addresses, strict=True), start=1
            ):
                end = f"to-host{number}"
                _ip("-n", self.front, "link", "add", end, "type", "veth",
                    "peer", "name", "eth0", "netns", name)  # fmt: skip  # shorter so
                _ip("-n", self.front, "link", "set", end, "master", "bridge", "up")
                _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
                _ip("-n", name, "link", "set", "eth0", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End what runs there and remove the namespaces, whatever comes meanwhile."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
        for process in reversed(self._running):
            process.terminate()
        for process in self._running:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._remove()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)

    def start(
        self, name: str, command: Sequence[str | Path], log: Path
    ) -> "subprocess.Popen[bytes]":
        """Run a command in a namespace, until the end at most, with its output in a file."""
        with log.open("wb") as file:
            process = subprocess.Popen(
                ["ip", "netns", "exec", name, *command],
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip  # shorter so
        self._running.append(process)
        return process

    def cut(self, number: int) -> None:
        """Pull a host's cable: what is sent to it vanishes, and it sends nothing."""
        _ip("-n", self.names[number], "link", "set", "eth0", "down")

    def mend(self, number: int) -> None:
        """Plug it in again."""
        _ip("-n", self.names[number], "link", "set", "eth0", "up")

    def _remove(self) -> None:
        for name in (*self.names, self.front):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise HostError(f"ip {' '.join(words)} expected to succeed, got: {done.stderr.strip()}")
