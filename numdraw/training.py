"""One training: its options, its steps, its state; the files and the screen are `train`'s."""

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from numdraw import models
from numdraw.augment import Augmentation, augment
from numdraw.data import Examples, Part
from numdraw.metrics import error_rate
from numdraw.nn.checkpoint import CheckpointError
from numdraw.nn.layers import Array
from numdraw.nn.losses import SoftmaxCrossEntropy
from numdraw.nn.network import CHUNK
from numdraw.nn.optim import AdamW, OneCycle
from numdraw.nn.parallel import Group, ParallelGradient
from numdraw.nn.team import Team

# Each use of random numbers has a stream of its own: a generator is made from the seed, the
# stream, and where in the training it is. So they do not depend on workers or on interruptions.
SPLIT, PARAMETERS, ORDER, MICRO_BATCHES, TURNS = range(5)

# Epochs in which the other ink comes once; each has all of MNIST's images. Some shapes mean one
# digit to MNIST's writers and another to other people: all of that ink in each epoch makes the
# network misread more of MNIST's. See weights/README.md.
INK_EPOCHS = 3

ENTRY = {"epoch", "loss", "validation_loss", "validation_error"}  # of the history


class TrainingError(ValueError):
    """A training that cannot start or go on."""


@dataclass(frozen=True)
class Options:
    """All that a training's result depends on, the data aside. The defaults are the mlp's recipe.

    Attributes:
        recipe: what it is a variation of: a name in `RECIPES`.
        arch: the architecture's name; see `models`.
        epochs: passes over MNIST's images; other ink comes once in INK_EPOCHS of them.
        batch_size: images a step.
        lr: the highest learning rate of the one-cycle schedule.
        seed: of every random number.
        hidden: units of each hidden layer of an mlp.
        channels: of each convolution of a convnet.
        dropout: the probability of a hidden unit's dropping out.
        weight_decay: AdamW's.
        label_smoothing: the loss's.
        warmup: the share of the steps over which the learning rate rises.
        averaging: the decay of the parameters' exponential moving average; 0 averages nothing.
        patience: epochs without a better validation before training stops early.
        validation: images held out of MNIST's training files.
        ink: whether to use what other ink there is beside MNIST's files.
        augmentation: the limits of the random warps.
    """

    recipe: str = "mlp"
    arch: str = "mlp"
    epochs: int = 100
    batch_size: int = 128
    lr: float = 2e-3
    seed: int = 0
    hidden: tuple[int, ...] = (512, 256)
    channels: tuple[int, ...] = models.CONVNET_CHANNELS
    dropout: float = 0.0
    weight_decay: float = 0.05
    label_smoothing: float = 0.03
    warmup: float = 0.25
    averaging: float = 0.0
    patience: int = 30
    validation: int = 5_000
    ink: bool = True
    augmentation: Augmentation = field(default_factory=Augmentation)

    @classmethod
    def from_json(cls, values: Any, where: str) -> "Options":
        """The options that a checkpoint's meta holds.

        Raises:
            CheckpointError: one is missing, unknown, of another type or out of range.
        """
        names = set(asdict(cls()))
        if not isinstance(values, dict) or values.keys() != names:
            got = sorted(values) if isinstance(values, dict) else values
            raise CheckpointError(
                f"{where} expected the training options {sorted(names)}, got {got!s:.500}"
            )
        try:
            given = dict(values)
            given["hidden"] = tuple(given["hidden"])
            given["channels"] = tuple(given["channels"])
            given["augmentation"] = Augmentation(**given["augmentation"])
            options = cls(**given)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{where} expected training options, got {error}") from error
        for name, default in asdict(cls()).items():
            value = getattr(options, name)
            if name != "augmentation" and type(value) is not type(default):
                raise CheckpointError(
                    f"{where} expected a {type(default).__name__} as its option {name}, "
                    f"got {value!r:.50}"
                )
        if options.recipe not in RECIPES or options.arch not in models.NAMES:
            raise CheckpointError(
                f"{where} expected a recipe of {', '.join(RECIPES)} and an architecture of "
                f"{', '.join(models.NAMES)}, got {options.recipe!r:.50} and {options.arch!r:.50}"
            )
        if min(options.epochs, options.batch_size, options.validation) < 1:
            raise CheckpointError(
                f"{where} expected epochs, batch_size and validation of at least 1, "
                f"got {options.epochs}, {options.batch_size} and {options.validation}"
            )
        return options

    def architecture(self, outputs: int = models.CLASSES) -> dict[str, Any]:
        """The network's description, for `models.build` and the weights file."""
        if self.arch == "mlp":
            return models.mlp_architecture(self.hidden, self.dropout, outputs)
        if self.arch == "convnet":
            return models.convnet_architecture(self.channels, self.dropout, outputs)
        return models.lenet_architecture(outputs)

    def command(self) -> str:
        """The command line that repeats the training, all other options being the default."""
        recipe = "--fast" if self.recipe == "fast" else f"--arch {self.recipe}"
        hidden = f" --hidden {' '.join(map(str, self.hidden))}" if self.arch == "mlp" else ""
        return (
            f"python -m numdraw.train {recipe} --epochs {self.epochs} "
            f"--batch-size {self.batch_size} --lr {self.lr} --seed {self.seed}{hidden} "
            f"--validation {self.validation}{'' if self.ink else ' --no-ink'}"
        )

    def rng(self, stream: int, *where: int) -> np.random.Generator:
        """The random numbers of one use at one place of the training."""
        return np.random.default_rng([self.seed, stream, *where])

    def split_rng(self) -> np.random.Generator:
        """The random numbers that choose the validation images."""
        return self.rng(SPLIT)


