"""Crashes: whatever byte they come at, the name holds the whole old file or the whole new one."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import idx

OLD = np.random.default_rng(0).integers(-9999, 9999, (2, 15_000), dtype="i2")  # many writes
MORE = OLD[:1] + 1
GROWN = np.concatenate([OLD, MORE])


class PowerCut(BaseException):
    """The machine stops: no handler, no clean-up."""


class Disk:
    """A disk that keeps what was synced; of the rest, power loss leaves only some.

    Each write, sync and rename is a step. At step `cut_at` the machine stops: a write reaches
    half of its bytes, and nothing after it happens.

    Args:
        folder: the one that is written in
        cut_at: steps that happen before the cut
    """

    def __init__(self, folder: Path, cut_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.cut_at = cut_at
        self.steps: list[str] = []
        self.off = False
        self._loose_data: set[int] = set()  # inodes with bytes that no sync has made safe
        self._loose_renames: dict[Path, bytes | None] = {}  # what the name held before
        self._fsync, self._replace, self._unlink = os.fsync, os.replace, os.unlink
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "replace", self.replace)
        monkeypatch.setattr(os, "unlink", self.unlink)
        monkeypatch.setattr("idx._io.open", self.open, raising=False)

    def step(self, what: str) -> None:
        if len(self.steps) == self.cut_at:
            self.off = True
        if self.off:
            raise PowerCut
        self.steps.append(what)

    def open(self, path: str, mode: str, **options: Any) -> io.BufferedWriter:
        return io.BufferedWriter(OnDisk(self, path, mode.replace("b", ""), **options), 4096)

    def wrote(self, inode: int) -> None:
        self._loose_data.add(inode)

    def fsync(self, descriptor: int) -> None:
        self.step("fsync")
        info = os.fstat(descriptor)
        self._loose_data.discard(info.st_ino)
        if info.st_ino == self.folder.stat().st_ino:
            self._loose_renames.clear()
        self._fsync(descriptor)

    def replace(self, source: str, target: str) -> None:
        self.step("replace")
        path = Path(target)
        self._loose_renames[path] = path.read_bytes() if path.exists() else None
        self._replace(source, target)

    def unlink(self, path: str) -> None:
        if not self.off:
            self._unlink(path)

    def lose_power(self, *, renames: bool) -> None:
        """Leaves the disk as after a power cut, with or without the renames not yet synced."""
        for path in self.folder.iterdir():
            if path.stat().st_ino in self._loose_data:
                os.truncate(path, path.stat().st_size // 2)
        for path, content in self._loose_renames.items():
            if not renames and content is not None:
                path.write_bytes(content)


class OnDisk(io.FileIO):
    """A file whose writes are steps of a Disk, of 10,000 bytes at most: a system may write less."""

    def __init__(self, disk: Disk, path: str, mode: str, **options: Any) -> None:
        super().__init__(path, mode, **options)
        self._disk = disk

    def write(self, data: Any) -> int:
        content = bytes(data)[:10_000]
        if self._disk.off:
            return len(content)  # closing flushes once more, and nothing of it reaches the disk
        self._disk.wrote(os.fstat(self.fileno()).st_ino)
        try:
            self._disk.step("write")
        except PowerCut:
            super().write(content[: len(content) // 2])
            raise
        return super().write(content)


def append(path: Path) -> None:
    idx.append(path, MORE)


def write(path: Path) -> None:
    idx.write(path, GROWN)


@pytest.mark.parametrize("renames", [True, False], ids=["rename kept", "rename lost"])
@pytest.mark.parametrize("name", ["a.idx", "a.idx.gz"])
@pytest.mark.parametrize("change", [append, write])
def test_power_cut_at_any_step_leaves_the_old_or_the_new_file(
    change: Callable[[Path], None], name: str, renames: bool, tmp_path: Path
) -> None:
    cut_at = 0
    while True:
        folder = tmp_path / str(cut_at)
        folder.mkdir()
        path = folder / name
        idx.write(path, OLD)
        with pytest.MonkeyPatch.context() as monkeypatch:
            disk = Disk(folder, cut_at, monkeypatch)
            with contextlib.suppress(PowerCut):
                change(path)
            disk.lose_power(renames=renames)

        got = idx.read(path)
        if not disk.off:
            break
        assert np.array_equal(got, OLD) or np.array_equal(got, GROWN)
        cut_at += 1

    # Once the call has returned, the new file is safe.
    assert np.array_equal(got, GROWN)
    assert disk.steps.count("write") > 5
    assert disk.steps[-3:] == ["fsync", "replace", "fsync"]


KILLED_AT_EVERY_BYTE = """
import os, resource, signal, sys
import numpy as np
import idx

path, old, more = sys.argv[1], np.arange(6, dtype="i2").reshape(2, 3), np.ones((1, 3), "i2")
idx.write(path, old)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it; as it was, it kills
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
for size in range(1000):
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        idx.append(path, more)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status == 0:
        break
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGXFSZ:
        sys.exit(f"expected a kill by SIGXFSZ at byte {size}, got status {status}")
    if not np.array_equal(idx.read(path), old):
        sys.exit(f"expected the old file after a kill at byte {size}, got {idx.read(path)}")
if not np.array_equal(idx.read(path), np.concatenate([old, more])):
    sys.exit(f"expected the new file, got {idx.read(path)}")
sys.stdout.write(f"{size} {os.path.getsize(path)}")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_FSIZE kills on Linux")
@pytest.mark.parametrize("name", ["a.idx", "a.idx.gz"])
def test_process_killed_at_any_byte_leaves_the_old_file(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_EVERY_BYTE, str(tmp_path / name)],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # fork wants a single thread
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    kills, size = map(int, done.stdout.split())
    assert kills == size > 24


@pytest.mark.parametrize("name", ["a.idx", "a.idx.gz"])
@pytest.mark.parametrize("change", [append, write])
@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_disk_error_leaves_the_old_file_and_nothing_beside_it(
    failing: str, change: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    idx.write(path, OLD)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(os, failing, fail)
        with pytest.raises(OSError, match="No space left"):
            change(path)

    assert np.array_equal(idx.read(path), OLD)
    assert [path.name for path in tmp_path.iterdir()] == [name]
