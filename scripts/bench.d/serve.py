"""Compares numdraw's server with FastAPI + uvicorn + ONNX Runtime, and with Flask + gunicorn.

    scripts/bench serve
    scripts/bench serve --json serve.json
    scripts/bench serve --quick                  shows that it works; its figures say nothing

All give the same answers to the same drawings, which is checked first: with numdraw's preprocessing
and weights, FastAPI with ONNX Runtime for the network, Flask with numdraw's Predictor. They take
turns, round by round, and figures are medians. A ratio above 1 says that numdraw is faster.

    saturated   wrk keeps 16 connections busy: predictions/s, and what each costs the processor
    steady      k6 sends so many requests a second, through nginx, whatever the answers take
    first       the time from a server's start to its first answer
    memory      of each process after some thousand predictions, or more
    where       what of a prediction is nginx's, bjoern's and numdraw's
    unread      what servers take that answer the same to all drawings, without reading them

wrk, k6, nginx and the other servers (extra `bench`) are used where they are; what is not there is
named and left out. Generator and servers share the cores, so what each took of them is told too.
Linux only: processor time and memory are read in /proc.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.parts.load import WARM, Generators, LoadError
from benchmarks.parts.processes import memory, tree
from benchmarks.parts.report import Report, blas, cell, median_and_best, table
from benchmarks.parts.serve_tables import (
    EVEN,
    HELLO,
    MIB,
    POST,
    Key,
    Rates,
    tell_rates,
    tell_targets,
    tell_two_workers,
    tell_unread,
    tell_where,
)
from benchmarks.parts.servers import (
    BARE,
    DIRECT,
    FASTAPI,
    FLASK,
    FLASK_THREADS,
    NGINX,
    NUMDRAW,
    UNREAD,
    Served,
    ServerError,
    Servers,
    post,
)
from benchmarks.parts.side import Side, SideError

NEEDS: dict[str, tuple[str, ...]] = {
    NUMDRAW: (),  # without bjoern it says so itself
    FASTAPI: ("fastapi", "uvicorn", "onnx", "onnxruntime"),
    FLASK: ("flask", "gunicorn"),
    FLASK_THREADS: ("flask", "gunicorn"),
    BARE: (),
}
SLOWS_NUMPY = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # of another processor they slow it
CORES = ("server", "nginx", "generator", "others")  # who takes the cores
TOLERANCE = 1e-4  # between probabilities: ONNX Runtime adds up in another order


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        keys: what wrk saturates.
        rounds, seconds, warm: of wrk; `warm` seconds before the first round do not count.
        again: more runs at most, where two workers' shares of the work are not EVEN.
        names: the servers whose start and memory is measured.
        steady_names: those that k6 asks.
        rates: requests/s.
        steady_rounds, steady_seconds: of k6.
        starts: of each server.
        checked: drawings that all must read alike.
        predictions: before memory is read.
    """

    keys: Sequence[Key]
    rounds: int
    seconds: int
    warm: int
    again: int
    names: Sequence[str]
    steady_names: Sequence[str]
    rates: Sequence[int]
    steady_rounds: int
    steady_seconds: int
    starts: int
    checked: int
    predictions: int


