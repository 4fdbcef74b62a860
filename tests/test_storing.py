"""POST /api/corrections: what is kept, what is refused, and what is said of a disk that fails."""

import errno
import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest

import idx
from numdraw import Predictor
from numdraw.app import App, make_app
from numdraw.corrections import BusyError, Corrections, TooManyError
from numdraw.drawings import read_drawings
from numdraw.wsgi import MAX_BODY, REASONS
from tests.asking import SEVEN, Reply, ask, post

LABEL = '"label" expected 1 to 20 digits in a string, or "" for no digit, got '


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture
def app(predictor: Predictor, folder: Path) -> App:
    return make_app(predictor, corrections=Corrections(folder))


def refused(reply: Reply) -> tuple[int, str]:
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json["title"] == REASONS[reply.status]
    return reply.status, reply.json["detail"]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [line for _, line in read_drawings(folder / "corrections.jsonl")]


def counted(app: App) -> str:
    text = ask(app, "GET", "/metrics").body.decode()
    [line] = [line for line in text.splitlines() if line.startswith("numdraw_corrections_total ")]
    return line.split()[1]


def test_a_correction_is_kept_with_what_it_was_read_as(
    app: App, folder: Path, predictor: Predictor
) -> None:
    reply = post(app, "/api/corrections", {**SEVEN, "label": "1"})
    assert reply.status == 201
    assert reply.json == {"stored": True}
    assert reply.headers["Cache-Control"] == "no-store"
    [line] = lines(folder)
    date = line.pop("date")
    assert len(date) == len("2026-11-25")
    assert line == {
        "label": "1",
        **SEVEN,
        "read": "7",
        "confidence": round(predictor.predict_number(SEVEN).confidence, 4),
        "model": predictor.version,
    }
    assert counted(app) == "1"


def test_nothing_else_of_the_request_is_kept(app: App, folder: Path) -> None:
    headers = {"User-Agent": "agent-x", "X-Request-Id": "request-x", "X-Forwarded-For": "192.0.2.7"}
    environ = {"REMOTE_ADDR": "192.0.2.7"}
    body = {**SEVEN, "label": ""}
    assert post(app, "/api/corrections", body, headers=headers, environ=environ).status == 201
    for path in folder.iterdir():
        assert not any(word in path.read_bytes() for word in (b"-x", b"192.0.2.7"))


def test_get_says_whether_they_are_kept(app: App, predictor: Predictor) -> None:
    for each, enabled in ((app, True), (make_app(predictor), False)):
        reply = ask(each, "GET", "/api/corrections")
        assert reply.json == {"enabled": enabled}
        assert reply.headers["Cache-Control"] == "no-store"
    assert ask(app, "OPTIONS", "/api/corrections").headers["Allow"] == "GET, HEAD, OPTIONS, POST"


def test_a_server_without_a_folder_returns_403(predictor: Predictor) -> None:
    reply = post(make_app(predictor), "/api/corrections", {**SEVEN, "label": "7"})
    assert refused(reply) == (
        403,
        "the server expected to be started with --corrections FOLDER to keep drawings, "
        "got no folder; ask whoever runs it",
    )


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (SEVEN, LABEL + "none"),
        ({**SEVEN, "label": 7}, LABEL + "a number"),
        ({**SEVEN, "label": None}, LABEL + "null"),
        ({**SEVEN, "label": "seven"}, LABEL + "'seven'"),
        ({**SEVEN, "label": "7\n"}, LABEL + r"'7\n'"),
        ({**SEVEN, "label": "1" * 21}, LABEL + f"'{'1' * 21}'"),
        ({"label": "7"}, 'the body expected "strokes" or "pixels", got neither'),
        (
            {**SEVEN, "pixels": [[255]], "label": "7"},
            'the body expected "strokes" or "pixels", got both',
        ),
        (
            {**SEVEN, "label": "7", "image": True},
            'the body expected "strokes" or "pixels", got the unknown key \'image\'',
        ),
        ({"strokes": [[[5, 5]]], "label": "7"}, "strokes expected a line, got a single dot"),
        ({"strokes": [[[5, 1e10], [6, 0]]], "label": "7"}, None),
    ],
)
def test_what_is_no_correction_returns_422_and_is_not_kept(
    app: App, folder: Path, body: dict[str, Any], detail: str | None
) -> None:
    status, said = refused(post(app, "/api/corrections", body))
    assert status == 422
    assert detail in (said, None)
    assert lines(folder) == []
    assert counted(app) == "0"


