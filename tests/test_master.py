import errno
import json
import os
import shutil
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from numdraw import Predictor
from numdraw._log import Logs
from numdraw._master import Master
from numdraw._posts import FIRST_DELAY, LAST_DELAY, STEADY, Post
from numdraw._systemd import Systemd
from numdraw.app import make_app
from tests.asking import SEVEN
from tests.running import Server, alive, ask, running, wait_until

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
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
        assert server.metric('numdraw_worker_restarts_total{reason="ended"}') == 1


def test_a_worker_told_to_stop_drains_and_is_replaced() -> None:
    with running() as server:
        [worker] = server.workers()
        os.kill(worker, signal.SIGTERM)
        wait_until(lambda: len(server.errors("worker started")) == 2)
        assert ask(server, "GET", "/hello/")[0] == 200
        [line] = server.errors("worker ended")
        assert (line["level"], line["status"]) == ("warning", 0)


def test_a_worker_that_keeps_dying_is_started_later_and_later() -> None:
    post = Post()
    delays = []
    for _ in range(8):
        post.ended(lived=STEADY / 2, now=100.0)
        delays.append(post.delay)
        assert post.due == 100.0 + post.delay
    assert delays == [FIRST_DELAY * 2**i for i in range(6)] + [LAST_DELAY] * 2
    post.ended(lived=STEADY, now=100.0)
    assert post.delay == 0.0


def test_a_crash_loop_is_told_as_what_it_is() -> None:
    dying = "import bjoern, os; bjoern.server_run = lambda *_: os._exit(3)"
    with running(before=dying) as server:
        wait_until(lambda: len(server.errors("crash loop")) == 2)
        lines = server.errors("crash loop")
        assert [line["short_lives"] for line in lines] == [3, 4]
        assert [line["restart_in"] for line in lines] == [0.4, 0.8]
        assert {line["status"] for line in server.errors("worker ended")} == {3}
        assert server.stop() == 0


def test_a_worker_that_cannot_be_forked_is_tried_again_later(
    monkeypatch: pytest.MonkeyPatch, predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fork)
    app = make_app(predictor)
    with socket.socket() as sock:
        master = Master(
            sock,
            app,
            lambda: app,
            lambda *_: None,
            workers=1,
            drain=1,
            timeout=1,
            logs=Logs(),
            systemd=Systemd(),
            on_ready=lambda _: None,
        )
        open_before = os.listdir("/dev/fd")
        master._start_due()
        assert os.listdir("/dev/fd") == open_before
    [post] = master._posts
    assert post.process is None
    assert post.delay == FIRST_DELAY
    assert caplog.messages == ["worker not started"]
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_workers_end_when_the_master_is_killed() -> None:
    with running("--workers", "2") as server:
        workers = server.workers()
        assert len(workers) == 2
        server.process.kill()
        wait_until(lambda: not any(map(alive, workers)), 10)


@pytest.fixture
def weights(folder: Path) -> Path:
    """A weights file that a test may replace: a small network, with the version mlp-...."""
    path = folder / "weights.npz"
    put("mlp", path)
    return path


def test_sighup_replaces_the_weights_and_every_worker(weights: Path) -> None:
    with running("--workers", "2", "--weights", weights) as server:
        before = server.workers()
        old = answered(server)["model"]
        put("convnet", weights)
        assert answered(server)["model"] == old
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: server.errors("reloaded"))
        assert not any(map(alive, before))
        assert len(server.workers()) == 2
        new = answered(server)["model"]
        assert old.startswith("mlp-")
        assert new.startswith("convnet-")
        assert server.errors("reloaded")[0]["model"] == new
        assert len(server.errors("worker drained")) == 2
        assert server.errors("worker ended") == []
        assert server.metric('numdraw_reloads_total{result="done"}') == 1
        assert server.metric(f'numdraw_model_info{{version="{new}"}}') == 1
        assert server.metric("numdraw_workers") == 2
        # What the workers of before counted is still there.
        assert server.metric('numdraw_requests_total{route="/api/predict",status="200"}') == 3


@pytest.mark.parametrize("damage", [b"", b"PK\3\4 damaged", None])
def test_sighup_keeps_the_old_weights_where_the_new_are_damaged(
    weights: Path, damage: bytes | None
) -> None:
    with running("--workers", "2", "--weights", weights) as server:
        before = server.workers()
        model = answered(server)["model"]
        if damage is None:
            weights.unlink()
        else:
            weights.write_bytes(damage)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: server.errors("reload failed"))
        [line] = server.errors("reload failed")
        assert str(weights) in line["error"]
        assert line["model"] == model
        assert answered(server)["model"] == model
        assert server.workers() == before
        assert server.metric('numdraw_reloads_total{result="failed"}') == 1
        # A worker that dies later comes back with the old ones too.
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: len(server.errors("worker started")) == 3)
        assert {answered(server)["model"] for _ in range(10)} == {model}
        put("convnet", weights)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: server.errors("reloaded"))
        assert answered(server)["model"].startswith("convnet-")


