"""Times what importing numdraw adds to importing NumPy, each in a fresh process.

    scripts/bench imports
    scripts/bench imports --runs 41 --json imports.json

`import numdraw` loads its modules when they are first used, so its first `Predictor` is timed too.
The goal for `import numdraw` is 30 ms at most. The three take turns.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOAL = 30.0  # ms
RUNS = 21
BASE = "import numpy"
CASES = {
    "import numdraw": "import numpy, numdraw",
    "from numdraw import Predictor": "import numpy; from numdraw import Predictor",
}


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--runs", type=int, default=RUNS, help="of each, in turn (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    args = parser.parse_args()
    times: dict[str, list[float]] = {code: [] for code in (BASE, *CASES.values())}
    for _ in range(args.runs):
        for code, runs in times.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
            runs.append(1e3 * (time.perf_counter() - start))
    figures: dict[str, float | str] = {"import numpy, ms": statistics.median(times[BASE])}
    for name, code in CASES.items():
        pairs = [
            with_it - without for with_it, without in zip(times[code], times[BASE], strict=True)
        ]
        figures[f"{name}, ms more"] = statistics.median(pairs)
    for name, value in figures.items():
        sys.stdout.write(f"{name:<40} {value:7.1f}\n")
    sys.stdout.write(f"goal for import numdraw: at most {GOAL:g} ms more\n")
    if args.json:
        args.json.write_text(json.dumps({"bench": "imports", "runs": args.runs, **figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
