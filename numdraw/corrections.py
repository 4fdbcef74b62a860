"""Drawings that people say were misread, with what they are, kept in a folder to train with.

    corrections.jsonl    a drawing a line, as `numdraw.drawings` reads them:
                         label              "7", "2026", or "" for no digit
                         strokes or pixels  as they came
                         read               the number that it had been read as
                         confidence         that this was right
                         model              the version that read it
                         date               the day, UTC; no finer time, and nothing of who sent it
    ink-corrections-...  the pair (`numdraw.data`): what the network sees of each line whose label
                         is one digit or "", in their order
    corrections.lock     locked, by flock(), by whoever reads or writes the others; it holds what
                         the last writer knew

The lines are the truth. Each is written by one call and flushed to the disk before anybody is told
that it is kept. A crash may leave half a line, of which nobody was told: it is cut off; or a pair
that lacks the last line: it is added. The next correction does both, and so does a start. Whoever
changes or removes lines by hand holds the lock meanwhile; the pair is then made anew.
"""

import contextlib
import errno
import json
import os
import re
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

import idx
from numdraw._pairs import ink_files
from numdraw.models import NO_DIGIT
from numdraw.nn.layers import Array
from numdraw.preprocess import SIDE, DrawingError, render

LINES = "corrections.jsonl"
LOCK = "corrections.lock"
SOURCE = "corrections"  # the pair's name among the other ink

MAX_LABEL = 20  # digits; as many as `predict_number` reads

# Both files are read or copied at each correction. At these limits that takes 50 ms, and by then
# somebody should have looked at what came.
MAX_BYTES = 16 * 1024 * 1024  # of lines; 10,000 drawings have some 1.5 KiB each
MAX_DRAWINGS = 10_000

A_MINUTE = 60  # corrections of all clients; a class of 30 that has just begun makes half of it
WINDOW = 60.0  # s

WAIT = 1.0  # s for the lock, in which a worker answers nobody; it is held for some 20 ms
LONG_WAIT = 10.0  # s for the lock where nobody waits: at a start, or before a training
POLL = 0.01  # s between looks at the lock
CATCH_UP = 100  # images made at a correction beside its own; they take 50 ms. A start makes all

# A line of the pair, as `_line` begins it.
_ROW = re.compile(rb'^\{"label": ?"([0-9]?)",.*\n', re.MULTILINE)
_LABEL = re.compile(rf"[0-9]{{0,{MAX_LABEL}}}")
_ITEMS = ((SIDE, SIDE), ())  # the shapes of an image and of a label
_STATE_BYTES = 200  # padded: one write, which leaves nothing of the one before

_Row: TypeAlias = "re.Match[bytes]"


class CorrectionsError(ValueError):
    """A line that holds no drawing."""


class BusyError(ValueError):
    """The lock was not to be had in time."""


class FullError(ValueError):
    """There are as many corrections as are kept."""


class TooManyError(ValueError):
    """More corrections came in a minute than are taken.

    Attributes:
        seconds: until the next one is.
    """

    def __init__(self, message: str, seconds: int) -> None:
        """Keep how long to wait."""
        super().__init__(message)
        self.seconds = seconds


@dataclass
class _State:
    """What the lock's file holds.

    Attributes:
        rows: how many images and labels the pair has.
        crc: CRC-32 of the lines that they were made of, to tell whether these are still the same.
        since: when the rate's window began, on the clock that all processes of a machine share.
        count: the corrections in it.
    """

    rows: int = 0
    crc: int = 0
    since: float = 0.0
    count: int = 0


