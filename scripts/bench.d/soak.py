"""Asks for a million predictions, and says how much the workers' memory grew meanwhile.

    scripts/bench soak
    scripts/bench soak --predictions 50000 --json soak.json
    scripts/bench soak --quick                              shows that it works

wrk sends drawings over TCP to two workers, without nginx, as fast as they answer. Memory is read
from /proc after a warm-up and then ten times: what a worker has resident, and what is its own. The
growth is from the end of the warm-up to the end. It is to stay below 1 MB a worker.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.parts.report import Report, table
from tests.faults import children
from tests.loading import drawn_bodies
from tests.running import running

PREDICTIONS, QUICK = 1_000_000, 2000
PARTS = 10  # that they are asked for in
WARM_UP = 20_000  # predictions; fewer where few are asked for
WORKERS = 2
CONNECTIONS = 32  # that wrk keeps; each is one worker's, and both must have some
WARM_UPS = 4  # each with new connections
LIMIT = 1_000_000  # bytes that a worker may grow by

# Asks for one drawing after another and stops after so many answers.
SCRIPT = """
local bodies = { %s }
local wanted, sent, got, wrong = %d, 0, 0, 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

function request()
    sent = sent + 1
    return wrk.format(nil, "/api/predict", nil, bodies[sent %% #bodies + 1])
end

function response(status)
    got = got + 1
    if status ~= 200 then wrong = wrong + 1 end
    if got == wanted then
        io.stdout:write(string.format("wrong %%d\\n", wrong))
        io.stdout:flush()
        wrk.thread:stop()
    end
end
"""


def main() -> int:
    """Ask, read the memory and report; 1 where a worker grew too much, or answered wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--predictions", type=int, help=f"how many ({PREDICTIONS:,})")
    parser.add_argument("--quick", action="store_true", help="as little as shows that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    args = parser.parse_args()
    count = args.predictions or (QUICK if args.quick else PREDICTIONS)
    if not shutil.which("wrk"):
        sys.stderr.write("bench soak: expected wrk, got none; apt-get install wrk\n")
        return 1
    report = Report("soak")
    report.machine(None)
    part, warm_up = max(1, count // PARTS), min(WARM_UP, count // 2)
    report.say(f"\n{count:,} predictions by {WORKERS} workers, after {warm_up:,} to warm up")
    rows: list[list[str]] = []
    figures: list[dict[str, Any]] = []
    wrong = 0
    with running("--workers", str(WORKERS), "--no-access-log") as server:
        workers = children(server.process.pid)
        for _ in range(WARM_UPS):
            _ask(server.port, warm_up // WARM_UPS)
        start = time.monotonic()
        for asked in range(0, count + 1, part):
            if asked:
                wrong += _ask(server.port, part)
            memory = [_memory(pid) for pid in workers]
            figures.append({"predictions": asked, "workers": memory})
            cells = [f"{its[kind] / 1e6:.2f}" for its in memory for kind in ("resident", "own")]
            rows.append([f"{asked:,}", *cells])
        seconds = time.monotonic() - start
        same = children(server.process.pid) == workers
    header = [f"{kind} {k + 1}" for k in range(WORKERS) for kind in ("resident", "own")]
    report.say(table(["MB after", *header], rows))
    grown = [
        last["resident"] - first["resident"]
        for first, last in zip(figures[0]["workers"], figures[-1]["workers"], strict=True)
    ]
    report.say(
        f"grown by {', '.join(f'{bytes_ / 1e6:+.2f}' for bytes_ in grown)} MB; "
        f"{count / seconds:,.0f} predictions/s; {wrong} answers other than 200; "
        f"workers {'the same' if same else 'replaced'}"
    )
    report.figures |= {
        "predictions": count, "memory": figures, "grown": grown, "wrong": wrong,
        "seconds": seconds, "same workers": same,
    }  # fmt: skip  # shorter so
    report.write(args.json)
    return 1 if wrong or not same or max(grown) > LIMIT else 0


def _ask(port: int, count: int) -> int:
    """Ask for so many predictions; returns how many were answered with another status than 200."""
    bodies = ", ".join(json.dumps(body.decode()) for body in drawn_bodies())
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % (bodies, count))
        script.flush()
        command = ["wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", "1h", "-s", script.name]
        with subprocess.Popen(
            [*command, f"http://127.0.0.1:{port}/"], stdout=subprocess.PIPE, text=True
        ) as wrk:
            lines = wrk.stdout or ()
            said = next((line for line in lines if line.startswith("wrong ")), None)
            wrk.terminate()  # its thread has ended, but it would sleep until its hour is over
    if said is None:
        raise RuntimeError(f"wrk expected {count} answers, got less; status {wrk.returncode}")
    return int(said.split()[1])


def _memory(pid: int) -> dict[str, int]:
    """What a process has resident, and what of that is its own alone, in bytes."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kib = {name: int(size) for name, size in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
    return {
        "resident": 1024 * kib["Rss"],
        "own": 1024 * (kib["Private_Clean"] + kib["Private_Dirty"]),
    }


if __name__ == "__main__":
    sys.exit(main())
