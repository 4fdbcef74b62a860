"""Cuts one of three hosts off under a steady load, plugs it in again, and counts who noticed.

    scripts/bench hosts
    scripts/bench hosts --json hosts.json
    scripts/bench hosts --quick                  shows that it works; its figures say little

The hosts are network namespaces on a bridge: each has nginx before numdraw.serve. A nginx in front
has nginx/numdraw-hosts.conf and balances. A client asks at a fixed rate, whether earlier requests
were answered or not, with drawings as a browser sends them. The cut is a cable pulled: packets
vanish and nobody says so. Needs root on Linux; elsewhere it says so and measures nothing.
"""

import argparse
import json
import math
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.parts import nginx
from benchmarks.parts.hosts import FRONT, HostError, Hosts, why_not
from benchmarks.parts.report import Report, blas, table
from benchmarks.parts.side import Side, SideError

ROOT = Path(__file__).resolve().parents[2]
HOSTS = 3
CUT = 0  # the host that is cut off
BODIES = 200
PORT = 80
READY_SECONDS = 30.0
LOAD_STARTS = 0.4  # s until the load's first request: Python's start
LOG_SECONDS = 1.0  # nginx writes a request's line when its answer is out
PATIENCE = 20.0  # s for the last answers


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rate: requests/s.
        cut: s from the start until one host is cut off.
        mended: s until it is plugged in again.
        seconds: of load in all.
    """

    rate: float
    cut: float
    mended: float
    seconds: float


FULL = Effort(rate=100, cut=8, mended=20, seconds=30)
QUICK = Effort(rate=40, cut=1, mended=3, seconds=14)


def main() -> int:
    """Measure and report; 0, or 1 where a host fails or a request does."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="as little as shows that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    args = parser.parse_args()
    report = Report("hosts")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is removed then, too
    if reason := why_not():
        report.leave_out("hosts in network namespaces", reason)
        report.write(args.json)
        return 0
    try:
        report.machine(1)
        with Side("bodies", **blas(1)) as side:
            bodies = side.call("bodies", count=BODIES)
        failed = _cut_off(report, QUICK if args.quick else FULL, bodies)
    except (HostError, SideError) as error:
        sys.stderr.write(f"bench hosts: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    report.write(args.json)
    return 1 if failed else 0


def _cut_off(report: Report, effort: Effort, bodies: Mapping[str, Any]) -> int:
    """Run the load and what happens meanwhile, and report; returns how many requests failed."""
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix=f"numdraw-hosts-{os.getpid()}-"))
        )
        folder.chmod(0o711)  # nginx's workers are another user
        (folder / "bodies").write_text("\n".join(bodies["bodies"]))
        hosts = stack.enter_context(Hosts(HOSTS))
        access_log = _start(hosts, folder)
        start = time.monotonic() + LOAD_STARTS
        load = hosts.start(
            hosts.front,
            [
                sys.executable, ROOT / "scripts" / "bench.d" / "parts" / "open_load.py",
                f"127.0.0.1:{PORT}", str(effort.rate), str(effort.seconds),
                folder / "bodies", folder / "answers",
            ],
            folder / "load.log",
        )  # fmt: skip  # shorter so
        time.sleep(max(0.0, start + effort.cut - time.monotonic()))
        hosts.cut(CUT)
        time.sleep(max(0.0, start + effort.mended - time.monotonic()))
        hosts.mend(CUT)
        if load.wait(effort.seconds + PATIENCE):
            raise HostError(f"the load expected to end, got: {(folder / 'load.log').read_text()}")
        answers = _lines(folder / "answers")
        time.sleep(LOG_SECONDS)
        logged = {line["request_id"]: line for line in _lines(access_log)}
    for answer in answers:
        line = logged.get(answer["id"], {"upstream": ""})
        answer["hosts"] = line["upstream"].split(", ")
    figures = _figures(answers, effort, f"{hosts.addresses[CUT]}:{PORT}")
    report.figures["bodies"] = {name: bodies[name] for name in ("from", "points", "bytes")}
    report.figures["load"] = {
        "rate": effort.rate, "seconds": effort.seconds, "cut": effort.cut, "mended": effort.mended
    }  # fmt: skip  # shorter so
    report.figures["hosts"] = figures
    _say(report, effort, figures)
    return int(figures["failed"])


