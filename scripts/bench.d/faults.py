"""Does to a server under load what happens to servers, and tells what it cost.

    scripts/bench faults
    scripts/bench faults --rate 100 --json faults.json
    scripts/bench faults --only hang                  those whose name holds the word
    scripts/bench faults --quick                      shows that it works

Drawings come at a steady rate through nginx to two workers, half of them on new connections, and
latency counts from when a request is due. Each fault has a server of its own and is measured
against the seconds before it. Recovered is when both workers answer, and no request fails that
comes later; where a fault comes several times, the longest counts.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.parts.report import Report, table
from tests import faults
from tests.faults import Scene
from tests.loading import Window
from tests.starters import ACTIVATED, BLOCKED, HANGING, SUPERVISED

RATE = 200.0  # requests/s


@dataclass(frozen=True)
class Effort:
    """How long all takes.

    Attributes:
        normal: s before each fault.
        kills: of a worker.
        pause: s between kills, and between reloads.
        reloads: of the same file, and of files damaged in so many ways.
        slow: clients of each kind, for so many seconds.
        hold: s without descriptors, without room for logs, without a reader.
        masters: kills of the master.
    """

    normal: float
    kills: int
    pause: float
    reloads: int
    slow: int
    slow_seconds: float
    hold: float
    masters: int


FULL = Effort(
    normal=15, kills=10, pause=1, reloads=5, slow=500, slow_seconds=25, hold=10, masters=3
)
QUICK = Effort(normal=1, kills=1, pause=0.1, reloads=1, slow=20, slow_seconds=2, hold=1, masters=1)


@dataclass(frozen=True)
class Place:
    """What faults need of the machine.

    Attributes:
        folder: to write to.
        disk: a small one; None where this user may mount none.
    """

    folder: Path
    disk: Path | None


@dataclass(frozen=True)
class Fault:
    """One of them.

    Attributes:
        strike: does it, waits until all is well and returns the s until then.
        options: of numdraw.serve.
        via: what Python runs to serve.
        lost: what it costs, beside failed requests.
    """

    name: str
    strike: Callable[[Scene, Effort, Place], float]
    options: Callable[[Place], Sequence[str | Path]] = field(default=lambda place: ())
    via: Sequence[str] = ("-m", "numdraw.serve")
    lost: str = "nothing"


def main() -> int:
    """Do all of them and report; 1 where requests failed that should not have."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--rate", type=float, default=RATE, help=f"requests/s ({RATE:g})")
    parser.add_argument("--only", default="", metavar="WORD", help="faults whose name holds it")
    parser.add_argument("--quick", action="store_true", help="as little as shows that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    args = parser.parse_args()
    effort = QUICK if args.quick else FULL
    report = Report("faults")
    report.machine(None)
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="numdraw-faults-") as name, faults.small_disk() as disk:
        place = Place(Path(name), disk)
        faults.weights_copy(place.folder)
        for fault in FAULTS:
            if args.only not in fault.name:
                continue
            if fault.strike is _full_disk and disk is None:
                report.leave_out(fault.name, "only root may mount a small disk")
                continue
            results.append(_measured(fault, effort, place, args.rate))
    report.figures |= {"rate": args.rate, "faults": results}
    report.say(f"\n{args.rate:g} predictions/s through nginx to {faults.WORKERS} workers")
    columns = ["requests", "failed", "p99 normal", "p99 during", "ratio", "recovered"]
    rows = [[result["fault"], *_cells(result)] for result in results]
    report.say(table(["", *columns], rows))
    report.say("p99 in ms; recovered: s from the fault, or from its end where it is held\n")
    for result in results:
        why = "; ".join(f"{count} {reason}" for reason, count in result["failed"].items())
        report.say(f"{result['fault']}: lost {result['lost']}{f'; failed: {why}' if why else ''}")
    cpu = max(result["load's cpu"] for result in results) if results else 0
    report.say(f"\nthe load itself takes {cpu:.0%} of a core")
    report.write(args.json)
    return 0


def _measured(fault: Fault, effort: Effort, place: Place, rate: float) -> dict[str, Any]:
    """A fault's figures."""
    with faults.scene(*fault.options(place), via=fault.via, rate=rate) as running:
        time.sleep(effort.normal)
        struck = running.load.settle()
        normal = running.load.window(running.began, struck)
        recovered = fault.strike(running, effort, place)
        during = running.load.window(struck, running.load.settle())
        after = running.calm(effort.normal / 3)
        cpu = running.load.cpu / (time.monotonic() - running.load.began)
    return {
        "fault": fault.name,
        "requests": during.requests,
        "failed": dict(during.failed),
        "normal": _figures(normal),
        "during": _figures(during),
        "after": _figures(after),
        "ratio": during.p99 / normal.p99,
        "recovered": recovered,
        "lost": fault.lost,
        "load's cpu": cpu,
    }


