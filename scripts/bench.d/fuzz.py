"""Sends damaged HTTP requests and JSON bodies, and counts what they do to the server: nothing.

    scripts/bench fuzz                                      100,000 requests, 100,000 bodies
    scripts/bench fuzz --requests 1000000 --seed 7
    scripts/bench fuzz --keep damage --json fuzz.json
    scripts/bench fuzz --quick                              a thousand of each

The requests go through nginx to two workers, from a thousand addresses so that no limit stops them.
The bodies go to the application itself, which is timed, and one in twenty through nginx as well.
A request that gets what it should not lies in --keep afterwards, as it was sent: nc replays it.
tests/mutations.py says what damage there is; a seed gives the same each time.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.parts.report import Report, table
from numdraw import Predictor
from numdraw.app import make_app
from tests.faults import ask, children, master_of
from tests.fuzzing import (
    ALLOWED,
    NOT_FAULTS,
    SLOWEST,
    Found,
    ask_all,
    batches,
    bodies,
    posts,
    requests,
    send_all,
)
from tests.loading import drawn_bodies
from tests.mutations import PREDICT
from tests.running import wait_until
from tests.serving import Site, serving

COUNT, QUICK = 100_000, 1000
SENT = 20  # one in so many bodies goes through nginx too
BATCH = 5000  # between two words of how far it is
SLOW = 0.25  # s of processor time; a body that takes longer is told and kept
WORKERS = 2


def main() -> int:
    """Send, count and report; 1 where something came back that should not, or a worker ended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--requests", type=int, help=f"damaged HTTP requests ({COUNT:,})")
    parser.add_argument("--bodies", type=int, help=f"damaged JSON bodies ({COUNT:,})")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (0)")
    parser.add_argument(
        "--keep", type=Path, default=Path("fuzz-found"), metavar="FOLDER", help="(fuzz-found)"
    )
    parser.add_argument("--quick", action="store_true", help="as little as shows that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    args = parser.parse_args()
    usual = QUICK if args.quick else COUNT
    report = Report("fuzz")
    report.machine(None)
    report.say(f"seed       {args.seed}")
    report.figures["seed"] = args.seed
    wrong: list[tuple[str, bytes]] = []

    count = usual if args.requests is None else args.requests
    report.say(f"\n{count:,} damaged HTTP requests through nginx to {WORKERS} workers")
    wrong += _through_nginx(
        report, "requests", requests(args.seed, count), lambda port, some: send_all(port, some)
    )

    count = usual if args.bodies is None else args.bodies
    report.say(f"\n{count:,} damaged JSON bodies to the application itself")
    app = make_app(Predictor.load())
    ask_all(app, [(PREDICT, body) for body in drawn_bodies(10)])  # the first of all takes longer
    found = _all(report, "bodies", bodies(args.seed, count), lambda some: ask_all(app, some))
    wrong += found.wrong
    wrong += [(f"{1000 * s:.0f} ms: {path}", body) for s, path, body in found.slowest if s > SLOW]
    report.say(f"the slowest {SLOWEST}, by processor time")
    slowest = [(1000 * s, path, body) for s, path, body in reversed(found.slowest)]
    rows = [[f"{ms:.0f}", path, f"{len(body):,}", _shown(body)] for ms, path, body in slowest]
    report.say(table(["ms", "path", "bytes", "body"], rows))
    report.figures["bodies"]["slowest ms"] = [ms for ms, _, _ in slowest]

    report.say(f"\n{count // SENT:,} damaged JSON bodies through nginx to {WORKERS} workers")
    sent = posts(bodies(args.seed + 1, count // SENT))
    wrong += _through_nginx(
        report, "bodies sent", sent, lambda port, some: send_all(port, some, only=ALLOWED)
    )

    report.say(f"\nwrong: {dict(Counter(what for what, _ in wrong)) or 'nothing'}")
    for number, (what, request) in enumerate(wrong):
        args.keep.mkdir(exist_ok=True)
        (args.keep / f"{number:04}").write_bytes(request)
        report.say(f"{args.keep}/{number:04}  {what}")
    report.write(args.json)
    return 1 if wrong else 0


def _through_nginx(report: Report, name: str, wanted: Iterator[Any], send: Any) -> list[Any]:
    """Send to a server of its own; returns what was wrong, a worker that ended included."""
    with serving(workers=WORKERS) as site:
        pid = master_of(site)
        wait_until(lambda: len(children(pid)) == WORKERS)
        before = children(pid)
        found = _all(report, name, wanted, lambda some: send(site.port, some))
        ended = len(set(before) - set(children(pid)))
        report.say(f"workers that ended: {ended}; lines of errors in the log: {_errors(site)}")
        report.figures[name] |= {"workers ended": ended, "error lines": _errors(site)}
        wrong = list(found.wrong)
        if ended or _errors(site):
            wrong.append((f"{ended} workers ended, {_errors(site)} lines of errors", b""))
        alive = ask(("127.0.0.1", site.port), b"GET /api/model HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return wrong if alive == 200 else [*wrong, (f"afterwards: status {alive}", b"")]


def _errors(site: Site) -> int:
    lines = (site.folder / "app.log").read_text().splitlines()
    return sum('"level":"error"' in line for line in lines)


def _all(report: Report, name: str, wanted: Iterator[Any], send: Any) -> Found:
    """Send in batches, say how far it is where somebody watches, and report what came back."""
    whole = Found()
    start = time.monotonic()
    done = 0
    for found in batches(wanted, BATCH, send):
        whole.statuses += found.statuses
        whole.wrong += found.wrong
        whole.slowest = sorted([*whole.slowest, *found.slowest])[-SLOWEST:]
        done += BATCH
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done:,}, {len(whole.wrong)} wrong ")
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    seconds = time.monotonic() - start
    statuses = dict(sorted(whole.statuses.items()))
    report.say(
        "answers by status: "
        + ", ".join(f"{status or 'none'} {count:,}" for status, count in statuses.items())
        + f"; {seconds:.0f} s"
    )
    if NOT_FAULTS & statuses.keys():
        report.say("501 and 505 are nginx's own, to codings and versions that HTTP/1.1 has not")
    report.figures[name] = {
        "statuses": {str(status): count for status, count in statuses.items()},
        "wrong": len(whole.wrong),
        "seconds": seconds,
    }
    return whole


def _shown(body: bytes) -> str:
    return ascii(body[:50].decode("latin-1"))[1:-1]


if __name__ == "__main__":
    sys.exit(main())