def _start(hosts: Hosts, folder: Path) -> Path:
    """Start all servers and wait until each answers; returns the front's access log.

    Args:
        folder: gets a folder each.
    """
    page = folder / "public"
    shutil.copytree(ROOT / "public", page)
    servers = []
    for number, (name, address) in enumerate(zip(hosts.names, hosts.addresses, strict=True), 1):
        its = folder / f"host{number}"
        nginx.files(its, f"{address}:{PORT}", page, its / "numdraw.sock")
        _edit(
            its / "numdraw.conf",
            (r"# set_real_ip_from [^;]*;", f"set_real_ip_from {FRONT};"),
            (r"# (real_ip_header [^;]*;)", r"\1"),
        )
        app: list[str | Path] = [
            sys.executable, "-m", "numdraw.serve", "--socket", its / "numdraw.sock",
            "--access-log", its / "requests.log",
        ]  # fmt: skip  # shorter so
        servers.append(hosts.start(name, app, its / "app.log"))
        servers.append(hosts.start(name, nginx.command(its), its / "nginx.log"))
        _wait(name, f"{address}:{PORT}", servers, its)
    its = folder / "front"
    access_log = its / "access.log"
    nginx.files(its, f"127.0.0.1:{PORT}", page, its / "numdraw.sock", "numdraw-hosts.conf")
    _edit(
        its / "numdraw.conf",
        (r"access_log off;", f"access_log {access_log} numdraw;"),
        *(
            (rf"server 192\.0\.2\.1{number}:80 ", f"server {address}:{PORT} ")
            for number, address in enumerate(hosts.addresses, 1)
        ),
    )
    servers.append(hosts.start(hosts.front, nginx.command(its), its / "nginx.log"))
    _wait(hosts.front, f"127.0.0.1:{PORT}", servers, its)
    return access_log


def _edit(path: Path, *edits: tuple[str, str]) -> None:
    """Replace patterns in a file, each of which must be there once."""
    text = path.read_text()
    for pattern, new in edits:
        text, count = re.subn(pattern, new, text)
        if count != 1:
            raise HostError(f"{path.name} expected {pattern!r} once, got it {count} times")
    path.write_text(text)


def _wait(
    name: str, address: str, servers: Sequence["subprocess.Popen[bytes]"], folder: Path
) -> None:
    """Wait until an address answers as ready, asked from its own namespace."""
    ask = (
        "import sys, urllib.request as r\n"
        "r.build_opener(r.ProxyHandler({})).open(sys.argv[1], timeout=2)"
    )
    command = [
        "ip",
        "netns",
        "exec",
        name,
        sys.executable,
        "-c",
        ask,
        f"http://{address}/api/model",
    ]
    end = time.monotonic() + READY_SECONDS
    while subprocess.run(command, capture_output=True, check=False).returncode:
        if time.monotonic() > end or any(server.poll() is not None for server in servers):
            logs = {path.name: path.read_text() for path in folder.glob("*.log")}
            raise HostError(f"{address} expected a server, got none; the logs: {logs}")
        time.sleep(0.1)


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _figures(answers: Sequence[Any], effort: Effort, lost: str) -> dict[str, Any]:
    """What a report says.

    Args:
        answers: of the load, and the "hosts" that nginx asked for each.
        lost: the host that was cut off.
    """
    parts = {
        "before": (0.0, effort.cut),
        "while it is cut off": (effort.cut, effort.mended),
        "after": (effort.mended, effort.seconds),
    }
    failed = [answer for answer in answers if answer["status"] != 200]
    back = [
        answer["due"] - effort.mended
        for answer in answers
        if answer["due"] >= effort.mended and answer["hosts"][-1] == lost
    ]
    return {
        "requests": len(answers),
        "failed": len(failed),
        "failed by status": Counter(str(answer["status"]) for answer in failed),
        "asked twice": sum(len(answer["hosts"]) > 1 for answer in answers),
        "serves again after": min(back, default=None),
        "parts": {
            part: _part([answer for answer in answers if low <= answer["due"] < high], lost)
            for part, (low, high) in parts.items()
        },
    }


def _part(answers: Sequence[Any], lost: str) -> dict[str, Any]:
    """Of the requests that were due in one part of the time; milliseconds."""
    ms = sorted(answer["ms"] for answer in answers)
    return {
        "requests": len(ms),
        "failed": sum(answer["status"] != 200 for answer in answers),
        "asked twice": sum(len(answer["hosts"]) > 1 for answer in answers),
        "of the host": sum(answer["hosts"][-1] == lost for answer in answers),
        "p50": statistics.median(ms),
        "p99": ms[math.ceil(0.99 * len(ms)) - 1],
        "max": ms[-1],
    }


def _say(report: Report, effort: Effort, figures: Mapping[str, Any]) -> None:
    report.say(
        f"\n{HOSTS} hosts, {effort.rate:g} requests/s for {effort.seconds:g} s; one host is cut "
        f"off after {effort.cut:g} s and back after {effort.mended:g} s"
    )
    report.say(
        table(
            ["", "requests", "failed", "asked twice", "of that host", "p50 ms", "p99 ms", "max ms"],
            [
                [
                    part,
                    *(f"{its[name]:,}" for name in ("requests", "failed", "asked twice")),
                    f"{its['of the host']:,}",
                    *(f"{its[name]:.1f}" for name in ("p50", "p99", "max")),
                ]
                for part, its in figures["parts"].items()
            ],
        )
    )
    back = figures["serves again after"]
    again = "not again" if back is None else f"again {back:.1f} s after it is back"
    report.say(
        f"{figures['failed']} of {figures['requests']:,} requests failed; that host serves {again}"
    )


if __name__ == "__main__":
    sys.exit(main())
