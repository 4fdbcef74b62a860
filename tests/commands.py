"""A small training by the command line, for test_train and test_progress."""

import os
import signal
from pathlib import Path

import pytest

from numdraw import train
from numdraw.training import Training

SMALL = ["--arch", "mlp", "--epochs", "3", "--batch-size", "64", "--hidden", "16", "--seed", "5"]
SMALL += ["--validation", "100"]


def run(data: Path, out: Path, *arguments: str) -> int:
    return train.main(["--data", str(data), "--out", str(out), *arguments])


def run_stopped(
    monkeypatch: pytest.MonkeyPatch, data: Path, out: Path, *arguments: str, batch: int = 4
) -> int:
    """Run it, with Ctrl-C's signal in the second epoch, before its `batch`th step of 8."""
    step = Training.step

    def stopping(training: Training) -> float:
        if (training.epoch, training.batch) == (1, batch - 1):
            os.kill(os.getpid(), signal.SIGINT)
        return step(training)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", stopping)
        return run(data, out, *SMALL, "--quiet", *arguments)