def _figures(window: Window) -> dict[str, float]:
    return {
        "requests": window.requests,
        "failed": window.failed.total(),
        "p50": window.p50,
        "p99": window.p99,
        "worst": window.worst,
    }


def _cells(result: dict[str, Any]) -> list[str]:
    return [
        f"{result['requests']:,}",
        f"{sum(result['failed'].values()):,}",
        f"{result['normal']['p99']:.1f}",
        f"{result['during']['p99']:.1f}",
        f"{result['ratio']:.1f}",
        f"{result['recovered']:.2f} s",
    ]


def _weights(place: Place) -> Sequence[str | Path]:
    return "--weights", place.folder / "digits.npz"


def _logs(place: Place) -> Sequence[str | Path]:
    folder = place.disk or place.folder
    return "--access-log", folder / "access.log", "--error-log", folder / "error.log"


def _reload_damaged(running: Scene, effort: Effort, place: Place) -> float:
    return faults.reload_damaged(running, place.folder / "digits.npz", effort.reloads, effort.pause)


def _slow(headers: int, bodies: int) -> Callable[[Scene, Effort, Place], float]:
    """Slow clients of one kind; the first argument or the second is 1."""

    def strike(running: Scene, effort: Effort, place: Place) -> float:
        slow = effort.slow
        with faults.slow_clients(running, headers * slow, bodies * slow):
            time.sleep(effort.slow_seconds)
        return running.recovery(time.monotonic())

    return strike


def _full_disk(running: Scene, effort: Effort, place: Place) -> float:
    if place.disk is None:
        raise ValueError("a full disk expected a small one, got none")
    return faults.fill_disk(running, place.disk, effort.hold)


def _blocked(running: Scene, effort: Effort, place: Place) -> float:
    faults.kill_workers(running, 1)  # so that the master has something to say
    time.sleep(effort.hold)
    since = time.monotonic()
    faults.unblock(running)
    return running.recovery(since)


FAULTS = (
    Fault(
        "1 kill -9 of a worker",
        lambda running, effort, _: faults.kill_workers(running, effort.kills, effort.pause),
    ),
    Fault(
        "2 reload",
        lambda running, effort, _: faults.reload(running, effort.reloads, effort.pause),
        _weights,
    ),
    Fault("3 reload of a damaged file", _reload_damaged, _weights, lost="the reload"),
    Fault("4 slow headers", _slow(1, 0)),
    Fault("4 slow bodies", _slow(0, 1)),
    Fault(
        "5 hang: stopped",
        lambda running, *_: faults.stop_worker(running),
        lost="what the worker had taken up",
    ),
    Fault(
        "5 hang: endless loop",
        lambda running, *_: faults.hang(running, "loop")[0],
        via=("-c", HANGING),
        lost="the request that hangs, a 503, and what the worker had taken up",
    ),
    Fault(
        "5 hang: in C, lock held",
        lambda running, *_: faults.hang(running, "lock")[0],
        via=("-c", HANGING),
        lost="the request that hangs, a 503, and what the worker had taken up",
    ),
    Fault(
        "6 no descriptors",
        lambda running, effort, _: faults.exhaust_descriptors(running, effort.hold),
        lost="time, for requests wait in the socket's queue until a worker is freed or replaced; "
        "and what does not fit into its 1,024 places",
    ),
    Fault("7 disk full", _full_disk, _logs, lost="log lines, which are counted"),
    Fault(
        "8 nobody reads the streams", _blocked, via=("-c", BLOCKED),
        lost="log lines, which are counted",
    ),
    Fault(
        "9 master killed",
        lambda running, effort, _: faults.kill_master(running, effort.masters),
        via=SUPERVISED,
        lost="what comes until the supervisor's new one listens",
    ),
    Fault(
        "9 master killed, socket kept",
        lambda running, effort, _: faults.kill_master(running, effort.masters),
        via=ACTIVATED,
    ),
)  # fmt: skip  # one a paragraph

if __name__ == "__main__":
    sys.exit(main())
