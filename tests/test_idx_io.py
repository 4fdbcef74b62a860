"""Files: reading, mapping and writing, and what is refused."""

import gzip
import io
import os
import stat
from pathlib import Path

import numpy as np
import pytest

import idx

ARRAY = np.arange(24, dtype="i2").reshape(4, 3, 2)


def mnist(name: str) -> Path:
    folder = os.environ.get("NUMDRAW_DATA")
    if not folder or not (Path(folder) / name).exists():
        pytest.skip(f"NUMDRAW_DATA names no folder with {name}")
    return Path(folder) / name


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Reading


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("train-images-idx3-ubyte", (60000, 28, 28)),
        ("train-labels-idx1-ubyte", (60000,)),
        ("t10k-images-idx3-ubyte", (10000, 28, 28)),
        ("t10k-labels-idx1-ubyte", (10000,)),
    ],
)
def test_mnist_reads_as_its_bytes(name: str, shape: tuple[int, ...]) -> None:
    path = mnist(name)
    array = idx.read(path)

    assert array.shape == shape
    assert array.dtype == np.uint8
    assert np.array_equal(array.ravel(), np.fromfile(path, np.uint8)[4 + 4 * len(shape) :])
    assert np.array_equal(idx.memmap(path), array)


def test_path_may_be_text_or_path(tmp_path: Path) -> None:
    path = tmp_path / "a.idx"
    idx.write(str(path), ARRAY)

    assert np.array_equal(idx.read(path), ARRAY)
    assert np.array_equal(idx.read(str(path)), ARRAY)


def test_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.idx"
    path.write_bytes(idx.dumps(ARRAY)[:-5])
    with pytest.raises(idx.IdxError) as caught:
        idx.read(path)
    assert str(caught.value) == (
        f"{path} at byte 16 expected 48 bytes of data (4 x 3 x 2 of int16), got 43; "
        "the file is cut short: get it again"
    )


@pytest.mark.parametrize("use", [idx.read, idx.memmap, lambda path: idx.append(path, ARRAY)])
def test_missing_file_is_file_not_found(use: object, tmp_path: Path) -> None:
    assert callable(use)
    with pytest.raises(FileNotFoundError, match="absent"):
        use(tmp_path / "absent")
    assert names(tmp_path) == []