FULL = Effort(
    keys=[
        *(
            (name, path, workers, POST)
            for name in (NUMDRAW, FASTAPI, FLASK, FLASK_THREADS)
            for path in (DIRECT, NGINX)
            for workers in (1, 2)
        ),
        *((BARE, path, 1, what) for path in (DIRECT, NGINX) for what in (HELLO, POST)),
        *((NUMDRAW, path, 1, HELLO) for path in (DIRECT, NGINX)),
        *((name + UNREAD, DIRECT, 1, POST) for name in (NUMDRAW, FASTAPI, FLASK)),
    ],
    rounds=3, seconds=3, warm=1, again=3, names=(NUMDRAW, FASTAPI, FLASK),
    steady_names=(NUMDRAW, FASTAPI, FLASK, BARE), rates=(200, 500),
    steady_rounds=2, steady_seconds=6, starts=5, checked=20, predictions=2000,
)  # fmt: skip  # shorter so
QUICK = Effort(
    keys=[
        (NUMDRAW, DIRECT, 1, POST),
        (NUMDRAW, NGINX, 1, POST),
        *((name, NGINX, 2, POST) for name in (NUMDRAW, FASTAPI, FLASK)),
        (BARE, NGINX, 1, HELLO),
        (BARE, NGINX, 1, POST),
        (NUMDRAW, NGINX, 1, HELLO),
        (NUMDRAW + UNREAD, DIRECT, 1, POST),
        (FASTAPI + UNREAD, DIRECT, 1, POST),
    ],
    rounds=1, seconds=1, warm=0, again=0, names=(NUMDRAW, FASTAPI, FLASK),
    steady_names=(NUMDRAW,), rates=(200,),
    steady_rounds=1, steady_seconds=1, starts=1, checked=5, predictions=20,
)  # fmt: skip  # shorter so


