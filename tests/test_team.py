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

from numdraw.nn.team import LARGEST_ALONE, PART, Team, WorkerError, can_fork, make_team
from tests.running import alive, wait_until
from tests.teams import of_each_kind, of_processes, on_linux

ROOT = Path(__file__).parent.parent


def run_program(program: str) -> "subprocess.CompletedProcess[str]":
    """Run it in a process that has one thread, and a process group of its own."""
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, start_new_session=True,
    )  # fmt: skip  # shorter so


@of_each_kind
@pytest.mark.parametrize("size", [1, 2, 5])
def test_every_worker_answers_in_order(kind: type[Team], size: int) -> None:
    with kind(size) as team:
        multiply = team.job(lambda worker, factor: factor * (worker + 1))
        name = team.job(lambda worker: f"worker {worker}")
        assert multiply(10) == [10 * k for k in range(1, size + 1)]
        assert name() == [f"worker {k}" for k in range(size)]
        assert multiply(3) == [3 * k for k in range(1, size + 1)]


@of_each_kind
def test_workers_write_to_the_teams_memory(kind: type[Team]) -> None:
    with kind(3) as team:
        vector = team.zeros(6, np.float32)
        team.expect_shared(vector[2:4], "test")

        def work(worker: int, number: float) -> None:
            vector[worker::3] += number + worker

        fill, see = team.job(work), team.job(lambda worker: vector.tolist())
        fill(1.0)
        assert see() == [[1, 2, 3, 1, 2, 3]] * 3
        vector[5] = 50.0  # what the caller writes they see too
        assert see() == [[1, 2, 3, 1, 2, 50]] * 3


@of_each_kind
def test_the_first_workers_error_is_raised_when_all_are_done(kind: type[Team]) -> None:
    with kind(3) as team:
        done = team.zeros(3, np.int64)

        def work(worker: int, fails: bool) -> int:
            if fails and worker > 0:
                time.sleep(0.05 * (3 - worker))
                raise OSError(f"worker {worker} has no disk")
            done[worker] += 1
            return worker

        job = team.job(work)
        with pytest.raises(OSError, match="worker 1 has no disk"):
            job(True)
        assert job(False) == [0, 1, 2]  # none is left out of step
        assert done.tolist() == [2, 1, 1]


@of_each_kind
@pytest.mark.parametrize(
    ("size", "workers"), [(LARGEST_ALONE, 1), (LARGEST_ALONE + 1, 3), (5 * LARGEST_ALONE, 3)]
)
def test_long_vectors_are_shared_out_and_short_ones_are_not(
    kind: type[Team], size: int, workers: int
) -> None:
    with kind(3) as team:
        times, firsts = team.zeros(size, np.int8), team.zeros(3, np.int64)

        def work(parts: list[slice], number: int) -> None:
            firsts[parts[0].start // PART] += 1
            for part in parts:
                times[part] += number

        team.vector_job(size, work)(7)
        assert (times == 7).all()
        assert firsts.tolist() == [1] * workers + [0] * (3 - workers)


@of_each_kind
def test_after_its_end_a_team_takes_no_work(kind: type[Team]) -> None:
    team = kind(2)
    job = team.job(lambda worker: worker)
    assert job() == [0, 1]
    for _ in range(2):
        team.close()
        with pytest.raises(ValueError, match=r"Team expected no more work once closed, got some"):
            job()


@of_processes
def test_two_teams_of_one_process_end_by_themselves(kind: type[Team]) -> None:
    with kind(2) as first:
        where = first.job(lambda worker: os.getpid())
        pids = set(where())
        with kind(2) as second:  # its process has the ends of the first's pipes too
            pids |= set(second.job(lambda worker: os.getpid())())
            processes = multiprocessing.active_children()
            first.close()
    assert len(pids) == 3
    assert [process.exitcode for process in processes] == [0, 0]


@of_processes
def test_memory_that_other_processes_do_not_share_is_refused(kind: type[Team]) -> None:
    with kind(2) as team:
        team.zeros(5, np.float32)
        message = (
            "test expected an array in its team's shared memory, got one of this process's own; "
            r"call network.move_to\(team.zeros\) first"
        )
        with pytest.raises(ValueError, match=message):
            team.expect_shared(np.zeros(5, np.float32), "test")


@of_processes
def test_a_job_that_comes_too_late_is_refused(kind: type[Team]) -> None:
    with kind(2) as team:
        team.start()
        message = "ProcessTeam expected all jobs before it starts, got another; make it before"
        with pytest.raises(ValueError, match=message):
            team.job(lambda worker: worker)


@of_processes
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, 0])
@pytest.mark.parametrize("while_working", [True, False])
def test_the_end_of_a_process_is_told(kind: type[Team], number: int, while_working: bool) -> None:
    with kind(3) as team:

        def work(worker: int, ends: bool) -> int:
            if ends and worker == 2:
                if number == 0:
                    os._exit(3)
                os.kill(os.getpid(), number)
            return os.getpid()

        job = team.job(work)
        how = f"signal {number}" if number else "exit status 3"
        if not while_working and number:
            pid = job(False)[2]
            os.kill(pid, number)
            wait_until(lambda: not alive(pid))
        message = (
            f"process 3 of 3 expected to end with its team, got {how}; if memory ran out, use fewer"
        )
        with pytest.raises(WorkerError, match=message):
            job(True)


