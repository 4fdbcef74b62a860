"""A gzip stream read with a bound: it never inflates more than it is asked for."""

import io
import zlib

from idx._format import CUT_SHORT, IdxError

MAGIC = b"\x1f\x8b"
# Deflate's shortest code for its longest run: 258 bytes from 2 bits. So N bytes of gzip hold at
# most 1032 N bytes, and a header that promises more is wrong before anything is inflated.
MAX_RATIO = 1032
IN_PIECE = 16 * 1024  # bytes read at once; also how exactly an error's offset is known
OUT_PIECE = 256 * 1024  # bytes inflated at once; bounds zlib's own output buffer


class Gunzip:
    """The content of a gzip file, all its members joined (RFC 1952, section 2.2).

    Checksums and lengths of each member are checked where it ends, so a caller who has all the
    bytes it wants must still read once more and see the end.
    """

    def __init__(self, raw: io.FileIO | io.BytesIO, source: str) -> None:
        self._raw = raw
        self._source = source
        self._member = zlib.decompressobj(wbits=31)  # 31: a gzip header and trailer
        self._pending = b""  # read and not yet inflated
        self._read = 0  # bytes read, so pending starts at _read - len(_pending)

    def readinto(self, buffer: memoryview, /) -> int:
        """Fills the start of `buffer` and returns how many bytes, 0 only at the stream's end.

        Args:
            buffer: of bytes, at least one

        Raises:
            IdxError: damaged, cut short, or followed by something that is not gzip
        """
        while True:
            if self._member.eof and not self._next_member():
                return 0
            try:
                out = self._member.decompress(self._pending, min(len(buffer), OUT_PIECE))
            except zlib.error as error:
                offset = self._read - len(self._pending)
                expected = f"sound gzip data in the next {len(self._pending)} bytes"
                fix = "the file is damaged: get it again"
                raise IdxError(self._source, offset, expected, f"{error}", fix) from error
            self._pending = self._member.unused_data or self._member.unconsumed_tail
            if out:
                buffer[: len(out)] = out
                return len(out)
            if not self._pending and not self._member.eof and not self._read_piece():
                expected = "more gzip data"
                raise IdxError(self._source, self._read, expected, "the file's end", CUT_SHORT)

    def _next_member(self) -> bool:
        """Whether another member follows; zeros are padding, as for gzip itself."""
        while not (pending := self._pending.lstrip(b"\x00")):
            if not self._read_piece():
                return False
        self._pending = pending
        if not MAGIC.startswith(pending[:2]):
            offset = self._read - len(pending)
            expected = "the end or another gzip member"
            raise IdxError(self._source, offset, expected, pending[:2].hex(" "))
        self._member = zlib.decompressobj(wbits=31)
        return True

    def _read_piece(self) -> bool:
        self._pending = self._raw.read(IN_PIECE) or b""
        self._read += len(self._pending)
        return bool(self._pending)
