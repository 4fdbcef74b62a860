"""IDX files and bytes to arrays and back; every write is atomic."""

import gzip
import io
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from idx import _gunzip
from idx._format import CUT_SHORT, IdxError, checked, header_of, parse

COPY_PIECE = 1024 * 1024  # bytes; 64 KiB and 16 MiB are both slower
WRITE_PIECE = 64 * 1024  # items swapped to big-endian at once; fits the L2 cache
GZIP_LEVEL = 6  # gzip's default; 9 takes MNIST's images 17 times as long for 2% less


def read(source: str | os.PathLike[str] | bytes) -> npt.NDArray[Any]:
    """The array in an IDX file or in IDX bytes, plain or gzip; the content tells which.

    A plain file costs its data's size in memory and no copy. Of gzip nothing is inflated beyond
    what the IDX header promises and one byte, and a promise over 1032 times the file's size,
    which gzip cannot keep, is refused before memory is taken.

    Args:
        source: a path, or the content itself

    Returns:
        the shape and type that the file names; native byte order, C order, writable

    Raises:
        IdxError: not IDX, cut short, damaged, with trailing bytes, or beyond NumPy's limits
        OSError: the file is missing or cannot be read
    """
    with _reading(source) as reader:
        header = reader.header
        array = np.empty(header.shape, header.dtype.newbyteorder("="))
        reader.fill(array.reshape(-1).view(np.uint8).data)
        reader.finish()
    if array.dtype != header.dtype:
        array.byteswap(inplace=True)
    return array


def memmap(
    path: str | os.PathLike[str], mode: Literal["r", "r+", "c"] = "r"
) -> np.memmap[Any, np.dtype[Any]]:
    """The data of a plain IDX file, mapped: nothing is read until it is touched.

    Args:
        path: a file that is not compressed
        mode: "r" read only, "r+" changes go to the file, "c" changes stay in memory

    Returns:
        the shape that the file names, with the byte order of the file: big-endian

    Raises:
        IdxError: as in read, or the file is gzip
        OSError: the file is missing or cannot be read
    """
    if mode not in ("r", "r+", "c"):
        raise ValueError(f"idx.memmap expected mode 'r', 'r+' or 'c', got {mode!r}")
    with _reading(path, "r+" if mode == "r+" else "r") as reader:
        if reader.gzipped:
            fix = "decompress it, or use idx.read"
            raise IdxError(os.fsdecode(path), 0, "a plain file to map", "gzip", fix)
        header = reader.header
        # The file that was checked, not its name again: another may stand there by now.
        return np.memmap(
            reader.raw, dtype=header.dtype, mode=mode, offset=header.size, shape=header.shape
        )


def dumps(array: npt.NDArray[Any]) -> bytes:
    """The bytes of a plain IDX file that holds `array`.

    Raises:
        IdxError: IDX has no such dtype, or the array has no dimension or a too long one
    """
    array = np.asarray(array)
    return b"".join([header_of("the array", array).pack(), *_pieces(array)])


def write(path: str | os.PathLike[str], array: npt.NDArray[Any]) -> None:
    """Writes `array` as an IDX file, gzip where the name ends in .gz.

    A file that was there is replaced whole and keeps its mode; until the new one is safe on
    disk the old one stays. A crash may leave `.idx-*.tmp` beside it, which can be deleted.

    Raises:
        IdxError: as in dumps, or something other than a file has that name
        OSError: the folder is missing or cannot be written
    """
    array = np.asarray(array)
    name = os.fsdecode(path)
    header = header_of(name, array)
    with _replacing(name, gzipped=name.endswith(".gz")) as out:
        out.write(header.pack())
        out.writelines(_pieces(array))


def append(path: str | os.PathLike[str], array: npt.NDArray[Any]) -> None:
    """Adds `array` to the end of an IDX file along the first dimension; gzip stays gzip.

    The whole file is written anew and takes the old one's place by one rename. To grow it in
    place would need two writes, the data and the count in the header, and a crash between them
    leaves a file that is neither: bytes that no count covers, or a count that no bytes cover.
    So a crash at any byte leaves the old file or the new one, and readers and maps that have
    the old one open keep it. The price is a copy of the file; add many rows at once. Two
    writers at once are not held apart: the last rename wins.

    Args:
        path: an IDX file that exists
        array: (n, ...) of the file's type, in any byte order, and of its shape after the first

    Raises:
        IdxError: as in read and write, or type or shape do not fit the file
        OSError: the file is missing, or its folder cannot be written
    """
    array = np.asarray(array)
    with _reading(path) as reader:
        old = reader.header
        more = header_of(reader.name, array)
        if more.dtype != old.dtype:
            raise IdxError(reader.name, 2, f"{old.dtype.name} to append", more.dtype.name)
        if more.shape[1:] != old.shape[1:]:
            expected = f"an array of shape ({', '.join(['n', *map(str, old.shape[1:])])})"
            raise IdxError(reader.name, 4, expected, f"{more.shape}")
        shape = (old.shape[0] + more.shape[0], *old.shape[1:])
        new = checked(reader.name, old.dtype, shape)
        with _replacing(os.fsdecode(path), gzipped=reader.gzipped) as out:
            out.write(new.pack())
            left = old.nbytes
            piece = memoryview(bytearray(min(left, COPY_PIECE)))
            while left:
                part = piece[:left]
                reader.fill(part)
                out.write(part)
                left -= len(part)
            reader.finish()
            out.writelines(_pieces(array))


