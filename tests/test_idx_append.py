"""Appending: the first dimension grows; what does not fit leaves the file as it was."""

import gzip
from pathlib import Path

import numpy as np
import pytest

import idx

ARRAY = np.arange(24, dtype="i2").reshape(4, 3, 2)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("name", "start"), [("a.idx", b"\0\0"), ("a.idx.gz", b"\x1f\x8b")])
def test_append_grows_the_first_dimension(name: str, start: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    idx.write(path, ARRAY[:1])

    idx.append(path, ARRAY[1:1])
    idx.append(path, ARRAY[1:3].astype(">i2"))
    idx.append(path, ARRAY[3:])

    assert np.array_equal(idx.read(path), ARRAY)
    assert path.read_bytes().startswith(start)
    assert names(tmp_path) == [name]


def test_append_goes_by_content_not_by_name(tmp_path: Path) -> None:
    path = tmp_path / "plain.gz"
    path.write_bytes(idx.dumps(ARRAY))

    idx.append(path, ARRAY)

    assert path.read_bytes() == idx.dumps(np.concatenate([ARRAY, ARRAY]))


def test_append_copies_a_large_file_whole(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 900_001), dtype="u1")
    for name in ("a.idx", "a.gz"):
        idx.write(tmp_path / name, array)
        idx.append(tmp_path / name, array)
        assert np.array_equal(idx.read(tmp_path / name), np.concatenate([array, array]))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (ARRAY.astype("i4"), "a.idx at byte 2 expected int16 to append, got int32"),
        (ARRAY[0], r"at byte 4 expected an array of shape \(n, 3, 2\), got \(3, 2\)"),
        (ARRAY[:, :2], r"at byte 4 expected an array of shape \(n, 3, 2\), got \(4, 2, 2\)"),
        (ARRAY.astype("i8"), "a.idx expected a dtype among"),
    ],
    ids=["type", "dimensions", "shape", "not IDX"],
)
def test_append_of_what_does_not_fit_leaves_the_file(
    array: np.ndarray, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.idx"
    idx.write(path, ARRAY)
    with pytest.raises(idx.IdxError, match=message):
        idx.append(path, array)
    assert path.read_bytes() == idx.dumps(ARRAY)
    assert names(tmp_path) == ["a.idx"]


def test_append_beyond_32_bits_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.idx"
    full = np.zeros((4294967295, 0), "u1")
    idx.write(path, full)
    with pytest.raises(idx.IdxError, match="expected dimensions up to 4294967295, got 4294967296"):
        idx.append(path, full[:1])
    assert path.read_bytes() == idx.dumps(full)


@pytest.mark.parametrize(
    ("old", "message"),
    [
        (idx.dumps(ARRAY)[:-1], "cut short"),
        (idx.dumps(ARRAY) + b"!", "got 1 more"),
        (gzip.compress(idx.dumps(ARRAY))[:-1], "cut short"),
        (gzip.compress(idx.dumps(ARRAY) + b"!"), "got more"),
        (gzip.compress(idx.dumps(ARRAY)) + b"!", "expected the end or another gzip member, got 21"),
    ],
    ids=["cut", "trailing", "gzip cut", "gzip of trailing", "gzip and trailing"],
)
def test_append_to_a_damaged_file_leaves_it(old: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.idx"
    path.write_bytes(old)
    with pytest.raises(idx.IdxError, match=message):
        idx.append(path, ARRAY)
    assert path.read_bytes() == old
    assert names(tmp_path) == ["a.idx"]
