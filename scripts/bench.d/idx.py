"""Times idx.read of MNIST's training images against np.fromfile of the same bytes.

    scripts/bench idx
    scripts/bench idx --runs 41 --json idx.json

The two take turns, and the ratio is the median over the pairs; the goal is 1.2 at most. The file
is in the folder that --data or NUMDRAW_DATA names, data/ otherwise.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import idx

ROOT = Path(__file__).resolve().parents[2]

NAME = "train-images-idx3-ubyte"
GOAL = 1.2  # times np.fromfile
RUNS = 21  # pairs; the median then holds still to about 3%


def main() -> int:
    """Measures and reports; 0, or 2 where the file is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="folder of the MNIST files")
    parser.add_argument("--runs", type=int, default=RUNS, help="pairs of readings (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    args = parser.parse_args()
    folder = args.data or Path(os.environ.get("NUMDRAW_DATA", ROOT / "data"))
    path = folder / NAME
    if not path.exists():
        sys.stderr.write(f"bench idx expected {path}, got no such file; run scripts/fetch-data\n")
        return 2

    read, fromfile = measure(path, args.runs)
    pairs = [mine / theirs for mine, theirs in zip(read, fromfile, strict=True)]
    figures = {
        "bench": "idx",
        "bytes": path.stat().st_size,
        "runs": args.runs,
        "read_ms": round(1e3 * statistics.median(read), 3),
        "fromfile_ms": round(1e3 * statistics.median(fromfile), 3),
        "ratio": round(statistics.median(pairs), 3),
        "ratio_quartiles": [round(q, 3) for q in statistics.quantiles(pairs, n=4)[::2]],
        "goal": GOAL,
        "numpy": np.__version__,
        "python": sys.version.split()[0],
    }
    sys.stdout.write(
        f"idx.read    {figures['read_ms']:8} ms, median of {args.runs}\n"
        f"np.fromfile {figures['fromfile_ms']:8} ms\n"
        f"ratio       {figures['ratio']:8}, median of the pairs; goal {GOAL} at most\n"
    )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def measure(path: Path, runs: int) -> tuple[list[float], list[float]]:
    """Seconds of each idx.read and of each np.fromfile, in pairs, either first by turns."""
    timed(lambda: np.fromfile(path, np.uint8))  # brings the file into the page cache
    read, fromfile = [], []
    for run in range(runs):
        if run % 2:
            read.append(timed(lambda: idx.read(path)))
        fromfile.append(timed(lambda: np.fromfile(path, np.uint8)))
        if not run % 2:
            read.append(timed(lambda: idx.read(path)))
    return read, fromfile


def timed(call: Callable[[], object]) -> float:
    """Seconds that one call takes; what it returns is freed after the clock stops."""
    start = time.perf_counter()
    kept = call()
    seconds = time.perf_counter() - start
    del kept
    return seconds


if __name__ == "__main__":
    sys.exit(main())