def main() -> int:
    """Measure and report; 0, or 1 where a server or a generator fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="as little as shows that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    args = parser.parse_args()
    for name in SLOWS_NUMPY:
        os.environ.pop(name, None)
    report = Report("serve")
    try:
        report.machine(None)
        with (
            tempfile.TemporaryDirectory(prefix="numdraw-") as folder,
            Servers(Path(folder)) as servers,
        ):
            Bench(report, QUICK if args.quick else FULL, servers, Path(folder)).run()
    except (SideError, ServerError, LoadError) as error:
        sys.stderr.write(f"bench serve: {error}\n")
        return 1
    report.write(args.json)
    return 0


class Bench:
    """The measurements, one after the other, on servers that all run from the start."""

    def __init__(self, report: Report, effort: Effort, servers: Servers, folder: Path) -> None:
        """Find out what is there, and make the drawings."""
        self._report, self._effort, self._servers = report, effort, servers
        with Side("bodies", **blas(1)) as side:
            made = side.call("bodies", count=300)
        self._bodies = [body.encode("ascii") for body in made["bodies"]]
        self._generators = Generators(folder, made.pop("bodies"))
        report.figures["drawings"] = {**made, "count": len(self._bodies)}
        report.say(
            f"drawings   {len(self._bodies)} {made['from']}; "
            f"{made['points']:.0f} points and {made['bytes']:.0f} bytes on average"
        )
        modules = {
            module: report.has(module)
            for module in dict.fromkeys(chain.from_iterable(NEEDS.values()))
        }
        self._there = [
            name for name, needs in NEEDS.items() if all(modules[module] for module in needs)
        ]
        if servers.nginx is None:
            report.leave_out("nginx", "not installed; apt-get install nginx-light brings it")
        if self._generators.wrk is None:
            report.leave_out("saturated rates", "no wrk; apt-get install wrk brings it")
        self._keys = [
            key for key in effort.keys
            if self._generators.wrk and self._has(key[0]) and (key[1] != NGINX or servers.nginx)
        ]  # fmt: skip  # shorter so
        self._names = list(filter(self._has, effort.names))
        self._behind = NGINX if servers.nginx else DIRECT
        self._running: dict[tuple[str, str, int], Served] = {}

    def _has(self, name: str) -> bool:
        return name.removesuffix(UNREAD) in self._there

    def run(self) -> None:
        """Measure all of it."""
        if FASTAPI in self._names:
            self._servers.export()
        self._start()
        self._first_answers()
        rates: Rates = {}
        if self._generators.wrk is not None:
            rates = self._saturated()
            tell_rates(self._report, rates)
            tell_two_workers(self._report, rates)
            tell_where(self._report, rates)
            tell_unread(self._report, rates)
        self._steady()
        self._memory()
        tell_targets(self._report)

    def _start(self) -> None:
        """Start all servers; see that they give numdraw's answers."""
        wanted = {key[:3] for key in self._keys}
        wanted |= {(name, self._behind, 2) for name in self._names}
        if self._generators.k6 is not None:
            asked = filter(self._has, self._effort.steady_names)
            wanted |= {(name, self._behind, _workers(name)) for name in asked}
        for name, path, workers in sorted(wanted, key=lambda key: key[0] != NUMDRAW):
            self._running[name, path, workers] = self._servers.start(name, path, workers)
        expected: list[Any] = []
        for served in self._running.values():
            self._servers.wait(served, self._bodies[0])
            if served.name == BARE:
                continue
            unread = served.name.endswith(UNREAD)
            answers = [
                json.loads(post(served, body)[1]) for body in self._bodies[: self._effort.checked]
            ]
            expected = expected or answers  # numdraw is the first
            if not _same(answers, answers[:1] * len(answers) if unread else expected):
                raise ServerError(f"{served} expected numdraw's answers, got others")
        self._report.say(
            f"nginx      without limit_req and limit_conn, one for each server\n"
            f"servers    {len(self._running)}, without access log; "
            f"all read {self._effort.checked} drawings as numdraw does"
        )

    def _first_answers(self) -> None:
        seconds = {
            name: [
                self._servers.first_answer(name, self._bodies[0])
                for _ in range(self._effort.starts)
            ]
            for name in self._names
        }
        found = {name: median_and_best(each, lambda s: 1e3 * s) for name, each in seconds.items()}
        self._report.figures["first answer, ms"] = found
        self._report.say("\nfrom the start to the first answer, one worker, ms: median (best)")
        self._report.say(table(["", "ms"], [[name, cell(ms)] for name, ms in found.items()]))

    def _saturated(self) -> Rates:
        """What wrk finds, by server, path, workers and request."""
        rounds: dict[Key, list[dict[str, float]]] = {key: [] for key in self._keys}
        for number in range(self._effort.rounds):
            for key in self._keys if number % 2 == 0 else reversed(self._keys):
                served = self._running[key[:3]]
                if number == 0 and self._effort.warm:
                    self._generators.saturate(served, key[3], self._effort.warm)
                rounds[key].append(self._one(served, key[3]))
        found = {}
        for key, its in rounds.items():
            median = {name: statistics.median(one[name] for one in its) for name in its[0]}
            found[key] = {
                "server": key[0], "path": key[1], "workers": key[2], "request": key[3],
                "answers/s": median_and_best([1 / one["rate"] for one in its], lambda s: 1 / s),
                "CPU us an answer": {
                    part: median[part] for part in ("server", "nginx", "generator")
                },
                "cores busy": {
                    part: median[part] * median["rate"] / 1e6
                    for part in CORES
                },
                "least busy worker": median["evenness"],
                "failed": sum(one["failed"] for one in its),
                "uneven runs": sum(one["uneven"] for one in its),
            }  # fmt: skip  # shorter so
        self._report.figures["saturated"] = list(found.values())
        return found

    def _one(self, served: Served, request: str) -> dict[str, float]:
        """One run of wrk; again where one worker took nearly all connections, as chance has it."""
        uneven = 0
        while True:
            did, used = self._generators.saturate(served, request, self._effort.seconds)
            if served.workers == 1 or used.evenness >= EVEN or uneven == self._effort.again:
                break
            uneven += 1
        done = did["requests"]
        if not done:
            raise LoadError(f"{served} expected to answer wrk, got no answer")
        return {
            "rate": done / did["seconds"], "failed": did["failed"], "uneven": uneven,
            "evenness": used.evenness, "server": 1e6 * used.server / done,
            "nginx": 1e6 * used.nginx / done, "generator": 1e6 * used.generator / done,
            "others": 1e6 * used.others / done,
        }  # fmt: skip  # shorter so

    def _steady(self) -> None:
        """What k6 finds through nginx, or directly where there is none, with two workers."""
        self._report.figures["steady"] = []
        if self._generators.k6 is None:
            self._report.leave_out("latency", "no k6 on the path or in NUMDRAW_K6")
            return
        path = self._behind
        names = list(filter(self._has, self._effort.steady_names))
        found: dict[tuple[str, int], list[dict[str, float]]] = {}
        for number in range(self._effort.steady_rounds):
            for rate in self._effort.rates:
                for name in names if number % 2 == 0 else reversed(names):
                    served = self._running[name, path, _workers(name)]
                    seconds = self._effort.steady_seconds
                    its, used = self._generators.steady(served, rate, seconds)
                    for part in CORES:
                        its[part] = getattr(used, part) / (seconds + WARM)
                    found.setdefault((name, rate), []).append(its)
        rows = []
        for (name, rate), rounds in found.items():
            median = {part: statistics.median(its[part] for its in rounds) for part in rounds[0]}
            total = {
                part: sum(its[part] for its in rounds) for part in ("requests", "failed", "dropped")
            }
            its = {**median, **total}
            its["worst p99"] = max(each["p99"] for each in rounds)
            busy = {part: its.pop(part) for part in CORES}
            self._report.figures["steady"].append(
                {
                    "server": name, "path": path, "rate": rate, "rounds": len(rounds), **its,
                    "cores busy": busy,
                }
            )  # fmt: skip  # shorter so
            rows.append(
                [name, str(rate),
                 *(f"{its[part]:.2f}" for part in ("p50", "p99", "worst p99", "p99.9", "max")),
                 *(f"{its[part]:.0f}" for part in ("requests", "failed", "dropped")),
                 *(f"{cores:.2f}" for cores in busy.values())]
            )  # fmt: skip  # shorter so
        self._report.say(
            f"\nsteady, {'through nginx' if path == NGINX else 'direct'}, two workers ({BARE}: "
            "one, no prediction): latency in ms, medians of the rounds; cores busy"
        )
        header = [
            "", "requests/s", "p50", "p99", "worst p99", "p99.9", "max", "requests", "failed",
            "dropped", "server", "nginx", "k6", "others",
        ]  # fmt: skip  # shorter so
        self._report.say(table(header, rows))
        if any(its["dropped"] for rounds in found.values() for its in rounds):
            self._report.say(
                "dropped: k6 had no free user to send them with; that run's rate is less"
            )

    def _memory(self) -> None:
        """What each process takes after some predictions, of servers with two workers."""
        rows, found = [], {}
        for name in self._names:
            served = self._running[name, self._behind, 2]
            for number in range(self._effort.predictions):
                post(served, self._bodies[number % len(self._bodies)])
            each = [memory(pid) for pid in tree(served.process.pid)]
            found[name] = [
                {"private": its.private, "proportional": its.proportional} for its in each
            ]
            private = " + ".join(f"{its.private / MIB:.1f}" for its in each)
            rows.append([name, private, f"{sum(its.proportional for its in each) / MIB:.1f}"])
        self._report.figures["memory, bytes"] = found
        self._report.say(
            f"\nmemory after {self._effort.predictions:,} predictions or more, two workers, MiB: "
            "private bytes of the master and its children, PSS of all"
        )
        self._report.say(table(["", "private", "PSS"], rows))


def _workers(name: str) -> int:
    """Of the servers that k6 asks."""
    return 1 if name == BARE else 2


def _same(theirs: Any, ours: Any) -> bool:
    """Whether two answers are the same but for what rounding leaves."""
    if isinstance(ours, dict):
        return theirs.keys() == ours.keys() and all(_same(theirs[key], ours[key]) for key in ours)
    if isinstance(ours, list):
        return len(theirs) == len(ours) and all(map(_same, theirs, ours))
    if isinstance(ours, float):
        return bool(abs(theirs - ours) <= TOLERANCE)
    return bool(theirs == ours)


if __name__ == "__main__":
    sys.exit(main())
