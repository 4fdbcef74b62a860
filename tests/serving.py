"""nginx in front of numdraw.serve for the tests: real processes, on a free port."""

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PUBLIC = ROOT / "public"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/local/sbin:/usr/sbin:/sbin")
SECONDS = 30  # until a server must be up, or down again, on a busy machine


@dataclass(frozen=True)
class Site:
    """Where a running server is, and what it consists of."""

    port: int
    folder: Path  # nginx's files and logs, the workers' socket and log
    nginx: "subprocess.Popen[bytes]"
    app: "subprocess.Popen[bytes] | None"

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def socket(self) -> Path:
        """The workers' socket."""
        return self.folder / "numdraw.sock"


@contextlib.contextmanager
def serving(
    *,
    public: Path = PUBLIC,
    app: Sequence[str | Path] | None = None,
    workers: int = 1,
    edits: Mapping[str, str] | None = None,
    site_file: str = "numdraw.conf",
) -> Iterator[Site]:
    """Serve the page and the API until the end of the block; skips the test without nginx.

    Args:
        public: the folder that nginx serves.
        app: the command of another application, to which the socket's path is added; an empty one
            for none. Without it numdraw.serve runs.
        edits: texts in nginx's files and what to put in their place.
        site_file: the one of nginx/ that is served.
    """
    if NGINX is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    if app is None:
        pytest.importorskip("bjoern", reason="bjoern is not installed: pip install bjoern")
        app = [sys.executable, "-m", "numdraw.serve", "--workers", str(workers), "--socket"]
    with contextlib.ExitStack() as stack:
        # Not tmp_path: a socket's path holds at most 107 bytes, and nginx's workers, another user
        # where the tests run as root, can't enter it.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="numdraw-")))
        folder.chmod(0o755)
        port = free_port()
        if not readable_by_all(public):
            public = shutil.copytree(public, folder / "public")
            for path in (public, *public.rglob("*")):
                path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
        nginx_files(folder, f"127.0.0.1:{port}", public, site_file)
        edit(folder, edits or {})
        running = None
        if app:
            command: list[str | Path] = [*app, folder / "numdraw.sock"]
            running = stack.enter_context(started(command, folder / "app"))
        nginx: list[str | Path] = [
            NGINX,
            "-e",
            "stderr",
            "-p",
            f"{folder}/",
            "-c",
            folder / "nginx.conf",
        ]
        site = Site(port, folder, stack.enter_context(started(nginx, folder / "nginx")), running)
        wait_for(site)
        yield site


def nginx_files(folder: Path, address: str, public: Path, site_file: str = "numdraw.conf") -> None:
    """Write nginx's files as scripts/serve does."""
    command = '. "$0"; nginx_files "$@"'
    library = ROOT / "scripts" / "lib.sh"
    socket_path = folder / "numdraw.sock"
    subprocess.run(
        ["bash", "-c", command, library, folder, address, public, socket_path, site_file],
        check=True,
    )


def edit(folder: Path, edits: Mapping[str, str]) -> None:
    """Replace texts in the files that nginx_files wrote; each must be there."""
    for old, new in edits.items():
        [path] = [path for path in folder.rglob("*.conf") if old in path.read_text()]
        path.write_text(path.read_text().replace(old, new))


@contextlib.contextmanager
def started(command: Sequence[str | Path], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command until the end of the block, then stop it and wait for it."""
    with log.with_suffix(".log").open("wb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(site: Site) -> None:
    """Wait until both sockets take connections, or say what the logs hold."""
    end = time.monotonic() + SECONDS
    families: list[tuple[socket.AddressFamily, str | tuple[str, int]]] = [
        (socket.AF_INET, ("127.0.0.1", site.port))
    ]
    if site.app is not None:
        families.append((socket.AF_UNIX, str(site.socket)))
    for family, address in families:
        while True:
            with socket.socket(family) as probe, contextlib.suppress(OSError):
                probe.connect(address)
                break
            ended = any(p is not None and p.poll() is not None for p in (site.nginx, site.app))
            if ended or time.monotonic() > end:
                logs = {path.name: path.read_text() for path in site.folder.glob("*.log")}
                raise RuntimeError(f"{address} expected a server, got none; the logs: {logs}")
            time.sleep(0.02)


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


def readable_by_all(folder: Path) -> bool:
    """Whether any user may read the folder: nginx's workers run as another one under root."""
    return all(path.stat().st_mode & 0o001 for path in (folder, *folder.resolve().parents))
