"""A side: PyTorch, training by one of numdraw's recipes."""

import copy
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from benchmarks.parts import nets
from benchmarks.parts.pytorch import as_input, same_network
from numdraw import models
from numdraw.augment import augment
from numdraw.data import Examples, Part
from numdraw.metrics import error_rate
from numdraw.nn.layers import Array
from numdraw.nn.optim import OneCycle
from numdraw.nn.parallel import cores
from numdraw.training import MICRO_BATCHES, ORDER, PARAMETERS, Options

TRIAL = 30  # batches, to see whether images are better made ahead
CHUNK = 500  # images validated at once


class TorchTraining:
    """What `numdraw.training.Training` does, with PyTorch's network, gradients and optimiser.

    Seed, first parameters, order and warps of the images are the same, and so are the schedule, the
    smoothing of labels and the averaging of parameters. Not the same: batch norm sees the whole
    batch, and not 64 images at a time; dropout draws other numbers.
    """

    def __init__(
        self,
        options: Options,
        train: Part,
        valid: Examples,
        *,
        threads: int,
        layout: str,
        ahead: int,
    ) -> None:
        """Start as `Training` does.

        Args:
            options: the recipe.
            train: learnt from.
            valid: validated on.
            threads: for PyTorch, and for making the images.
            layout: a key of `pytorch.LAYOUTS`.
            ahead: batches of images that are made while PyTorch works on the one before.
        """
        torch.set_num_threads(threads)
        torch.manual_seed(options.seed)  # of dropout
        self.options, self.train, self.valid = options, train, valid
        self.layout, self.ahead = layout, ahead
        ours = models.build(options.architecture(), rng=options.rng(PARAMETERS))
        self.network = same_network(ours, layout)
        self.averaged = copy.deepcopy(self.network)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), weight_decay=options.weight_decay, fused=True
        )
        self.batches = math.ceil(len(train) / options.batch_size)
        steps = self.batches * options.epochs
        self.schedule = OneCycle(options.lr, steps, warmup=int(options.warmup * steps))
        self.steps = 0
        self.done = 0  # epochs
        self.executor = ThreadPoolExecutor(threads)

    def steps_of_epoch(self, batches: int) -> None:
        """Take the first steps of the epoch under way, or all."""
        self.network.train()
        for images, labels in self._made(batches):
            for group in self.optimizer.param_groups:
                group["lr"] = self.schedule(self.steps)
            self.optimizer.zero_grad()
            loss = cross_entropy(
                self.network(images), labels, label_smoothing=self.options.label_smoothing
            )
            loss.backward()
            self.optimizer.step()
            self.steps += 1
            self._average()

    def end_epoch(self) -> float:
        """The averaged network's error on the validation images."""
        parts = [
            self.valid.images[start : start + CHUNK] for start in range(0, len(self.valid), CHUNK)
        ]
        with torch.inference_mode():
            logits = [
                self.averaged(as_input(models.as_images(part), self.layout)).numpy()
                for part in parts
            ]
        self.done += 1
        return error_rate(np.concatenate(logits).argmax(axis=1), self.valid.labels)

    def _made(self, batches: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The images and labels of an epoch's batches, each made in parts on the threads."""
        order = self.options.rng(ORDER, self.done).permutation(len(self.train))
        size = self.options.batch_size
        waiting: deque[list[Future[tuple[Array, Array]]]] = deque()
        for batch in range(batches):
            indices = order[batch * size : (batch + 1) * size]
            starts = range(0, len(indices), models.MICRO_BATCH)
            parts = [indices[start : start + models.MICRO_BATCH] for start in starts]
            waiting.append(
                [self.executor.submit(self._warped, p, batch, k) for k, p in enumerate(parts)]
            )
            if len(waiting) > self.ahead:
                yield self._joined(waiting.popleft())
        while waiting:
            yield self._joined(waiting.popleft())

    def _warped(self, indices: Array, batch: int, k: int) -> tuple[Array, Array]:
        """As `Training` makes a micro-batch."""
        rng, examples = (
            self.options.rng(MICRO_BATCHES, self.done, batch, k),
            self.train.take(indices),
        )
        return augment(examples.images, self.options.augmentation, rng=rng), examples.labels

    def _joined(
        self, making: list[Future[tuple[Array, Array]]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = zip(*[future.result() for future in making], strict=True)
        return as_input(np.concatenate(images), self.layout), torch.from_numpy(
            np.concatenate(labels)
        )

    def _average(self) -> None:
        """As `Training._average` does it, batch norm's statistics included."""
        keep = min(self.options.averaging, (1 + self.steps) / (10 + self.steps))
        averages, now = self.averaged.state_dict(), self.network.state_dict()
        with torch.no_grad():
            for name, average in averages.items():
                if average.is_floating_point():  # not the count of batches
                    average.lerp_(now[name], 1.0 - keep)


def epochs(*, threads: int, layout: str, **race: Any) -> Callable[[], dict[str, Any]]:
    """An epoch of `nets.race`: its seconds, those of the start in the first, and its error.

    The files are read and split beforehand. It is also tried beforehand whether a batch's images
    are better made before its step or during the one before; not where that would be work for more
    cores than the threads may have.
    """
    options, train, valid = nets.race(**race)

    def start(ahead: int) -> TorchTraining:
        return TorchTraining(options, train, valid, threads=threads, layout=layout, ahead=ahead)

    ahead = _faster([start(0), start(1)]) if threads >= cores() else 0
    training: TorchTraining | None = None

    def run() -> dict[str, Any]:
        nonlocal training
        begin = time.perf_counter()
        if training is None:
            training = start(ahead)
        training.steps_of_epoch(training.batches)
        error = training.end_epoch()
        return {
            "seconds": time.perf_counter() - begin,
            "validation_error": error,
            "finished": training.done == options.epochs,
            "made_ahead": ahead,
        }

    return run


def _faster(trainings: list[TorchTraining]) -> int:
    """`ahead` of the training that takes some steps in the least time."""
    seconds: list[list[float]] = [[] for _ in trainings]
    for _ in range(3):
        for training, its in zip(trainings, seconds, strict=True):
            begin = time.perf_counter()
            training.steps_of_epoch(min(TRIAL, training.batches))
            its.append(time.perf_counter() - begin)
    return trainings[int(np.argmin([min(its) for its in seconds]))].ahead
