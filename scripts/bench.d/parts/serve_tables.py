"""What `scripts/bench serve` prints of what it measured."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from benchmarks.parts.load import CONNECTIONS
from benchmarks.parts.report import Report, cell, ratio_cell, table
from benchmarks.parts.servers import BARE, DIRECT, FASTAPI, NGINX, NUMDRAW, PREDICT, UNREAD

POST, HELLO = f"POST {PREDICT}", "GET /hello/"
EVEN = 0.5  # the least busy worker's time as a share of the busiest's
MIB = 2**20

Key: TypeAlias = tuple[str, str, int, str]  # server, path, workers, method and path of the request
Rates: TypeAlias = Mapping[Key, Mapping[str, Any]]


def tell_rates(report: Report, rates: Rates) -> None:
    """How many predictions a second each server makes, and numdraw's ratio to it."""
    report.say(
        f"\nsaturated by wrk with {CONNECTIONS} connections, predictions/s: median (best); "
        "CPU us: the server's processor time for one; cores busy with server, nginx, wrk and all "
        "else"
    )
    rows = []
    for (name, path, workers, request), its in rates.items():
        if request == POST and name != BARE and not name.endswith(UNREAD):
            ours = rates.get((NUMDRAW, path, workers, POST))
            ratio = None
            if ours is not None and name != NUMDRAW:
                ratio = ours["answers/s"]["median"] / its["answers/s"]["median"]
            rows.append(
                [
                    name, path, str(workers), cell(its["answers/s"]),
                    ratio_cell(ratio),
                    f"{its['CPU us an answer']['server']:,.0f}",
                    *(f"{busy:.2f}" for busy in its["cores busy"].values()),
                    f"{its['failed']:.0f}", f"{its['uneven runs']:.0f}",
                ]
            )  # fmt: skip  # shorter so
    header = [
        "", "path", "workers", "predictions/s", "numdraw's ratio", "CPU us", "server", "nginx",
        "wrk", "others", "failed", "uneven",
    ]  # fmt: skip  # shorter so
    report.say(table(header, rows))
    report.say(
        f"uneven: runs done again because one of two workers had under {EVEN:.0%} of the "
        "other's work: who accepts a connection is chance"
    )


def tell_two_workers(report: Report, rates: Rates) -> None:
    """How two workers compare with one, as it is and by the processor time that they took."""
    rows = []
    found: dict[str, dict[str, float]] = {}
    for (name, path, workers, request), two in rates.items():
        one = rates.get((name, path, 1, request))
        if workers != 2 or one is None:
            continue
        each = [1e6 / its["CPU us an answer"]["server"] for its in (one, two)]
        rate = two["answers/s"]["median"] / one["answers/s"]["median"]
        freed = 2 * each[1] / each[0]
        found[f"{name}, {path}"] = {
            "rate": rate, "a CPU second, one": each[0], "a CPU second, two": each[1],
            "with two cores for the workers": freed,
        }  # fmt: skip  # shorter so
        rows.append([name, path, f"{rate:.2f}", *(f"{x:,.0f}" for x in each), f"{freed:.2f}"])
    report.figures["two workers"] = found
    report.say(
        "\ntwo workers to one: of the rates above, for which generator and nginx took their "
        "share of the cores;\nand if each worker had a core to itself, by the predictions in "
        "a second of the workers' own processor time"
    )
    header = ["", "path", "rates", "a CPU s, one", "a CPU s, two", "a core each"]
    report.say(table(header, rows))


