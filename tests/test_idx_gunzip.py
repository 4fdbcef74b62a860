"""Gzip: what is damaged is told, and what is too large is never inflated."""

import gzip
import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import idx
from idx._gunzip import Gunzip

ARRAY = np.arange(60, dtype="i4").reshape(3, 4, 5)
# zlib's own state, one piece in and one piece out (twice, while zlib's blocks are joined).
GZIP_STATE = 1024 * 1024  # bytes


def packed(array: np.ndarray = ARRAY) -> bytes:
    return gzip.compress(idx.dumps(array), mtime=0)


def test_gzip_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    path = tmp_path / "digits-idx3-int"
    path.write_bytes(packed())

    assert np.array_equal(idx.read(path), ARRAY)
    assert np.array_equal(idx.read(packed()), ARRAY)


def test_members_are_joined_and_padding_is_passed_over() -> None:
    plain = idx.dumps(ARRAY)
    parts = b"".join(gzip.compress(plain[at : at + 7]) for at in range(0, len(plain), 7))

    assert np.array_equal(idx.read(parts), ARRAY)
    assert np.array_equal(idx.read(packed() + bytes(100_000)), ARRAY)
    assert np.array_equal(idx.read(packed() + bytes(9) + gzip.compress(b"")), ARRAY)


@pytest.mark.parametrize("length", range(2, len(packed())))
def test_cut_at_any_byte_is_told(length: int) -> None:
    message = f"IDX bytes at byte {length} expected more gzip data, got the file's end; .*cut short"
    with pytest.raises(idx.IdxError, match=message):
        idx.read(packed()[:length])


def test_wrong_checksum_is_told() -> None:
    raw = bytearray(packed())
    raw[-8] ^= 1
    with pytest.raises(
        idx.IdxError,
        match=r"IDX bytes at byte \d+ expected sound gzip data in the next \d+ bytes, got .*"
        r"incorrect data check; the file is damaged: get it again",
    ):
        idx.read(bytes(raw))


def test_wrong_length_is_told() -> None:
    raw = bytearray(packed())
    raw[-4] ^= 1
    with pytest.raises(idx.IdxError, match="incorrect length check"):
        idx.read(bytes(raw))


def test_what_follows_and_is_no_gzip_is_told_with_its_place() -> None:
    raw = packed()
    message = rf"at byte {len(raw) + 3} expected the end or another gzip member, got 6a 75"
    with pytest.raises(idx.IdxError, match=message):
        idx.read(raw + bytes(3) + b"junk")


def test_damage_far_in_is_told_near_its_place(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 200_000, dtype="u1")
    raw = bytearray(packed(noise))
    raw[150_000:150_100] = bytes(100)
    path = tmp_path / "noise.gz"
    path.write_bytes(raw)
    with pytest.raises(idx.IdxError, match=r"noise\.gz at byte") as caught:
        idx.read(path)
    assert caught.value.offset is not None
    assert 100_000 < caught.value.offset <= len(raw)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            idx.dumps(ARRAY)[:-1],
            r"IDX bytes \(decompressed\) at byte 16 expected 240 bytes of data "
            r"\(3 x 4 x 5 of int32\), got 239; the file is cut short",
        ),
        (
            idx.dumps(ARRAY) + b"!!",
            r"IDX bytes \(decompressed\) at byte 256 expected the end after 240 bytes of data "
            r"\(3 x 4 x 5 of int32\), got more$",
        ),
        (b"", r"\(decompressed\) at byte 0 expected a header of 8 bytes or more, got 0"),
        (b"GIF89a", r"\(decompressed\) at byte 0 expected the magic 00 00, got 47 49"),
    ],
    ids=["short", "long", "empty", "no IDX"],
)
def test_sound_gzip_of_wrong_idx_is_told(content: bytes, message: str) -> None:
    with pytest.raises(idx.IdxError, match=message):
        idx.read(gzip.compress(content))


def peak_of_refusal(raw: bytes, message: str) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(idx.IdxError, match=message):
            idx.read(raw)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_bomb_behind_a_small_promise_is_not_inflated() -> None:
    raw = gzip.compress(idx.dumps(ARRAY) + bytes(64 * 2**20))

    assert peak_of_refusal(raw, "at byte 256 expected the end after 240 bytes") < GZIP_STATE


def test_promise_that_gzip_cannot_keep_takes_no_memory() -> None:
    raw = gzip.compress(b"\0\0\x08\x02\0\0\x40\0\0\0\x40\0" + bytes(100))
    message = (
        r"\(decompressed\) at byte 4 expected 268435456 bytes of data \(16384 x 16384 of uint8\), "
        rf"got {len(raw)} bytes of gzip, which hold {1032 * len(raw)} at most; .*cut short"
    )

    assert peak_of_refusal(raw, message) < GZIP_STATE


def test_zeros_at_the_highest_compression_still_read() -> None:
    zeros = np.zeros((4096, 4096), "u1")  # 1,029 times smaller in gzip

    assert not idx.read(packed(zeros)).any()


def test_no_more_is_inflated_than_asked_for() -> None:
    stream = Gunzip(io.BytesIO(gzip.compress(bytes(range(100)))), "a name")
    buffer = memoryview(bytearray(100))

    assert stream.readinto(buffer[:3]) == 3
    assert bytes(buffer[:4]) == b"\0\x01\x02\0"
    assert stream.readinto(buffer) == 97
    assert stream.readinto(buffer) == 0
