"""What lets pages of other origins use the API: CORS, off unless origins are named.

Source: https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from collections.abc import Set

from numdraw.wsgi import Header, Request

ANY = "*"
MAX_AGE = 7200  # s that a browser keeps the answer to a preflight; Chromium's most

_FOR_PREFLIGHTS = [
    ("Access-Control-Allow-Methods", "GET, HEAD, POST"),
    ("Access-Control-Allow-Headers", "Content-Type, If-None-Match"),
    ("Access-Control-Max-Age", str(MAX_AGE)),
]
_FOR_ANSWERS = [("Access-Control-Expose-Headers", "ETag, Retry-After, X-Request-Id")]


def headers(request: Request, origins: Set[str]) -> list[Header]:
    """The headers that tell a browser whether the page that asks may read the answer.

    Args:
        origins: the allowed ones, and never what the request says they are.
    """
    environ = request.environ
    # Whether an origin is named decides about the answer, so a cache must tell origins apart.
    shared = [] if ANY in origins else [("Vary", "Origin")]
    origin = environ.get("HTTP_ORIGIN", "")
    if not origin or not origins & {origin, ANY}:
        return shared
    allowed = ANY if ANY in origins else origin
    shared.append(("Access-Control-Allow-Origin", allowed))
    is_preflight = request.method == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
    return [*shared, *(_FOR_PREFLIGHTS if is_preflight else _FOR_ANSWERS)]
