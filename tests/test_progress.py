import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numdraw.nn.checkpoint import load_checkpoint
from tests.commands import SMALL, run, run_stopped

ROOT = Path(__file__).parent.parent


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_quiet_says_nothing(
    made_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(made_data, tmp_path / "a.npz", *SMALL, "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_the_log_has_a_line_for_the_start_each_epoch_and_the_end(
    made_data: Path, tmp_path: Path
) -> None:
    log, out = tmp_path / "log.jsonl", tmp_path / "a.npz"
    assert run(made_data, out, *SMALL, "--quiet", "--log", str(log)) == 0
    meta = load_checkpoint(out)[1]
    start, *epochs, end = lines(log)
    assert [line["event"] for line in (start, *epochs, end)] == [
        "start", "epoch", "epoch", "epoch", "end",
    ]  # fmt: skip  # shorter so
    assert start["options"] == meta["options"]
    assert start["data"].items() <= meta["data"].items()
    assert (start["epoch"], start["numpy"]) == (0, np.__version__)
    assert (start["threads"], type(start["processes"])) == (
        1,
        bool,
    )  # a batch of 64 has work for one
    for entry, line in zip(meta["history"], epochs, strict=True):
        assert entry.items() <= line.items()
        assert line["images_per_second"] > 0
        assert 0 < line["lr"] <= meta["options"]["lr"]
    seconds = [line["seconds"] for line in (*epochs, end)]
    assert seconds == sorted(seconds)
    assert end["scores"] == meta["scores"]
    assert end["kept_epoch"] == meta["kept_epoch"]


def test_the_log_goes_on_when_the_training_does(
    made_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log, out = tmp_path / "log.jsonl", tmp_path / "a.npz"
    assert run_stopped(monkeypatch, made_data, out, "--log", str(log)) == 130
    assert f"--data {made_data} --log {log} --quiet\n" in capsys.readouterr().err
    assert run(made_data, out, "--resume", "--quiet", "--log", str(log)) == 0
    events = [(line["event"], line.get("epoch")) for line in lines(log)]
    assert events == [
        ("start", 0), ("epoch", 1), ("stop", 1), ("start", 1), ("epoch", 2), ("epoch", 3),
        ("end", None),
    ]  # fmt: skip  # shorter so


def test_a_log_that_cannot_be_written_is_found_out_before_training(
    made_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "missing" / "log.jsonl"
    assert run(made_data, tmp_path / "a.npz", *SMALL, "--log", str(log)) == 1
    shown = capsys.readouterr().err
    assert f"No such file or directory: '{log}'" in shown
    assert "epoch" not in shown
    assert os.listdir(tmp_path) == []


def test_a_terminal_gets_a_bar_with_time_left_loss_and_accuracy(
    made_data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tqdm")
    command = [sys.executable, "-m", "numdraw.train", "--data", str(made_data)]
    command += ["--out", str(tmp_path / "a.npz"), *SMALL]
    try:
        controller, terminal = pty.openpty()
    except OSError as error:  # a container without /dev/pts
        pytest.skip(f"no pseudo-terminal to be had: {error}")
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    process = subprocess.Popen(
        command, stderr=terminal, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(controller, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(controller)
    assert process.wait() == 0, shown.decode()
    text = shown.decode()
    assert "/24 [" in text  # 3 epochs of 8 batches
    assert "loss " in text
    assert "validation error " in text
    assert np.isfinite(float(text.split("loss ")[1].split()[0].rstrip(",")))
