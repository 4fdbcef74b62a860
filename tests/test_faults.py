"""What the server survives under load. In short; scripts/bench faults does the same at length."""

import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import (
    WORKERS,
    Scene,
    bench,
    exhaust_descriptors,
    fill_disk,
    hang,
    kill_master,
    kill_workers,
    reload,
    reload_damaged,
    scene,
    slow_clients,
    small_disk,
    stop_worker,
    unblock,
    weights_copy,
)
from tests.loading import Load, drawn_bodies
from tests.running import SECONDS, wait_until
from tests.serving import serving
from tests.starters import ACTIVATED, BLOCKED, HANGING, SUPERVISED

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# s that a worker may hang, and that nginx asks again; the latter is shorter, as by default, so that
# a request that hangs one worker does not get to another.
SHORT = ("--timeout", "1")
SHORTER = {
    "error non_idempotent;\nproxy_next_upstream_tries   2;\nproxy_next_upstream_timeout 4s;": (
        "error non_idempotent;\nproxy_next_upstream_timeout 500ms;"
    )
}


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="numdraw-faults-") as name:
        yield Path(name)


def check_none_failed(running: Scene) -> None:
    """Every request of the scene was answered, and there were some."""
    window = running.window()
    assert window.failed == {}
    assert window.requests > 50


def check_calm(running: Scene) -> None:
    """Nothing fails any more."""
    window = running.calm()
    assert window.failed == {}
    assert window.requests > 50


def check_few_failed(running: Scene) -> None:
    """No request failed but those that a worker had taken up when it was killed."""
    failed = running.failed()
    assert failed.keys() <= {"status 503"}
    assert failed.total() <= 5


def is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def test_the_load_counts_what_fails_and_how_late_it_is() -> None:
    with serving(app=[]) as site, Load(site.port, drawn_bodies(4)) as load:
        time.sleep(0.5)
        window = load.window(load.began, load.settle())
    assert window.failed == {"status 503": window.requests}
    assert window.requests > 20
    assert math.isnan(window.p99)
    assert max(sample.latency for sample in load.failures()) > 0


def test_killed_workers_cost_no_request() -> None:
    with scene() as running:
        kill_workers(running, 3)
        assert [line["status"] for line in running.errors("worker ended")] == [-9, -9, -9]
        check_none_failed(running)


def test_reloads_cost_no_request(folder: Path) -> None:
    with scene("--weights", weights_copy(folder)) as running:
        before = running.workers()
        reload(running, 2)
        assert not set(running.workers()) & set(before)
        check_none_failed(running)


def test_a_reload_of_a_damaged_file_costs_nothing(folder: Path) -> None:
    with scene("--weights", weights_copy(folder)) as running:
        reload_damaged(running, folder / "digits.npz", 5)
        reload(running, 1)  # the file is whole again
        check_none_failed(running)


def test_slow_clients_cost_no_request() -> None:
    with scene() as running:
        with slow_clients(running, headers=250, bodies=250) as connected:
            time.sleep(3)
            assert connected() == 500
            check_none_failed(running)
        check_calm(running)


def test_a_stopped_worker_is_replaced() -> None:
    with scene(*SHORT, edits=SHORTER) as running:
        stop_worker(running)
        check_few_failed(running)
        check_calm(running)
        assert len(running.errors("worker hung")) == 1


@pytest.mark.parametrize("how", ["loop", "lock"])
def test_a_request_that_never_ends_costs_one_worker_and_itself(how: str) -> None:
    with scene(*SHORT, via=("-c", HANGING), edits=SHORTER) as running:
        _, status = hang(running, how)
        assert status == 503
        check_few_failed(running)
        check_calm(running)
        assert len(running.errors("worker hung")) == 1


def test_a_server_without_descriptors_answers_when_it_has_some_again() -> None:
    with scene() as running:
        before = running.workers()
        exhaust_descriptors(running, 1)
        check_calm(running)
        assert running.workers() == before
        # Late, but answered: the requests waited in the socket's queue.
        assert running.failed() == {}
        assert running.window().worst > 500


def test_a_full_disk_costs_log_lines_alone() -> None:
    with small_disk() as disk:
        if disk is None:
            pytest.skip("expected the right to mount a small disk, got none")
        logs = ("--access-log", disk / "access.log", "--error-log", disk / "error.log")
        with scene(*logs) as running:
            fill_disk(running, disk, 1)
            log = disk / "access.log"
            wait_until(lambda: '"lost":' in log.read_text())
            check_none_failed(running)
        lines = [line for line in log.read_text().splitlines() if line]
    found = [json.loads(line) for line in lines if is_json(line)]
    assert len(lines) - len(found) <= WORKERS  # the disk was full in the middle of one of each
    assert sum(line.get("lost", 0) for line in found) > 10


def test_a_disk_that_is_always_full_costs_log_lines_alone(folder: Path) -> None:
    for name in ("access.log", "error.log"):
        (folder / name).symlink_to("/dev/full")
    logs = ("--access-log", folder / "access.log", "--error-log", folder / "error.log")
    with scene(*logs) as running:
        kill_workers(running, 1)  # which is logged, too
        check_none_failed(running)


def test_streams_that_nobody_reads_cost_log_lines_alone() -> None:
    with scene(via=("-c", BLOCKED)) as running:
        kill_workers(running, 1)
        check_none_failed(running)
        read = unblock(running)
        assert b'"lost":' in read
        check_calm(running)


def test_a_killed_master_is_back_by_itself() -> None:
    with scene(via=SUPERVISED) as running:
        before = running.master
        kill_master(running, 1)
        assert running.master != before
        assert running.failed().keys() <= {"status 503"}
        check_calm(running)


def test_a_killed_master_whose_socket_is_kept_costs_no_request() -> None:
    with scene(via=ACTIVATED) as running:
        before = running.master
        kill_master(running, 2)
        assert running.master != before
        check_none_failed(running)


def test_the_benchmark_tells_what_a_fault_cost(folder: Path) -> None:
    out = folder / "faults.json"
    done = bench("faults", "--quick", "--only", "kill -9", "--json", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 kill -9 of a worker: lost nothing" in done.stdout
    [fault] = json.loads(out.read_text())["faults"]
    assert fault["failed"] == {}
    assert fault["requests"] > 50
    assert fault["ratio"] == pytest.approx(
        fault["during"]["p99"] / fault["normal"]["p99"], rel=1e-2
    )
    assert 0 < fault["recovered"] < SECONDS
