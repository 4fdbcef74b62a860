import contextlib
import errno
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from numdraw import Predictor, serve
from numdraw._master import FIRST_DELAY, LAST_DELAY, STEADY, Master, Worker
from numdraw.app import make_app
from tests.running import Server, alive, running, wait_until

SEVEN = {"strokes": [[[60, 40], [180, 42], [120, 200]]]}
LINUX = sys.platform == "linux"


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not tmp_path: a socket's path holds at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="numdraw-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for all tests that only ask it."""
    with running() as server:
        yield server
        assert server.errors("unexpected error") == []
        assert server.errors("worker ended") == []


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
    if server.address.startswith("unix:"):
        return UnixConnection(Path(server.address.removeprefix("unix:")))
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)


def ask(server: Server, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    connection = connection_to(server)
    headers = {"Content-Type": "application/json", "Connection": "close"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    with connection.getresponse() as response:
        result = response.status, response.read()
    connection.close()
    return result


def raw(server: Server, request: bytes) -> bytes:
    """All that the server sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))


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


def test_it_answers_with_the_shipped_weights_and_page(server: Server, predictor: Predictor) -> None:
    assert server.address.startswith("http://127.0.0.1:")
    status, body = ask(server, "POST", "/api/predict", SEVEN)
    assert status == 200
    assert json.loads(body)["digit"] == 7
    assert json.loads(body)["model"] == predictor.version
    status, page = ask(server, "GET", "/")
    assert status == 200
    assert page.startswith(b"<!doctype html>")
    [ready] = [line for line in server.err if "ready at" in line]
    assert ready == (
        f"numdraw.serve: ready at {server.address} (1 worker, model {predictor.version})\n"
    )


def test_requests_are_logged_as_json_lines_on_stdout(server: Server) -> None:
    assert ask(server, "GET", "/hello/?secret=1")[0] == 200
    wait_until(lambda: any(line["path"] == "/hello/" for line in server.requests()))
    assert not any("secret" in line for line in server.out)


def test_head_has_a_length_and_no_body(server: Server) -> None:
    answer = raw(server, b"HEAD /hello/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, body = answer.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nContent-Length: 11\r\n" in head
    assert body == b""


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"CONNECT x:1 HTTP/1.1", b"404"),  # bjoern gives no PATH_INFO
        (b"OPTIONS * HTTP/1.1", b"204"),
        (b"GET /hello/ HTTP/1.0", b"200"),  # nor a QUERY_STRING
        (b"GET /../etc/passwd HTTP/1.1", b"404"),
        (b"GET /css/../../setup.py HTTP/1.1", b"404"),
        (b"GET /%2e%2e/setup.py HTTP/1.1", b"404"),
        (b"GET /%00 HTTP/1.1", b"404"),
        (b"GET /css/page.css%00.html HTTP/1.1", b"404"),
        (b"GET /%ff%fe HTTP/1.1", b"404"),
        (b"GET http://elsewhere/hello/ HTTP/1.1", b"200"),
        (b"TRACE /hello/ HTTP/1.1", b"405"),
        (b"PUT /api/predict HTTP/1.1", b"405"),
        (b"POST /api/predict HTTP/1.1", b"411"),
        (b"BREW /hello/ HTTP/1.1", b"400"),  # bjoern's parser
    ],
)
def test_odd_request_lines_are_answered(server: Server, request_line: bytes, status: bytes) -> None:
    head = b"\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    assert raw(server, request_line + head).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        (b"Transfer-Encoding: chunked", b"2\r\n{}\r\n0\r\n\r\n", b"411"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 2", b"2\r\n{}\r\n0\r\n\r\n", b"400"),
        (b"Content-Length: 2\r\nContent-Length: 2", b"{}", b"400"),  # joined to 22
        (b"Content-Length: 2\r\nContent-Type: text/plain", b"{}", b"415"),  # joined too
        (b"Content-Length: 2\r\nX-Request-Id: a\r\nX-Request-Id: <b>", b"{}", b"422"),
    ],
)
def test_doubtful_headers_are_answered(
    server: Server, headers: bytes, body: bytes, status: bytes
) -> None:
    start = b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    answer = raw(server, start + headers + b"\r\nConnection: close\r\n\r\n" + body)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"<b>" not in answer


def test_pynumdraw_s_picture_of_500_by_500_is_answered(server: Server) -> None:
    data = [0.0] * 250_000
    for row in range(60, 440):
        data[row * 500 + 240 : row * 500 + 260] = [254 / 255] * 20
    status, body = ask(server, "POST", "/predict_number/", {"new_data": data})
    assert status == 200
    assert json.loads(body)["predicted_number"] == 1


def test_many_connections_at_once_are_answered(server: Server) -> None:
    statuses: list[int] = []

    def client() -> None:
        for _ in range(5):
            statuses.append(ask(server, "POST", "/api/predict", SEVEN)[0])

    threads = [threading.Thread(target=client) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 100


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_master_and_workers(number: int) -> None:
    with running("--workers", "2", "--no-access-log") as server:
        assert ask(server, "GET", "/health/ready")[0] == 200
        workers = server.workers()
        assert len(workers) == 2
        assert server.stop(number) == 0
        assert server.errors("drain deadline passed") == []
        assert not any(map(alive, workers))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=1)
    assert server.out == []


def test_ctrl_c_at_a_terminal_reaches_the_master_alone() -> None:
    with running("--workers", "2") as server:
        assert ask(server, "GET", "/hello/")[0] == 200
        master = os.getpgid(server.process.pid)
        wait_until(lambda: all(os.getpgid(pid) not in (master, 0) for pid in server.workers()))


def test_a_request_that_is_still_arriving_is_answered_while_it_stops() -> None:
    body = json.dumps(SEVEN).encode()
    head = (
        b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    with running() as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(head + body[:20])
            time.sleep(0.1)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            client.sendall(body[20:])
            answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert json.loads(answer.split(b"\r\n\r\n")[1])["digit"] == 7
        assert server.process.wait(10) == 0
        assert server.errors("drain deadline passed") == []


def test_idle_connections_do_not_hold_it_up_until_the_deadline() -> None:
    with running("--drain", "20") as server:
        kept = connection_to(server)
        kept.request("GET", "/hello/")
        kept.getresponse().read()
        silent = socket.create_connection(("127.0.0.1", server.port))
        time.sleep(0.2)
        assert server.stop() == 0
        assert server.errors("drain deadline passed") == []
        kept.close()
        silent.close()


def test_what_goes_on_for_too_long_is_cut_off_at_the_deadline(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes(b"<!doctype html>")
    (tmp_path / "large.txt").write_bytes(bytes(12_000_000))  # more than the kernel buffers
    with (
        running("--drain", "1.5", "--public", tmp_path) as server,
        socket.create_connection(("127.0.0.1", server.port)) as client,
    ):
        client.sendall(b"GET /large.txt HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")  # and no more
        start = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - start > 1.4
        wait_until(lambda: server.errors("drain deadline passed"))


def test_an_answer_under_way_is_sent_to_its_end_while_it_stops(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes(b"<!doctype html>")
    (tmp_path / "large.txt").write_bytes(bytes(12_000_000))
    with (
        running("--public", tmp_path) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as client,
    ):
        client.sendall(b"GET /large.txt HTTP/1.1\r\nHost: x\r\n\r\n")
        received = len(client.recv(100))
        server.process.send_signal(signal.SIGTERM)
        time.sleep(1.5)  # idle connections have been closed by now
        with pytest.raises(ConnectionRefusedError):  # not taken by the kernel to wait for ever
            socket.create_connection(("127.0.0.1", server.port), timeout=1)
        while data := client.recv(1 << 20):
            received += len(data)
        assert received > 12_000_000
        assert server.process.wait(10) == 0
        assert server.errors("drain deadline passed") == []


def test_a_second_ctrl_c_ends_it_at_once() -> None:
    with running("--drain", "600") as server:
        client = socket.create_connection(("127.0.0.1", server.port))
        client.sendall(b"POST /api/predict HTTP/1.1\r\nContent-Length: 9\r\n\r\n{")
        [worker] = server.workers()
        os.kill(worker, signal.SIGSTOP)  # it can't drain
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert server.process.poll() is None
        assert server.stop(signal.SIGINT) == 0
        assert not alive(worker)
        client.close()


def test_a_worker_that_hangs_is_killed_after_the_deadline() -> None:
    with running("--drain", "0.3") as server:
        [worker] = server.workers()
        os.kill(worker, signal.SIGSTOP)
        start = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - start > 0.3 + 0.9
        assert not alive(worker)


def test_a_killed_worker_is_replaced_and_logged() -> None:
    with running("--workers", "2") as server:
        first, second = server.workers()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: len(server.errors("worker started")) == 3)
        assert ask(server, "GET", "/hello/")[0] == 200
        assert second in server.workers()
        assert len(server.workers()) == 2
        [line] = server.errors("worker ended")
        assert line["level"] == "error"
        assert line["pid"] == first
        assert line["status"] == -signal.SIGKILL
        assert line["restart_in"] == FIRST_DELAY


def test_a_worker_told_to_stop_drains_and_is_replaced() -> None:
    with running() as server:
        [worker] = server.workers()
        os.kill(worker, signal.SIGTERM)
        wait_until(lambda: len(server.errors("worker started")) == 2)
        assert ask(server, "GET", "/hello/")[0] == 200
        [line] = server.errors("worker ended")
        assert (line["level"], line["status"]) == ("warning", 0)


SLOW_START = """
import os, signal, socket, time
import bjoern
from numdraw import Predictor
from numdraw._master import Master
from numdraw.app import make_app

def serve(sock, app):
    time.sleep(0.05)
    bjoern.server_run(sock, app)

sock = socket.create_server(("127.0.0.1", 0))
sock.setblocking(False)
master = Master(sock, make_app(Predictor.load()), serve, workers=1, drain=20)
master.start()
os.kill(os.getpid(), signal.SIGTERM)
master.run()
"""


def test_a_worker_told_to_stop_before_bjoern_s_loop_runs_stops_when_it_does() -> None:
    pytest.importorskip("bjoern")
    command = [sys.executable, "-c", SLOW_START]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert result.stderr == ""  # the drain deadline was not waited for


def test_a_worker_that_keeps_dying_is_started_later_and_later() -> None:
    worker = Worker()
    delays = []
    for _ in range(8):
        worker.started = 100.0
        worker.ended(100.0 + STEADY / 2)
        delays.append(worker.delay)
        assert worker.due == 100.0 + STEADY / 2 + worker.delay
    assert delays == [FIRST_DELAY * 2**i for i in range(6)] + [LAST_DELAY] * 2
    worker.ended(100.0 + STEADY)
    assert worker.delay == 0.0


def test_a_worker_that_cannot_be_forked_is_tried_again_later(
    monkeypatch: pytest.MonkeyPatch, predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fork)
    with socket.socket() as sock:
        master = Master(sock, make_app(predictor), lambda *_: None, workers=1, drain=1)
        master._start_due()
    [worker] = master._workers
    assert worker.pid == 0
    assert worker.delay == FIRST_DELAY
    assert caplog.messages == ["worker not started"]
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_workers_end_when_the_master_is_killed() -> None:
    with running("--workers", "2") as server:
        workers = server.workers()
        assert len(workers) == 2
        server.process.kill()
        wait_until(lambda: not any(map(alive, workers)), 10)


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


def test_missing_weights_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.npz"
    assert refusing(capfd, "--weights", path) == (
        f"numdraw.serve: {path} expected a weights file, got no such file; "
        "make one with python -m numdraw.train\n"
    )


def test_damaged_weights_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "damaged.npz"
    path.write_bytes(b"PK\3\4 damaged")
    assert str(path) in refusing(capfd, "--weights", path)


def test_a_missing_public_folder_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none"
    assert refusing(capfd, "--public", path) == (
        f"numdraw.serve: --public expected the page's folder, got {path}: "
        "No such file or directory\n"
    )


def test_a_public_folder_without_a_page_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = f"{tmp_path} expected the page's files, got no index.html among them"
    assert expected in refusing(capfd, "--public", tmp_path)


def test_a_missing_bjoern_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "bjoern", None)
    assert refusing(capfd) == (
        "numdraw.serve: expected the package bjoern, got none; "
        "install it with: pip install 'numdraw[serve]'\n"
    )


def test_a_bjoern_that_does_not_load_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bjoern.py").write_text("raise ImportError('libev.so.4: cannot open')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "bjoern", raising=False)
    said = refusing(capfd)
    assert "expected bjoern to load, got: libev.so.4: cannot open; on Debian: apt-get" in said


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--socket", "s", "--port", "1"], "expected --socket or --host and --port, got both"),
        (["--socket", "s", "--host", "h"], "expected --socket or --host and --port, got both"),
        (["--port", "65536"], "expected a whole number from 0 to 65535, got '65536'"),
        (["--port", "http"], "expected a whole number from 0 to 65535, got 'http'"),
        (["--workers", "0"], "expected a whole number from 1 to 999, got '0'"),
        (["--drain", "-1"], "expected seconds, 0 or more, got '-1'"),
        (["--drain", "nan"], "expected seconds, 0 or more, got 'nan'"),
        (["--socket-mode", "rw"], "expected three octal digits such as 660, got 'rw'"),
        (["--sock", "s"], "unrecognized arguments: --sock s"),
    ],
)
def test_a_wrong_command_line_is_status_2(
    args: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as info:
        serve.main(args)
    assert info.value.code == 2
    assert message in capfd.readouterr().err


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


@contextlib.contextmanager
def process(command: list[str], **options: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that is stopped even where the test fails."""
    pytest.importorskip("bjoern")
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
            process.terminate()
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_logs_that_nobody_reads_stop_nothing() -> None:
    command = [sys.executable, "-m", "numdraw.serve", "--port", "0"]
    with process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as served:
        assert served.stdout is not None
        assert served.stderr is not None
        served.stdout.close()  # the reader is gone
        line = b""
        while b"ready at" not in line:
            line = served.stderr.readline()
            assert line
        port = int(line.split(b" (")[0].rsplit(b":", 1)[1].rstrip(b"/"))
        for _ in range(3):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/hello/")
            assert connection.getresponse().status == 200
            connection.close()


def test_closed_standard_streams_are_not_taken_by_clients(folder: Path) -> None:
    path = folder / "numdraw.sock"
    command = f'exec {sys.executable} -m numdraw.serve --socket "{path}" <&- >&- 2>&-'
    with process(["sh", "-c", command]) as served:
        wait_until(path.exists)
        for fd in range(3 if LINUX else 0):
            assert os.readlink(f"/proc/{served.pid}/fd/{fd}") == "/dev/null"
        connection = UnixConnection(path)
        connection.request("GET", "/hello/", headers={"Connection": "close"})
        assert connection.getresponse().read() == b"hello_world"
        connection.close()


def test_blas_is_held_to_one_thread_before_numpy_is_imported() -> None:
    code = (
        "import os, sys; from numdraw import serve; early = 'numpy' in sys.modules; "
        "serve.main(['--weights', '/none', '--port', '0']); import numpy; "
        "print(early, os.environ['OPENBLAS_NUM_THREADS'], len(os.listdir('/proc/self/task')))"
    )
    environ = {key: value for key, value in os.environ.items() if "NUM_THREADS" not in key}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, env=environ, check=True)
    assert result.stdout == "False 1 1\n"
