"""Requests to a WSGI application, each inside wsgiref's validator."""

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

SEVEN = {"strokes": [[[60, 40], [180, 42], [120, 200]]]}

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True)
class Reply:
    """What a client would see."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


def ask(
    app: Application,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    headers: dict[str, str] | None = None,
    environ: dict[str, Any] | None = None,
) -> Reply:
    """Send one request through the validator.

    Args:
        headers: such as {"If-None-Match": "..."}.
        environ: set last; None takes a key away.
    """
    full: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    setup_testing_defaults(full)
    for name, value in (headers or {}).items():
        key = name.upper().replace("-", "_")
        full[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
    for key, value in (environ or {}).items():
        if value is None:
            del full[key]
        else:
            full[key] = value
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> Any:
        started.append((status, headers))
        return lambda data: None

    chunks = cast(Any, validator(cast(Any, app)))(full, start_response)
    try:
        content = b"".join(chunks)
    finally:
        chunks.close()
    [(status, given)] = started
    assert len({name.lower() for name, _ in given}) == len(given), "a header stands twice"
    return Reply(int(status[:3]), dict(given), content)


def post(app: Application, path: str, body: Any, **options: Any) -> Reply:
    """Post bytes as they are, or anything else as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **options.pop("headers", {})}
    return ask(app, "POST", path, raw, headers=headers, **options)