def test_pipe_is_refused_with_the_fix(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    keep_open = os.open(pipe, os.O_RDWR)
    os.write(keep_open, idx.dumps(ARRAY))
    try:
        with pytest.raises(
            idx.IdxError,
            match=r"pipe at byte 0 expected a regular file, got prw-------; read it into bytes",
        ):
            idx.read(pipe)
    finally:
        os.close(keep_open)


def test_system_that_reads_in_parts_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class InParts(io.FileIO):
        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # narrower than a Buffer
            return super().readinto(buffer[:7])

    path = tmp_path / "a.idx"
    idx.write(path, ARRAY)
    monkeypatch.setattr("idx._io.io.FileIO", InParts)

    assert np.array_equal(idx.read(path), ARRAY)


def test_file_that_shrinks_while_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.idx"
    idx.write(path, ARRAY)

    class Shrinks(io.FileIO):
        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # narrower than a Buffer
            if len(buffer) == ARRAY.nbytes:
                os.truncate(path, 30)
            return super().readinto(buffer)

    monkeypatch.setattr("idx._io.io.FileIO", Shrinks)

    with pytest.raises(idx.IdxError, match=r"expected 48 bytes of data .*, got 14; .*cut short"):
        idx.read(path)


# Mapping


def test_map_is_read_only_and_big_endian(tmp_path: Path) -> None:
    path = tmp_path / "a.idx"
    idx.write(path, ARRAY)

    mapped = idx.memmap(path)

    assert isinstance(mapped, np.memmap)
    assert mapped.dtype == np.dtype(">i2")
    assert np.array_equal(mapped, ARRAY)
    with pytest.raises(ValueError, match="read-only"):
        mapped[0] = 1


def test_map_for_writing_changes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.idx"
    idx.write(path, ARRAY)

    mapped = idx.memmap(path, "r+")
    mapped[1, 2, 0] = -9
    mapped.flush()

    assert idx.read(path)[1, 2, 0] == -9


def test_map_with_copy_on_write_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.idx"
    idx.write(path, ARRAY)

    mapped = idx.memmap(path, "c")
    mapped[:] = -9
    mapped.flush()

    assert np.array_equal(idx.read(path), ARRAY)


def test_map_keeps_the_old_file_through_an_append(tmp_path: Path) -> None:
    path = tmp_path / "a.idx"
    idx.write(path, ARRAY)
    mapped = idx.memmap(path)

    idx.append(path, mapped[:2])

    assert np.array_equal(mapped, ARRAY)
    assert idx.memmap(path).shape == (6, 3, 2)


def test_map_is_of_the_file_that_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.idx"
    idx.write(path, ARRAY)
    (tmp_path / "other").write_bytes(b"short")
    fstat = os.fstat

    def replaced_just_then(descriptor: int) -> os.stat_result:
        info = fstat(descriptor)
        os.replace(tmp_path / "other", path)
        return info

    monkeypatch.setattr(os, "fstat", replaced_just_then)
    mapped = idx.memmap(path)
    monkeypatch.undo()

    assert np.array_equal(mapped, ARRAY)
    assert path.read_bytes() == b"short"


def test_map_of_gzip_is_refused_with_the_fix(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    idx.write(path, ARRAY)
    with pytest.raises(
        idx.IdxError,
        match=r"a\.gz at byte 0 expected a plain file to map, got gzip; decompress it, or use",
    ):
        idx.memmap(path)


@pytest.mark.parametrize("mode", ["w+", "w", "rb", ""])
def test_map_in_another_mode_is_refused_and_the_file_kept(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a.idx"
    idx.write(path, ARRAY)
    with pytest.raises(
        ValueError, match=f"idx.memmap expected mode 'r', 'r.' or 'c', got '{mode[:1]}"
    ):
        idx.memmap(path, mode)  # type: ignore[arg-type]  # that is the test
    assert np.array_equal(idx.read(path), ARRAY)


def test_map_of_a_cut_file_is_refused_and_the_file_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.idx"
    cut = idx.dumps(ARRAY)[:-1]
    path.write_bytes(cut)
    with pytest.raises(idx.IdxError, match="got 47; the file is cut short"):
        idx.memmap(path, "r+")
    assert path.read_bytes() == cut


# Writing


@pytest.mark.parametrize(
    "array",
    [
        ARRAY[::-1, :, ::-1],
        ARRAY.T,
        np.asfortranarray(ARRAY),
        ARRAY.astype(">i2"),
        ARRAY.astype("<i2")[1:, ::2],
        np.broadcast_to(np.array([1, 2], "f8"), (3, 2)),
        np.arange(200_001, dtype="u1")[::2],
        np.arange(300_000, dtype="f4").reshape(3, -1).T,
    ],
    ids=["reversed", "transposed", "Fortran", "big", "sliced", "broadcast", "strided", "large"],
)
def test_any_memory_layout_writes_in_c_order(array: np.ndarray, tmp_path: Path) -> None:
    native = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("="))
    big = native.astype(native.dtype.newbyteorder(">")).tobytes()

    for name in ("a.idx", "a.idx.gz"):
        idx.write(tmp_path / name, array)
        assert np.array_equal(idx.read(tmp_path / name), native)
    assert idx.dumps(array) == (tmp_path / "a.idx").read_bytes()
    assert idx.dumps(array).endswith(big)


def test_name_in_gz_is_compressed_the_same_each_time(tmp_path: Path) -> None:
    idx.write(tmp_path / "a.gz", ARRAY)
    idx.write(tmp_path / "b.gz", ARRAY)

    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == idx.dumps(ARRAY)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    # No time (bytes 4 to 7) and no file name (a flag in byte 3).
    assert (tmp_path / "a.gz").read_bytes()[:8] == b"\x1f\x8b\x08\0\0\0\0\0"


def test_new_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        idx.write(tmp_path / "a.idx", ARRAY)
    finally:
        os.umask(old)

    assert stat.S_IMODE((tmp_path / "a.idx").stat().st_mode) == 0o640


@pytest.mark.parametrize("mode", [0o600, 0o666, 0o640])
def test_replaced_file_keeps_its_permissions(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "a.idx"
    path.touch()
    path.chmod(mode)

    idx.write(path, ARRAY)
    idx.append(path, ARRAY)

    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert names(tmp_path) == ["a.idx"]


def test_private_file_is_never_public_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.idx"
    path.touch(0o600)
    modes = []
    chmod = os.chmod

    def seen(name: str, mode: int) -> None:
        modes.append(stat.S_IMODE(os.stat(name).st_mode))
        chmod(name, mode)

    monkeypatch.setattr(os, "chmod", seen)
    idx.write(path, ARRAY)

    assert modes == [0o600]


def test_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    link = tmp_path / "link"
    link.symlink_to(folder / "target")

    idx.write(link, ARRAY)
    idx.append(link, ARRAY)

    assert link.is_symlink()
    assert idx.read(folder / "target").shape == (8, 3, 2)
    assert names(folder) == ["target"]


def test_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(idx.IdxError, match=r"pipe expected a regular file to replace, got prw----"):
        idx.write(pipe, ARRAY)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert names(tmp_path) == ["pipe"]


def test_missing_folder_is_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        idx.write(tmp_path / "absent" / "a.idx", ARRAY)


def test_refused_array_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.idx"
    idx.write(path, ARRAY)
    with pytest.raises(idx.IdxError, match=r"a\.idx expected a dtype among .* got int64"):
        idx.write(path, ARRAY.astype("i8"))
    assert np.array_equal(idx.read(path), ARRAY)
    assert names(tmp_path) == ["a.idx"]
