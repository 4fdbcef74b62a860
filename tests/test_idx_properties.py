"""Properties over every type and shape, idx2numpy as a second opinion, and mutated bytes."""

import contextlib
import gzip
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import hypothesis.extra.numpy as hnp
import idx2numpy
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import idx

DTYPES = [order + code for code in ("u1", "i1", "i2", "i4", "f4", "f8") for order in "<>"]
KIB = 1024  # bytes

# No deadline: a shared machine stalls now and then.
SOME = settings(deadline=None, max_examples=100)
MANY = settings(deadline=None, max_examples=500)


def arrays(min_side: int = 0, max_dims: int = 6) -> st.SearchStrategy[np.ndarray]:
    shapes = hnp.array_shapes(min_dims=1, max_dims=max_dims, min_side=min_side, max_side=5)
    return st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, shapes))


def assert_same(got: np.ndarray, expected: np.ndarray) -> None:
    """The same items bit for bit, NaN included, whatever the byte order."""
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype.newbyteorder(got.dtype.byteorder)
    assert got.tobytes() == expected.astype(got.dtype).tobytes()


@SOME
@given(arrays(), st.sampled_from(["a.idx", "a.idx.gz"]))
def test_what_is_written_reads_back(array: np.ndarray, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        idx.write(path, array)

        got = idx.read(path)
        assert_same(got, array)
        assert got.dtype.isnative
        assert_same(idx.read(path.read_bytes()), array)
        assert_same(idx.read(idx.dumps(array)), array)


@SOME
@given(arrays())
def test_map_equals_read(array: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.idx"
        idx.write(path, array)

        for mode in ("r", "r+", "c"):
            mapped = idx.memmap(path, mode)
            assert_same(mapped, idx.read(path))


@SOME
@given(arrays(), st.data(), st.sampled_from(["a.idx", "a.idx.gz"]))
def test_append_equals_concatenate(array: np.ndarray, data: st.DataObject, name: str) -> None:
    at = data.draw(st.integers(0, len(array)), label="split at")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        idx.write(path, array[:at])
        idx.append(path, array[at:])

        assert_same(idx.read(path), array)


@SOME
@given(arrays(min_side=1))
def test_idx2numpy_writes_the_same_bytes(array: np.ndarray) -> None:
    # It refuses empty arrays, and of NumPy's byte orders it takes the machine's.
    native = array.astype(array.dtype.newbyteorder("="))

    assert idx2numpy.convert_to_string(native) == idx.dumps(array)


@SOME
@given(arrays())
def test_idx2numpy_reads_the_same_array(array: np.ndarray) -> None:
    raw = idx.dumps(array)

    assert_same(idx2numpy.convert_from_string(raw), idx.read(raw))


@st.composite
def mutations(draw: st.DrawFn, raw: bytes) -> bytes:
    """`raw` with some bytes changed, cut off, left out or put in."""
    mutated = bytearray(raw)
    for _ in range(draw(st.integers(1, 4))):
        # Half of them in the header, where most can go wrong.
        end = draw(st.sampled_from([min(len(mutated), 24), len(mutated)]))
        at = draw(st.integers(0, end))
        kind = draw(st.sampled_from(["set", "flip", "cut", "drop", "insert"]))
        if kind == "set" and at < len(mutated):
            mutated[at] = draw(st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF]))
        elif kind == "flip" and at < len(mutated):
            mutated[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del mutated[at:]
        elif kind == "drop":
            del mutated[at : at + draw(st.integers(1, 8))]
        elif kind == "insert":
            mutated[at:at] = draw(st.binary(min_size=1, max_size=64))
    return bytes(mutated)


def peak_of(read: Callable[[], object]) -> int:
    """Bytes that `read` had allocated at its worst; IdxError is the one error that it may raise."""
    tracemalloc.start()
    try:
        with contextlib.suppress(idx.IdxError):
            read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@MANY
@given(st.data())
def test_mutated_bytes_raise_only_idx_error_and_take_no_more_memory(data: st.DataObject) -> None:
    raw = data.draw(arrays().map(idx.dumps).flatmap(mutations))

    # The slack is for the header, the messages and the interpreter.
    assert peak_of(lambda: idx.read(raw)) <= len(raw) + 32 * KIB


@SOME
@given(st.data())
def test_mutated_files_raise_only_idx_error_and_take_no_more_memory(data: st.DataObject) -> None:
    raw = data.draw(arrays().map(idx.dumps).flatmap(mutations))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.idx"
        path.write_bytes(raw)

        assert peak_of(lambda: idx.read(path)) <= len(raw) + 32 * KIB
        assert peak_of(lambda: idx.memmap(path)) <= 64 * KIB
        assert path.read_bytes() == raw


@MANY
@given(st.data())
def test_mutated_gzip_raises_only_idx_error_and_takes_bounded_memory(data: st.DataObject) -> None:
    plain = data.draw(arrays().map(idx.dumps).flatmap(lambda raw: mutations(raw) | st.just(raw)))
    raw = data.draw(mutations(gzip.compress(plain, mtime=0)))

    # 1032 to 1 is deflate's limit; the slack is zlib's own state.
    assert peak_of(lambda: idx.read(raw)) <= 1032 * len(raw) + 256 * KIB


@SOME
@given(st.data())
def test_sound_gzip_of_mutated_idx_reads_as_the_mutated_bytes_do(data: st.DataObject) -> None:
    plain = data.draw(
        arrays().map(idx.dumps).flatmap(mutations).filter(lambda raw: raw[:1] != b"\x1f")
    )
    packed = gzip.compress(plain, mtime=0)
    try:
        expected = idx.read(plain)
    except idx.IdxError:
        expected = None

    try:
        got = idx.read(packed)
    except idx.IdxError:
        assert expected is None
    else:
        assert expected is not None
        assert_same(got, expected)
