"""nginx/systemd under a real systemd: one that runs in a container of this machine's own /usr."""

import contextlib
import http.client
import json
import os
import re
import shutil
import site
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.running import wait_until

ROOT = Path(__file__).parent.parent
UNITS = ROOT / "nginx" / "systemd"
SECONDS = 60.0  # until something must have happened, on a busy machine
START_LIMIT = 5  # starts within 10 s, after which systemd gives up unless it is told
WATCHDOG = 3  # s instead of the unit's 30, so that the test waits no longer
DRAWING = json.dumps({"strokes": [[[10, 10], [60, 10], [30, 90]]]})


@dataclass
class Machine:
    """A booted container."""

    leader: int  # the process that is systemd

    def run(self, *command: str, check: bool = True) -> str:
        """What a command in the container prints."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.leader), "--all", *command],
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip  # shorter so
        assert not check or done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout.strip()

    def show(self, name: str) -> str:
        """A property of the service."""
        return self.run("systemctl", "show", "--value", "--property", name, "numdraw.service")

    def journal(self) -> str:
        """What the service and systemd said of it."""
        return self.run("journalctl", "--no-pager", "--unit", "numdraw.service")

    def ask(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        """Send a request to the socket."""
        connection = UnixConnection(f"/proc/{self.leader}/root/run/numdraw/numdraw.sock")
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()

    def metric(self, name: str) -> float:
        """A number of /metrics."""
        _, text = self.ask("GET", "/metrics")
        [line] = [line for line in text.decode().splitlines() if line.startswith(f"{name} ")]
        return float(line.split()[-1])


class UnixConnection(http.client.HTTPConnection):
    """A connection to a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass
class Load:
    """Predictions asked for without a pause, until the block ends."""

    machine: Machine
    answers: list[object] = field(default_factory=list)  # a status, or an error
    stop: threading.Event = field(default_factory=threading.Event)

    def _ask(self) -> None:
        while not self.stop.is_set():
            try:
                self.answers.append(self.machine.ask("POST", "/api/predict", DRAWING)[0])
            except (OSError, http.client.HTTPException) as error:
                self.answers.append(error)

    def __enter__(self) -> "Load":
        self._threads = [threading.Thread(target=self._ask) for _ in range(3)]
        for thread in self._threads:
            thread.start()
        self.more()
        return self

    def more(self) -> None:
        """Wait for as many answers as show that it is being served."""
        count = len(self.answers) + 20
        wait_until(lambda: len(self.answers) >= count)

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    pytest.importorskip("bjoern", reason="bjoern is not installed: pip install bjoern")
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux boots a container")
    if shutil.which("systemd-nspawn") is None:
        pytest.skip("systemd-nspawn is not installed: apt-get install systemd-container")
    folder = tmp_path_factory.mktemp("machine")
    console = folder / "console"
    with console.open("wb") as output:
        container = subprocess.Popen(
        [
            "systemd-nspawn", "--quiet", "--directory=/", "--volatile=yes", "--private-network",
            "--register=no", "--keep-unit", "--boot", "--console=read-only",
            *(f"--bind-ro={source}:{place}" for place, source in files(folder).items()),
            "systemd.unit=basic.target", "systemd.firstboot=no",
        ],
        stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip  # shorter so
    try:
        machine = booted(container, console)
        machine.run("systemctl", "start", "numdraw.socket", "numdraw.service")
        yield machine
    finally:
        container.terminate()  # systemd shuts down
        try:
            container.wait(SECONDS)
        except subprocess.TimeoutExpired:
            container.kill()
            container.wait()


def files(folder: Path) -> dict[str, Path]:
    """What the container has beside /usr, by its place there: /opt/numdraw above all."""
    venv = folder / "numdraw"
    (venv / "bin").mkdir(parents=True)
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (venv / "bin" / "python").symlink_to(f"/opt/base/bin/{python}")
    (venv / "pyvenv.cfg").write_text("home = /opt/base/bin\n")
    packages = venv / "lib" / python / "site-packages"
    packages.mkdir(parents=True)
    (packages / "numdraw.pth").write_text("/opt/checkout\n/opt/packages\n")
    # A system call that the filter refuses ends the process here, so that none goes unnoticed. Only
    # OpenBLAS's wish where its buffers should lie may be refused.
    (folder / "test.conf").write_text(
        f"[Service]\nWatchdogSec={WATCHDOG}\nSystemCallErrorNumber=kill\nSystemCallFilter=mbind\n"
    )
    units = "/etc/systemd/system"
    return {
        "/opt/numdraw": venv,
        "/opt/base": Path(sys.base_prefix),
        "/opt/packages": Path(site.getsitepackages()[0]),
        "/opt/checkout": ROOT,
        "/etc/passwd": Path("/etc/passwd"),
        "/etc/group": Path("/etc/group"),
        f"{units}/numdraw.service": UNITS / "numdraw.service",
        f"{units}/numdraw.socket": UNITS / "numdraw.socket",
        f"{units}/numdraw.service.d/test.conf": folder / "test.conf",
    }


def booted(container: "subprocess.Popen[bytes]", console: Path) -> Machine:
    """Wait for systemd in the container; skips where it can't be had."""
    children = Path(f"/proc/{container.pid}/task/{container.pid}/children")
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if container.poll() is not None:
            pytest.skip(f"systemd-nspawn can't boot here: {console.read_text()[-300:]}")
        for child in children.read_text().split():
            machine = Machine(int(child))
            if machine.run("systemctl", "is-system-running", check=False) in {
                "running", "degraded"
            }:  # fmt: skip  # shorter so
                return machine
        time.sleep(0.1)
    pytest.fail(f"systemd did not boot within {SECONDS} s: {console.read_text()[-300:]}")


def test_the_service_is_ready_when_systemd_says_so(machine: Machine) -> None:
    assert machine.show("ActiveState") == "active"
    assert re.fullmatch("2 workers, model [a-z]+-[0-9a-f]+", machine.show("StatusText"))
    assert machine.ask("GET", "/health/ready")[0] == 200
    status, body = machine.ask("POST", "/api/predict", DRAWING)
    assert (status, json.loads(body)["number"]) == (200, "7")


def test_the_socket_is_nginx_s_alone(machine: Machine) -> None:
    shown = machine.run("stat", "--format=%A %U %G", "/run/numdraw/numdraw.sock")
    assert shown == "srw-rw---- root www-data"


def test_the_service_owns_nothing(machine: Machine) -> None:
    status = machine.run("cat", f"/proc/{machine.show('MainPID')}/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines())
    assert int(facts["Uid"].split()[0]) > 60_000  # one that systemd made up
    assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0
    assert facts["NoNewPrivs"] == "1"
    assert facts["Seccomp"] == "2"  # filtered


def test_a_reload_fails_no_request_and_keeps_the_process(machine: Machine) -> None:
    process, done = machine.show("MainPID"), 'numdraw_reloads_total{result="done"}'
    before = machine.metric(done)
    with Load(machine) as load:
        machine.run("systemctl", "reload", "numdraw.service")
        wait_until(lambda: machine.metric(done) == before + 1)
        load.more()
    assert set(load.answers) == {200}
    assert machine.show("MainPID") == process


def test_a_restart_fails_no_request(machine: Machine) -> None:
    process = machine.show("MainPID")
    with Load(machine) as load:
        machine.run("systemctl", "restart", "numdraw.service")
        load.more()
    assert set(load.answers) == {200}
    assert machine.show("MainPID") != process


def test_a_killed_master_is_started_again(machine: Machine) -> None:
    process = machine.show("MainPID")
    machine.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "numdraw.service")
    wait_until(lambda: machine.show("MainPID") not in {"0", process})
    assert machine.ask("POST", "/api/predict", DRAWING)[0] == 200


def test_a_master_that_hangs_is_killed_by_the_watchdog(machine: Machine) -> None:
    process = machine.show("MainPID")
    machine.run("kill", "-STOP", process)
    wait_until(lambda: machine.show("MainPID") not in {"0", process})
    assert machine.ask("POST", "/api/predict", DRAWING)[0] == 200
    assert "Failed with result 'watchdog'" in machine.journal()


def test_a_server_that_could_not_start_serves_as_soon_as_it_can(machine: Machine) -> None:
    machine.run(
        "sh",
        "-c",
        "mkdir -p /etc/default; echo NUMDRAW_OPTIONS=--weights /missing >/etc/default/numdraw",
    )
    with Load(machine) as load:
        machine.run("systemctl", "restart", "numdraw.service", check=False)
        failed = "numdraw.serve: /missing"
        wait_until(lambda: machine.journal().count(failed) > START_LIMIT)
        machine.run("rm", "/etc/default/numdraw")
        load.more()
    assert set(load.answers) == {200}  # they waited


def test_corrections_are_kept_where_the_operations_page_lets_it_write(machine: Machine) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    [commands] = re.findall(
        r"```sh\n(install -d /etc/systemd/system/numdraw\.service\.d.*?)curl", page, re.DOTALL
    )
    assert "--corrections /var/lib/numdraw" in commands
    for line in re.findall("^#(State.*)$", (UNITS / "numdraw.service").read_text(), re.MULTILINE):
        assert f"{line}\\n" in commands
    machine.run("sh", "-ec", commands)
    body = json.dumps({**json.loads(DRAWING), "label": "1"})
    for _ in range(2):
        assert machine.ask("POST", "/api/corrections", body) == (201, b'{"stored":true}')
        machine.run("systemctl", "restart", "numdraw.service")  # another user, perhaps
    assert machine.run("stat", "--format=%A", "/var/lib/private/numdraw") == "drwx------"
    machine.run(
        "sh", "-ec", re.findall(r"\| remove line 3 \| `(.*?)`", page)[0].replace("3d", "1d")
    )
    machine.run("systemctl", "reload", "numdraw.service")
    assert machine.ask("POST", "/api/corrections", body)[0] == 201
    assert machine.run("sh", "-c", "wc -l </var/lib/numdraw/corrections.jsonl") == "2"
    assert "correction not kept" not in machine.journal()
    assert "corrections not paired" not in machine.journal()


def test_it_stops_cleanly_and_in_time(machine: Machine) -> None:
    machine.run("systemctl", "stop", "numdraw.service", "numdraw.socket")
    assert machine.show("Result") == "success"
    assert machine.run("ls", "/run/numdraw") == ""
    assert "SIGKILL" not in machine.journal().split("Stopping")[-1]


def test_none_of_its_system_calls_was_refused(machine: Machine) -> None:
    journal = machine.journal()
    assert "numdraw.serve: ready at" in journal
    assert "Operation not permitted" not in journal
    assert "SYS" not in re.findall("status=[0-9]+/([A-Z]+)", journal)
    assert '"status":-31' not in journal  # a worker of that signal
