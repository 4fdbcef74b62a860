"""Times training against PyTorch and scikit-learn: the same networks, data, steps and threads.

    scripts/bench train                              throughput and memory
    scripts/bench train --accuracy --plot time.svg   and the time to 99.0% and 99.5% of MNIST
    scripts/bench train --quick --json train.json    shows that it works; its figures say nothing

Each side is a process. They take turns, and what is compared are the medians of their rounds. A
ratio above 1 says that numdraw is faster. PyTorch, scikit-learn and matplotlib come with the extra
`bench`; what is not there is left out.
"""

import argparse
import itertools
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.parts.report import Report, blas, cell, median_and_best, ratio_cell, table
from benchmarks.parts.side import Round, Side, SideError, take_turns

OURS, DEFAULT, LAST = "numdraw", "PyTorch", "channels_last"
COMPILED, SKLEARN, PRODUCTS = "compiled", "scikit-learn", "products"
COLUMNS = (OURS, DEFAULT, LAST, COMPILED, SKLEARN)
THEIR_LAYOUTS = {DEFAULT: "default", LAST: "channels_last"}

LR = 0.01  # what is learnt does not matter, but numbers must stay what they are in a training
REASON = 200  # letters of an error; torch.compile's are pages
GOALS = (0.01, 0.005)  # validation errors: 99.0% and 99.5%


@dataclass(frozen=True)
class Case:
    """A network, the images in a step, and the steps in a round."""

    net: str
    batch: int
    steps: int


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: of each side.
        sizes: of the products that tell how fast the machine is.
        seconds: that a round of products takes.
        cases: what is trained.
        compiled: whether torch.compile is tried.
        memory: images in the trainings whose memory is compared.
        memory_steps: the steps of each.
        race: images, epochs and validation images of the training to an accuracy.
    """

    rounds: int
    sizes: tuple[int, ...]
    seconds: float
    cases: tuple[Case, ...]
    compiled: bool
    memory: tuple[int, ...]
    memory_steps: int
    race: Mapping[str, int]


FULL = Effort(
    rounds=11,
    sizes=(512, 768, 1024),
    seconds=0.2,
    cases=(
        Case("lenet", 128, 40),
        Case("lenet", 256, 20),
        Case("convnet", 128, 12),
        Case("mlp", 128, 80),
    ),
    compiled=True,
    memory=(10_000, 30_000, 60_000),
    memory_steps=30,
    race={"images": 60_000, "epochs": 14, "validation": 5_000},
)
QUICK = Effort(
    rounds=2,
    sizes=(64, 128),
    seconds=0.001,
    cases=(Case("lenet", 128, 1), Case("convnet", 128, 1), Case("mlp", 128, 2)),
    compiled=False,
    memory=(200, 400),
    memory_steps=1,
    race={"images": 500, "epochs": 2, "validation": 100},
)


def main() -> int:
    """Measure and report; 0, or 1 where a side fails."""
    args = _arguments()
    effort = QUICK if args.quick else FULL
    report = Report("train")
    try:
        threads = report.machine(args.threads)
        size = _products(report, effort, threads)
        layout = _throughput(report, effort, args.data, threads, size)
        _memory(report, effort, threads)
        if args.accuracy:
            _accuracy(report, effort, args.data, threads, layout, args.plot)
    except SideError as error:
        sys.stderr.write(f"bench train: {error}\n")
        return 1
    report.write(args.json)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    add = parser.add_argument
    add("--data", help="folder of the MNIST files (NUMDRAW_DATA, or data/)")
    add("--threads", type=int, help="of each side (one a core)")
    add("--accuracy", action="store_true", help="train to 99.0%% and 99.5%% too: minutes")
    add("--plot", type=Path, metavar="FILE", help="draw accuracy over time, as SVG or PNG")
    add("--quick", action="store_true", help="as little as shows that it works")
    add("--json", type=Path, metavar="FILE", help="write the figures there too")
    args = parser.parse_args()
    if args.plot and not args.accuracy:
        parser.error("--plot expected --accuracy, got it alone")
    return args


def _products(report: Report, effort: Effort, threads: int) -> int:
    """Report how fast the machine multiplies matrices; return the size at which it does best."""
    with Side("machine", **blas(1)) as side:
        rates = take_turns(
            {
                str(size): side.make(
                    "products", size=size, threads=threads, seconds=effort.seconds
                )
                for size in effort.sizes
            },
            effort.rounds,
        )
    figures = {size: median_and_best(values) for size, values in rates.items()}
    report.figures["products"] = {
        f"{size} x {size}": {"flop/s": values} for size, values in figures.items()
    }
    rows = [
        [f"{size} x {size}", cell(values, 1e-9)] for size, values in figures.items()
    ]
    report.say(f"\nfloat32 products, {threads} at once, each with one thread of BLAS")
    report.say(table(["", "GFLOP/s"], rows))
    return int(max(figures, key=lambda size: figures[size]["median"]))


def _throughput(
    report: Report, effort: Effort, data: str | None, threads: int, size: int
) -> str:
    """Report the images a second that are trained on; return PyTorch's faster layout."""
    report.say(
        f"\ntraining: forward, backward and a step of SGD with momentum; {threads} threads a side"
    )
    results: list[dict[str, Any]] = []
    with ExitStack() as stack:
        machine = stack.enter_context(Side("machine", **blas(1)))
        ours = stack.enter_context(Side("ours", **blas(1)))
        torch = sklearn = None
        if report.has("torch"):
            torch = stack.enter_context(
                # It would start processes that compile, and leave them there.
                Side("pytorch", **blas(1), TORCHINDUCTOR_COMPILE_THREADS="1")
            )
            if not effort.compiled:
                report.leave_out("torch.compile", "takes longer than --quick may")
        if report.has("sklearn"):
            sklearn = stack.enter_context(Side("sklearn_mlp", **blas(threads)))
        for case in effort.cases:
            what: dict[str, Any] = {
                "batch": case.batch, "steps": case.steps, "lr": LR, "folder": data
            }  # fmt: skip  # shorter so
            turns = {
                PRODUCTS: machine.make(
                    "products", size=size, threads=threads, seconds=effort.seconds
                ),
                OURS: ours.make("training", net=case.net, threads=threads, **what),
            }
            if torch is not None:
                what_torch = {**what, "net": case.net, "threads": threads}
                turns |= _their_turns(report, torch, effort.compiled, what_torch)
            if sklearn is not None and case.net == "mlp":
                turns[SKLEARN] = sklearn.make("training", **what)
            results.append(
                _compared(
                    case, take_turns(turns, effort.rounds), ours.call("flops", net=case.net)
                )
            )
    report.figures["training"] = results
    report.figures["rounds"] = effort.rounds
    _say_throughput(report, effort, results)
    convnet = next(result["images/s"] for result in results if result["net"] == "convnet")
    faster = max(
        (name for name in THEIR_LAYOUTS if name in convnet),
        key=lambda name: convnet[name]["median"],
        default=DEFAULT,
    )
    return THEIR_LAYOUTS[faster]