def test_a_body_that_is_too_large_returns_413(app: App) -> None:
    assert refused(post(app, "/api/corrections", b" " * (MAX_BODY + 1)))[0] == 413


class Failing(Corrections):
    """A store whose disk fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def add(self, *_: object, **__: object) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "detail", "retry_after"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 507, "got: No space left", None),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 507, "got: Disk quota exceeded", None),
        (OSError(errno.EROFS, "Read-only file system"), 503, "got: Read-only file system", "60"),
        (OSError(errno.EACCES, "Permission denied", "/secret"), 503, "got: Permission", "60"),
        (OSError("something else"), 503, "got: something else", "60"),
        (BusyError("the corrections expected their lock"), 503, "expected their lock", "1"),
        (TooManyError("the corrections expected at most", 40), 429, "expected at most", "40"),
    ],
)
def test_a_store_that_fails_is_told_and_never_a_500(
    predictor: Predictor,
    error: Exception,
    status: int,
    detail: str,
    retry_after: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = make_app(predictor, corrections=Failing(error))
    with caplog.at_level(logging.INFO, "numdraw.error"):
        reply = post(app, "/api/corrections", {**SEVEN, "label": "7"})
    assert reply.status == status
    assert detail in refused(reply)[1]
    assert "/secret" not in reply.json["detail"]
    assert reply.headers.get("Retry-After") == retry_after
    logged = [record.getMessage() for record in caplog.records]
    assert logged == (["correction not kept"] if isinstance(error, OSError) else [])
    assert counted(app) == "0"


def test_a_full_folder_returns_507_and_is_logged(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("numdraw.corrections.MAX_DRAWINGS", 0)
    with caplog.at_level(logging.INFO, "numdraw.error"):
        status, detail = refused(post(app, "/api/corrections", {**SEVEN, "label": "7"}))
    assert (status, [record.getMessage() for record in caplog.records]) == (
        507,
        ["corrections full"],
    )
    assert "train with them and empty the folder" in detail


def test_a_pair_that_cannot_follow_is_logged_and_the_correction_kept(
    app: App, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(idx, "write", fail)
    with caplog.at_level(logging.INFO, "numdraw.error"):
        assert post(app, "/api/corrections", {**SEVEN, "label": "7"}).status == 201
    assert [record.getMessage() for record in caplog.records] == ["corrections not paired"]
    assert len(lines(folder)) == 1


def test_a_folder_that_is_gone_returns_503(app: App, folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    reply = post(app, "/api/corrections", {**SEVEN, "label": "7"})
    assert refused(reply)[0] == 503


def test_the_folder_is_its_user_s_alone_and_files_as_the_umask_leaves_them(
    predictor: Predictor, folder: Path
) -> None:
    old = os.umask(0o027)
    try:
        app = make_app(predictor, corrections=Corrections(folder))
        post(app, "/api/corrections", {**SEVEN, "label": "7"})
    finally:
        os.umask(old)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.iterdir()]}
    assert modes.pop("kept") == 0o700
    assert set(modes.values()) == {0o640}
    assert len(modes) == 4


def test_numbers_keep_their_digits_as_they_were_sent(app: App, folder: Path) -> None:
    raw = b'{"strokes": [[[10.125, 1e1], [60, -0.0], [30, 900000000]]], "label": "7"}'
    assert post(app, "/api/corrections", raw).status == 201
    assert lines(folder)[0]["strokes"] == json.loads(raw)["strokes"]
