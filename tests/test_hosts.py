"""scripts/bench hosts: real hosts in network namespaces, one of them cut off under load."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.running import wait_until

ROOT = Path(__file__).parent.parent
SECONDS = 120.0  # on a busy machine
ENVIRONMENT = {**os.environ, "NUMDRAW_VENV": sys.prefix}


def command(*words: str | Path) -> Sequence[str | Path]:
    return [ROOT / "scripts" / "bench", "hosts", "--quick", *words]


def namespaces() -> set[str]:
    """The names of this machine's network namespaces."""
    shown = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return {line.split()[0] for line in shown.stdout.splitlines()}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the benchmark wrote; skips the tests where there can be no hosts."""
    pytest.importorskip("bjoern", reason="bjoern is not installed: pip install bjoern")
    for name, package in (("nginx", "nginx-light"), ("ip", "iproute2")):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed: apt-get install {package}")
    out = tmp_path_factory.mktemp("hosts") / "hosts.json"
    done = subprocess.run(
        command("--json", out),
        env=ENVIRONMENT, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip  # shorter so
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    found = json.loads(out.read_text())
    if found["left_out"]:
        pytest.skip(found["left_out"][0]["why"])
    return found


def test_no_request_fails_when_a_host_is_cut_off(measured: Any) -> None:
    hosts = measured["hosts"]
    assert hosts["requests"] == measured["load"]["rate"] * measured["load"]["seconds"]
    assert (hosts["failed"], hosts["failed by status"]) == (0, {})


def test_requests_of_the_host_that_is_cut_off_go_to_another(measured: Any) -> None:
    parts = measured["hosts"]["parts"]
    assert parts["before"]["of the host"] > 0
    assert parts["before"]["asked twice"] == 0
    # Each is one that waited for that host in vain; after a few it gets none.
    assert 0 < parts["while it is cut off"]["asked twice"] < 30


def test_the_host_serves_again_when_it_is_back(measured: Any) -> None:
    assert measured["hosts"]["serves again after"] > 0
    assert measured["hosts"]["parts"]["after"]["of the host"] > 0


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_when_it_is_interrupted(number: int) -> None:
    before = namespaces()
    with subprocess.Popen(
        command(), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        made = f"numdraw-{process.pid}-front"
        wait_until(lambda: made in namespaces())
        process.send_signal(number)
        assert process.wait(SECONDS) != 0
    assert not {name for name in namespaces() if f"numdraw-{process.pid}" in name}
    assert before - namespaces() == set()
    assert not running_below(process.pid)


def running_below(pid: int) -> list[str]:
    """Command lines of processes whose folder is a benchmark's that ended."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            words = (path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"numdraw-hosts-{pid}-" in words:
            lines.append(words)
    return lines