def _their_turns(
    report: Report, torch: Side, compiled: bool, what: Mapping[str, Any]
) -> dict[str, Round]:
    """PyTorch's turns: in its default layout, with channels last, and compiled, where that works."""
    images = what["net"] != "mlp"  # an mlp has no channels
    turns = {
        name: torch.make("training", layout=layout, compiled=False, **what)
        for name, layout in THEIR_LAYOUTS.items()
        if images or name == DEFAULT
    }
    if compiled:
        layout = THEIR_LAYOUTS[LAST if images else DEFAULT]
        turn = torch.make("training", layout=layout, compiled=True, **what)
        try:
            turn()
        except SideError as error:
            why = " ".join(str(error).split())[:REASON]
            report.leave_out(f"torch.compile of {what['net']}", why)
        else:
            turns[COMPILED] = turn
    return turns


def _compared(
    case: Case, turns: Mapping[str, Sequence[float]], flops: Mapping[str, int]
) -> dict[str, Any]:
    """The figures of a case, from what its rounds returned."""
    rate = median_and_best(turns[PRODUCTS])
    images = {
        name: median_and_best([case.batch * case.steps / seconds for seconds in values])
        for name, values in turns.items()
        if name != PRODUCTS
    }
    ours = images[OURS]["median"]
    result: dict[str, Any] = {
        "net": case.net,
        "batch": case.batch,
        "images/s": images,
        "flop an image": dict(flops),
        "products, flop/s": rate,
        "share of products": ours * flops["total"] / rate["median"],
        "ratio": {name: ours / theirs["median"] for name, theirs in images.items() if name != OURS},
    }
    theirs = [images[name]["median"] for name in (DEFAULT, LAST, COMPILED) if name in images]
    if theirs:
        result["ratio to PyTorch's best"] = ours / max(theirs)
    return result