class Corrections:
    """A folder of corrections, which processes of one machine share. It keeps no file open."""

    def __init__(self, folder: Path) -> None:
        """Make the folder where there is none, and mend what a crash has left.

        Raises:
            OSError: it can't be made, read or written.
            BusyError: another process holds the lock.
            CorrectionsError, idx.IdxError: what is in it is damaged.
        """
        self.folder = folder
        self._lines = folder / LINES
        self._pair = ink_files(folder, SOURCE, "train")
        folder.mkdir(mode=0o700, exist_ok=True)  # drawings are their people's own
        with self._locked(LONG_WAIT) as lock, self._opened() as file:
            for left_behind in folder.glob(".idx-*.tmp"):  # by a crash of idx.append
                left_behind.unlink()
            _sync_folder(folder)  # so that the lines have their name after a power cut
            self._make_pair(lock, _read_state(lock), _whole_lines(file), most=None)

    def add(
        self, drawing: Mapping[str, Any], label: str, *, read: str, confidence: float, model: str
    ) -> Exception | None:
        """Keep a drawing; when it returns, the line is on the disk.

        Args:
            drawing: {"strokes": ...} or {"pixels": ...} that `preprocess.render` has read.
            label: as `is_label` wants it.
            read: the number that it was read as.
            confidence: that this is right.
            model: the version that read it.

        Returns:
            why the pair could not follow, for a log: the next correction or start tries again.

        Raises:
            TooManyError, FullError, BusyError: it is not kept.
            OSError: it is not kept; the disk is full or can't be written.
        """
        line = _line(drawing, label, read=read, confidence=confidence, model=model)
        with self._locked(WAIT) as lock, self._opened() as file:
            state = _read_state(lock)
            _expect_within_rate(state)
            data = _whole_lines(file)
            drawings = data.count(b"\n")
            if drawings >= MAX_DRAWINGS or len(data) + len(line) > MAX_BYTES:
                raise FullError(
                    f"the corrections expected at most {MAX_DRAWINGS:,} drawings in {MAX_BYTES:,} "
                    f"bytes, got {drawings:,} in {len(data):,} and one more; "
                    "train with them and empty the folder"
                )
            _write_line(file, line, len(data))
            state.count += 1
            try:
                _write_state(lock, state)
                self._make_pair(lock, state, data + line, most=1 + CATCH_UP)
            except (OSError, ValueError) as error:  # IdxError is a ValueError
                return error
        return None

    def _locked(self, seconds: float) -> contextlib.AbstractContextManager[int]:
        return _locked(self.folder / LOCK, seconds, shared=False)

    def _opened(self) -> contextlib.AbstractContextManager[int]:
        return _opened(self._lines, os.O_RDWR | os.O_APPEND | os.O_CREAT)

    def _make_pair(self, lock: int, state: _State, data: bytes, *, most: int | None) -> None:
        """Bring the pair to what the lines say.

        Args:
            lock: the descriptor of the lock's file, which gets the state.
            state: as it was read, perhaps with one correction more.
            data: the lines.
            most: how many images to make; None for all that lack.
        """
        rows = list(_ROW.finditer(data))
        # Of what the pair has, this much is as the lines have it: all, unless somebody changed
        # them, or a crash or a hand left one of the two files behind.
        known = state.rows if _crc(data, rows[: state.rows]) == state.crc else 0
        known = min(known, len(rows), *_lengths(self._pair))
        new = rows[known:] if most is None else rows[known : known + most]
        arrays = self._rendered(data, new)
        state.rows, state.crc = known, _crc(data, rows[:known])
        _write_state(lock, state)  # a crash from here on leaves files that are no shorter
        for path, length, more in zip(self._pair, _lengths(self._pair), arrays, strict=True):
            _grow(path, length, known, more)
        state.rows += len(new)
        state.crc = _crc(data, new, state.crc)
        _write_state(lock, state)

    def _rendered(self, data: bytes, rows: Sequence[_Row]) -> tuple[Array, Array]:
        """Images (N, 28, 28) and labels (N,), uint8, of lines of the pair."""
        images = np.zeros((len(rows), SIDE, SIDE), np.uint8)
        for image, row in zip(images, rows, strict=True):
            try:
                line = json.loads(row[0])
                kind = "pixels" if "pixels" in line else "strokes"
                image[:] = np.rint(render({kind: line.get(kind)}).image * 255)
            except (DrawingError, ValueError) as error:
                number = data.count(b"\n", 0, row.start()) + 1
                raise CorrectionsError(
                    f"{self._lines}:{number} expected a drawing, got {error}; "
                    "mend the line or remove it"
                ) from error
        labels = [int(row[1]) if row[1] else NO_DIGIT for row in rows]
        return images, np.array(labels, np.uint8)


def is_label(text: str) -> bool:
    """Whether the text says what a drawing is: up to MAX_LABEL digits, or "" for no digit."""
    return _LABEL.fullmatch(text) is not None


