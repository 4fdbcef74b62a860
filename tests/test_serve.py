import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from numdraw import Predictor, serve
from tests.asking import SEVEN
from tests.running import Server, UnixConnection, ask, refusing, wait_until

LINUX = sys.platform == "linux"


def raw(server: Server, request: bytes) -> bytes:
    """All that the server sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))


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


def test_a_folder_of_corrections_that_cannot_be_made_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a" / "b"
    assert refusing(capfd, "--corrections", path) == (
        f"numdraw.serve: --corrections expected a folder to write to, got {path}: "
        "No such file or directory\n"
    )


@pytest.mark.skipif(not os.path.exists("/proc/sys"), reason="a folder that not even root may write")
def test_a_folder_of_corrections_that_cannot_be_written_is_told(
    capfd: pytest.CaptureFixture[str],
) -> None:
    said = refusing(capfd, "--corrections", "/proc/sys")
    assert "--corrections expected a folder to write to, got /proc/sys/corrections.lock: " in said


def test_damaged_corrections_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "corrections.jsonl").write_text('{"label":"7","strokes":[]}\n')
    said = refusing(capfd, "--corrections", tmp_path)
    assert f"{tmp_path}/corrections.jsonl:1 expected a drawing, got strokes expected" in said


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
        (["--timeout", "0"], "expected seconds, more than 0, got '0'"),
        (["--timeout", "soon"], "expected seconds, more than 0, got 'soon'"),
        (
            ["--allow-origin", "example.org"],
            "expected an origin such as https://",
        ),
        (
            ["--allow-origin", "https://example.org/"],
            "expected an origin such as https://",
        ),
        (["--allow-origin", "null"], "expected an origin such as https://"),
        (["--access-log", "a", "--no-access-log"], "--access-log or --no-access-log, got both"),
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
