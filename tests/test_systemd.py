import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from numdraw._systemd import Systemd, inherited_socket
from tests.running import MAIN, Server, ask, running

# What systemd does between fork and exec: LISTEN_PID names the process that it becomes.
ACTIVATE = """
import os
os.environ["LISTEN_PID"] = str(os.getpid())
"""


@pytest.fixture
def notifications(folder: Path) -> Iterator[socket.socket]:
    """The datagram socket that stands in for systemd's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(folder / "notify"))
        sock.settimeout(30)
        yield sock


def facts(sock: socket.socket) -> dict[str, str]:
    """The next datagram that is no sign of life."""
    while (data := sock.recv(4096)) == b"WATCHDOG=1\n":
        pass
    return dict(line.split("=", 1) for line in data.decode().splitlines())


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "NOTIFY_SOCKET": str(folder / "notify"), **more}


def test_systemd_is_told_of_start_reload_and_stop(
    folder: Path, notifications: socket.socket
) -> None:
    with running("--workers", "2", env=environment(folder)) as server:
        ready = facts(notifications)
        assert ready["READY"] == "1"
        assert ready["STATUS"].startswith("2 workers, model convnet-")
        assert ask(server, "GET", "/hello/")[0] == 200
        before = time.monotonic_ns() // 1000
        server.process.send_signal(signal.SIGHUP)
        reloading = facts(notifications)
        assert reloading["RELOADING"] == "1"
        assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert facts(notifications)["READY"] == "1"
        assert server.stop() == 0
        assert facts(notifications) == {"STOPPING": "1"}


def test_systemd_is_told_that_a_reload_failed(folder: Path, notifications: socket.socket) -> None:
    weights = folder / "weights.npz"
    weights.write_bytes((Path(__file__).parent / "data" / "mlp.npz").read_bytes())
    with running("--weights", weights, env=environment(folder)) as server:
        facts(notifications)
        weights.write_bytes(b"damaged")
        server.process.send_signal(signal.SIGHUP)
        assert facts(notifications)["RELOADING"] == "1"
        after = facts(notifications)
        assert after["READY"] == "1"  # systemd waits for it, however the reload ended
        assert after["STATUS"].startswith("the reload failed; still mlp-")


def test_the_watchdog_is_fed_while_nothing_happens(
    folder: Path, notifications: socket.socket
) -> None:
    with running(env=environment(folder, WATCHDOG_USEC="400000")):
        facts(notifications)
        notifications.settimeout(2)
        start = time.monotonic()
        for _ in range(5):
            assert notifications.recv(100) == b"WATCHDOG=1\n"
        assert time.monotonic() - start > 0.5  # and not all the time


def test_signs_of_life_are_due_at_half_of_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    assert Systemd().interval == 0.2
    assert "WATCHDOG_USEC" not in os.environ


def test_the_watchdog_of_another_process_is_not_fed(
    folder: Path, notifications: socket.socket
) -> None:
    environ = environment(folder, WATCHDOG_USEC="100000", WATCHDOG_PID="1")
    with running(env=environ):
        facts(notifications)
        notifications.settimeout(1.5)
        with pytest.raises(TimeoutError):
            notifications.recv(100)


def test_an_address_of_the_abstract_kind_is_told_too(folder: Path) -> None:
    name = f"numdraw-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        sock.settimeout(30)
        with running(env={**os.environ, "NOTIFY_SOCKET": f"@{name}"}):
            assert facts(sock)["READY"] == "1"


def test_a_systemd_that_is_gone_stops_nothing(folder: Path) -> None:
    with running(env=environment(folder)) as server:
        assert ask(server, "GET", "/hello/")[0] == 200


@pytest.fixture
def held(folder: Path) -> Iterator[socket.socket]:
    """A listening socket that the test holds, as systemd does."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "held.sock"))
        sock.listen(100)
        yield sock


def test_a_socket_that_was_handed_over_is_served_and_left_in_its_place(
    folder: Path, held: socket.socket
) -> None:
    for _ in range(2):  # the second takes over from the first
        with activated(held) as server:
            assert server.address == f"unix:{folder / 'held.sock'}"
            assert ask(server, "GET", "/hello/")[0] == 200
            assert server.stop() == 0
        assert (folder / "held.sock").is_socket()


def test_a_request_waits_in_the_held_socket_until_there_is_a_server(
    folder: Path, held: socket.socket
) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(folder / "held.sock"))
        client.sendall(b"GET /hello/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with activated(held):
            answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK")


def activated(held: socket.socket) -> contextlib.AbstractContextManager[Server]:
    """A server with the socket as its descriptor 3."""
    script = f"{ACTIVATE}\nos.dup2({held.fileno()}, 3)"
    return running(before=script, pass_fds=[held.fileno()], env={**os.environ, "LISTEN_FDS": "1"})


@pytest.mark.parametrize(
    ("count", "made", "said"),
    [
        ("2", "listening", "LISTEN_FDS expected 1, one socket to serve, got '2'"),
        ("1", "bound", "expected a listening stream socket, got another socket"),
        ("1", "datagram", "expected a listening stream socket, got another socket"),
        ("1", "file", "descriptor 3, of LISTEN_FDS, expected a listening stream socket, got: "),
    ],
)
def test_something_else_that_was_handed_over_is_refused(
    folder: Path, count: str, made: str, said: str
) -> None:
    make = {
        "listening": "s = socket.create_server(('127.0.0.1', 0)); fd = s.fileno()",
        "bound": "s = socket.socket(); s.bind(('127.0.0.1', 0)); fd = s.fileno()",
        "datagram": "s = socket.socket(type=socket.SOCK_DGRAM); fd = s.fileno()",
        "file": "fd = os.open('/dev/null', os.O_RDONLY)",
    }[made]
    code = f"{ACTIVATE}\nimport socket\n{make}\nif fd != 3: os.dup2(fd, 3)\n{MAIN}"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "LISTEN_FDS": count},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_socket_for_another_process_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", "1")
    assert inherited_socket() is None


def test_no_socket_that_was_handed_over_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "0")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    assert inherited_socket() is None


def test_a_socket_that_was_handed_over_and_another_one_are_refused(
    folder: Path, held: socket.socket
) -> None:
    code = f"{ACTIVATE}\nos.dup2({held.fileno()}, 3)\n{MAIN}"
    result = subprocess.run(
        [sys.executable, "-c", code, "--port", "0"],
        env={**os.environ, "LISTEN_FDS": "1"},
        pass_fds=[held.fileno()],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert "or --socket, --host and --port, got both" in result.stderr