CONVNET = Options(
    recipe="convnet",
    arch="convnet",
    epochs=60,
    lr=8e-3,
    dropout=0.3,
    weight_decay=0.02,
    averaging=0.999,
    augmentation=Augmentation(elastic=0.5),
)
RECIPES = {
    "mlp": Options(),
    "lenet": replace(CONVNET, recipe="lenet", arch="lenet"),
    "convnet": CONVNET,
    "fast": replace(
        CONVNET,
        recipe="fast",
        epochs=28,
        warmup=0.06,  # with 0.25, 99.0% comes an epoch later, and the end is the same
        channels=(16, 32, 64, 64),
        dropout=0.2,
    ),
}
DEFAULT_RECIPE = "convnet"


class Training:
    """A network on its way from random parameters to the best that validation has seen.

    `step` until `batch == batches`, then `end_epoch`, until
    `finished`; then `keep_best`. Between any two calls `state` holds all that another `Training`
    needs to go on to the same parameters, bit for bit.

    Attributes:
        architecture: its description; it has an output for "no digit" where there are such images.
        network: as trained so far.
        averaged: what is validated and kept: the running average of the network's parameters over
            the steps, or the network itself where nothing is averaged.
        images: how many an epoch has.
        epoch: epochs finished.
        batch: batches done of the epoch under way, of `batches` an epoch.
        history: a dict an epoch: "epoch", "loss", "validation_loss" (nats), "validation_error".
        best_epoch: the one whose parameters are kept, counted from 1; 0 before the first.
    """

    def __init__(
        self,
        options: Options,
        train: Part,
        valid: Examples,
        *,
        team: Team,
        group: Group | None = None,
    ) -> None:
        """Draw the first parameters, and the order of the images.

        Args:
            options: the recipe.
            train: learnt from.
            valid: chooses the best epoch.
            team: the workers, with no other jobs; the result does not depend on how many.
            group: the ranks that train together, each with a `Training` of the same options and
                data, of which it calls the same methods; None if this one is alone.
        """
        self.options = options
        self.train = train
        self.valid = valid
        self.architecture = options.architecture(_outputs(train))
        self.network = models.build(self.architecture, rng=options.rng(PARAMETERS))
        self.network.move_to(team.zeros)
        self.averaged = self.network
        if options.averaging:
            self.averaged = models.build(self.architecture, rng=None)
            self.averaged.state[:] = self.network.state
        self.optimizer = AdamW(
            self.network.values,
            self.network.grads,
            weight_decay=options.weight_decay,
            team=team,
        )
        self._turn = math.ceil(train.in_turns / INK_EPOCHS)  # images that take turns, an epoch
        self.images = len(train) - train.in_turns + self._turn
        self.batches = math.ceil(self.images / options.batch_size)
        steps = self.batches * options.epochs
        self.schedule = OneCycle(options.lr, steps, warmup=int(options.warmup * steps))
        self._team, self._group = team, group
        self._gradient = ParallelGradient(
            self.network,
            SoftmaxCrossEntropy(options.label_smoothing),
            self._load,
            batch_size=min(options.batch_size, self.images),
            micro_batch=models.MICRO_BATCH,
            team=team,
            group=group,
        )
        self.epoch = 0
        self.batch = 0
        self.loss_sum = 0.0  # of the epoch's batches so far, each times its size
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self._best = self.averaged.state.copy()
        self._set_order()
        team.start()  # forks while there are no threads: a progress bar has one

    @property
    def sha256(self) -> dict[str, str]:
        """Of each file that it learns from or validates on, by its name."""
        return self.train.examples.sha256 | self.valid.sha256

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or validation has not improved for too long."""
        return (
            self.epoch == self.options.epochs
            or self.epoch - self.best_epoch >= self.options.patience
        )

    @np.errstate(over="ignore", invalid="ignore")  # what they warn of is looked for
    def step(self) -> float:
        """Take the next batch, and return its loss in nats.

        Raises:
            TrainingError: the loss or its gradient is not finite.
            WorkerError: a process of the team has come to its end.
        """
        start = self.batch * self.options.batch_size
        batch = self._order[start : start + self.options.batch_size]
        loss = self._gradient(len(batch), batch, self.epoch, self.batch)
        if not math.isfinite(loss):
            raise self._diverged(f"{loss} in batch {self.batch + 1}")
        grads = self.network.grads
        if not math.isfinite(grads @ grads):  # before they get into the parameters
            raise self._diverged(f"a gradient of NaN or inf in batch {self.batch + 1}")
        self.optimizer.step(self.schedule(self.optimizer.steps))
        self._average()
        self.loss_sum += loss * len(batch)
        self.batch += 1
        return loss

    def end_epoch(self) -> dict[str, float]:
        """Validate, keep the parameters if they are the best, and return the history's new entry.

        The best has the lowest validation error, and among equals the lowest loss. The error is
        that of the digits: which of the ten each is.

        Raises:
            TrainingError: the loss is no longer finite.
        """
        logits = self.predict(self.valid.images)
        labels = self.valid.labels
        digits, is_digit = logits[:, : models.CLASSES].argmax(axis=1), labels < models.CLASSES
        validation_loss, _ = SoftmaxCrossEntropy()(logits.T.astype(np.float64), labels)
        entry = {
            "epoch": self.epoch + 1,
            "loss": self.loss_sum / self.images,
            "validation_loss": validation_loss,
            "validation_error": error_rate(digits[is_digit], labels[is_digit]),
        }
        if not math.isfinite(entry["loss"] + entry["validation_loss"]):
            raise self._diverged(f"a validation loss of {validation_loss}")
        if self.best_epoch == 0 or _merit(entry) < _merit(self.history[self.best_epoch - 1]):
            self.best_epoch = self.epoch + 1
            self._best[:] = self.averaged.state
        self.history.append(entry)
        self.epoch += 1
        self.batch = 0
        self.loss_sum = 0.0
        self._set_order()
        return entry

    def predict(self, images: Array) -> Array:
        """The averaged network's logits of images (N, 28, 28) uint8: (N, 10), or (N, 11)."""
        logits = np.zeros((len(images), self.architecture["outputs"]), np.float32)

        @np.errstate(over="ignore", invalid="ignore")  # `end_epoch` looks for it
        def work(start: int) -> None:
            part = slice(start, start + CHUNK)
            logits[part] = self.averaged(models.as_images(images[part]))

        group = self._group
        starts = range(0, len(images), CHUNK)
        mine = starts if group is None else starts[group.rank :: group.size]
        # Threads: the team's processes were forked before there were these images.
        with ThreadPoolExecutor(self._team.size) as executor:
            list(executor.map(work, mine))
        if group is not None:
            group.sum(logits)  # each row is one process's, and 0 in all others
        return logits

    def keep_best(self) -> None:
        """Give the averaged network the best epoch's parameters."""
        self.averaged.state[:] = self._best

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """All that a checkpoint must hold: arrays, and what JSON can."""
        arrays = {
            "state": self.network.state,
            "averaged": self.averaged.state,
            "best": self._best,
            **{f"optimizer.{name}": array for name, array in self.optimizer.state().items()},
        }
        meta = {
            "options": asdict(self.options),
            "data": self.sha256,
            "epoch": self.epoch,
            "batch": self.batch,
            "loss_sum": self.loss_sum,
            "history": self.history,
            "best_epoch": self.best_epoch,
            "steps": self.optimizer.steps,
        }
        return arrays, meta

    def load(self, arrays: Mapping[str, Array], meta: Mapping[str, Any], where: str) -> None:
        """Go on from a checkpoint that `state` made.

        Args:
            arrays: its arrays.
            meta: its meta.
            where: the file's name, for messages.

        Raises:
            CheckpointError: it is of another network or other data, or something is missing.
        """
        mine, my_meta = self.state()
        shapes = {name: (array.shape, array.dtype) for name, array in mine.items()}
        if {name: (array.shape, array.dtype) for name, array in arrays.items()} != shapes:
            raise CheckpointError(f"{where} expected a checkpoint of this network, got another's")
        if missing := my_meta.keys() - meta.keys():
            raise CheckpointError(f"{where} expected {sorted(missing)} in its meta, got none")
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise CheckpointError(f"{where} expected finite numbers, got NaN or inf")
        if not self._could_have_been(meta):
            raise CheckpointError(
                f"{where} expected epoch, batch, steps and history of this training, "
                "got others; delete it to train anew"
            )
        if meta["data"] != self.sha256:
            raise CheckpointError(
                f"{where} expected the training files that it was begun with, SHA-256 "
                f"{meta['data']}, got {self.sha256}; "
                "name their folders with --data and --corrections"
            )
        self.network.state[:] = arrays["state"]
        self.averaged.state[:] = arrays["averaged"]
        self._best[:] = arrays["best"]
        prefix = "optimizer."
        self.optimizer.load_state(
            {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)},
            meta["steps"],
        )
        self.epoch, self.batch = meta["epoch"], meta["batch"]
        self.loss_sum = meta["loss_sum"]
        self.history, self.best_epoch = list(meta["history"]), meta["best_epoch"]
        self._set_order()

    def _could_have_been(self, meta: Mapping[str, Any]) -> bool:
        """Whether a meta's numbers are such as this training passes through."""
        numbers = [meta[name] for name in ("epoch", "batch", "best_epoch", "steps")]
        if not all(type(number) is int and number >= 0 for number in numbers):
            return False
        epoch, batch, best_epoch, steps = numbers
        history = meta["history"]
        return (
            isinstance(meta["loss_sum"], float)
            and isinstance(history, list)
            and len(history) == epoch <= self.options.epochs
            and all(isinstance(entry, dict) and entry.keys() == ENTRY for entry in history)
            and min(epoch, 1) <= best_epoch <= epoch
            and batch <= self.batches
            and steps == epoch * self.batches + batch
        )

    def _load(
        self, k: int, part: slice, batch: Array, *where: int
    ) -> tuple[Array, Array, np.random.Generator]:
        """The kth micro-batch of a batch: its warped images, their labels, its random numbers."""
        rng, examples = self.options.rng(MICRO_BATCHES, *where, k), self.train.take(batch[part])
        return augment(examples.images, self.options.augmentation, rng=rng), examples.labels, rng

    def _average(self) -> None:
        """Move the averaged state a step: an exponential moving average (EMA) of the network's.

            averaged = keep * averaged + (1 - keep) * state,    over some 1 / (1 - keep) steps

        At step t keep is at most (1 + t) / (10 + t), which is (10 + t) / 9 steps: so the random
        parameters of the start are soon forgotten.

        Source: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992,
        with weights that forget; the rise of keep is that of TensorFlow's ExponentialMovingAverage.
        """
        if self.averaged is not self.network:
            t = self.optimizer.steps
            keep = min(self.options.averaging, (1 + t) / (10 + t))
            self.averaged.state += np.float32(1.0 - keep) * (
                self.network.state - self.averaged.state
            )

    def _diverged(self, got: str) -> TrainingError:
        return TrainingError(
            f"training expected a finite loss and gradient, got {got} of epoch {self.epoch + 1}; "
            f"train anew with a lower --lr than {self.options.lr}"
        )

    def _set_order(self) -> None:
        """Draw which images the epoch has, and their order."""
        common, epoch = len(self.train) - self.train.in_turns, self.epoch
        shuffled = self.options.rng(TURNS, epoch // INK_EPOCHS).permutation(self.train.in_turns)
        turn = np.arange(self._turn) + self._turn * (epoch % INK_EPOCHS)
        others = common + shuffled.take(turn, mode="wrap")  # the first fill up the last turn
        chosen = np.concatenate([np.arange(common), others])
        self._order = self.options.rng(ORDER, epoch).permutation(chosen)


def _outputs(train: Part) -> int:
    labels = train.examples.labels[train.indices]
    return models.CLASSES + int((labels == models.NO_DIGIT).any())


def _merit(entry: Mapping[str, float]) -> tuple[float, float]:
    return entry["validation_error"], entry["validation_loss"]
