"""Trains the network on MNIST's files, and other ink beside them, and writes its weights.

    python -m numdraw.train                        from data/ to weights/digits.npz
    python -m numdraw.train --fast                 a smaller convnet, in a quarter of the time
    python -m numdraw.train --arch mlp             another network: mlp, lenet or convnet
    python -m numdraw.train --data DIR --out FILE  from and to elsewhere
    python -m numdraw.train --corrections FOLDER   of what people said was misread too
    python -m numdraw.train --no-ink               of MNIST alone, though there is more beside it
    python -m numdraw.train --resume               go on after Ctrl-C, a crash or a power cut
    mpirun -n 4 python -m numdraw.train --mpi      on four processes, of one machine or of many

The training files are split, by the seed, into images to learn from and images to validate on:
these choose the epoch to keep and the temperature. The test files are read once, when all that
is done. On the same processor and NumPy the same seed and options give the same file, bit for bit,
for any --threads.
"""

import os
import sys

if "numpy" not in sys.modules:
    # BLAS reads these when NumPy is first imported. Our workers want a core each, and a process in
    # which BLAS has threads must not fork (nn.team).
    for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[variable] = "1"

import argparse
import json
import re
import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from numdraw import __version__, corrections, models, mpi, preprocess
from numdraw._signals import handled
from numdraw.calibrate import calibrate, digit_scores, temper
from numdraw.data import (
    data_folder,
    find_ink,
    find_split,
    join,
    read_corrections,
    read_ink,
    read_split,
    source_of,
    split_validation,
)
from numdraw.metrics import detection_scores, scores
from numdraw.nn.checkpoint import load_checkpoint, save_checkpoint
from numdraw.nn.layers import Array
from numdraw.nn.parallel import cores, keep_freed_memory, micro_batches, one_blas_thread
from numdraw.nn.team import ProcessTeam, Team, make_team
from numdraw.progress import Progress, TrainingLog
from numdraw.training import DEFAULT_RECIPE, RECIPES, Options, Training, TrainingError

OUT = Path("weights/digits.npz")
INTERRUPTED = 130  # the exit status of a command ended by Ctrl-C: 128 + SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = _parser().parse_args(arguments)
    return mpi.run(lambda ranks: _main(args, ranks)) if args.mpi else _main(args, mpi.Ranks())


def _main(args: argparse.Namespace, ranks: mpi.Ranks) -> int:
    """What each of the ranks does."""
    try:
        keep_freed_memory()
        log = args.log if ranks.rank == 0 else None
        with one_blas_thread(), TrainingLog(log) as lines:
            return _train(args, ranks, lines)
    except KeyboardInterrupt:
        return ranks.end("", INTERRUPTED)
    except (OSError, ValueError) as error:
        return ranks.end(f"numdraw.train: {error}\n", 1)


def _parser() -> argparse.ArgumentParser:
    defaults = RECIPES[DEFAULT_RECIPE]
    parser = argparse.ArgumentParser(
        prog="python -m numdraw.train",
        description=(__doc__ or "").split("\n\n", 1)[0],
        argument_default=argparse.SUPPRESS,  # what was not given keeps the checkpoint's value
    )
    add = parser.add_argument
    add("--data", default=None, help="folder of the four IDX files (NUMDRAW_DATA, or data/)")
    add("--out", type=_file, default=OUT, help=f"the weights file to write ({OUT})")
    add("--resume", action="store_true", default=False, help="go on from the last checkpoint")
    recipe = parser.add_mutually_exclusive_group()
    recipe.add_argument(
        "--arch", dest="recipe", choices=models.NAMES, help=f"the network ({DEFAULT_RECIPE})"
    )
    recipe.add_argument(
        "--fast",
        dest="recipe",
        action="store_const",
        const="fast",
        help="a smaller convnet, for fewer epochs",
    )
    add("--epochs", type=_positive, help=f"passes over MNIST's images ({defaults.epochs})")
    add("--batch-size", type=_positive, help=f"images a step ({defaults.batch_size})")
    add("--lr", type=_learning_rate, help=f"the highest learning rate ({defaults.lr})")
    add("--seed", type=_seed, help=f"of every random number ({defaults.seed})")
    hidden = " ".join(map(str, RECIPES["mlp"].hidden))
    add("--hidden", type=_positive, nargs="+", help=f"an mlp's units a hidden layer ({hidden})")
    add("--validation", type=_positive, help=f"images to hold out ({defaults.validation})")
    add("--no-ink", dest="ink", action="store_false", help="train on MNIST's files alone")
    add("--corrections", type=Path, default=None, help="a server's folder of what was misread")
    add("--threads", type=_positive, default=cores(), help="how many work at once (one a core)")
    add("--mpi", action="store_true", default=False, help="train with the others of an mpirun")
    add("--no-test", action="store_true", default=False, help="leave the test files unread")
    add("--log", type=_file, default=None, help="append JSON lines to this file")
    add("--quiet", action="store_true", default=False, help="say nothing but errors")
    return parser


