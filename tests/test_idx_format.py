"""The IDX header, byte by byte: what is read from it, and what each wrong byte is told."""

import pickle
import struct

import numpy as np
import pytest

import idx
from idx._format import MAX_NDIM


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"\0\0\x08\x01\0\0\0\x03\x00\x7f\xff", np.array([0, 127, 255], "u1")),
        (b"\0\0\x09\x01\0\0\0\x03\x00\x7f\xff", np.array([0, 127, -1], "i1")),
        (b"\0\0\x0b\x01\0\0\0\x02\x01\x02\xff\xfe", np.array([258, -2], "i2")),
        (b"\0\0\x0c\x01\0\0\0\x01\x01\x02\x03\x04", np.array([0x01020304], "i4")),
        (b"\0\0\x0d\x01\0\0\0\x02\x3f\x80\0\0\xc0\0\0\0", np.array([1, -2], "f4")),
        (b"\0\0\x0e\x01\0\0\0\x01\x3f\xf8\0\0\0\0\0\0", np.array([1.5], "f8")),
        (b"\0\0\x08\x02\0\0\0\x02\0\0\0\x01\x05\x06", np.array([[5], [6]], "u1")),
        (b"\0\0\x0b\x03\0\0\0\x02\0\0\0\x00\0\0\0\x04", np.zeros((2, 0, 4), "i2")),
    ],
    ids=["ubyte", "byte", "short", "int", "float", "double", "two dimensions", "no items"],
)
def test_raw_bytes_read_and_write_as_the_array(raw: bytes, expected: np.ndarray) -> None:
    array = idx.read(raw)

    assert array.dtype == expected.dtype
    assert array.dtype.isnative
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.shape == expected.shape
    assert array.tolist() == expected.tolist()
    assert idx.dumps(expected) == raw


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "IDX bytes at byte 0 expected a header of 8 bytes or more, got 0; the file is cut"),
        (b"\0\0\x08", "IDX bytes at byte 0 expected a header of 8 bytes or more, got 3; the file"),
        (b"<!DOCTYPE", "at byte 0 expected the magic 00 00, got 3c 21; this is no IDX file"),
        (b"\0\x01\x08\x01\0\0\0\0", "at byte 0 expected the magic 00 00, got 00 01"),
        (
            b"\0\0\x0a\x01\0\0\0\0",
            "at byte 2 expected a type among 0x08 (uint8), 0x09 (int8), 0x0b (int16), "
            "0x0c (int32), 0x0d (float32), 0x0e (float64), got 0x0a",
        ),
        (b"\0\0\x08\0", "at byte 3 expected 1 to 64 dimensions, as the format demands, got 0"),
        (
            b"\0\0\x08\x41" + b"\0\0\0\x01" * 65 + b"\x07",
            "at byte 3 expected 1 to 64 dimensions, as many as NumPy can hold, got 65",
        ),
        (
            b"\0\0\x08\xff" + b"\0\0\0\x01" * 255 + b"\x07",
            "at byte 3 expected 1 to 64 dimensions, as many as NumPy can hold, got 255",
        ),
        (
            b"\0\0\x08\x03\0\0\0\x01\0",
            "at byte 4 expected 12 bytes for the lengths of 3 dimensions, got 5; the file is cut",
        ),
        (
            b"\0\0\x0b\x02\0\0\0\x02\0\0\0\x03" + bytes(11),
            "at byte 12 expected 12 bytes of data (2 x 3 of int16), got 11; the file is cut short",
        ),
        (
            b"\0\0\x0b\x02\0\0\0\x02\0\0\0\x03" + bytes(15),
            "at byte 24 expected the end after 12 bytes of data (2 x 3 of int16), got 3 more",
        ),
        (
            b"\0\0\x0e\x03" + b"\xff\xff\xff\xff" * 3 + bytes(99),
            "at byte 4 expected dimensions of 9223372036854775807 bytes at most, "
            "got 4294967295 x 4294967295 x 4294967295 of float64",
        ),
        (
            # No item at all, yet NumPy refuses the shape.
            b"\0\0\x08\x04\0\0\0\0" + b"\xff\xff\xff\xff" * 3,
            "at byte 4 expected dimensions of 9223372036854775807 bytes at most, "
            "got 0 x 4294967295 x 4294967295 x 4294967295 of uint8",
        ),
        (
            b"\0\0\x08\x02" + b"\x7f\xff\xff\xff" * 2,
            "at byte 12 expected 4611686014132420609 bytes of data (2147483647 x 2147483647 of "
            "uint8), got 0",
        ),
    ],
)
def test_wrong_bytes_are_told_with_their_place(raw: bytes, message: str) -> None:
    with pytest.raises(idx.IdxError) as caught:
        idx.read(raw)
    # On NumPy 1 the limit is 32.
    assert message.replace("1 to 64 d", f"1 to {MAX_NDIM} d") in str(caught.value)


