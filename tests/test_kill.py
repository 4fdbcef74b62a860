"""Trainings that are killed at any moment go on to the same bytes; full and read-only disks."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from numdraw.nn.checkpoint import load_checkpoint
from tests.teams import on_linux

ROOT = Path(__file__).parent.parent
KILLS = int(os.environ.get("NUMDRAW_KILLS", "24"))  # of random moments; each takes half a second
OPTIONS = ["--arch", "lenet", "--epochs", "12", "--batch-size", "128", "--validation", "100"]
OPTIONS += ["--threads", "1", "--quiet"]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}

# Runs numdraw.train and kills it before the N-th call that changes what is on the disk.
KILLED_AT = """
import os, pathlib, signal, sys
left = int(sys.argv.pop(1))

def counted(call):
    def wrapper(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)
    return wrapper

os.fsync, os.replace = counted(os.fsync), counted(os.replace)
pathlib.Path.unlink = counted(pathlib.Path.unlink)
from numdraw.train import main
sys.exit(main())
"""


def arguments(data: Path, out: Path) -> list[str]:
    """What goes on with a training where there is one, and else begins one."""
    checkpoint = out.with_name(out.name.removesuffix(".npz") + ".checkpoint.npz")
    rest = ["--resume", "--threads", "2", "--quiet"] if checkpoint.exists() else OPTIONS
    return ["--data", str(data), "--out", str(out), *rest]


def command(data: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "numdraw.train", *arguments(data, out)]


def finish(data: Path, out: Path) -> bytes:
    subprocess.run(command(data, out), env=ENV, check=True)
    assert os.listdir(out.parent) == [out.name]
    return out.read_bytes()


@pytest.fixture(scope="module")
def whole(made_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, float]:
    """The file of a training that nobody disturbs, and its seconds."""
    out = tmp_path_factory.mktemp("whole") / "digits.npz"
    start = time.monotonic()
    return finish(made_data, out), time.monotonic() - start


def test_killed_at_random_moments_a_training_goes_on_to_the_same_bytes(
    made_data: Path, tmp_path: Path, whole: tuple[bytes, float]
) -> None:
    expected, seconds = whole
    rng = np.random.default_rng(0)
    kills, finished, epochs = 0, 0, set()
    while kills < KILLS or not finished:
        out = tmp_path / f"{finished}" / "digits.npz"
        process = subprocess.Popen(command(made_data, out), env=ENV)
        try:
            process.wait(rng.uniform(0, 0.8 * seconds) if kills < KILLS else None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            checkpoint = out.with_name("digits.checkpoint.npz")
            if checkpoint.exists():
                epochs.add(load_checkpoint(checkpoint)[1]["epoch"])
        if process.returncode == 0:
            assert out.read_bytes() == expected
            finished += 1
    print(f"\n{kills} kills in {finished} trainings, after {sorted(epochs)} epochs")  # noqa: T201  shown with -s
    assert len(epochs) > 1  # not all of them came too early or too late


@pytest.mark.parametrize("call", range(1, 43, 5))  # 3 calls a file: a step of 5 meets each kind
def test_killed_before_any_change_on_the_disk_a_training_goes_on_to_the_same_bytes(
    call: int, made_data: Path, tmp_path: Path, whole: tuple[bytes, float]
) -> None:
    out = tmp_path / "digits.npz"
    # 14 files are written, each flushed, renamed and its folder flushed; one is removed.
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AT, str(call), *arguments(made_data, out)], env=ENV
    )
    assert killed.returncode == -9
    assert finish(made_data, out) == whole[0]


def test_killed_before_its_last_call_a_training_needs_only_to_be_told_to_go_on(
    made_data: Path, tmp_path: Path, whole: tuple[bytes, float]
) -> None:
    out = tmp_path / "digits.npz"
    subprocess.run([sys.executable, "-c", KILLED_AT, "43", *arguments(made_data, out)], env=ENV)
    assert out.read_bytes() == whole[0]
    assert sorted(os.listdir(tmp_path)) == ["digits.checkpoint.npz", "digits.npz"]
    assert finish(made_data, out) == whole[0]


@on_linux
def test_a_training_whose_worker_is_killed_says_so_and_goes_on_to_the_same_bytes(
    made_data: Path, tmp_path: Path, whole: tuple[bytes, float]
) -> None:
    out = tmp_path / "digits.npz"
    arguments = ["--data", str(made_data), "--out", str(out), *OPTIONS, "--threads", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "numdraw.train", *arguments],
        env=ENV, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip  # shorter so
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (workers := children.read_text().split()):
        assert process.poll() is None
    os.kill(int(workers[0]), signal.SIGKILL)
    message = process.communicate()[1]
    assert process.returncode == 1
    assert "numdraw.train: process 2 of 2 expected to end with its team, got signal 9; " in message
    assert f"\ngo on with: python -m numdraw.train --resume --out {out} " in message
    assert finish(made_data, out) == whole[0]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that is a file system of its own, with room for one checkpoint of 1.7 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or not mount(folder, "size=2500k", "-t", "tmpfs"):
        pytest.skip("no file system can be mounted here: it takes root, and the right to")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def mount(folder: Path, how: str, *more: str) -> bool:
    done = subprocess.run(["mount", *more, "-o", how, "tmpfs", folder], capture_output=True)
    return done.returncode == 0


def test_on_a_full_disk_the_last_checkpoint_survives(
    made_data: Path, disk: Path, whole: tuple[bytes, float]
) -> None:
    out = disk / "digits.npz"
    failed = subprocess.run(command(made_data, out), env=ENV, capture_output=True, text=True)
    assert failed.returncode == 1
    assert f"numdraw.train: [Errno 28] No space left on device: '{disk}/" in failed.stderr
    assert f"go on with: python -m numdraw.train --resume --out {out} " in failed.stderr
    assert os.listdir(disk) == ["digits.checkpoint.npz"]
    assert load_checkpoint(disk / "digits.checkpoint.npz")[1]["epoch"] == 0
    assert mount(disk, "remount,size=8m")
    assert finish(made_data, out) == whole[0]


def test_in_a_read_only_folder_the_last_checkpoint_survives(
    made_data: Path, disk: Path, whole: tuple[bytes, float]
) -> None:
    out = disk / "digits.npz"
    subprocess.run(command(made_data, out), env=ENV, capture_output=True)
    kept = (disk / "digits.checkpoint.npz").read_bytes()
    assert mount(disk, "remount,ro")
    failed = subprocess.run(command(made_data, out), env=ENV, capture_output=True, text=True)
    assert failed.returncode == 1
    assert "numdraw.train: [Errno 30] Read-only file system: " in failed.stderr
    assert str(disk) in failed.stderr
    assert (disk / "digits.checkpoint.npz").read_bytes() == kept
    assert mount(disk, "remount,rw,size=8m")
    assert finish(made_data, out) == whole[0]
