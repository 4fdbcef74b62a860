"""A side: numdraw."""

import math
import multiprocessing
import os
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.parts import nets
from benchmarks.parts.side import timed
from numdraw import Predictor, models
from numdraw.calibrate import temper
from numdraw.data import Examples, Part
from numdraw.nn.inference import Inference
from numdraw.nn.layers import Array
from numdraw.nn.losses import SoftmaxCrossEntropy
from numdraw.nn.optim import SGD
from numdraw.nn.parallel import ParallelGradient, keep_freed_memory
from numdraw.nn.team import make_team
from numdraw.preprocess import render
from numdraw.training import RECIPES, Training

MAXRSS = 1 if sys.platform == "darwin" else 1024  # bytes; the unit of ru_maxrss
PSS = re.compile(r"^Pss: +(\d+) kB$", re.MULTILINE)  # a page of n processes counts 1/n in each

keep_freed_memory()


def flops(*, net: str) -> dict[str, int]:
    """See `nets.flops`."""
    return nets.flops(net)


def training(
    *, net: str, batch: int, steps: int, threads: int, lr: float, folder: str | None
) -> Callable[[], float]:
    """A round of training steps; it returns its seconds."""
    images, labels = nets.batch(folder, batch * steps)
    rngs = np.random.default_rng(0).spawn(math.ceil(batch / models.MICRO_BATCH))

    def load(k: int, part: slice, first: int) -> tuple[Array, Array, np.random.Generator]:
        here = slice(first + part.start, first + part.stop)
        return images[here], labels[here], rngs[k]

    team = make_team(threads)
    network = nets.network(net)
    network.move_to(team.zeros)
    optimizer = SGD(network.values, network.grads, momentum=0.9, team=team)
    gradient = ParallelGradient(
        network,
        SoftmaxCrossEntropy(),
        load,
        batch_size=batch,
        micro_batch=models.MICRO_BATCH,
        team=team,
    )

    def run() -> float:
        start = time.perf_counter()
        for k in range(steps):
            gradient(batch, k * batch)
            optimizer.step(lr)
        return time.perf_counter() - start

    return run


def predictions(*, net: str, count: int, calls: int, threads: int) -> Callable[[], float]:
    """A round of predictions of so many images; it returns the seconds of one."""
    inference = Inference(nets.network(net), threads=threads)
    images = np.random.default_rng(0).random((count, *models.INPUT), np.float32)
    return timed(lambda: inference(images), calls)


def drawing(*, strokes: Any, part: str, calls: int) -> Callable[[], float]:
    """A round of a predictor's work on a drawing; it returns the seconds of one.

    Args:
        strokes: the drawing.
        part: "whole"; "preprocessing" or "network", by themselves; "without confidence", where all
            are taken for digits; or "as a number".
        calls: how many in a round.
    """
    predictor = Predictor.load()
    image = render(strokes).image[None]
    ten = {**predictor.meta["architecture"], "outputs": models.CLASSES}
    plain = Inference(models.build(ten, rng=np.random.default_rng(0)))

    def without_confidence() -> object:
        images = render(strokes).image[None]
        if not ((images >= 0) & (images <= 1)).all():
            raise ValueError("images expected numbers in [0, 1]")
        probabilities = temper(plain(images), predictor.calibration.temperature)
        return probabilities.argmax(axis=1)

    work: dict[str, Callable[[], object]] = {
        "whole": lambda: predictor.predict(strokes),
        "preprocessing": lambda: render(strokes),
        "network": lambda: predictor.predict_images(image),
        "without confidence": without_confidence,
        "as a number": lambda: predictor.predict_number(strokes),
    }
    return timed(work[part], calls)


def version() -> str:
    """Of the weights that come with numdraw."""
    return Predictor.load().version


def epochs(*, threads: int, **race: Any) -> Callable[[], dict[str, Any]]:
    """An epoch of `nets.race`: its seconds, those of the start in the first, and its error.

    The files are read and split beforehand.
    """
    options, train, valid = nets.race(**race)
    training: Training | None = None

    def run() -> dict[str, Any]:
        nonlocal training
        start = time.perf_counter()
        if training is None:
            training = Training(options, train, valid, team=make_team(threads))
        for _ in range(training.batches):
            training.step()
        error = training.end_epoch()["validation_error"]
        return {
            "seconds": time.perf_counter() - start,
            "validation_error": error,
            "finished": training.epoch == options.epochs,
        }

    return run


def memory(*, images: int, steps: int, threads: int) -> dict[str, int]:
    """The bytes that a training of so many images takes, and the data's own.

    Taken after some steps and a validation, of all its processes; on macOS the peak of the one. To
    be called once, in a process of its own.
    """
    rng = np.random.default_rng(0)
    train, valid = (
        Examples(
            rng.integers(0, 256, (count, *models.INPUT), np.uint8), rng.integers(0, 10, count), {}
        )
        for count in (images, 1000)
    )
    part = Part(train, np.arange(images))
    with make_team(threads) as team:
        training = Training(RECIPES["convnet"], part, valid, team=team)
        for _ in range(min(steps, training.batches)):
            training.step()
        training.end_epoch()
        taken = _taken()
    return {"taken": taken, "data": train.images.nbytes + train.labels.nbytes}


def _taken() -> int:
    """The bytes of this process and its workers."""
    if sys.platform != "linux":  # workers are threads there
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS
    pids = [os.getpid(), *(worker.pid for worker in multiprocessing.active_children())]
    texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    return sum(1024 * int(size) for text in texts for size in PSS.findall(text))