@pytest.mark.parametrize("type_code", sorted(set(range(256)) - {8, 9, 11, 12, 13, 14}))
def test_every_other_type_code_is_refused(type_code: int) -> None:
    with pytest.raises(idx.IdxError, match=f"at byte 2 .* got {type_code:#04x}$"):
        idx.read(bytes([0, 0, type_code, 1, 0, 0, 0, 0]))


@pytest.mark.parametrize("ndim", range(1, MAX_NDIM + 1))
def test_every_number_of_dimensions_reads_and_writes(ndim: int) -> None:
    shape = (2,) + (1,) * (ndim - 2) + (3,) if ndim > 1 else (6,)
    raw = struct.pack(f">HBB{ndim}I6h", 0, 0x0B, ndim, *shape, *range(6))

    array = idx.read(raw)

    assert array.shape == shape
    assert array.ravel().tolist() == [0, 1, 2, 3, 4, 5]
    assert idx.dumps(array) == raw


@pytest.mark.parametrize("dtype", ["bool", "u2", "u4", "i8", "u8", "f2", "c8", "U3", "O", "M8[s]"])
def test_dtypes_that_idx_lacks_are_refused_with_the_fix(dtype: str) -> None:
    with pytest.raises(idx.IdxError) as caught:
        idx.dumps(np.zeros(3, dtype))
    assert str(caught.value) == (
        "the array expected a dtype among uint8, int8, int16, int32, float32, float64, "
        f"got {np.dtype(dtype)}; cast it first, such as array.astype('int32')"
    )


def test_array_without_dimension_is_refused_with_the_fix() -> None:
    message = r"^the array expected at least 1 dimension, got 0; .* array\.reshape\(1\)$"
    with pytest.raises(idx.IdxError, match=message):
        idx.dumps(np.array(7, "u1"))


def test_dimension_over_32_bits_is_refused() -> None:
    with pytest.raises(idx.IdxError, match="expected dimensions up to 4294967295, got 4294967296"):
        idx.dumps(np.zeros((2**32, 0), "u1"))


def test_longest_dimension_reads_and_writes() -> None:
    raw = b"\0\0\x08\x02\xff\xff\xff\xff\0\0\0\0"

    assert idx.read(raw).shape == (4294967295, 0)
    assert idx.dumps(np.zeros((4294967295, 0), "u1")) == raw


def test_error_carries_its_parts_and_survives_pickling() -> None:
    error = idx.IdxError("digits.idx", 2, "a type", "0x0a", "mend it")

    again = pickle.loads(pickle.dumps(error))

    assert isinstance(again, idx.IdxError)
    assert issubclass(idx.IdxError, ValueError)
    assert str(again) == "digits.idx at byte 2 expected a type, got 0x0a; mend it"
    assert (again.source, again.offset, again.expected) == ("digits.idx", 2, "a type")
    assert (again.got, again.fix) == ("0x0a", "mend it")