@of_each_kind
def test_ctrl_c_in_the_first_workers_share_closes_the_team(kind: type[Team]) -> None:
    with kind(2) as team:

        def work(worker: int) -> None:
            if worker == 0:
                raise KeyboardInterrupt

        job = team.job(work)
        with pytest.raises(KeyboardInterrupt):
            job()
        with pytest.raises(ValueError, match="Team expected no more work once closed"):
            job()


class Odd(Exception):
    """Pickle makes it again from its message alone, which is not enough."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


@of_processes
def test_answers_that_cannot_be_pickled_are_told(kind: type[Team]) -> None:
    with kind(2) as team:

        def work(worker: int, fails: bool) -> Any:
            if worker == 1 and fails:
                raise Odd(3, 4)
            return (lambda: 5) if worker == 1 else None

        job = team.job(work)
        message = "a worker expected an answer that can be pickled, got "
        with pytest.raises(WorkerError, match=f"{message}Odd: 3 and 4"):
            job(True)
        with pytest.raises(WorkerError, match=f"{message}.*lambda"):
            job(False)


@of_processes
def test_an_error_in_a_process_has_its_traceback(kind: type[Team]) -> None:
    with kind(2) as team:

        def reads_beyond(worker: int) -> None:
            if worker == 1:
                [][7]

        job = team.job(reads_beyond)
        with pytest.raises(IndexError) as caught:
            job()
    assert "in process 2 of 2:\nTraceback" in str(caught.value.__cause__)
    assert "in reads_beyond" in str(caught.value.__cause__)


@of_processes
def test_a_process_that_cannot_be_forked_is_told(
    kind: type[Team], monkeypatch: pytest.MonkeyPatch
) -> None:
    fork, left = os.fork, iter([True, False])

    def scarce() -> int:
        if not next(left):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return fork()

    monkeypatch.setattr(os, "fork", scarce)
    with kind(3) as team:
        message = "ProcessTeam expected to fork 2 processes, got .*unavailable; use fewer"
        with pytest.raises(WorkerError, match=message):
            team.start()
        assert not multiprocessing.active_children()


@on_linux
def test_signals_to_the_group_are_for_the_first_process() -> None:
    """As a terminal and the program `timeout` send them."""
    program = """
        import os, signal
        from numdraw.nn.team import ProcessTeam
        signal.signal(signal.SIGTERM, lambda number, frame: print("asked to stop", flush=True))
        with ProcessTeam(3) as team:
            job = team.job(lambda worker: worker)
            job()
            os.killpg(0, signal.SIGTERM)
            print(*job())
    """
    done = run_program(program)
    assert done.stdout == "asked to stop\n0 1 2\n", done.stderr


@of_processes
def test_ctrl_c_is_left_to_the_first_process(kind: type[Team]) -> None:
    with kind(2) as team:
        pids = team.job(lambda worker: os.getpid())
        os.kill(pids()[1], signal.SIGINT)
        assert len(pids()) == 2


@on_linux
def test_processes_end_when_the_first_is_killed() -> None:
    program = """
        import os, signal
        from numdraw.nn.team import ProcessTeam
        with ProcessTeam(4) as team:
            print(*team.job(lambda worker: os.getpid())(), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = run_program(program)
    assert done.returncode == -signal.SIGKILL
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(set(pids)) == 4
    wait_until(lambda: not any(alive(pid) for pid in pids))


@of_each_kind
def test_a_team_of_no_workers_is_refused(kind: type[Team]) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__} expected a size of at least 1, got 0"):
        kind(0)


@on_linux
@pytest.mark.parametrize("second_thread", [False, True])
def test_only_a_process_of_one_thread_may_fork(second_thread: bool) -> None:
    program = f"""
        import threading
        from numdraw.nn.team import can_fork, make_team
        if {second_thread}:
            threading.Thread(target=threading.Event().wait, daemon=True).start()
        print(can_fork(), type(make_team(2)).__name__)
    """
    done = run_program(program)
    expected = "False Team\n" if second_thread else "True ProcessTeam\n"
    assert done.stdout == expected, done.stderr


def test_elsewhere_no_process_may_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert not can_fork()
    assert type(make_team(2)) is Team
