"""Times prediction against PyTorch and onnxruntime: one image, a thousand, and a whole drawing.

    scripts/bench predict
    scripts/bench predict --json predict.json
    scripts/bench predict --quick                shows that it works; its figures say nothing

Each side is a process. They take turns, and what is compared are the medians of their rounds. A
ratio above 1 says that numdraw is faster. All have the same networks and parameters, with batch
norm folded into the convolutions. PyTorch and onnxruntime come with the extra `bench`; what is not
there is left out.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.parts.report import RATIOS, Report, blas, cell, median_and_best, ratio_cell, table
from benchmarks.parts.side import Round, Side, SideError, take_turns

NETS = ("lenet", "convnet", "mlp")
OURS, TORCH, TORCH_LAST = "numdraw", "PyTorch", "channels_last"
PARTS, ONNX = "in parts", "onnxruntime"
TORCHES = (TORCH, TORCH_LAST, PARTS)
PART = 125  # images at once, in parts: numdraw cuts up a batch itself, so PyTorch may have it cut
DRAWING = ("whole", "preprocessing", "network", "without confidence", "as a number")

# A three on a canvas of 280 px, with as many points as a browser sends.
THREE = [
    [
        [82, 62], [88, 55], [95, 49], [103, 44], [112, 41], [121, 39], [131, 39], [140, 41],
        [149, 45], [157, 51], [163, 58], [167, 67], [168, 76], [167, 85], [163, 94], [157, 102],
        [149, 109], [140, 115], [130, 120], [120, 123], [109, 125], [118, 126], [128, 128],
        [138, 131], [148, 136], [157, 142], [165, 150], [171, 159], [174, 169], [175, 180],
        [173, 191], [169, 201], [162, 210], [153, 218], [142, 224], [130, 228], [118, 229],
        [106, 228], [95, 225], [85, 219], [77, 212], [71, 203],
    ]
]  # fmt: skip  # a point a line would be a page


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: of each side with one image, and of each part of a drawing's prediction.
        calls: predictions in such a round.
        batch: images in a large batch.
        batch_rounds: of each side with a large batch.
        batch_calls: predictions in such a round.
    """

    rounds: int
    calls: int
    batch: int
    batch_rounds: int
    batch_calls: int


FULL = Effort(rounds=31, calls=200, batch=1000, batch_rounds=11, batch_calls=3)
QUICK = Effort(rounds=2, calls=3, batch=600, batch_rounds=2, batch_calls=1)


def main() -> int:
    """Measure and report; 0, or 1 where a side fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--threads", type=int, help="of each side's large batches (one a core)")
    parser.add_argument("--quick", action="store_true", help="as little as shows that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    args = parser.parse_args()
    effort = QUICK if args.quick else FULL
    report = Report("predict")
    try:
        threads = report.machine(args.threads)
        with ExitStack() as stack:
            sides = {OURS: stack.enter_context(Side("ours", **blas(1)))}
            if report.has("torch"):
                sides[TORCH] = stack.enter_context(Side("pytorch", **blas(1)))
            if report.has("onnx") and report.has("onnxruntime"):
                sides[ONNX] = stack.enter_context(Side("onnx_runtime", **blas(1)))
            report.say("\none image by itself, 1 thread")
            report.figures["one image"] = _compared(
                report, sides, effort.rounds, "us", lambda second: 1e6 * second,
                count=1, calls=effort.calls, threads=1,
            )  # fmt: skip  # shorter so
            report.say(f"\n{effort.batch:,} images, {threads} threads")
            report.figures["batch"] = _compared(
                report, sides, effort.batch_rounds, "images/s",
                lambda second: effort.batch / second,
                count=effort.batch, calls=effort.batch_calls, threads=threads,
            )  # fmt: skip  # shorter so
            report.say(
                f"{PARTS}: PyTorch, {PART} images at once, channels last where there are channels"
            )
            _drawing(report, effort, sides[OURS])
    except SideError as error:
        sys.stderr.write(f"bench predict: {error}\n")
        return 1
    report.write(args.json)
    return 0


def _compared(
    report: Report,
    sides: Mapping[str, Side],
    rounds: int,
    unit: str,
    figure: Callable[[float], float],
    **what: int,
) -> list[dict[str, Any]]:
    """Measure one kind of prediction with each network, print a table of it, return the figures.

    Args:
        report: prints.
        sides: a process each.
        rounds: of each side.
        unit: of the figures.
        figure: in that unit, of a prediction's seconds.
        what: how many images, calls in a round, and threads.
    """
    results: list[dict[str, Any]] = []
    for net in NETS:
        seconds = take_turns(_turns(sides, net, **what), rounds)
        medians = {name: statistics.median(its) for name, its in seconds.items()}
        result: dict[str, Any] = {
            "net": net,
            **what,
            unit: {name: median_and_best(its, figure) for name, its in seconds.items()},
            "ratio": {name: its / medians[OURS] for name, its in medians.items() if name != OURS},
        }
        if TORCH in medians:
            result["ratio to PyTorch's best"] = min(
                ratio for name, ratio in result["ratio"].items() if name in TORCHES
            )
        results.append(result)
    columns = [name for name in (OURS, *TORCHES, ONNX) if any(name in r[unit] for r in results)]
    report.say(
        table(
            [unit, *columns, "to default", "to its best", "to onnxruntime"],
            [
                [
                    result["net"],
                    *(cell(result[unit].get(name)) for name in columns),
                    ratio_cell(result["ratio"].get(TORCH)),
                    ratio_cell(result.get("ratio to PyTorch's best")),
                    ratio_cell(result["ratio"].get(ONNX)),
                ]
                for result in results
            ],
        )
    )
    report.say(f"the median of up to {rounds} rounds (the best); {RATIOS}")
    return results


def _turns(
    sides: Mapping[str, Side], net: str, *, count: int, calls: int, threads: int
) -> dict[str, Round]:
    """Each side's turn with so many images; PyTorch has several, one for each way to do it."""
    what = {"net": net, "count": count, "calls": calls, "threads": threads}
    turns = {
        name: side.make("predictions", **what) for name, side in sides.items() if name != TORCH
    }
    if TORCH in sides:
        make = sides[TORCH].make
        layout = "default" if net == "mlp" else "channels_last"  # an mlp has no channels
        turns[TORCH] = make("predictions", layout="default", part=count, **what)
        if net != "mlp":
            turns[TORCH_LAST] = make("predictions", layout=layout, part=count, **what)
        if count > PART:
            turns[PARTS] = make("predictions", layout=layout, part=PART, **what)
    return turns


def _drawing(report: Report, effort: Effort, side: Side) -> None:
    """Report the time of the whole predictor on strokes, its two shares, and two other ways.

    Without confidence: a network without the output for "no digit", and a softmax, no more.
    """
    turns = {
        part: side.make("drawing", strokes=THREE, part=part, calls=effort.calls) for part in DRAWING
    }
    microseconds = {
        part: median_and_best(seconds, lambda second: 1e6 * second)
        for part, seconds in take_turns(turns, effort.rounds).items()
    }
    whole = microseconds["whole"]["median"]
    shares = {part: its["median"] / whole for part, its in microseconds.items()}
    model = side.call("version")
    report.figures["drawing"] = {"model": model, "us": microseconds, "share": shares}
    report.say(f"\nPredictor.predict of a drawing of {sum(map(len, THREE))} points, {model}")
    report.say(
        table(
            ["", "us", "share"],
            [[part, cell(microseconds[part]), f"{shares[part]:.0%}"] for part in DRAWING],
        )
    )


if __name__ == "__main__":
    sys.exit(main())