def _say_throughput(report: Report, effort: Effort, results: Sequence[dict[str, Any]]) -> None:
    header = ["images/s", *COLUMNS, "to default", "to its best", "to sklearn", "of products"]
    rows = [
        [
            f"{result['net']}, {result['batch']} a step",
            *(cell(result["images/s"].get(name)) for name in COLUMNS),
            *(ratio_cell(ratio) for ratio in (
                result["ratio"].get(DEFAULT),
                result.get("ratio to PyTorch's best"),
                result["ratio"].get(SKLEARN),
            )),
            f"{result['share of products']:.0%}",
        ]
        for result in results
    ]  # fmt: skip  # shorter so
    report.say(table(header, rows))
    report.say(
        f"the median of {effort.rounds} rounds (the best); ratios are of medians, above 1 numdraw "
        "is faster;\ncompiled: by torch.compile, with channels last where there are channels; of "
        "products: of the rate\nof the fastest products above, which had their turns too; "
        "an image's products in a step:"
    )
    for net, of_net in itertools.groupby(results, key=lambda result: str(result["net"])):
        flops = next(of_net)["flop an image"]
        report.say(
            f"  {net}: {flops['total']:,} operations, {flops['forward']:,} forward, "
            f"{flops['weights']:,} for weights' gradients, {flops['inputs']:,} for inputs'"
        )


def _memory(report: Report, effort: Effort, threads: int) -> None:
    """Report the peak of a training's memory, which must not grow with the data."""
    results = []
    for images in effort.memory:
        with Side("ours", **blas(1)) as side:
            found = side.call(
                "peak_memory", images=images, steps=effort.memory_steps, threads=threads
            )
        results.append({"images": images, **found, "beyond": found["peak"] - found["data"]})
    report.figures["memory"] = results
    report.say(f"\npeak of the memory of a process that trains the convnet, {threads} threads")
    report.say(
        table(
            ["images", "MB", "of them images", "beyond"],
            [
                [f"{r['images']:,}", *(f"{r[name] / 1e6:.1f}" for name in ("peak", "data", "beyond"))]
                for r in results
            ],
        )
    )


def _accuracy(
    report: Report,
    effort: Effort,
    data: str | None,
    threads: int,
    layout: str,
    plot: Path | None,
) -> None:
    """Report how long each side trains to the goals; they take turns of an epoch."""
    what = {**effort.race, "folder": data, "threads": threads}
    with ExitStack() as stack:
        ours = stack.enter_context(Side("ours", **blas(1)))
        turns = {OURS: ours.make("epochs", **what)}
        if report.has("torch"):
            torch = stack.enter_context(Side("pytorch_epochs", **blas(1)))
            turns[f"PyTorch, {layout}"] = torch.make("epochs", layout=layout, **what)
        epochs: dict[str, list[dict[str, float]]] = {name: [] for name in turns}
        for _ in range(effort.race["epochs"]):
            for name, turn in turns.items():
                epochs[name].append(turn())
    points = {
        name: [
            {"seconds": seconds, "validation_error": epoch["validation_error"]}
            for seconds, epoch in zip(
                itertools.accumulate(epoch["seconds"] for epoch in its), its, strict=True
            )
        ]
        for name, its in epochs.items()
    }
    reached = {
        name: {f"{1 - goal:.1%}": _reached(its, goal) for goal in GOALS}
        for name, its in points.items()
    }
    report.figures["accuracy"] = {
        **effort.race,
        "points": points,
        "seconds to": reached,
        "PyTorch's images are made ahead, batches": epochs[name][0].get("made_ahead"),
    }
    goals = list(reached[OURS])
    report.say(
        f'\nseconds to an accuracy on {effort.race["validation"]:,} validation images, the recipe '
        f'"fast" of {effort.race["epochs"]} epochs, {threads} threads a side'
    )
    report.say(
        table(
            ["", *goals, "all epochs", "best"],
            [
                [
                    name,
                    *(_seconds(seconds) for seconds in reached[name].values()),
                    _seconds(its[-1]["seconds"]),
                    f"{1 - min(point['validation_error'] for point in its):.2%}",
                ]
                for name, its in points.items()
            ],
        )
    )
    if plot is not None and report.has("matplotlib"):
        _plot(plot, points)


def _reached(points: Sequence[Mapping[str, float]], goal: float) -> float | None:
    """Seconds to the end of the first epoch with that error or less."""
    return next(
        (point["seconds"] for point in points if point["validation_error"] <= goal), None
    )


def _plot(path: Path, points: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Draw accuracy over time; it imports NumPy, so no side may come after it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, its in points.items():
        axes.plot(
            [point["seconds"] for point in its],
            [100 * (1 - point["validation_error"]) for point in its],
            marker=".",
            label=name,
        )
    for goal in GOALS:
        axes.axhline(100 * (1 - goal), color="grey", linewidth=0.5)
    axes.set_xlabel("seconds of training, validation included")
    axes.set_ylabel("validation accuracy, %")
    axes.legend()
    figure.savefig(path)


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
