"""What a training shows while it runs: a bar where there is a terminal, a line an epoch."""

import sys
import time
from typing import Any

from numdraw.training import Training


class Progress:
    """Reports a training to stderr. A context: leaving it ends the bar.

    The bar is tqdm's, an optional package (extra `train`): without it, or without a terminal,
    the lines say the same once an epoch.
    """

    def __init__(self, training: Training, *, quiet: bool) -> None:
        """Note where the training stands.

        Args:
            training: about to start, or to go on.
            quiet: show nothing.
        """
        self._training = training
        self._quiet = quiet
        self._started = time.monotonic()
        self._started_at = training.optimizer.steps
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
            self._bar = tqdm(total=total, initial=self._started_at, unit="batch", smoothing=0.05)
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
                text += f", validation accuracy {1 - error:.2%}"
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()

    def epoch(self, entry: dict[str, float]) -> None:
        """An epoch is done; `entry` is its line in the history."""
        training = self._training
        best = training.history[training.best_epoch - 1]
        # None, where the training was interrupted between an epoch's last batch and its end.
        steps = max(training.optimizer.steps - self._started_at, 1)
        a_step = (time.monotonic() - self._started) / steps  # s
        left = training.batches * training.options.epochs - training.optimizer.steps
        minutes, seconds = divmod(round(left * a_step), 60)
        images = len(training.train) / training.batches / a_step
        self.say(
            f"epoch {entry['epoch']:.0f}/{training.options.epochs}  loss {entry['loss']:.4f}  "
            f"validation accuracy {1 - entry['validation_error']:.2%} "
            f"(best {1 - best['validation_error']:.2%}, epoch {training.best_epoch})  "
            f"{images:,.0f} images/s  {minutes}:{seconds:02d} left"
        )
