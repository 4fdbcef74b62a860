"""Access and error log as JSON lines: one object a line, written whole or not at all.

key         in
time        all; UTC, ISO 8601 with ms
level       all
message     all; for a request always "request"
request_id, method, path, status, bytes, ms
            each request; number or digit, and confidence, where one was read, never the drawing
pid, status, lived, restart_in, seconds, short_lives, hint
            what became of a worker; s, and a status below 0 is a signal's number
model, error
            reloads; error, and the request's id, of a correction that can't be kept
traceback   errors of our own
lost        lines that could not be written before this one, where there were any

A log goes to a standard stream, or to a file that takes the stream's descriptor: so whatever else
writes there, Python's last words included, lands in the file, after it was opened anew too.
"""

import contextlib
import json
import logging
import os
import select
import socket
import stat
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

INFO, WARNING, FAULT = logging.INFO, logging.WARNING, logging.ERROR
ACCESS = logging.getLogger("numdraw.access")
ERROR = logging.getLogger("numdraw.error")

FILE_MODE = 0o640  # of a log that is made here: its group may read it
MAX_TRACEBACK = 2500  # bytes in JSON; the line then fits PIPE_BUF, so lines of workers never mix

_encode = json.JSONEncoder(separators=(",", ":")).encode  # ASCII: no control character gets out


@dataclass(frozen=True)
class Logs:
    """Where the logs go.

    Attributes:
        access: a file in place of standard output.
        error: a file in place of standard error.
        requests: False leaves the access log out.
    """

    access: Path | None = None
    error: Path | None = None
    requests: bool = True

    def open(self) -> None:
        """Let the files take the place of the standard streams; whatever writes there, follows.

        Raises:
            OSError: one can't be opened; its stream stays what it was.
        """
        for path, fd in ((self.access, 1), (self.error, 2)):
            if path is not None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                opened = os.open(path, flags, FILE_MODE)
                os.dup2(opened, fd)
                os.close(opened)

    def configure(self, lost: Callable[[], None] | None = None) -> None:
        """Send the access log to standard output, the error log to standard error.

        Args:
            lost: called for each line that can't be written.
        """
        for logger, fd in ((ACCESS, 1), (ERROR, 2)):
            for handler in logger.handlers:
                handler.close()
            logger.handlers[:] = [LineHandler(fd, lost)]
            logger.propagate = False
            logger.setLevel(logging.INFO)
        ACCESS.disabled = not self.requests

    def reopen(self) -> None:
        """Go on in new files where the old were renamed, or in the old where that fails."""
        try:
            self.open()
        except OSError as error:
            log_exception("log not opened anew", error)
        for logger in (ACCESS, ERROR):
            for handler in logger.handlers:
                if isinstance(handler, LineHandler):
                    handler.renew()


def log(logger: logging.Logger, level: int, message: str, **facts: Any) -> None:
    """Log a message with facts of its own; cheaper than Logger.log, which looks for its caller."""
    if logger.isEnabledFor(level):
        record = logging.LogRecord(logger.name, level, "", 0, message, None, None)
        record.facts = facts
        logger.handle(record)


def log_exception(message: str, error: BaseException, **facts: Any) -> None:
    """Log an error of our own with its traceback."""
    log(ERROR, FAULT, message, **facts, traceback=_tail(error, error.__traceback__))


class LineFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        time = datetime.fromtimestamp(record.created, timezone.utc)
        line = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["traceback"] = _tail(record.exc_info[1], record.exc_info[2])
        return _encode(line)


class LineHandler(logging.Handler):
    """Writes lines to a file descriptor and never waits for it.

    A log that nobody reads, or a full disk, must not stop the answers: such a line is dropped and
    counted. The first line after a full disk may follow an empty one.
    """

    def __init__(self, fd: int, lost: Callable[[], None] | None = None) -> None:
        """Keep the descriptor, and what to call for each line that is lost."""
        super().__init__()
        self.setFormatter(LineFormatter())
        self._fd = fd
        self._write, self._close = _writer(fd)
        self._count = lost
        self._lost = 0
        self._torn = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record in one call, so that lines of several processes stay apart."""
        if self._lost:
            record.facts = {**getattr(record, "facts", {}), "lost": self._lost}
        line = (self.format(record) + "\n").encode("ascii")
        if self._torn:
            line = b"\n" + line
        try:
            written = self._write(line)
        except OSError:  # a full disk, a pipe that is full or closed
            written = 0
        if written == len(line):
            self._lost, self._torn = 0, False
        else:
            self._lost += 1
            # A full disk may have taken half a line, of this process or of another one.
            with contextlib.suppress(OSError):  # the descriptor itself may be closed
                self._torn = stat.S_ISREG(os.fstat(self._fd).st_mode)
            if self._count is not None:
                self._count()

    def renew(self) -> None:
        """Write to what the descriptor stands for now."""
        self.acquire()  # another thread may be writing: its descriptor would be a client's soon
        try:
            self._close()
            self._write, self._close = _writer(self._fd)
        finally:
            self.release()

    def close(self) -> None:
        """Give up what was opened for writing; the descriptor itself stays open."""
        self.acquire()
        try:
            self._close()
            self._write, self._close = _nowhere, _nothing
        finally:
            self.release()
        super().close()


def _writer(fd: int) -> tuple[Callable[[bytes], int], Callable[[], None]]:
    """A write to the descriptor that returns at once, and what closes it.

    O_NONBLOCK belongs to what several processes have open together, often with a terminal's owner,
    so it is never set on the descriptor itself.
    """
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):  # the journal's
            sock = socket.socket(fileno=os.dup(fd))
            return lambda line: sock.send(line, socket.MSG_DONTWAIT), sock.close
        if stat.S_ISFIFO(mode):  # opened anew, it is a pipe's end of its own
            own = os.open(f"/dev/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            return lambda line: os.write(own, line), lambda: os.close(own)
    except OSError:  # a pipe of another user's, or without a reader
        pass
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return lambda line: os.write(fd, line) if poll.poll(0) else 0, _nothing


def _nowhere(line: bytes) -> int:
    """Write nothing."""
    return 0


def _nothing() -> None:
    """Close nothing."""


def _tail(error: BaseException, trace: TracebackType | None) -> str:
    """The end of a traceback, cut so that it is short in JSON too, where "é" takes six bytes."""
    text = "".join(traceback.format_exception(type(error), error, trace))[-MAX_TRACEBACK:]
    while len(_encode(text)) > MAX_TRACEBACK:
        text = text[len(text) // 8 + 1 :]
    return text
