"""The IDX header: parsed, checked and packed."""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

# The IDX format. Source: http://yann.lecun.com/exdb/mnist/, "The IDX file format".
#
#   byte        holds
#   0, 1        the magic: 00 00
#   2           the type, from the table TYPES
#   3           n, the number of dimensions, 1 to 255
#   4 + 4 i     length of dimension i as an unsigned 32-bit integer; the first changes slowest
#   4 + 4 n     the data in C order, and nothing after it
#
# All numbers are big-endian. A gzip file (it starts with 1f 8b) holds the same, compressed.
MAGIC = b"\x00\x00"
TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),  # ubyte
    0x09: np.dtype(">i1"),  # byte
    0x0B: np.dtype(">i2"),  # short
    0x0C: np.dtype(">i4"),  # int
    0x0D: np.dtype(">f4"),  # float
    0x0E: np.dtype(">f8"),  # double
}
CODES = {dtype: code for code, dtype in TYPES.items()}
MAX_LENGTH = 2**32 - 1  # of one dimension: it is stored in 32 bits
MAX_NDIM = 64  # NumPy's own limit
MAX_NBYTES = int(np.iinfo(np.intp).max)  # NumPy counts an array's bytes in an intp
CUT_SHORT = "the file is cut short: get it again"


class IdxError(ValueError):
    """Says what is wrong with an IDX file, IDX bytes or an array meant for one, and where.

    Args:
        source: the file's name, or what stands for it
        offset: the byte where it was met; None for an array that is not in a file yet
        expected: what should have been there
        got: what was there
        fix: what to do about it, where that is known
    """

    def __init__(
        self, source: str, offset: int | None, expected: str, got: str, fix: str = ""
    ) -> None:
        # All arguments go to `args`, so that the error survives pickling between processes.
        super().__init__(source, offset, expected, got, fix)
        self.source = source
        self.offset = offset
        self.expected = expected
        self.got = got
        self.fix = fix

    def __str__(self) -> str:
        where = self.source if self.offset is None else f"{self.source} at byte {self.offset}"
        fix = f"; {self.fix}" if self.fix else ""
        return f"{where} expected {self.expected}, got {self.got}{fix}"


@dataclass(frozen=True)
class Header:
    """What an IDX file says of its data.

    Args:
        dtype: one of TYPES, big-endian
        shape: 1 to MAX_NDIM lengths
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of the header itself, which is where the data start."""
        return 4 + 4 * len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the data. A Python integer: it never overflows."""
        return math.prod(self.shape) * self.dtype.itemsize

    def pack(self) -> bytes:
        """The header as it stands at the start of a file."""
        ndim = len(self.shape)
        return MAGIC + struct.pack(f">BB{ndim}I", CODES[self.dtype], ndim, *self.shape)


def parse(source: str, take: Callable[[int], bytes]) -> Header:
    """The header at the start of a stream, with nothing allocated for its data yet.

    Args:
        source: name for errors
        take: gives the next n bytes, or fewer at the stream's end

    Raises:
        IdxError: wrong magic, unknown type, too many or too long dimensions, or cut short
    """
    start = take(4)
    if not MAGIC.startswith(start[:2]):
        got = start[:2].hex(" ")
        raise IdxError(source, 0, "the magic 00 00", got, "this is no IDX file")
    if len(start) < 4:
        raise IdxError(source, 0, "a header of 8 bytes or more", f"{len(start)}", CUT_SHORT)
    code, ndim = start[2:]
    if code not in TYPES:
        known = ", ".join(f"{code:#04x} ({dtype.name})" for code, dtype in TYPES.items())
        raise IdxError(source, 2, f"a type among {known}", f"{code:#04x}")
    if not 1 <= ndim <= MAX_NDIM:
        limit = "as many as NumPy can hold" if ndim else "as the format demands"
        raise IdxError(source, 3, f"1 to {MAX_NDIM} dimensions, {limit}", f"{ndim}")
    lengths = take(4 * ndim)
    if len(lengths) < 4 * ndim:
        expected = f"{4 * ndim} bytes for the lengths of {ndim} dimensions"
        raise IdxError(source, 4, expected, f"{len(lengths)}", CUT_SHORT)
    return checked(source, TYPES[code], struct.unpack(f">{ndim}I", lengths))


def header_of(source: str, array: np.ndarray[Any, Any]) -> Header:
    """The header for `array`, whatever its byte order.

    Args:
        source: name for errors

    Raises:
        IdxError: IDX has no such type, the array has no dimension, or a dimension is too long
    """
    dtype = array.dtype.newbyteorder(">")
    if dtype not in CODES:
        known = ", ".join(dtype.name for dtype in CODES)
        fix = "cast it first, such as array.astype('int32')"
        raise IdxError(source, None, f"a dtype among {known}", f"{array.dtype}", fix)
    if array.ndim == 0:
        fix = "give it one, such as array.reshape(1)"
        raise IdxError(source, None, "at least 1 dimension", "0", fix)
    return checked(source, dtype, array.shape)


def checked(source: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Header:
    """The header of `dtype` and `shape`, where both the format and NumPy can hold it.

    Raises:
        IdxError: a dimension over 32 bits, or a product over what NumPy can address
    """
    if max(shape) > MAX_LENGTH:
        raise IdxError(source, 4, f"dimensions up to {MAX_LENGTH}", f"{max(shape)}")
    # NumPy leaves out zeros here, and refuses (0, 2**32 - 1, 2**32 - 1) though it has no items.
    if math.prod(filter(None, shape)) * dtype.itemsize > MAX_NBYTES:
        lengths = " x ".join(map(str, shape))
        raise IdxError(
            source, 4, f"dimensions of {MAX_NBYTES} bytes at most", f"{lengths} of {dtype.name}"
        )
    return Header(dtype, shape)
