import errno
import http.client
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.asking import SEVEN
from tests.running import Server, ask, refusing, running, wait_until


def test_a_unix_socket_has_its_mode_and_goes_with_the_server(folder: Path) -> None:
    path = folder / "numdraw.sock"
    with running("--socket", path, "--workers", "2") as server:
        assert server.address == f"unix:{path}"
        assert path.stat().st_mode & 0o777 == 0o666
        assert ask(server, "POST", "/api/predict", SEVEN)[0] == 200
        for pid in server.workers()[:1]:  # bjoern's own clean-up would remove the socket here
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: server.errors("worker ended"))
        assert ask(server, "GET", "/hello/")[0] == 200
        assert server.stop() == 0
        assert list(folder.iterdir()) == []


def test_the_mode_of_a_unix_socket_can_be_told(folder: Path) -> None:
    path = folder / "numdraw.sock"
    with running("--socket", path, "--socket-mode", "600"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_stale_socket_is_taken_over(folder: Path) -> None:
    path = folder / "numdraw.sock"
    with running("--socket", path) as server:
        server.process.kill()
        server.process.wait()
        assert path.is_socket()
        wait_until(lambda: not server.workers())
    with running("--socket", path) as server:
        assert ask(server, "GET", "/hello/")[0] == 200


def test_a_live_socket_is_refused_and_left_alone(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = folder / "numdraw.sock"
    with running("--socket", path) as server:
        assert refusing(capfd, "--socket", path) == (
            f"numdraw.serve: --socket expected {path} to be free, got a live server on it; "
            "stop that one or choose another path\n"
        )
        assert ask(server, "GET", "/hello/")[0] == 200


def test_a_busy_socket_is_refused_too(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = folder / "busy.sock"
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(str(path))
        assert "got a live server on it" in refusing(capfd, "--socket", path)
        for client in clients:
            client.close()
    assert path.exists()


def test_the_socket_of_a_later_server_is_not_removed(folder: Path) -> None:
    path = folder / "numdraw.sock"
    with running("--socket", path) as server:
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            assert server.stop() == 0
            assert path.is_socket()


def test_another_file_at_the_socket_s_path_is_refused_and_kept(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = folder / "precious"
    path.write_text("data")
    expected = f"--socket expected a free path or a socket, got another file: {path}"
    assert expected in refusing(capfd, "--socket", path)
    assert path.read_text() == "data"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("none/numdraw.sock", "No such file or directory"), ("x" * 120, "AF_UNIX path too long")],
)
def test_an_impossible_socket_path_is_refused(
    folder: Path, capfd: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    said = refusing(capfd, "--socket", folder / name)
    assert "--socket expected a place for a socket, got" in said
    assert reason in said
    assert list(folder.iterdir()) == []


def test_a_taken_port_is_told_at_once(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    assert refusing(capfd, "--port", str(server.port)) == (
        f"numdraw.serve: expected port {server.port} of 127.0.0.1 to be free, got one in use; "
        "stop the other server or choose another --port\n"
    )


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7", "a" * 300])
def test_a_host_that_is_not_here_is_told(host: str, capfd: pytest.CaptureFixture[str]) -> None:
    said = refusing(capfd, "--host", host, "--port", "0")
    assert f"--host expected an address of this machine, got '{host}'" in said


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (
            errno.EACCES,
            "expected the right to listen on port 80, got none; choose a --port above 1023",
        ),
        (errno.EMFILE, "expected to listen on localhost port 80, got: Too many open files"),
    ],
)
def test_other_reasons_not_to_listen_are_told(
    number: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    class Refusing(socket.socket):  # root may listen on every port
        def bind(self, address: Any, /) -> None:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "socket", Refusing)
    said = refusing(capfd, "--host", "localhost", "--port", "80")
    assert said == f"numdraw.serve: {message}\n"


def test_a_host_that_others_may_reach_is_warned_of() -> None:
    with running("--host", "0.0.0.0", "--port", "0") as server:
        assert server.err[0] == (
            "numdraw.serve: warning: bjoern expected to be behind nginx, for it has no limits and "
            "no time-outs; got 0.0.0.0, which others may reach\n"
        )
        assert ask(server, "GET", "/hello/")[0] == 200


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6_works() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 loopback address here")
    with running("--host", "::1", "--port", "0") as server:
        assert server.address == f"http://[::1]:{server.port}/"
        connection = http.client.HTTPConnection("::1", server.port, timeout=10)
        connection.request("GET", "/hello/")
        assert connection.getresponse().read() == b"hello_world"
        connection.close()
