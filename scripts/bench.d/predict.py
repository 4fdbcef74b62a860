"""Times prediction against PyTorch and onnxruntime: one image, a thousand, and a whole drawing.

    scripts/bench predict
    scripts/bench predict --quick --json predict.json    shows that it works; its figures say nothing

Each side is a process. They take turns, and what is compared are the medians of their rounds. A
ratio above 1 says that numdraw is faster. All have the same networks and parameters, with batch
norm folded into the convolutions. PyTorch and onnxruntime come with the extra `bench`; what is not
there is left out.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.parts.report import Report, blas, cell, median_and_best, ratio_cell, table
from benchmarks.parts.side import Round, Side, SideError, take_turns

NETS = ("lenet", "convnet", "mlp")
OURS, ONE, BLAS = "numdraw", "1 thread", "BLAS's threads"
DEFAULT, LAST, PARTS, ONNX = "PyTorch", "channels_last", "in parts", "onnxruntime"
TORCH = (DEFAULT, LAST, PARTS)
PART = 125  # images at once, in parts: numdraw cuts up batches itself, and for PyTorch it is better too
DRAWING = ("whole", "preprocessing", "network")

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


FULL = Effort(rounds=31, calls=200, batch=1000, batch_rounds=11, batch_calls=4)
QUICK = Effort(rounds=2, calls=3, batch=300, batch_rounds=2, batch_calls=1)


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
            sides = _sides(report, stack, threads)
            _one_image(report, effort, sides)
            _batch(report, effort, sides, threads)
            _drawing(report, effort, sides[ONE])
    except SideError as error:
        sys.stderr.write(f"bench predict: {error}\n")
        return 1
    report.write(args.json)
    return 0


def _sides(report: Report, stack: ExitStack, threads: int) -> dict[str, Side]:
    """The processes that are measured, by the first of the names that their figures go by."""
    sides = {
        ONE: stack.enter_context(Side("ours", **blas(1))),
        BLAS: stack.enter_context(Side("ours", **blas(threads))),
        OURS: stack.enter_context(Side("ours", **blas(threads))),
    }
    if report.has("torch"):
        sides[DEFAULT] = stack.enter_context(Side("pytorch", **blas(1)))
    if report.has("onnx") and report.has("onnxruntime"):
        sides[ONNX] = stack.enter_context(Side("onnx_runtime", **blas(1)))
    return sides


def _their_turns(
    sides: Mapping[str, Side], net: str, *, count: int, calls: int, threads: int
) -> dict[str, Round]:
    """The turns of the others with so many images."""
    what = {"net": net, "count": count, "calls": calls, "threads": threads}
    turns = {}
    if DEFAULT in sides:
        make = sides[DEFAULT].make
        layout = "default" if net == "mlp" else "channels_last"  # an mlp has no channels
        turns[DEFAULT] = make("predictions", layout="default", part=count, **what)
        if net != "mlp":
            turns[LAST] = make("predictions", layout=layout, part=count, **what)
        if count > PART:
            turns[PARTS] = make("predictions", layout=layout, part=PART, **what)
    if ONNX in sides:
        turns[ONNX] = sides[ONNX].make("predictions", **what)
    return turns


def _one_image(report: Report, effort: Effort, sides: Mapping[str, Side]) -> None:
    """Report the time of one image by itself, on one thread."""
    results = []
    for net in NETS:
        what = {"net": net, "count": 1, "calls": effort.calls}
        turns = {OURS: sides[ONE].make("predictions", spread=True, **what)}
        turns |= _their_turns(sides, net, count=1, calls=effort.calls, threads=1)
        seconds = take_turns(turns, effort.rounds)
        microseconds = {
            name: median_and_best([1e6 * second for second in its], best=min)
            for name, its in seconds.items()
        }
        results.append(
            {"net": net, "us": microseconds, **_ratios(microseconds, lambda ours, its: its / ours)}
        )
    report.figures["one image"] = results
    report.say("\none image by itself, 1 thread")
    _say(report, results, "us", (OURS, DEFAULT, LAST, ONNX), effort.rounds)


def _batch(report: Report, effort: Effort, sides: Mapping[str, Side], threads: int) -> None:
    """Report the images a second of large batches, on all threads."""
    results = []
    for net in NETS:
        what = {"net": net, "count": effort.batch, "calls": effort.batch_calls}
        turns = {
            OURS: sides[OURS].make("predictions", spread=True, **what),
            ONE: sides[ONE].make("predictions", spread=False, **what),
            BLAS: sides[BLAS].make("predictions", spread=False, **what),
            **_their_turns(
                sides, net, count=effort.batch, calls=effort.batch_calls, threads=threads
            ),
        }
        seconds = take_turns(turns, effort.batch_rounds)
        images = {
            name: median_and_best([effort.batch / second for second in its])
            for name, its in seconds.items()
        }
        results.append(
            {
                "net": net,
                "batch": effort.batch,
                "images/s": images,
                **_ratios(images, lambda ours, its: ours / its),
            }
        )
    report.figures["batch"] = results
    report.say(f"\n{effort.batch:,} images, {threads} threads")
    columns = (OURS, ONE, BLAS, DEFAULT, LAST, PARTS, ONNX)
    _say(report, results, "images/s", columns, effort.batch_rounds)
    report.say(
        f"{OURS}: numdraw.nn.inference.Inference; {ONE} and {BLAS}: the same in one thread of "
        f"ours,\nBLAS having 1 or {threads}; {PARTS}: PyTorch with {PART} images at once, "
        "channels last where there are channels"
    )


def _ratios(
    figures: Mapping[str, Mapping[str, float]], ratio: Callable[[float, float], float]
) -> dict[str, Any]:
    """How many times as fast as each of the others numdraw is, and as the best of PyTorch's."""
    ours = figures[OURS]["median"]
    ratios = {
        name: ratio(ours, its["median"])
        for name, its in figures.items()
        if name in (*TORCH, ONNX)
    }
    theirs = [ratios[name] for name in TORCH if name in ratios]
    return {"ratio": ratios} | ({"ratio to PyTorch's best": min(theirs)} if theirs else {})


