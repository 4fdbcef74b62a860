"""Requests, responses and problem+json (RFC 9457) on bare WSGI (PEP 3333).

What bjoern leaves out of environ or lets through is dealt with here: a PATH_INFO may be missing,
header lines of the same name come joined, and a Transfer-Encoding may stand beside a
Content-Length.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
Application: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]
Header: TypeAlias = tuple[str, str]

MAX_BODY = 64 * 1024  # bytes; a drawing of 2,000 points is under 20 KiB
MAX_LEGACY_BODY = 6 * 1024 * 1024  # bytes; 512 x 512 numbers of 20 characters are 5 MiB

# RFC 9110's names; http.HTTPStatus has older ones before Python 3.13.
REASONS = {
    200: "OK",
    201: "Created",
    204: "No Content",
    304: "Not Modified",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    411: "Length Required",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
    507: "Insufficient Storage",
}

NO_STORE = ("Cache-Control", "no-store")
REVALIDATE = ("Cache-Control", "no-cache")  # kept, but asked for again with its ETag

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ENTITY_TAG = re.compile(r'"[^"]*"')
_LENGTH = re.compile(r"[0-9]{1,18}")
_JSON_TYPE = re.compile(
    r"""application/json [ \t]* (; [ \t]* charset = "?utf-8"? [ \t]*)? ;?""",
    re.IGNORECASE | re.VERBOSE,
)
_SHOWN = 60  # characters of what came that an error shows


class HTTPError(ValueError):
    """A request that can't be answered, as status, detail and headers of its own."""

    def __init__(self, status: int, detail: str, headers: Sequence[Header] = ()) -> None:
        """Keep what `problem` needs."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = tuple(headers)


class Request:
    """What the application needs of environ."""

    __slots__ = ("environ", "id", "method", "path")

    def __init__(self, environ: Environ) -> None:
        """Read method, path and id; the body is left for `read_body`."""
        self.environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        # "" for bjoern's CONNECT, which has none. Latin-1, as PEP 3333 has it.
        self.path: str = environ.get("PATH_INFO", "")
        given = environ.get("HTTP_X_REQUEST_ID", "")
        # It goes into a header and the log, so only a plain token is taken.
        self.id: str = given if _REQUEST_ID.fullmatch(given) else os.urandom(16).hex()

    def has(self, etag: str) -> bool:
        """Whether If-None-Match names the entity tag, by weak comparison (RFC 9110, 13.1.2)."""
        condition = self.environ.get("HTTP_IF_NONE_MATCH", "")
        return condition.strip() == "*" or etag in _ENTITY_TAG.findall(condition)


@dataclass(frozen=True)
class Response:
    """An answer, before the headers that all answers share.

    Args:
        headers: Content-Type and what belongs to this answer alone.
        facts: what the access log shows of it beside the status.
    """

    status: int
    body: bytes = b""
    headers: Sequence[Header] = ()
    facts: dict[str, Any] = field(default_factory=dict)


encode_json = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def json_response(
    value: Any, *, status: int = 200, facts: dict[str, Any] | None = None
) -> Response:
    """A value as JSON that no cache keeps."""
    body = encode_json(value).encode("ascii")
    return Response(status, body, [("Content-Type", "application/json"), NO_STORE], facts or {})


def problem(status: int, detail: str, headers: Iterable[Header] = ()) -> Response:
    """An error as RFC 9457 has it.

    Args:
        detail: what was expected and what came.
    """
    body = encode_json(
        # The type says that the title is all there is to know of the kind (RFC 9457, 4.2.1).
        {"type": "about:blank", "title": REASONS[status], "status": status, "detail": detail}
    )
    content_type = ("Content-Type", "application/problem+json")
    return Response(status, body.encode("ascii"), [content_type, NO_STORE, *headers])


def cached(request: Request, body: bytes, etag: str, headers: Sequence[Header]) -> Response:
    """The body, or 304 where the client has it already.

    Args:
        headers: Content-Type first; the others stand in the 304 too.
    """
    content_type, *others = headers
    shared = [("ETag", etag), REVALIDATE, *others]
    if request.has(etag):
        return Response(304, headers=shared)
    return Response(200, body, [content_type, *shared])


def read_body(request: Request, limit: int) -> bytes:
    """The request's whole body.

    Args:
        limit: bytes.

    Raises:
        HTTPError: 400, 411 or 413; there is no length, no sane one, too much of it, or less came.
    """
    environ = request.environ
    text = environ.get("CONTENT_LENGTH", "")
    if environ.get("HTTP_TRANSFER_ENCODING"):
        if text:  # two lengths that may differ: how requests are smuggled (RFC 9112, 6.1)
            raise HTTPError(
                400, "the request expected Content-Length or Transfer-Encoding, got both"
            )
        raise HTTPError(411, "the request expected a Content-Length, got Transfer-Encoding")
    if not text:
        raise HTTPError(411, "the request expected a Content-Length, got none")
    if not _LENGTH.fullmatch(text):
        raise HTTPError(400, f"Content-Length expected a whole number, got {shown(text)}")
    length = int(text)
    if length > limit:
        raise HTTPError(413, f"the body expected at most {limit:,} bytes, got {length:,}")
    try:
        body: bytes = environ["wsgi.input"].read(length)
    except OSError:  # some servers hand over the socket itself
        body = b""
    if len(body) < length:
        raise HTTPError(
            400, f"the body expected {length:,} bytes, as Content-Length says, got {len(body):,}"
        )
    return body


def read_json_object(request: Request, limit: int, *, flat: bool = False) -> dict[str, Any]:
    """The request's body as a JSON object.

    Args:
        limit: bytes.
        flat: refuse more than one list and one object before they cost memory: six million bytes
            of "[]," are two million lists.

    Raises:
        HTTPError: 415, it is not sent as JSON; 400, it is not JSON; 422, it is no object; and all
            of read_body.
    """
    content_type = request.environ.get("CONTENT_TYPE", "")
    if not _JSON_TYPE.fullmatch(content_type):
        got = shown(content_type) if content_type else "none"
        raise HTTPError(415, f"Content-Type expected application/json in UTF-8, got {got}")
    body = read_body(request, limit)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HTTPError(
            400, f"the body expected UTF-8, got the byte {body[error.start]:#04x} at {error.start}"
        ) from None
    if not text.strip():
        raise HTTPError(400, "the body expected a JSON object, got nothing")
    if text.startswith("\ufeff"):
        raise HTTPError(400, "the body expected JSON, got a byte order mark before it")
    if flat and (body.count(b"[") > 1 or body.count(b"{") > 1):
        raise HTTPError(422, "the body expected one object with one flat list, got more of them")
    try:
        value = _decode_json(text)
    except HTTPError:
        raise
    except RecursionError:
        raise HTTPError(400, "the body expected flat JSON, got lists too deep to read") from None
    except json.JSONDecodeError as error:
        raise HTTPError(
            400, f"the body expected JSON, got a fault at character {error.pos}: {error.msg}"
        ) from None
    except ValueError:  # int() refuses more than 4,300 digits
        raise HTTPError(
            400, "the body expected numbers of usual length, got a longer one"
        ) from None
    if not isinstance(value, dict):
        raise HTTPError(422, f"the body expected a JSON object, got {kind(value)}")
    return value


def kind(value: Any) -> str:
    """What JSON calls a parsed value, with its article."""
    for types, name in _KINDS:
        if isinstance(value, types):
            return name
    return "null"


def shown(text: str) -> str:
    """A client's text, quoted, escaped and cut, for an error's detail."""
    return ascii(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")


# A bool is an int in Python, so it comes first.
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "a boolean"),
    ((int, float), "a number"),
    (str, "a string"),
    (list, "a list"),
    (dict, "an object"),
)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise HTTPError(400, f"the body expected each key once, got {shown(twice)} twice")
    return result


def _no_constant(name: str) -> NoReturn:
    raise HTTPError(400, f"the body expected JSON, which has no {name}; got one")


_decode_json = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_constant=_no_constant
).decode
