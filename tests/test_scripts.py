"""The commands in scripts/: their help, the download of MNIST, and a server that leaves nothing."""

import contextlib
import gzip
import hashlib
import importlib.util
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
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.serving import NGINX, ROOT, SECONDS, free_port

SCRIPTS = ("serve", "test", "check", "bench", "fetch-data")
NAME = "train-images-idx3-ubyte"
CONTENT = bytes(range(256)) * 400
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PACKED = gzip.compress(CONTENT, mtime=0)


@dataclass
class Mirror:
    """What a mirror on the loopback address holds, and how it behaves."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut_at: int | None = None  # the first answer ends after so many bytes
    ranges: bool = True  # whether it knows of Range
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path, Range
    address: str = ""


@contextlib.contextmanager
def running(mirror: Mirror) -> Iterator[Mirror]:
    """Serve `mirror` from a thread until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            mirror.asked.append((self.path, wanted))
            body = mirror.files.get(self.path.rpartition("/")[2])
            if body is None:
                self.send_error(404)
                return
            start = 0
            if wanted is not None and mirror.ranges:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(body):
                    self.send_error(416)
                    return
                self.send_response(206)
            else:
                self.send_response(200)
            rest = body[start:]
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: mirror.cut_at])
            mirror.cut_at = None

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    mirror.address = f"http://127.0.0.1:{server.server_port}/mnist"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield mirror
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def fetch_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/fetch-data as a module that wants one small file and does not pause."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(ROOT / "scripts")
    loader = SourceFileLoader("fetch_data", str(ROOT / "scripts" / "fetch-data"))
    spec = importlib.util.spec_from_loader("fetch_data", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(f"{DIGEST}  {NAME}\n")
    monkeypatch.setattr(module, "SUMS", sums)
    monkeypatch.setattr(module, "PAUSE", 0.0)
    monkeypatch.setattr(sys, "argv", ["fetch-data", "--data", str(tmp_path / "data")])
    return module


def fetch(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *mirrors: Mirror) -> int:
    monkeypatch.setenv("NUMDRAW_MIRRORS", " ".join(mirror.address for mirror in mirrors))
    status = module.main()
    assert isinstance(status, int)
    return status


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_file_is_fetched_unpacked_and_nothing_else_is_left(
    fetch_data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(Mirror({NAME + ".gz": PACKED})) as mirror:
        assert fetch(fetch_data, monkeypatch, mirror) == 0
    assert files(tmp_path / "data") == {NAME: CONTENT}
    assert mirror.asked == [(f"/mnist/{NAME}.gz", None)]


def test_a_right_file_is_not_fetched_again(
    fetch_data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / NAME).write_bytes(CONTENT)
    with running(Mirror()) as mirror:
        assert fetch(fetch_data, monkeypatch, mirror) == 0
    assert mirror.asked == []


def test_a_wrong_file_is_replaced(
    fetch_data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / NAME).write_bytes(CONTENT[:-1])
    with running(Mirror({NAME + ".gz": PACKED})) as mirror:
        assert fetch(fetch_data, monkeypatch, mirror) == 0
    assert files(tmp_path / "data") == {NAME: CONTENT}


def test_a_cut_download_goes_on_where_it_stopped(
    fetch_data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(Mirror({NAME + ".gz": PACKED}, cut_at=100)) as mirror:
        assert fetch(fetch_data, monkeypatch, mirror) == 0
    assert [wanted for _, wanted in mirror.asked] == [None, "bytes=100-"]
    assert files(tmp_path / "data") == {NAME: CONTENT}


def test_a_cut_download_goes_on_in_the_next_run(
    fetch_data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / (NAME + ".gz.part")).write_bytes(PACKED[:300])
    with running(Mirror({NAME + ".gz": PACKED})) as mirror:
        assert fetch(fetch_data, monkeypatch, mirror) == 0
    assert [wanted for _, wanted in mirror.asked] == ["bytes=300-"]
    assert files(tmp_path / "data") == {NAME: CONTENT}


def test_a_download_that_was_whole_but_not_unpacked_is_taken(
    fetch_data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / (NAME + ".gz.part")).write_bytes(PACKED)
    with running(Mirror({NAME + ".gz": PACKED})) as mirror:
        assert fetch(fetch_data, monkeypatch, mirror) == 0
    assert len(mirror.asked) == 1
    assert files(tmp_path / "data") == {NAME: CONTENT}


def test_a_mirror_without_ranges_is_read_from_the_start(
    fetch_data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(Mirror({NAME + ".gz": PACKED}, cut_at=100, ranges=False)) as mirror:
        assert fetch(fetch_data, monkeypatch, mirror) == 0
    assert [wanted for _, wanted in mirror.asked] == [None, "bytes=100-"]
    assert files(tmp_path / "data") == {NAME: CONTENT}


def test_a_part_of_something_else_is_thrown_away(
    fetch_data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / (NAME + ".gz.part")).write_bytes(b"x" * 50)
    with running(Mirror({NAME + ".gz": PACKED})) as mirror:
        assert fetch(fetch_data, monkeypatch, mirror) == 0
    assert [wanted for _, wanted in mirror.asked] == ["bytes=50-", None]
    assert files(tmp_path / "data") == {NAME: CONTENT}


def test_the_next_mirror_follows_one_that_lacks_the_file_or_holds_another(
    fetch_data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = gzip.compress(b"something else")
    with (
        running(Mirror()) as empty,
        running(Mirror({NAME + ".gz": other})) as wrong,
        running(Mirror({NAME + ".gz": PACKED})) as right,
    ):
        assert fetch(fetch_data, monkeypatch, empty, wrong, right) == 0
    assert [len(mirror.asked) for mirror in (empty, wrong, right)] == [1, 1, 1]
    assert files(tmp_path / "data") == {NAME: CONTENT}


def test_without_a_right_mirror_it_says_why_and_where_to_put_the_files(
    fetch_data: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = gzip.compress(b"something else")
    with running(Mirror()) as empty, running(Mirror({NAME + ".gz": other})) as wrong:
        gone = Mirror(address="http://127.0.0.1:9/mnist")  # nothing listens on port 9
        assert fetch(fetch_data, monkeypatch, empty, wrong, gone) == 1
    said = capsys.readouterr().err
    found = hashlib.sha256(b"something else").hexdigest()
    assert f"expected {NAME} with SHA-256 {DIGEST}, got:" in said
    assert f"{empty.address}/{NAME}.gz expected status 200 or 206, got 404" in said
    assert f"{NAME}.gz.part expected SHA-256 {DIGEST} inside, got {found}" in said
    assert f"{gone.address}/{NAME}.gz expected the file, got <urlopen error" in said
    assert f"put them into {tmp_path / 'data'} and run this again: {NAME}" in said
    assert files(tmp_path / "data") == {}
    assert len(empty.asked) == 3


def test_a_file_that_is_no_gzip_is_refused(
    fetch_data: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with running(Mirror({NAME + ".gz": b"<html>not here</html>"})) as mirror:
        assert fetch(fetch_data, monkeypatch, mirror) == 1
    assert "expected a whole gzip file, got Not a gzipped file" in capsys.readouterr().err
    assert files(tmp_path / "data") == {}


def test_a_download_without_end_is_stopped(
    fetch_data: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(fetch_data, "MAX_PACKED", 200)
    with running(Mirror({NAME + ".gz": PACKED})) as mirror:
        assert fetch(fetch_data, monkeypatch, mirror) == 1
    assert f"{NAME}.gz expected at most 200 bytes, got more" in capsys.readouterr().err
    assert files(tmp_path / "data") == {NAME + ".gz.part": b""}


def test_a_gz_put_there_by_hand_is_unpacked_without_a_network(
    fetch_data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / (NAME + ".gz")).write_bytes(PACKED)
    assert fetch(fetch_data, monkeypatch, Mirror(address="http://127.0.0.1:9/")) == 0
    assert files(tmp_path / "data") == {NAME: CONTENT, NAME + ".gz": PACKED}


def test_a_damaged_gz_put_there_by_hand_is_kept_and_named(
    fetch_data: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / (NAME + ".gz")).write_bytes(PACKED[:-20])
    assert fetch(fetch_data, monkeypatch, Mirror(address="http://127.0.0.1:9/")) == 1
    said = capsys.readouterr().err
    assert f"{tmp_path / 'data' / NAME}.gz expected a whole gzip file, got" in said
    assert files(tmp_path / "data") == {NAME + ".gz": PACKED[:-20]}


def test_fetch_data_as_a_command_says_where_the_files_are(tmp_path: Path) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for name in ("fetch-data", "ink_homes.py"):
        shutil.copy(ROOT / "scripts" / name, scripts)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "SHA256SUMS").write_text(f"{DIGEST}  {NAME}\n")
    with running(Mirror({NAME + ".gz": PACKED})) as mirror:
        done = run([scripts / "fetch-data"], NUMDRAW_MIRRORS=mirror.address)
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"scripts/fetch-data: all 1 files are in {tmp_path / 'data'}\n"


def test_the_checksums_are_those_of_the_files_at_hand() -> None:
    folder = Path(os.environ.get("NUMDRAW_DATA", ROOT / "data"))
    sums = (ROOT / "data" / "SHA256SUMS").read_text().splitlines()
    pairs = [line.split() for line in sums]
    assert len(pairs) == 4
    if not all((folder / name).is_file() for _, name in pairs):
        pytest.skip(f"the MNIST files are not in {folder}: run scripts/fetch-data")
    for digest, name in pairs:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_shows_every_flag_of_the_script(name: str) -> None:
    text = (ROOT / "scripts" / name).read_text()
    done = run([ROOT / "scripts" / name, "--help"])
    assert done.returncode == 0, done.stderr
    assert f"scripts/{name}" in done.stdout
    cases = re.findall(r"^ +([-| \w]+)\)", text, re.MULTILINE)
    flags = {flag for case in cases for flag in re.findall(r"--[a-z-]+", case)}
    for flag in flags - {"--help"}:
        assert flag in done.stdout


@pytest.mark.parametrize("name", ["serve", "test", "check", "bench", "lib.sh", "../.ci/run"])
def test_shell_scripts_parse(name: str) -> None:
    done = run(["bash", "-n", ROOT / "scripts" / name])
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "0"], "--port expected a number from 1 to 65535, got 0"),
        (["--port", "70000"], "--port expected a number from 1 to 65535, got 70000"),
        (["--workers", "many"], "--workers expected a number from 1 to 999, got many"),
        (["--port"], "--port expected a value, got none"),
        (["--prot", "1"], "expected --host, --port, --workers or --help, got --prot"),
    ],
)
def test_serve_refuses_a_wrong_argument(arguments: list[str], message: str) -> None:
    done = run([ROOT / "scripts" / "serve", *arguments])
    assert done.returncode == 1
    assert done.stderr == f"scripts/serve: {message}\n"


def test_serve_says_that_the_port_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run([ROOT / "scripts" / "serve", "--port", str(port)], NUMDRAW_VENV=sys.prefix)
    assert done.returncode == 1
    assert done.stderr == (
        f"scripts/serve: expected to listen on 127.0.0.1 port {port}, got: Address already in use; "
        "choose another with --port or --host\n"
    )


def test_an_environment_that_is_none_is_named(tmp_path: Path) -> None:
    done = run([ROOT / "scripts" / "serve"], NUMDRAW_VENV=str(tmp_path))
    assert done.returncode == 1
    message = f"NUMDRAW_VENV expected a virtual environment, got {tmp_path}"
    assert done.stderr.splitlines()[-1] == f"scripts/serve: {message}"


def test_bench_refuses_an_unknown_name() -> None:
    done = run([ROOT / "scripts" / "bench", "nothing"])
    assert done.returncode == 1
    assert "expected the name of a file in scripts/bench.d, got nothing" in done.stderr


def test_bench_names_its_benchmarks() -> None:
    done = run([ROOT / "scripts" / "bench"])
    assert done.returncode == 0
    assert done.stdout.split() == sorted(p.stem for p in (ROOT / "scripts/bench.d").glob("*.py"))


@pytest.fixture
def temp() -> Iterator[Path]:
    """A folder for TMPDIR that nginx's workers can enter; pytest's are their owner's alone."""
    with tempfile.TemporaryDirectory(prefix="numdraw-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("stop_with", [signal.SIGINT, signal.SIGTERM])
def test_serve_answers_through_nginx_and_leaves_nothing(
    stop_with: signal.Signals, temp: Path
) -> None:
    needs_nginx()
    with served(TMPDIR=str(temp)) as (server, port):
        assert_answers(port)
        assert any("nginx" in command for _, command in group(server.pid))
        said = stopped(server, stop_with)
    assert (server.returncode, said) == (0, "")
    assert group(server.pid) == []
    assert list(temp.iterdir()) == []


def test_serve_answers_from_a_temporary_folder_of_its_user_alone(tmp_path: Path) -> None:
    needs_nginx()
    tmp_path.chmod(0o700)
    with served(TMPDIR=str(tmp_path)) as (server, port):
        assert_answers(port)
        stopped(server, signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stop_with", [signal.SIGINT, signal.SIGTERM])
def test_serve_without_nginx_says_so_and_leaves_nothing(
    stop_with: signal.Signals, temp: Path, tmp_path: Path
) -> None:
    path = without_apt(tmp_path / "bin")
    with served(TMPDIR=str(temp), NUMDRAW_NGINX="no-nginx", PATH=path) as (server, port):
        assert_answers(port)
        assert not any("nginx" in command for _, command in group(server.pid))
        said = stopped(server, stop_with)
    assert server.returncode == 0
    assert said.splitlines() == [
        "scripts/serve: missing on this machine:",
        "  nginx-light: stands before bjoern; without it bjoern serves the loopback address alone",
        "  these are Debian's names; install the same with this system's package manager",
    ]
    assert group(server.pid) == []
    assert list(temp.iterdir()) == []


def test_serve_without_nginx_faces_nobody_else(tmp_path: Path) -> None:
    pytest.importorskip("bjoern", reason="bjoern is not installed: pip install bjoern")
    path = without_apt(tmp_path / "bin")
    serve = ROOT / "scripts" / "serve"
    done = run(
        [serve, "--host", "0.0.0.0", "--port", str(free_port())],
        NUMDRAW_VENV=sys.prefix,
        NUMDRAW_NGINX="no-nginx",
        PATH=path,
    )
    assert done.returncode == 1
    assert "--host expected the loopback address, for bjoern without nginx" in done.stderr


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_serve_stops_and_shows_the_logs_when_a_part_of_it_ends(
    end: signal.Signals, temp: Path
) -> None:
    needs_nginx()
    with served(TMPDIR=str(temp)) as (server, _):
        masters = [pid for pid, command in group(server.pid) if "nginx: master" in command]
        assert len(masters) == 1
        os.kill(masters[0], end)
        _, said = server.communicate(timeout=SECONDS)
    assert server.returncode == 1
    assert "numdraw.serve: ready at unix:" in said
    assert "expected the server to run until it is stopped, got an end" in said
    assert group(server.pid) == []
    assert list(temp.iterdir()) == []


def test_serve_says_why_it_cannot_start(temp: Path, tmp_path: Path) -> None:
    needs_nginx()
    checkout = tmp_path / "checkout"
    for name in ("scripts", "nginx", "public", "idx", "numdraw"):
        shutil.copytree(ROOT / name, checkout / name)
    serve = checkout / "scripts" / "serve"
    done = run([serve, "--port", str(free_port())], NUMDRAW_VENV=sys.prefix, TMPDIR=str(temp))
    assert done.returncode == 1
    assert "numdraw.serve: " in done.stderr
    assert "expected the folder weights/" in done.stderr
    assert "expected the server to be ready within 30 s" in done.stderr
    assert list(temp.iterdir()) == []


@contextlib.contextmanager
def served(**environ: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """scripts/serve and its port, once it has printed its address."""
    pytest.importorskip("bjoern", reason="bjoern is not installed: pip install bjoern")
    port = free_port()
    with subprocess.Popen(
        [ROOT / "scripts" / "serve", "--port", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NUMDRAW_VENV": sys.prefix, **environ},
        start_new_session=True,  # a process group of its own, as a command at a terminal has
    ) as server:
        try:
            assert server.stdout is not None
            assert server.stderr is not None
            line = server.stdout.readline()
            address = f"numdraw is at http://127.0.0.1:{port}/ (Ctrl-C stops it)\n"
            assert line == address, server.stderr.read()
            yield server, port
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


def stopped(server: "subprocess.Popen[str]", stop_with: signal.Signals) -> str:
    """Stop the server and return what it wrote to standard error."""
    if stop_with == signal.SIGINT:
        os.killpg(server.pid, stop_with)  # as a terminal does on Ctrl-C
    else:
        server.send_signal(stop_with)
    return server.communicate(timeout=SECONDS)[1]


def assert_answers(port: int) -> None:
    def get(path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=SECONDS) as answer:
            body = answer.read()
        assert isinstance(body, bytes)
        return body

    assert b"<canvas" in get("/")
    assert json.loads(get("/api/openapi.json"))["openapi"].startswith("3.")


def needs_nginx() -> None:
    if NGINX is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")


def run(command: list[str | Path], **environ: str) -> subprocess.CompletedProcess[str]:
    if str(command[0]).endswith("fetch-data"):
        command = [sys.executable, *command]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, **environ},
        check=False,
    )


def without_apt(folder: Path) -> str:
    """A PATH with all that is in the machine's but apt-get: nothing can be installed."""
    folder.mkdir()
    for place in reversed(os.environ["PATH"].split(":")):
        for path in Path(place).glob("*"):
            if path.name != "apt-get":
                (folder / path.name).unlink(missing_ok=True)
                (folder / path.name).symlink_to(path)
    return str(folder)


def group(leader: int) -> list[tuple[int, str]]:
    """The living processes of a process group: number and command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, process_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(process_group) == leader and state != "Z":
                command = (folder / "cmdline").read_text().replace("\0", " ")
                found.append((int(folder.name), command))
    return found
