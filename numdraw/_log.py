"""Access and error log as JSON lines: one object a line, written whole or not at all.

key         in
time        all; UTC, ISO 8601 with ms
level       all
message     all; for a request always "request"
request_id, method, path, status, bytes, ms
            each request; digit and confidence too where one was read, never the drawing
traceback   errors of our own
lost        lines that could not be written before this one, where there were any
"""

import json
import logging
import os
import select
import traceback
from datetime import datetime, timezone
from types import TracebackType
from typing import Any

ACCESS = logging.getLogger("numdraw.access")
ERROR = logging.getLogger("numdraw.error")

MAX_TRACEBACK = 2500  # bytes in JSON; the line then fits PIPE_BUF, so lines of workers never mix

_encode = json.JSONEncoder(separators=(",", ":")).encode  # ASCII: no control character gets out


def configure(*, access: bool = True) -> None:
    """Send the access log to standard output, the error log to standard error.

    Args:
        access: False leaves the access log out.
    """
    for logger, fd in ((ACCESS, 1), (ERROR, 2)):
        logger.handlers[:] = [LineHandler(fd)]
        logger.propagate = False
        logger.setLevel(logging.INFO)
    ACCESS.disabled = not access


def log(logger: logging.Logger, level: int, message: str, **facts: Any) -> None:
    """Log a message with facts of its own; cheaper than Logger.log, which looks for its caller."""
    if logger.isEnabledFor(level):
        record = logging.LogRecord(logger.name, level, "", 0, message, None, None)
        record.facts = facts
        logger.handle(record)


def log_exception(message: str, error: BaseException, **facts: Any) -> None:
    """Log an error of our own with its traceback."""
    log(ERROR, logging.ERROR, message, **facts, traceback=_tail(error, error.__traceback__))


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
    counted.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.setFormatter(LineFormatter())
        self._fd = fd
        self._lost = 0
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record in one call, so that lines of several processes stay apart."""
        if self._lost:
            record.facts = {**getattr(record, "facts", {}), "lost": self._lost}
        try:
            written = False
            if self._poll.poll(0):
                os.write(self._fd, (self.format(record) + "\n").encode("ascii"))
                written = True
        except OSError:  # a full disk, a closed pipe
            pass
        self._lost = 0 if written else self._lost + 1


def _tail(error: BaseException, trace: TracebackType | None) -> str:
    """The end of a traceback, cut so that it is short in JSON too, where "é" takes six bytes."""
    text = "".join(traceback.format_exception(type(error), error, trace))[-MAX_TRACEBACK:]
    while len(_encode(text)) > MAX_TRACEBACK:
        text = text[len(text) // 8 + 1 :]
    return text