def tell_where(report: Report, rates: Rates) -> None:
    """What of the processor time of a prediction is whose."""
    found: dict[str, dict[str, float]] = {}
    for path in (DIRECT, NGINX):
        whole, hello, bare, bare_hello = (
            rates.get((name, path, 1, request))
            for name, request in (
                (NUMDRAW, POST), (NUMDRAW, HELLO), (BARE, POST), (BARE, HELLO)
            )
        )  # fmt: skip  # shorter so
        if not (whole and hello and bare and bare_hello):
            continue
        us, hello_us, bjoern, bare_us = (
            its["CPU us an answer"] for its in (whole, hello, bare, bare_hello)
        )
        around = max(0.0, hello_us["server"] - bare_us["server"])
        found[path] = {
            "nginx": us["nginx"],
            "bjoern": bjoern["server"],
            "application: around every answer": around,
            "application: the prediction": us["server"] - bjoern["server"] - around,
            "all": us["server"] + us["nginx"],
        }
    report.figures["where, us"] = found
    if not found:
        return
    report.say(
        "\nwhere a prediction's processor time goes, us. bjoern: a POST of the same bytes "
        "whose answer is as long but needs\nno prediction; around every answer: what /hello/ takes "
        "more than the same text from bjoern alone"
    )
    parts = list(next(iter(found.values())))
    rows = [[part, *(f"{its[part]:,.0f}" for its in found.values())] for part in parts]
    report.say(table(["", *found], rows))
    rows = [
        [f"{name}, {request}", path, cell(its["answers/s"]),
         *(f"{us:,.1f}" for us in its["CPU us an answer"].values())]
        for (name, path, workers, request), its in rates.items()
        if workers == 1 and name in (NUMDRAW, BARE)
    ]  # fmt: skip  # shorter so
    report.say(table(["one worker", "path", "answers/s", "server us", "nginx us", "wrk us"], rows))


def tell_unread(report: Report, rates: Rates) -> None:
    """What each server takes by itself for an answer, and what is left for reading."""
    found: dict[str, dict[str, float]] = {}
    for (name, path, workers, request), its in rates.items():
        read = rates.get((name.removesuffix(UNREAD), path, workers, request))
        if name.endswith(UNREAD):
            own = its["CPU us an answer"]["server"]
            found[name.removesuffix(UNREAD)] = {"answers/s": its["answers/s"]["median"], "own": own}
            if read is not None:
                reading = read["CPU us an answer"]["server"] - own
                found[name.removesuffix(UNREAD)]["reading"] = max(0.0, reading)
    report.figures["unread"] = found
    if NUMDRAW not in found:
        return
    ours = found[NUMDRAW]["own"]
    rows = [
        [
            name, f"{its['answers/s']:,.0f}", f"{its['own']:,.0f}", ratio_cell(its["own"] / ours),
            f"{its['reading']:,.0f}" if "reading" in its else "-",
        ]
        for name, its in found.items()
    ]  # fmt: skip  # shorter so
    report.say(
        "\nwhat a server takes by itself, direct, one worker: it decodes every drawing and encodes "
        "an answer, the same to all"
    )
    report.say(table(["", "answers/s", "own us", "to numdraw's", "reading, us"], rows))


def tell_targets(report: Report) -> None:
    """What was aimed at, and what is."""
    figures = report.figures
    rows = []

    def aim(what: str, wanted: str, got: float | None, met: bool) -> None:
        if got is not None:
            rows.append([what, wanted, f"{got:.3g}", "met" if met else "missed"])

    saturated = {
        (its["server"], its["path"], its["workers"]): its["answers/s"]["median"]
        for its in figures.get("saturated", []) if its["request"] == POST
    }  # fmt: skip  # shorter so
    for (name, path, workers), theirs in saturated.items():
        ours = saturated.get((NUMDRAW, path, workers))
        if name == FASTAPI and ours:
            what = f"rate to FastAPI's, {path}, workers: {workers}"
            aim(what, ">= 3", ours / theirs, ours >= 3 * theirs)
    for its in figures["steady"]:
        if its["server"] == NUMDRAW and its["rate"] == 500 and its["path"] == NGINX:
            p99 = its["p99"]
            aim("p99 at 500/s through nginx, ms", "<= 5", p99, p99 <= 5)
    first = figures["first answer, ms"].get(NUMDRAW, {}).get("median")
    aim("first answer, ms", "<= 500", first, first is not None and first <= 500)
    for where, its in figures.get("two workers", {}).items():
        if where.startswith(NUMDRAW):
            two = its["with two cores for the workers"]
            aim(f"two workers to one, a core each, {where}", ">= 1.8", two, two >= 1.8)
    of_workers = [its["private"] / MIB for its in figures["memory, bytes"].get(NUMDRAW, [])[1:]]
    if of_workers:
        most = max(of_workers)
        aim("private memory of a worker, MiB", "<= 25", most, most <= 25)
    figures["targets"] = rows
    report.say("\ntargets")
    report.say(table(["", "wanted", "got", ""], rows))