def test_reloads_in_a_row_end_with_the_last_weights(weights: Path) -> None:
    with running("--workers", "3", "--weights", weights) as server:
        for name in ("convnet", "mlp", "convnet"):
            put(name, weights)
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.03)  # some come while the one before is still under way
        wait_until(lambda: {answered(server)["model"][:8] for _ in range(10)} == {"convnet-"})
        wait_until(lambda: server.metric("numdraw_workers") == 3)
        assert server.errors("reload failed") == []
        assert server.errors("worker ended") == []


def test_a_request_in_hand_is_answered_by_the_old_weights_in_a_reload(weights: Path) -> None:
    slow = """
import os, time
from numdraw import Predictor
read = Predictor.predict_number
def predict_number(predictor, drawing):
    os.write(2, b"reading\\n")
    time.sleep(0.5)
    return read(predictor, drawing)
Predictor.predict_number = predict_number
"""
    with running("--weights", weights, before=slow) as server:
        with ThreadPoolExecutor() as pool:
            request = pool.submit(answered, server)
            wait_until(lambda: server.err.count("reading\n") == 2)  # the first was at the start
            put("convnet", weights)
            server.process.send_signal(signal.SIGHUP)
            assert request.result()["model"].startswith("mlp-")
        wait_until(lambda: server.errors("reloaded"))
        assert answered(server)["model"].startswith("convnet-")


def test_reloads_leave_nothing_behind_in_the_master(weights: Path) -> None:
    def resident() -> int:
        """KiB."""
        lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))

    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc/PID/status on this system")
    put("convnet", weights)
    with running("--weights", weights) as server:
        open_before = len(os.listdir(f"/proc/{server.process.pid}/fd"))
        for turn in range(15):
            if turn == 3:  # what the first reloads need, later ones use again
                before = resident()
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda turn=turn: len(server.errors("reloaded")) == turn + 1)  # type: ignore[misc]
        # An application is 3 MB.
        assert resident() - before < 10_000
        assert len(os.listdir(f"/proc/{server.process.pid}/fd")) == open_before


def test_signals_that_come_while_it_starts_wait_until_it_has(weights: Path) -> None:
    early = """
import os, signal
from numdraw import Predictor
load = Predictor.load
def load_and_be_signalled(path):
    Predictor.load = load
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGUSR1)
    return load(path)
Predictor.load = load_and_be_signalled
"""
    with running("--weights", weights, before=early) as server:
        wait_until(lambda: server.errors("reloaded"))
        assert answered(server)["model"].startswith("mlp-")


def test_a_pause_of_the_whole_server_costs_no_worker() -> None:
    with running("--workers", "2", "--timeout", "1") as server:
        everybody = [server.process.pid, *server.workers()]
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in everybody:
                os.kill(pid, number)
            time.sleep(2.5)
        assert server.errors("worker hung") == []
        assert [server.process.pid, *server.workers()] == everybody


def test_a_stop_in_the_middle_of_a_reload_stops_everything(weights: Path) -> None:
    with running("--workers", "3", "--weights", weights) as server:
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: server.errors("worker drained"))
        assert server.stop() == 0
        assert server.workers() == []


def test_the_word_for_an_upgrade_that_other_servers_know_changes_nothing() -> None:
    with running() as server:
        server.process.send_signal(signal.SIGUSR2)
        assert ask(server, "GET", "/hello/")[0] == 200


def test_workers_share_the_memory_that_the_master_has_loaded() -> None:
    if not Path("/proc/self/smaps_rollup").exists():
        pytest.skip("no /proc/PID/smaps_rollup on this system")
    with running("--workers", "2") as server:
        for _ in range(20):
            answered(server)
        for pid in server.workers():
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            private = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
            assert 500 < private < 25_000  # KiB


def put(name: str, path: Path) -> None:
    """Let a weights file take the place of another at once, as who copies it onto a host should."""
    new = path.with_suffix(".new")
    shutil.copy(DATA / f"{name}.npz", new)
    new.replace(path)


def answered(server: Server) -> Any:
    """The answer to a drawing."""
    status, body = ask(server, "POST", "/api/predict", SEVEN)
    assert status == 200
    return json.loads(body)
