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

from benchmarks.parts.report import RATIOS, Report, blas, cell, median_and_best, ratio_cell, table
from benchmarks.parts.side import Round, Side, SideError, take_turns

OURS, TORCH, TORCH_LAST = "numdraw", "PyTorch", "channels_last"
SKLEARN, PRODUCTS = "scikit-learn", "products"
COLUMNS = (OURS, TORCH, TORCH_LAST, SKLEARN)

LR = 0.01  # what is learnt does not matter, but numbers must stay what they are in a training
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
        memory: images in the trainings whose memory is compared.
        memory_steps: the steps of each.
        race: images, epochs (None: the recipe's) and validation images of the training to an
            accuracy.
    """

    rounds: int
    sizes: tuple[int, ...]
    seconds: float
    cases: tuple[Case, ...]
    memory: tuple[int, ...]
    memory_steps: int
    race: Mapping[str, int | None]


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
    memory=(10_000, 30_000, 60_000),
    memory_steps=30,
    race={"images": 60_000, "epochs": None, "validation": 5_000},
)
QUICK = Effort(
    rounds=2,
    sizes=(64, 128),
    seconds=0.001,
    cases=(Case("lenet", 128, 1), Case("convnet", 128, 1), Case("mlp", 128, 2)),
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
            _accuracy(report, effort, args, threads, layout)
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
    add("--seed", type=int, default=0, help="of the training to an accuracy (%(default)s)")
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
        what = {"threads": threads, "seconds": effort.seconds}
        turns = {size: side.make("products", size=size, **what) for size in effort.sizes}
        seconds = take_turns({str(size): turn for size, turn in turns.items()}, effort.rounds)
    rates = {size: _rate(seconds[str(size)], size, threads) for size in effort.sizes}
    report.figures["products"] = [{"size": size, "flop/s": rate} for size, rate in rates.items()]
    report.say(f"\nfloat32 products, {threads} at once, each with one thread of BLAS")
    rows = [[f"{size} x {size}", cell(rate, 1e-9)] for size, rate in rates.items()]
    report.say(table(["", "GFLOP/s"], rows))
    return max(rates, key=lambda size: rates[size]["median"])


def _rate(seconds: Sequence[float], size: int, threads: int) -> dict[str, float]:
    """Floating-point operations a second."""
    return median_and_best(seconds, lambda second: 2 * size**3 * threads / second)


def _throughput(report: Report, effort: Effort, data: str | None, threads: int, size: int) -> str:
    """Report the images a second that are trained on; return PyTorch's faster layout.

    Args:
        report: prints.
        effort: what is trained, and how often.
        data: the folder of MNIST; None is the usual one.
        threads: of each side.
        size: of the products that tell what the machine can do, which have their turns too.
    """
    report.say(
        "\ntraining: forward, backward and a step of SGD with momentum; "
        f"{threads} threads a side, numdraw's being processes on Linux"
    )
    results: list[dict[str, Any]] = []
    with ExitStack() as stack:
        machine = stack.enter_context(Side("machine", **blas(1)))
        ours = stack.enter_context(Side("ours", **blas(1)))
        torch = sklearn = None
        if report.has("torch"):
            torch = stack.enter_context(Side("pytorch", **blas(1)))
        if report.has("sklearn"):
            sklearn = stack.enter_context(Side("sklearn_mlp", **blas(threads)))
        products = machine.make("products", size=size, threads=threads, seconds=effort.seconds)
        for case in effort.cases:
            step = {"batch": case.batch, "steps": case.steps, "lr": LR, "folder": data}
            what = {**step, "net": case.net, "threads": threads}
            turns = {PRODUCTS: products, OURS: ours.make("training", **what)}
            if torch is not None:
                turns[TORCH] = torch.make("training", layout="default", **what)
                if case.net != "mlp":  # which has no channels
                    turns[TORCH_LAST] = torch.make("training", layout="channels_last", **what)
            if sklearn is not None and case.net == "mlp":
                turns[SKLEARN] = sklearn.make("training", **step)
            seconds = take_turns(turns, effort.rounds)
            rate = _rate(seconds.pop(PRODUCTS), size, threads)
            results.append(_compared(case, seconds, rate, ours.call("flops", net=case.net)))
    report.figures["training"] = results
    _say_throughput(report, effort, results)
    convnet = next(result["ratio"] for result in results if result["net"] == "convnet")
    return "channels_last" if convnet.get(TORCH_LAST, 0) < convnet.get(TORCH, 0) else "default"


def _compared(
    case: Case,
    seconds: Mapping[str, Sequence[float]],
    rate: Mapping[str, float],
    flops: Mapping[str, int],
) -> dict[str, Any]:
    """The figures of a case, from each side's seconds, the machine's rate, an image's work."""
    images = {
        name: median_and_best(its, lambda second: case.batch * case.steps / second)
        for name, its in seconds.items()
    }
    ours = images[OURS]["median"]
    result: dict[str, Any] = {
        "net": case.net,
        "batch": case.batch,
        "images/s": images,
        "flop an image": flops,
        "products, flop/s": rate,
        "share of products": ours * flops["total"] / rate["median"],
        "ratio": {name: ours / its["median"] for name, its in images.items() if name != OURS},
    }
    if TORCH in images:
        theirs = [images[name]["median"] for name in (TORCH, TORCH_LAST) if name in images]
        result["ratio to PyTorch's best"] = ours / max(theirs)
    return result


def _say_throughput(report: Report, effort: Effort, results: Sequence[dict[str, Any]]) -> None:
    columns = [name for name in COLUMNS if any(name in result["images/s"] for result in results)]
    header = ["images/s", *columns, "to default", "to its best", "to sklearn", "of products"]
    rows = [
        [
            f"{result['net']}, {result['batch']} a step",
            *(cell(result["images/s"].get(name)) for name in columns),
            *(ratio_cell(ratio) for ratio in (
                result["ratio"].get(TORCH),
                result.get("ratio to PyTorch's best"),
                result["ratio"].get(SKLEARN),
            )),
            f"{result['share of products']:.0%}",
        ]
        for result in results
    ]  # fmt: skip  # shorter so
    report.say(table(header, rows))
    report.say(
        f"the median of up to {effort.rounds} rounds (the best); {RATIOS};\nof products: of the "
        "rate of the fastest products above, which had their turns too; an image's in a step:"
    )
    for net, of_net in itertools.groupby(results, key=lambda result: str(result["net"])):
        flops = next(of_net)["flop an image"]
        report.say(
            f"  {net}: {flops['total']:,} operations, {flops['forward']:,} forward, "
            f"{flops['weights']:,} for weights' gradients, {flops['inputs']:,} for inputs'"
        )


def _memory(report: Report, effort: Effort, threads: int) -> None:
    """Report a training's memory, which must not grow with the data."""
    results = []
    for images in effort.memory:
        with Side("ours", **blas(1)) as side:
            found = side.call("memory", images=images, steps=effort.memory_steps, threads=threads)
        results.append({"images": images, **found, "beyond": found["taken"] - found["data"]})
    report.figures["memory"] = results
    report.say(f"\nmemory of the processes that train the convnet, {threads} in all")
    report.say(
        table(
            ["images", "MB", "of them images", "beyond"],
            [
                [
                    f"{r['images']:,}",
                    *(f"{r[name] / 1e6:.1f}" for name in ("taken", "data", "beyond")),
                ]
                for r in results
            ],
        )
    )
    first, last = results[0], results[-1]
    growth = (last["beyond"] - first["beyond"]) / (last["images"] - first["images"])
    report.say(f"beyond grows by {growth:.0f} bytes an image; its places in two orders take 16")


def _accuracy(
    report: Report,
    effort: Effort,
    args: argparse.Namespace,
    threads: int,
    layout: str,
) -> None:
    """Report how long each side trains to the goals; they take turns of an epoch."""
    what = {**effort.race, "seed": args.seed, "folder": args.data, "threads": threads}
    with ExitStack() as stack:
        ours = stack.enter_context(Side("ours", **blas(1)))
        turns: dict[str, Round] = {OURS: ours.make("epochs", **what)}
        if report.has("torch"):
            torch = stack.enter_context(Side("pytorch_epochs", **blas(1)))
            turns[f"PyTorch, {layout}"] = torch.make("epochs", layout=layout, **what)
        epochs: dict[str, list[dict[str, Any]]] = {name: [] for name in turns}
        while not epochs[OURS] or not epochs[OURS][-1]["finished"]:
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
        "seed": args.seed,
        "epochs": len(epochs[OURS]),
        "points": points,
        "seconds to": reached,
        "batches whose images PyTorch has made ahead": epochs[name][0].get("made_ahead"),
    }
    goals = list(reached[OURS])
    report.say(
        f"\nseconds to an accuracy on {effort.race['validation']:,} validation images, the recipe "
        f'"fast" of {len(epochs[OURS])} epochs, seed {args.seed}, {threads} threads a side'
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
    if args.plot is not None and report.has("matplotlib"):
        _plot(args.plot, points)


def _reached(points: Sequence[Mapping[str, float]], goal: float) -> float | None:
    """Seconds to the end of the first epoch with that error or less."""
    return next((point["seconds"] for point in points if point["validation_error"] <= goal), None)


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
