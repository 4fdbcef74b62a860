import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.asking import SEVEN
from tests.running import MAIN, alive, ask, connection_to, running, wait_until


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


SLOW_START = """
import os, signal, time
import bjoern
from numdraw._master import Master
run = bjoern.server_run
bjoern.server_run = lambda sock, app: (time.sleep(0.05), run(sock, app))
start = Master.start
Master.start = lambda master: (start(master), os.kill(os.getpid(), signal.SIGTERM))
"""


def test_a_worker_told_to_stop_before_bjoern_s_loop_runs_stops_when_it_does() -> None:
    pytest.importorskip("bjoern")
    command = [sys.executable, "-c", SLOW_START + MAIN, "--port", "0", "--drain", "20"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "drain deadline passed" not in result.stderr
    assert "worker drained" in result.stderr


HANGS = """
import time
from numdraw import Predictor
read = Predictor.predict_number
def predict_number(predictor, drawing):
    if len(drawing["strokes"]) == 13:
        {}
    return read(predictor, drawing)
Predictor.predict_number = predict_number
"""
BUSY = HANGS.format("while True: pass")
ASLEEP = HANGS.format("time.sleep(1000)")
CRASHES = HANGS.format("import ctypes; ctypes.string_at(0)")


@pytest.mark.parametrize("before", [BUSY, ASLEEP])
def test_a_worker_that_hangs_in_a_request_is_replaced_and_its_traceback_logged(
    before: str,
) -> None:
    with running("--timeout", "1", before=before) as server:
        [worker] = server.workers()
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            ask(server, "POST", "/api/predict", {"strokes": SEVEN["strokes"] * 13})
        assert ask(server, "POST", "/api/predict", SEVEN)[0] == 200
        [line] = server.errors("worker hung")
        assert line["pid"] == worker
        assert line["seconds"] > 1
        assert "in predict_number" in line["traceback"]
        assert server.metric('numdraw_worker_restarts_total{reason="hung"}') == 1
        assert server.metric('numdraw_worker_restarts_total{reason="ended"}') == 0


def test_a_worker_that_is_stopped_while_it_is_idle_is_replaced() -> None:
    with running("--timeout", "1") as server:
        [worker] = server.workers()
        os.kill(worker, signal.SIGSTOP)
        wait_until(lambda: server.errors("worker hung"))
        assert ask(server, "GET", "/hello/")[0] == 200
        assert not alive(worker)


def test_a_worker_without_a_free_descriptor_is_replaced() -> None:
    few = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))"
    with running("--timeout", "1", before=few) as server, contextlib.ExitStack() as stack:
        for _ in range(30):
            address = ("127.0.0.1", server.port)
            stack.enter_context(socket.create_connection(address, timeout=10))
        wait_until(lambda: server.errors("worker hung"))
        stack.close()
        assert ask(server, "GET", "/hello/")[0] == 200


def test_a_worker_that_is_only_idle_or_slow_is_left_alone() -> None:
    slow = HANGS.format("time.sleep(0.4)")
    with running("--timeout", "1", before=slow) as server:
        time.sleep(2)
        for _ in range(5):  # 2 s without a pause
            assert ask(server, "POST", "/api/predict", {"strokes": SEVEN["strokes"] * 13})[0] == 200
        assert server.errors("worker hung") == []


def test_a_crash_of_the_interpreter_is_logged_with_its_traceback() -> None:
    with running(before=CRASHES) as server:
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            ask(server, "POST", "/api/predict", {"strokes": SEVEN["strokes"] * 13})
        wait_until(lambda: server.errors("worker ended"))
        [line] = server.errors("worker ended")
        assert line["status"] == -signal.SIGSEGV
        assert "Segmentation fault" in line["traceback"]
        assert "in predict_number" in line["traceback"]


def test_sigusr1_opens_the_log_files_anew(tmp_path: Path) -> None:
    logs = {name: tmp_path / name for name in ("access", "error")}
    args = [arg for name, path in logs.items() for arg in (f"--{name}-log", path)]
    with running("--workers", "2", *args, log=logs["error"]) as server:
        assert ask(server, "GET", "/hello/")[0] == 200
        wait_until(lambda: "/hello/" in logs["access"].read_text())
        for path in logs.values():
            path.rename(path.with_suffix(".1"))
        server.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: all(path.exists() for path in logs.values()))
        old = logs["access"].with_suffix(".1").read_text()
        # Each worker opens it for itself, so for a moment one may write to the old file.
        wait_until(
            lambda: ask(server, "GET", "/api/model") and "model" in logs["access"].read_text()
        )
        assert old.count("/hello/") == 1
        assert ask(server, "GET", "/hello/")[0] == 200
        assert server.stop() == 0
    assert server.out == []
    assert [
        line["message"] for line in map(json.loads, logs["error"].read_text().splitlines())
    ] == [
        "worker drained",
        "worker drained",
    ]