def _train(args: argparse.Namespace, ranks: mpi.Ranks, log: TrainingLog) -> int:
    checkpoint = _checkpoint(args)
    folder = data_folder(args.data)
    examples = read_split(folder, "train")
    if not args.no_test:
        find_split(folder, "t10k")  # so that a missing file is found out now
    options, saved = ranks.share(lambda: _start(args, checkpoint))
    train, valid = split_validation(examples, options.validation, rng=options.split_rng())
    used = {"mnist": len(train)}
    if args.corrections is not None and not options.ink:
        raise TrainingError("expected --corrections or --no-ink, got both: they are other ink")
    if options.ink:
        ink = {source_of(files): read_ink([files]) for files in find_ink(folder, "train")}
        if args.corrections is not None:
            ink[corrections.SOURCE] = read_corrections(args.corrections)
        used |= {source: len(its) for source, its in ink.items()}
        train += join(list(ink.values()))
        valid = join([valid, read_ink(find_ink(folder, "valid"))])
    ranks.expect_same(
        "training files, numdraw and NumPy",
        json.dumps([train.examples.sha256 | valid.sha256, __version__, np.__version__]).encode(),
        fix="install and copy the same everywhere",
    )
    # No more workers than a batch has micro-batches. With MPI, threads: its libraries may not
    # survive a fork.
    workers = min(args.threads, micro_batches(options.batch_size, models.MICRO_BATCH))
    with Team(workers) if args.mpi else make_team(workers) as team:
        training = Training(options, train, valid, team=team, group=ranks)
        if saved is not None:
            training.load(*saved, where=str(checkpoint))

        def save() -> None:
            state = training.state()
            _expect_equal(training, state, ranks)
            ranks.share(lambda: save_checkpoint(checkpoint, *state))

        save()  # before the first step: a folder that can't be written to is found out now
        ranks.way_on = _way_on(args, ranks)
        progress = Progress(training, team=team, quiet=args.quiet or ranks.rank > 0, log=log)
        progress.say(training.network.summary())
        an_epoch = f"{training.images:,} of them an epoch, " if train.in_turns else ""
        progress.say(
            f"{len(train):,} images to train on, {an_epoch}{len(valid):,} to validate on; "
            f"{', '.join(f'{source} {count:,}' for source, count in used.items())}"
        )
        progress.say(
            f"{'processes' if isinstance(team, ProcessTeam) else 'threads'}: {team.size}; "
            f"checkpoint {checkpoint}"
        )
        if args.mpi:
            progress.say(f"{ranks.size} ranks; if one dies, {ranks.way_on.rstrip()}")
        try:
            if not _run(training, progress, save, ranks):
                progress.stopped()
                if ranks.rank == 0:
                    place = f"epoch {training.epoch + 1}, batch {training.batch}"
                    ranks.speak(f"stopped in {place}; saved to {checkpoint}\n{ranks.way_on}")
                return INTERRUPTED
            training.keep_best()
            meta = _meta(training, used, folder=None if args.no_test else folder)
            ranks.share(lambda: save_checkpoint(args.out, training.averaged.arrays(), meta))
            progress.finished(meta)
        except TrainingError as error:
            ranks.way_on = ""
            raise TrainingError(f"{error}; delete {checkpoint} first") from error
    ranks.share(checkpoint.unlink)
    ranks.way_on = ""
    progress.say(f"{_summary(meta)}\nwrote {args.out}")
    return 0


def _checkpoint(args: argparse.Namespace) -> Path:
    """The file beside --out that holds an unfinished training."""
    out: Path = args.out
    return out.with_name(out.name.removesuffix(".npz") + ".checkpoint.npz")


def _way_on(args: argparse.Namespace, ranks: mpi.Ranks) -> str:
    """The line that says how to resume."""
    command = ["mpirun", "-n", str(ranks.size)] * args.mpi
    command += ["python", "-m", "numdraw.train", *["--mpi"] * args.mpi, "--resume"]
    command += ["--out", str(args.out)]
    if args.data is not None:
        command += ["--data", args.data]
    if args.corrections is not None:
        command += ["--corrections", str(args.corrections)]
    if args.log is not None:
        command += ["--log", str(args.log)]
    command += ["--no-test"] * args.no_test + ["--quiet"] * args.quiet
    return f"go on with: {shlex.join(command)}\n"


def _expect_equal(
    training: Training, state: tuple[dict[str, Array], dict[str, Any]], ranks: mpi.Ranks
) -> None:
    """Raise a RankError unless the training's state is the same, bit for bit, on all ranks."""
    arrays, meta = state
    ranks.expect_same(
        f"training after batch {training.batch} of epoch {training.epoch + 1}",
        json.dumps([meta, list(arrays)]).encode(),
        *arrays.values(),
        fix="use machines with the same processor and libraries",
    )