class _Reader:
    """An open IDX file or bytes: the header, held against the size, then the data.

    Args:
        raw: positioned at the start
        size: bytes of `raw`
        name: for errors
    """

    def __init__(self, raw: io.FileIO | io.BytesIO, size: int, name: str) -> None:
        self.raw = raw
        self.name = name
        self.gzipped = raw.read(2) == _gunzip.MAGIC
        raw.seek(0)
        self._stream: io.FileIO | io.BytesIO | _gunzip.Gunzip = raw
        if self.gzipped:
            self._stream = _gunzip.Gunzip(raw, name)
            self.name = f"{name} (decompressed)"
        self._offset = 0  # of the stream: within the decompressed bytes for gzip
        self.header = parse(self.name, self._take)
        end = self.header.size + self.header.nbytes
        if self.gzipped and end > _gunzip.MAX_RATIO * size:
            got = f"{size} bytes of gzip, which hold {_gunzip.MAX_RATIO * size} at most"
            raise IdxError(self.name, 4, self._promise, got, CUT_SHORT)
        if not self.gzipped and end > size:
            got = f"{size - self.header.size}"
            raise IdxError(self.name, self.header.size, self._promise, got, CUT_SHORT)
        if not self.gzipped and end < size:
            raise IdxError(self.name, end, f"the end after {self._promise}", f"{size - end} more")

    def fill(self, buffer: memoryview) -> None:
        """Fills `buffer`, of bytes, with the next data."""
        if self._read(buffer) < len(buffer):
            got = f"{self._offset - self.header.size}"
            raise IdxError(self.name, self.header.size, self._promise, got, CUT_SHORT)

    def finish(self) -> None:
        """Checks that the data end where the header says; of gzip, the checksum too."""
        if self.gzipped and self._read(memoryview(bytearray(1))):
            end = self._offset - 1
            raise IdxError(self.name, end, f"the end after {self._promise}", "more")

    @property
    def _promise(self) -> str:
        header = self.header
        lengths = " x ".join(map(str, header.shape))
        return f"{header.nbytes} bytes of data ({lengths} of {header.dtype.name})"

    def _take(self, size: int) -> bytes:
        taken = bytearray(size)
        return bytes(taken[: self._read(memoryview(taken))])

    def _read(self, buffer: memoryview) -> int:
        # One call may give less: Linux reads 2 GiB at most, gzip gives a piece.
        done = 0
        while done < len(buffer) and (count := self._stream.readinto(buffer[done:])):
            done += count
        self._offset += done
        return done


@contextmanager
def _reading(source: str | os.PathLike[str] | bytes, mode: str = "r") -> Iterator[_Reader]:
    """A _Reader of a path or of bytes."""
    if isinstance(source, bytes):
        yield _Reader(io.BytesIO(source), len(source), "IDX bytes")
        return
    name = os.fsdecode(source)
    with io.FileIO(source, mode) as raw:
        info = os.fstat(raw.fileno())
        if not stat.S_ISREG(info.st_mode):
            fix = "read it into bytes and pass them"
            raise IdxError(name, 0, "a regular file", stat.filemode(info.st_mode), fix)
        yield _Reader(raw, info.st_size, name)


@contextmanager
def _replacing(name: str, *, gzipped: bool) -> Iterator[BinaryIO | gzip.GzipFile]:
    """A temporary file that takes the place of `name` once the block has ended well.

    The data go to disk, then the rename, then the folder: at no point is there a `name` that is
    not one whole file.
    """
    name = os.path.realpath(name)  # a link stays a link, and its target is replaced
    folder = os.path.dirname(name)
    old_mode = _mode(name)
    create = partial(os.open, mode=0o666 if old_mode is None else old_mode)  # less the umask
    temp = os.path.join(folder, f".idx-{secrets.token_hex(8)}.tmp")
    try:
        with open(temp, "xb", opener=create) as file:
            if old_mode is not None:
                os.chmod(temp, old_mode)
            # No name and no time in the gzip header: the same array makes the same bytes.
            packed: AbstractContextManager[BinaryIO | gzip.GzipFile] = nullcontext(file)
            if gzipped:
                packed = gzip.GzipFile("", "wb", GZIP_LEVEL, file, 0)
            with packed as out:
                yield out
            file.flush()
            os.fsync(file.fileno())
        os.replace(temp, name)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temp)
        raise
    if os.name == "posix":  # Windows cannot open a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _mode(name: str) -> int | None:
    """The permissions of the file that is to be replaced, None where there is none."""
    try:
        mode = os.stat(name).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        # The rename would put a file in the place of /dev/null.
        raise IdxError(name, None, "a regular file to replace", stat.filemode(mode))
    return stat.S_IMODE(mode)


def _pieces(array: npt.NDArray[Any]) -> Iterator[bytes]:
    """The items of `array` in C order and big-endian, a bounded number at a time."""
    if array.size == 0:
        return
    # NumPy's stubs know only the tuples of several operands, not the array of one.
    pieces: Iterable[Any] = np.nditer(
        array,
        flags=["external_loop", "buffered"],
        op_flags=["readonly"],
        op_dtypes=array.dtype.newbyteorder(">"),
        order="C",
        casting="equiv",
        buffersize=WRITE_PIECE,
    )
    yield from (piece.tobytes() for piece in pieces)
