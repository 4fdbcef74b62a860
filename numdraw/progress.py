"""What a training shows while it runs: a bar where there is a terminal, a line an epoch, a log.

The log is JSON lines. Each line is an object with "event" and "time", seconds since 1970:

    event    also holds
    start    options, data, numdraw, numpy, python, threads, processes: whether these worked instead
             of threads, epoch: how many were done already
    epoch    epoch, loss, validation_loss, validation_error, lr, seconds, images_per_second
    stop     epoch, batch: the epochs done, and the batches of the next, when a signal stopped it
    end      kept_epoch, scores, seconds

"seconds" count from this run's start, "loss" and "validation_loss" are in nats, and
"validation_error" is a share, in [0, 1].
"""

import json
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from numdraw import __version__
from numdraw.nn.team import ProcessTeam, Team
from numdraw.training import Training


class TrainingLog:
    """Writes the lines of a log, each at once. A context: leaving it closes the file."""

    def __init__(self, path: Path | None) -> None:
        """Open the file, to write behind what is there.

        Args:
            path: None writes nothing.

        Raises:
            OSError: it cannot be written to.
        """
        # Line buffering: whoever follows the file sees whole lines, as they come.
        self._file = None if path is None else path.open("a", encoding="utf-8", buffering=1)

    def write(self, event: str, **fields: Any) -> None:
        """Write one line."""
        if self._file is not None:
            line = {"event": event, "time": round(time.time(), 3), **fields}
            self._file.write(json.dumps(line) + "\n")

    def __enter__(self) -> "TrainingLog":
        """Itself; leaving the context closes the file."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class Progress:
    """Reports a training to stderr. A context: leaving it ends the bar.

    The bar is tqdm's, an optional package (extra `train`): without it, or without a terminal,
    the lines say the same once an epoch.
    """

    def __init__(self, training: Training, *, team: Team, quiet: bool, log: TrainingLog) -> None:
        """Note where the training stands.

        Args:
            training: about to start, or to go on.
            team: its workers.
            quiet: show nothing.
            log: gets its lines even so.
        """
        self._training = training
        self._quiet = quiet
        self._start_time = time.monotonic()
        self._start_steps = training.optimizer.steps
        self._log = log
        log.write(
            "start",
            options=asdict(training.options),
            data=training.train.examples.sha256,
            numdraw=__version__,
            numpy=np.__version__,
            python=platform.python_version(),
            threads=team.size,
            processes=isinstance(team, ProcessTeam),
            epoch=training.epoch,
        )
        self._bar: Any = None  # tqdm's type is there only where tqdm is

    def __enter__(self) -> "Progress":
        """Show the bar."""
        if not self._quiet and sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return self
            training = self._training
            total = training.batches * training.options.epochs
            self._bar = tqdm(total=total, initial=self._start_steps, unit="batch", smoothing=0.05)
        return self

    def __exit__(self, *error: object) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def say(self, text: str) -> None:
        """Write a line, above the bar if there is one."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def batch(self, loss: float) -> None:
        """A batch is done."""
        if self._bar is not None:
            text = f"loss {loss:.4f}"
            if self._training.history:
                error = self._training.history[-1]["validation_error"]
                text += f", validation error {error:.2%}"
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()

    def epoch(self, entry: dict[str, float]) -> None:
        """An epoch is done; `entry` is its line in the history."""
        training = self._training
        best = training.history[training.best_epoch - 1]
        # 0 steps, where this run began between an epoch's last batch and its end.
        steps = max(training.optimizer.steps - self._start_steps, 1)
        seconds_per_step = self.seconds() / steps
        left = training.batches * training.options.epochs - training.optimizer.steps
        minutes, seconds = divmod(round(left * seconds_per_step), 60)
        images = training.images / training.batches / seconds_per_step
        self.say(
            f"epoch {entry['epoch']:.0f}/{training.options.epochs}  loss {entry['loss']:.4f}  "
            f"validation error {entry['validation_error']:.2%} "
            f"(best {best['validation_error']:.2%}, epoch {training.best_epoch})  "
            f"{images:,.0f} images/s  {minutes}:{seconds:02d} left"
        )
        self._log.write(
            "epoch",
            **entry,
            lr=training.schedule(training.optimizer.steps - 1),
            seconds=round(self.seconds(), 3),
            images_per_second=round(images, 1),
        )

    def stopped(self) -> None:
        """A signal stopped the training."""
        self._log.write("stop", epoch=self._training.epoch, batch=self._training.batch)

    def finished(self, meta: dict[str, Any]) -> None:
        """The training is done, and `meta` says how it went."""
        kept = {name: meta[name] for name in ("kept_epoch", "scores")}
        self._log.write("end", **kept, seconds=round(self.seconds(), 3))

    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._start_time