def _run(
    training: Training, progress: Progress, save: Callable[[], None], ranks: mpi.Ranks
) -> bool:
    """Train to the end, or until a signal says stop; whether it was the end.

    A checkpoint is saved after every epoch, and where the training stops.
    """
    with _stop_signals() as asked, ranks.signals(asked), progress:
        while not training.finished:
            stop, warned = ranks.asked()
            if stop or warned:
                save()
            if stop:
                return False
            if training.batch < training.batches:
                progress.batch(training.step())
            else:
                progress.epoch(training.end_epoch())
                save()
    return True


def _start(
    args: argparse.Namespace, checkpoint: Path
) -> tuple[Options, tuple[dict[str, Any], dict[str, Any]] | None]:
    """The options to train with, and the checkpoint to go on from, if any.

    Raises:
        TrainingError: --resume without a checkpoint, or with options that differ from its; or a
            checkpoint that a new training would overwrite.
    """
    names = {field.name for field in fields(Options)}
    given = {name: value for name, value in vars(args).items() if name in names}
    if "hidden" in given:
        given["hidden"] = tuple(given["hidden"])
    if not args.resume:
        if checkpoint.exists():
            raise TrainingError(
                f"{checkpoint} expected not to exist, got an unfinished training; "
                "go on with --resume, or delete it"
            )
        options = replace(RECIPES[given.get("recipe", DEFAULT_RECIPE)], **given)
        if "hidden" in given and options.arch != "mlp":
            raise TrainingError(f"--hidden expected --arch mlp, got {options.arch}")
        return options, None
    if not checkpoint.exists():
        raise TrainingError(
            f"--resume expected {checkpoint}, got no such file; start anew without --resume"
        )
    arrays, meta = load_checkpoint(checkpoint)
    options = Options.from_json(meta.get("options"), where=str(checkpoint))
    for name, value in given.items():
        if value != getattr(options, name):
            raise TrainingError(
                f"--resume expected --{name.replace('_', '-')} {getattr(options, name)} "
                f"as in {checkpoint}, got {value}"
            )
    return options, (arrays, meta)


def _meta(training: Training, used: dict[str, int], *, folder: Path | None) -> dict[str, Any]:
    """The model card that the weights file carries: what was done, with what, and how it went.

    Args:
        training: done, with the parameters to keep.
        used: how many images of each source it learnt from.
        folder: of the test files; None leaves them unread.
    """
    options = training.options
    logits, labels = training.predict(training.valid.images), training.valid.labels
    calibration = calibrate(logits, labels)
    meta: dict[str, Any] = {
        "architecture": training.architecture,
        "calibration": asdict(calibration),
        "command": options.command(),
        "data": training.sha256,
        "history": training.history,
        "kept_epoch": training.best_epoch,
        "numdraw": __version__,
        "options": asdict(options),
        "preprocessing": preprocess.VERSION,
        "scores": {},
        "trained_on": used,
    }
    probabilities = temper(logits, calibration.temperature)[:, : models.CLASSES]
    mnist = np.arange(len(labels)) < options.validation
    digit = labels < models.CLASSES
    for name, chosen in ("validation", mnist), ("drawn validation", ~mnist & digit):
        if chosen.any():
            meta["scores"][name] = scores(probabilities[chosen], labels[chosen])
    if not digit.all():
        found = digit_scores(logits)
        meta["scores"]["no digit"] = detection_scores(found[digit], found[~digit]) | {
            "confidence": float(probabilities[~digit].max(axis=1).mean())
        }
    if folder is not None:
        test = read_split(folder, "t10k")
        probabilities = temper(training.predict(test.images), calibration.temperature)
        meta["scores"]["test"] = scores(probabilities[:, : models.CLASSES], test.labels)
        meta["data"] |= test.sha256
    return meta


def _summary(meta: dict[str, Any]) -> str:
    return "\n".join(
        f"{split}: error {values['error']:.2%} of {values['images']:,}, "
        f"NLL {values['nll']:.4f} nats, ECE {values['ece']:.2%}"
        if "error" in values
        else f"{split}: AUROC {values['auroc']:.2%}, FPR at 95% TPR {values['fpr95']:.2%}, "
        f"confidence {values['confidence']:.3f}, of {values['images']:,}"
        for split, values in meta["scores"].items()
    )


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that is empty until Ctrl-C or SIGTERM; a second Ctrl-C ends the program at once."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    with handled({signal.SIGINT: ask, signal.SIGTERM: ask}):
        yield asked


def _file(text: str) -> Path:
    path = Path(text)
    if not path.name or path.is_dir():
        raise argparse.ArgumentTypeError(f"expected the name of a file, got {text!r}")
    return path


def _positive(text: str) -> int:
    value = int(text) if re.fullmatch("[0-9]{1,9}", text) else 0
    if value < 1:
        raise argparse.ArgumentTypeError(
            f"expected a whole number from 1 to 999999999, got {text[:50]!r}"
        )
    return value


def _seed(text: str) -> int:
    if not re.fullmatch("[0-9]{1,99}", text):
        raise argparse.ArgumentTypeError(
            f"expected a whole number of at least 0, got {text[:50]!r}"
        )
    return int(text)


def _learning_rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


if __name__ == "__main__":
    sys.exit(main())
