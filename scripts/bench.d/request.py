"""Names where the time of a prediction over HTTP goes, from JSON to JSON, without server and proxy.

    scripts/bench request
    scripts/bench request --json request.json
    scripts/bench request --quick                shows that it works; its figures say nothing

The WSGI application answers POST /api/predict for a few usual drawings, called as a server calls
it, with the access log off. One process asks it as it is, and that is the whole; another has probes
at the functions that do each part, and that gives the parts. They take turns, and the figures are
medians of their rounds. What the whole has more or less than the parts of the same round together
is "left over": a probe's own cost is subtracted, and not quite.
"""

import argparse
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.parts.report import Report, blas, median_and_best, table
from benchmarks.parts.side import Side, SideError, take_turns
from benchmarks.predict import THREE

FOUR = [
    [
        [128, 48], [124, 56], [119, 65], [113, 75], [107, 85], [101, 95], [95, 105], [89, 115],
        [83, 124], [78, 133], [75, 139], [84, 140], [95, 139], [107, 139], [119, 138], [131, 138],
        [143, 137], [155, 137], [165, 136],
    ],
    [
        [137, 92], [136, 101], [136, 111], [135, 121], [134, 131], [133, 142], [132, 153],
        [132, 164], [131, 175], [130, 186], [129, 197], [129, 207], [128, 215],
    ],
]  # fmt: skip  # a point a line would be a page
DRAWINGS = {
    "one digit": THREE,
    "a 4 in two strokes": FOUR,
    "two digits": [THREE[0], [[x + 130, y] for x, y in THREE[0]]],
}
ROUNDS, CALLS = 101, 50  # of each side; requests in a round
ORDER = (  # what the parts' names begin with, as a request meets them
    *("shell", "JSON read", "checks", "rendering", "segmentation", "network", "calibration"),
    *("answer", "JSON write"),
)


def main() -> int:
    """Measure and report; 0, or 1 where a side fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="as little as shows that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    args = parser.parse_args()
    report = Report("request")
    try:
        report.machine(1)
        rounds, calls = (2, 3) if args.quick else (ROUNDS, CALLS)
        report.figures["drawings"] = {
            name: _measured(strokes, rounds, calls) for name, strokes in DRAWINGS.items()
        }
    except SideError as error:
        sys.stderr.write(f"bench request: {error}\n")
        return 1
    _say(report, report.figures["drawings"])
    report.write(args.json)
    return 0


def _measured(strokes: Any, rounds: int, calls: int) -> dict[str, Any]:
    """The whole and the parts of a drawing's request, in microseconds."""
    with ExitStack() as stack:
        plain = stack.enter_context(Side("request", **blas(1)))
        probed = stack.enter_context(Side("request", **blas(1)))
        about = plain.call("number", strokes=strokes)
        turns = take_turns(
            {
                "whole": plain.make("whole", strokes=strokes, calls=calls),
                "parts": probed.make("parts", strokes=strokes, calls=calls),
            },
            rounds,
        )
    whole = median_and_best(turns["whole"], lambda second: 1e6 * second)
    sums = [sum(parts.values()) for parts in turns["parts"]]
    return {
        **about,
        "us": {
            "whole": whole,
            "parts": {
                part: 1e6 * statistics.median(parts[part] for parts in turns["parts"])
                for part in sorted(turns["parts"][0], key=_place)
            },
            "all parts": 1e6 * statistics.median(sums),
            "left over": 1e6
            * statistics.median(
                one - all_parts for one, all_parts in zip(turns["whole"], sums, strict=True)
            ),
        },
    }


def _place(part: str) -> tuple[int, str]:
    """Where a part stands among the others."""
    return next(i for i, start in enumerate(ORDER) if part.startswith(start)), part


def _say(report: Report, drawings: dict[str, Any]) -> None:
    """A row a part, a column a drawing."""
    for name, of in drawings.items():
        report.say(
            f"{name}: {of['points']} points, {of['bytes']} bytes of JSON, read as {of['number']}"
        )
    measured = [of["us"] for of in drawings.values()]
    rows = [
        [part, *(f"{its['parts'][part]:.1f}" for its in measured)] for part in measured[0]["parts"]
    ]
    for kind in ("rendering", "network"):
        sums = [sum(us for part, us in its["parts"].items() if kind in part) for its in measured]
        rows.append([f"all of {kind}", *(f"{us:.1f}" for us in sums)])
    rows.append(["all parts", *(f"{its['all parts']:.1f}" for its in measured)])
    rows.append(["the whole", *(f"{its['whole']['median']:.1f}" for its in measured)])
    rows.append(["its best round", *(f"{its['whole']['best']:.1f}" for its in measured)])
    shares = [its["left over"] / its["whole"]["median"] for its in measured]
    rows.append(
        [
            "left over",
            *(
                f"{its['left over']:+.1f} ({s:+.1%})"
                for its, s in zip(measured, shares, strict=True)
            ),
        ]
    )
    report.say(f"\nPOST /api/predict in the application, {of['model']}, medians")
    report.say(table(["us", *drawings], rows))


if __name__ == "__main__":
    sys.exit(main())