@contextlib.contextmanager
def held_still(folder: Path) -> Iterator[None]:
    """Keep servers from writing to a folder of corrections while the block reads it.

    Raises:
        BusyError: somebody writes to it all the time.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(FileNotFoundError):  # a copy needs no lock
            stack.enter_context(_locked(folder / LOCK, LONG_WAIT, shared=True))
        yield


@contextlib.contextmanager
def _locked(path: Path, seconds: float, *, shared: bool) -> Iterator[int]:
    """The descriptor of a file that is locked until the end of the block.

    It is opened each time: a descriptor from before a fork would share its lock with the others.
    """
    import fcntl  # Windows, where the trainer runs too, has none

    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with _opened(path, os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT) as lock:
        end = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(lock, operation | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise BusyError(
                        f"the corrections expected their lock within {seconds:g} s, "
                        "got others at work; try again"
                    ) from None
                time.sleep(POLL)
        yield lock


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)  # less the umask
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _line(
    drawing: Mapping[str, Any], label: str, *, read: str, confidence: float, model: str
) -> bytes:
    facts = {"read": read, "confidence": round(confidence, 4), "model": model}
    line = {"label": label, **drawing, **facts, "date": time.strftime("%Y-%m-%d", time.gmtime())}
    return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"


def _whole_lines(file: int) -> bytes:
    """All lines; half a one at the end is cut off."""
    size = os.fstat(file).st_size
    data = b""
    while len(data) < size and (part := os.pread(file, size - len(data), len(data))):
        data += part
    end = data.rfind(b"\n") + 1
    if end < len(data):
        os.ftruncate(file, end)
    return data[:end]


def _write_line(file: int, line: bytes, end: int) -> None:
    """Append the line, or leave the file as it was, with so many bytes."""
    try:
        if os.write(file, line) < len(line):
            os.write(file, line)  # says why there was no room for all of it
            raise OSError(errno.ENOSPC, "a whole line expected to be written, got a part")
        os.fsync(file)
    except OSError:
        with contextlib.suppress(OSError):  # else the next writer cuts off what is half
            os.ftruncate(file, end)
        raise


def _expect_within_rate(state: _State) -> None:
    """Raise TooManyError where the window is full; begin a new one where it is over."""
    now = time.monotonic()
    if not 0 <= now - state.since < WINDOW:  # the clock begins anew with the machine
        state.since, state.count = now, 0
    if state.count >= A_MINUTE:
        seconds = int(state.since + WINDOW - now) + 1
        raise TooManyError(
            f"the corrections expected at most {A_MINUTE} in {WINDOW:g} s, got more; "
            "wait as long as Retry-After says",
            seconds,
        )


def _read_state(lock: int) -> _State:
    """What the lock's file holds; nothing known where that can't be read."""
    try:
        state = _State(**json.loads(os.pread(lock, _STATE_BYTES, 0)))
        state.rows, state.crc = int(state.rows), int(state.crc)
        state.since, state.count = float(state.since), int(state.count)
    except (ValueError, TypeError):
        return _State()
    return state if state.rows >= 0 else _State()


def _write_state(lock: int, state: _State) -> None:
    os.pwrite(lock, json.dumps(asdict(state)).encode("ascii").ljust(_STATE_BYTES), 0)


def _crc(data: bytes, rows: Sequence[_Row], crc: int = 0) -> int:
    """CRC-32 of the rows' lines, going on from that of those before them."""
    view = memoryview(data)
    for row in rows:
        crc = zlib.crc32(view[row.start() : row.end()], crc)
    return crc


def _lengths(pair: tuple[Path, Path]) -> list[int]:
    """How many images and labels the files have; 0 for one that is not there, or damaged."""
    lengths = []
    for path, item in zip(pair, _ITEMS, strict=True):
        lengths.append(0)
        with contextlib.suppress(FileNotFoundError, idx.IdxError):
            array = idx.memmap(path)
            if array.dtype == np.uint8 and array.shape[1:] == item:
                lengths[-1] = len(array)
    return lengths


def _grow(path: Path, length: int, known: int, more: Array) -> None:
    """Let a file of the pair have its first `known` items and then `more`.

    Args:
        length: how many it has, at least `known`.
    """
    if not known:
        if len(more):
            idx.write(path, more)
        else:
            path.unlink(missing_ok=True)
    elif length > known:
        idx.write(path, np.concatenate([idx.read(path)[:known], more]))
    elif len(more):
        idx.append(path, more)


def _sync_folder(folder: Path) -> None:
    with _opened(folder, os.O_RDONLY) as descriptor:
        os.fsync(descriptor)