def _say(
    report: Report,
    results: Sequence[Mapping[str, Any]],
    unit: str,
    columns: Sequence[str],
    rounds: int,
) -> None:
    """Print a table of nets, and what its figures are."""
    header = [unit, *columns, "to default", "to its best", "to onnxruntime"]
    rows = [
        [
            result["net"],
            *(cell(result[unit].get(name)) for name in columns),
            ratio_cell(result["ratio"].get(DEFAULT)),
            ratio_cell(result.get("ratio to PyTorch's best")),
            ratio_cell(result["ratio"].get(ONNX)),
        ]
        for result in results
    ]
    report.say(table(header, rows))
    report.say(
        f"the median of {rounds} rounds (the best); ratios are of medians, above 1 numdraw is faster"
    )


def _drawing(report: Report, effort: Effort, side: Side) -> None:
    """Report the time of the whole predictor on strokes, and its two shares."""
    turns = {
        part: side.make("drawing", strokes=THREE, part=part, calls=effort.calls)
        for part in DRAWING
    }
    seconds = take_turns(turns, effort.rounds)
    microseconds = {
        part: median_and_best([1e6 * second for second in its], best=min)
        for part, its in seconds.items()
    }
    whole = microseconds["whole"]["median"]
    shares = {part: its["median"] / whole for part, its in microseconds.items()}
    model = side.call("version")
    report.figures["drawing"] = {"model": model, "us": microseconds, "share": shares}
    report.say(f"\nPredictor.predict of a drawing of {sum(map(len, THREE))} points, {model}")
    report.say(
        table(
            ["", "us", "share"],
            [
                [part, cell(microseconds[part]), f"{shares[part]:.0%}"]
                for part in DRAWING
            ],
        )
    )


if __name__ == "__main__":
    sys.exit(main())
