import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numdraw.nn.team import ALONE, PART, ProcessTeam, Team, WorkerError, can_fork
from tests.running import alive, wait_until

ROOT = Path(__file__).parent.parent
TEAMS = [
    Team,
    pytest.param(
        ProcessTeam,
        marks=[
            pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux only"),
            # from Python 3.12; the tests themselves have threads, BLAS's
            pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
        ],
    ),
]
of_each_kind = pytest.mark.parametrize("kind", TEAMS)
of_processes = pytest.mark.parametrize("kind", TEAMS[1:])


@of_each_kind
@pytest.mark.parametrize("size", [1, 2, 5])
def test_every_worker_answers_in_order(kind: type[Team], size: int) -> None:
    with kind(size) as team:
        multiply = team.job(lambda rank, factor: factor * (rank + 1))
        name = team.job(lambda rank: f"worker {rank}")
        assert multiply(10) == [10 * k for k in range(1, size + 1)]
        assert name() == [f"worker {rank}" for rank in range(size)]
        assert multiply(3) == [3 * k for k in range(1, size + 1)]


@of_each_kind
def test_workers_write_to_the_teams_memory(kind: type[Team]) -> None:
    with kind(3) as team:
        vector = team.zeros(6, np.float32)
        team.expect_seen(vector[2:4], "test")

        def work(rank: int, number: float) -> None:
            vector[rank::3] += number + rank

        fill, see = team.job(work), team.job(lambda rank: vector.tolist())
        fill(1.0)
        assert see() == [[1, 2, 3, 1, 2, 3]] * 3
        vector[5] = 50.0  # what the caller writes they see too
        assert see() == [[1, 2, 3, 1, 2, 50]] * 3


@of_each_kind
def test_the_first_workers_error_is_raised_when_all_are_done(kind: type[Team]) -> None:
    with kind(3) as team:
        done = team.zeros(3, np.int64)

        def work(rank: int, fails: bool) -> int:
            if fails and rank > 0:
                time.sleep(0.05 * (3 - rank))
                raise OSError(f"worker {rank} has no disk")
            done[rank] += 1
            return rank

        job = team.job(work)
        with pytest.raises(OSError, match="worker 1 has no disk"):
            job(True)
        assert job(False) == [0, 1, 2]  # none is left out of step
        assert done.tolist() == [2, 1, 1]


@of_each_kind
@pytest.mark.parametrize(("size", "workers"), [(ALONE, 1), (ALONE + 1, 3), (5 * ALONE, 3)])
def test_long_vectors_are_shared_out_and_short_ones_are_not(
    kind: type[Team], size: int, workers: int
) -> None:
    with kind(3) as team:
        times, by = team.zeros(size, np.int8), team.zeros(size, np.int64)
        here = team.job(lambda rank: os.getpid())

        def work(parts: list[slice], number: int) -> None:
            assert all(part.stop - part.start == PART for part in parts)
            for part in parts:
                times[part] += number
                by[part] = os.getpid()

        team.vector_job(size, work)(7)
        assert (times == 7).all()
        expected = set(here()[:workers])
        assert set(by.tolist()) == expected


@of_processes
def test_a_second_training_of_the_same_process_has_its_own_workers(kind: type[Team]) -> None:
    with kind(2) as first:
        where = first.job(lambda rank: os.getpid())
        pids = set(where())
        with kind(2) as second:  # its process has the ends of the first's pipes too
            pids |= set(second.job(lambda rank: os.getpid())())
            first.close()
        assert len(pids) == 3
    assert not multiprocessing.active_children()


@of_processes
def test_what_other_processes_do_not_see_is_refused(kind: type[Team]) -> None:
    with kind(2) as team:
        team.zeros(5, np.float32)
        with pytest.raises(ValueError, match=r"SGD expected an array that all processes of its"):
            team.expect_seen(np.zeros(5, np.float32), "SGD")


@of_processes
def test_a_job_that_comes_too_late_is_refused(kind: type[Team]) -> None:
    with kind(2) as team:
        team.job(lambda rank: rank)()
        with pytest.raises(RuntimeError, match="expected all jobs before the first is run"):
            team.job(lambda rank: rank)


@of_processes
@pytest.mark.parametrize("while_working", [True, False])
def test_the_end_of_a_process_is_told(kind: type[Team], while_working: bool) -> None:
    with kind(3) as team:
        pids = team.job(lambda rank: os.getpid())

        def work(rank: int) -> None:
            if while_working and rank == 2:
                os.kill(os.getpid(), signal.SIGKILL)

        job = team.job(work)
        if not while_working:
            os.kill(pids()[2], signal.SIGKILL)
            time.sleep(0.1)
        with pytest.raises(WorkerError, match="worker 2 of 3 expected to go on, got its end by si"):
            job()


@of_processes
def test_ctrl_c_is_left_to_the_first_process(kind: type[Team]) -> None:
    with kind(2) as team:
        pids = team.job(lambda rank: os.getpid())
        os.kill(pids()[1], signal.SIGINT)
        assert len(pids()) == 2


def test_processes_end_when_the_first_is_killed() -> None:
    program = textwrap.dedent("""
        import os, signal, sys
        from numdraw.nn.team import ProcessTeam
        with ProcessTeam(4) as team:
            print(*team.job(lambda rank: os.getpid())(), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    if sys.platform != "linux":
        pytest.skip("processes are forked on Linux only")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip  # shorter so
    assert done.returncode == -signal.SIGKILL
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(set(pids)) == 4
    wait_until(lambda: not any(alive(pid) for pid in pids))


def test_nothing_below_one_is_taken() -> None:
    with pytest.raises(ValueError, match="Team expected a size of at least 1, got 0"):
        Team(0)


@pytest.mark.parametrize(("threads", "expected"), [("", "True"), ("1", "False")])
def test_only_a_process_of_one_thread_may_fork(threads: str, expected: str) -> None:
    if sys.platform != "linux":
        pytest.skip("processes are forked on Linux only")
    program = textwrap.dedent(f"""
        import threading
        from numdraw.nn.team import can_fork
        if {threads!r}:
            threading.Thread(target=threading.Event().wait, daemon=True).start()
        print(can_fork())
    """)
    env: dict[str, Any] = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.stdout == f"{expected}\n", done.stderr


def test_elsewhere_no_process_may_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert not can_fork()
