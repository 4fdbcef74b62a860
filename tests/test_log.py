import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from numdraw._log import ACCESS, ERROR, LineHandler, Logs, log, log_exception


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.Logger("test")
    yield logger
    for handler in logger.handlers:
        handler.close()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_to(logger: logging.Logger, path: Path) -> int:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    logger.addHandler(LineHandler(fd))
    return fd


def test_a_line_holds_time_level_message_and_facts(logger: logging.Logger, tmp_path: Path) -> None:
    fd = write_to(logger, tmp_path / "log")
    log(logger, logging.WARNING, "worker ended", pid=7, status=-9)
    os.close(fd)
    [line] = lines(tmp_path / "log")
    seconds = time.strptime(line.pop("time")[:19], "%Y-%m-%dT%H:%M:%S")
    assert abs(time.mktime(seconds) - time.mktime(time.gmtime())) < 60
    assert line == {"level": "warning", "message": "worker ended", "pid": 7, "status": -9}


def test_no_fact_breaks_its_line(logger: logging.Logger, tmp_path: Path) -> None:
    fd = write_to(logger, tmp_path / "log")
    nasty = 'a\nb\r"\x1b[31m\u2028\x85é\ud800'
    log(logger, logging.INFO, nasty, path=nasty)
    os.close(fd)
    raw = (tmp_path / "log").read_bytes()
    assert raw.isascii()
    assert raw.count(b"\n") == 1
    assert b"\x1b" not in raw
    assert lines(tmp_path / "log")[0]["path"] == nasty


def test_standard_logging_calls_work_too(logger: logging.Logger, tmp_path: Path) -> None:
    fd = write_to(logger, tmp_path / "log")
    try:
        raise KeyError("k")
    except KeyError:
        logger.exception("failed for %s", "x")
    os.close(fd)
    [line] = lines(tmp_path / "log")
    assert line["message"] == "failed for x"
    assert line["traceback"].endswith("KeyError: 'k'\n")


@pytest.mark.parametrize("character", ["x", "é", "\n", "😀"])
def test_a_long_traceback_is_cut_to_fit_a_pipe(tmp_path: Path, character: str) -> None:
    fd = write_to(ERROR, tmp_path / "log")
    try:
        raise ValueError(character * 100_000 + " the end")
    except ValueError as error:
        log_exception("unexpected error", error, request_id="r1")
    finally:
        ERROR.handlers.pop().close()
        os.close(fd)
    raw = (tmp_path / "log").read_bytes()
    assert len(raw) < 4096
    [line] = lines(tmp_path / "log")
    assert line["request_id"] == "r1"
    assert line["traceback"].endswith("the end\n")


def test_a_full_pipe_loses_lines_without_waiting_and_says_so(logger: logging.Logger) -> None:
    reader, writer = os.pipe()
    logger.addHandler(LineHandler(writer))
    rescue = threading.Timer(20, os.close, (reader,))  # of a handler that waits
    rescue.start()
    for number in range(5000):  # a pipe holds 64 KiB
        log(logger, logging.INFO, "request", number=number)
    rescue.cancel()
    early = os.read(reader, 1 << 20).decode().splitlines()
    log(logger, logging.INFO, "request", number=5000)
    log(logger, logging.INFO, "request", number=5001)
    late = [json.loads(line) for line in os.read(reader, 1 << 20).decode().splitlines()]
    os.close(reader)
    os.close(writer)
    assert 100 < len(early) < 5000
    assert [line["number"] for line in late] == [5000, 5001]
    assert late[0]["lost"] == 5000 - len(early)
    assert "lost" not in late[1]


def test_a_closed_pipe_raises_nothing(logger: logging.Logger) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    logger.addHandler(LineHandler(writer))
    log(logger, logging.INFO, "request")
    os.close(writer)
    log(logger, logging.INFO, "request")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_raises_nothing(logger: logging.Logger) -> None:
    write_to(logger, Path("/dev/full"))
    log(logger, logging.INFO, "request")


def test_what_a_full_disk_left_of_a_line_stands_in_a_line_of_its_own(
    logger: logging.Logger, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    handler = LineHandler(fd)
    logger.addHandler(handler)
    log(logger, logging.INFO, "before")
    handler._write = lambda line: os.write(fd, line[:20])  # as much as there was room for
    log(logger, logging.INFO, "torn")
    handler.renew()
    log(logger, logging.INFO, "after")
    log(logger, logging.INFO, "last")
    os.close(fd)
    first, torn, after, last = path.read_text().splitlines()
    assert json.loads(first)["message"] == "before"
    assert len(torn) == 20
    assert json.loads(after)["lost"] == 1
    assert json.loads(last)["message"] == "last"


def test_configure_sends_access_to_stdout_and_errors_to_stderr(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for logger in (ACCESS, ERROR):
        monkeypatch.setattr(logger, "handlers", [])
        monkeypatch.setattr(logger, "propagate", True)
        monkeypatch.setattr(logger, "level", 0)
        monkeypatch.setattr(logger, "disabled", False)
        monkeypatch.setattr(logger, "_cache", {}, raising=False)
    Logs().configure()
    log(ACCESS, logging.INFO, "request")
    log(ERROR, logging.INFO, "worker started")
    out, err = capfd.readouterr()
    assert json.loads(out)["message"] == "request"
    assert json.loads(err)["message"] == "worker started"
    Logs(requests=False).configure()
    log(ACCESS, logging.INFO, "request")
    assert capfd.readouterr() == ("", "")


def test_no_line_is_lost_while_the_files_are_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    fd = write_to(ERROR, path)
    logs = Logs()
    renewing = threading.Event()

    def renew() -> None:
        while not renewing.is_set():
            logs.reopen()

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        for number in range(2000):
            log(ERROR, logging.WARNING, "request", number=number)
    finally:
        renewing.set()
        thread.join()
        ERROR.handlers.pop().close()
        os.close(fd)
    assert [line["number"] for line in lines(path)] == list(range(2000))


def test_lines_go_to_a_new_file_where_the_old_one_was_renamed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    fd = write_to(ERROR, path)
    log(ERROR, logging.WARNING, "old")
    path.rename(tmp_path / "log.1")
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), fd)
    Logs().reopen()
    log(ERROR, logging.WARNING, "new")
    ERROR.handlers.pop().close()
    os.close(fd)
    assert [line["message"] for line in lines(tmp_path / "log.1")] == ["old"]
    assert [line["message"] for line in lines(path)] == ["new"]
