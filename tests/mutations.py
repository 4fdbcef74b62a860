"""What clients should never send: HTTP requests and JSON bodies, damaged in all ways that we know.

Both are drawn from a random.Random, so a seed and a number name each of them for ever.
"""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

STROKES = [[[100, 60], [90, 130], [88, 200]], [[60.5, 120], [130, 118.25]]]
PIXELS = [
    [0] * 8,
    [0, 0, 0, 200, 255, 0, 0, 0],
    *[[0, 0, 0, 255, 90, 0, 0, 0]] * 4,
    [0] * 8,
    [0] * 8,
]
PREDICT, LEGACY = "/api/predict", "/predict_number/"

METHODS = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND",
    "PRI", "get", "", "A" * 300, "G\0T",
]  # fmt: skip  # one a line would be a page
PATHS = [
    "/", "/index.html", "/api/predict", "/api/model", "/api/openapi.json", "/health/live",
    "/health/ready", "/metrics", "/predict_number/", "/hello/", "/api/", "/nothing", "*", "",
    "http://localhost/api/model", "http://[::1/", "localhost:80", "//api//model",
    "/api/../api/model", "/api/%2e%2e/%2e%2e/etc/passwd", "/../../etc/passwd", "/%00",
    "/api/model%00.json", "/%", "/%zz", "/%ff%fe", "/api/%c0%af", "/api/model?",
    "/api/model?a=%00&b=\xff", "/api/\xe9\xe8", "/a;b", "/api/model#x", "/\\..\\",
    "/" + "a" * 9000, "/api/" + "%41" * 3000, "/api/" + "../" * 500, "/.git/config",
    "/.problem/500", "/api/predict/", "/api/explain",
]  # fmt: skip  # one a line would be a page
LENGTHS = [
    "0", "1", "-1", "+5", "5.0", "1e3", "0x10", "99999999999999999999", "18446744073709551616",
    "", " ", "abc", "5, 5", "5, 6", "\x00", "65536", "65537", "7000000", "00005",
]  # fmt: skip  # one a line would be a page
CODINGS = [
    "chunked", "Chunked", "gzip, chunked", "chunked, gzip", "xchunked", "identity", " chunked",
    "\x0bchunked", "", "chunked\0",
]  # fmt: skip  # one a line would be a page
CHUNKS = [
    b"5\r\nhello\r\n0\r\n\r\n", b"FFFFFFFFFFFFFFFFF\r\n", b"-1\r\nx\r\n",
    b"5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n", b"5\nhello\n0\n\n", b"zz\r\n", b"0\r\n", b"5\r\nhel",
    b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", b"\r\n\r\n",
]  # fmt: skip  # one a line would be a page
HEADERS = [
    "Host: a", "Host: ", "Host: a b", "Host:\x00", "Content-Type: text/plain",
    "Content-Type: application/json", "Expect: 100-continue", "Expect: 200",
    "Connection: keep-alive", "Connection: close, upgrade", "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAAQAAP__", "Accept-Encoding: gzip, br;q=0", "If-None-Match: *",
    "Range: bytes=0-1,5-", 'If-None-Match: W/"' + 60 * "x", "If-Modified-Since: yesterday",
    "X-Request-Id: a\tb", "X-Request-Id: " + 300 * "i", "X-Forwarded-For: 1.2.3.4",
    "Cookie: a=" + 2000 * "b", "No colon", ": no name", " folded: line", "A\x00B: c",
    "N\xe4me: v", "Name : v", "A_B: c", "Trailer: X", "TE: trailers", "Origin: null",
    "Access-Control-Request-Method: POST",
]  # fmt: skip  # one a line would be a page
VERSIONS = [
    "HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9.9", "HTTP/1.1 ", "http/1.1",
    "HTTP/11", "", "FTP/1.1", "HTTP/1.",
]  # fmt: skip  # one a line would be a page

# Texts in place of a value: not all of them JSON.
VALUES = [
    "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e308", "-0", "-0.0", "5e-324", "0", "1",
    "-1", "255", "256", "0.1", "1e5", "9" * 400, "-" + "9" * 5000, "9" * 4300, "0." + "3" * 2000,
    "01", "+1", ".5", "1.", "0x10", "1_0", "null", "true", "false", "True", "None", "undefined",
    '""', '"7"', '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\x41"', '"\x01"', '"\t"',
    '"' + "a" * 5000 + '"', "'1'", "[]", "[[]]", "[[[]]]", "[1]", "[1,2]", "[[1,2]]", "[[1,2,3]]",
    "[1,[2]]", "{}", '{"x":1}', "[null,null]", "[true,false]", "[[NaN,1]]", "[[1e400,0]]",
    "[1e308,-1e308]", "[[1e308,1e308],[-1e308,-1e308]]", "[[5e-324,0],[0,5e-324]]",
    "[[1e-300,0],[1e300,0]]", "[[0,0]]", "[[0,0],[0,0]]", "", ",", "//", "/**/1", "[1,]", "[,1]",
    "[", "]", "{", "}", '{"a"}', '{"a":}', '{"a":1,}', "\x00", "\u2028", "\ufeff",
]  # fmt: skip  # one a line would be a page
ENCODINGS = ["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1"]
SEPARATORS = [b"\0", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b":", b"\xff"]
KEYS = [
    "strokes", "pixels", "new_data", "image", "", "Strokes", "stroke\\u0073", "\\ud800",
    "__proto__", "a" * 3000,
]  # fmt: skip  # one a line would be a page
PLACE = "@@here@@"  # no JSON of ours holds it


def http_request(rng: random.Random) -> list[bytes]:
    """One connection's bytes, a packet each: a damaged request or several."""
    request = b"".join(_one_request(rng) for _ in range(rng.choice([1, 1, 1, 1, 2, 3, 5])))
    for _ in range(rng.choice([0, 0, 0, 0, 1, 3])):
        request = damaged(rng, request)
    if rng.random() < 0.15:
        request = request[: rng.randrange(len(request) + 1)]
    cuts = sorted(rng.randrange(len(request) + 1) for _ in range(rng.choice([0, 0, 0, 1, 2, 4])))
    return [request[a:b] for a, b in zip([0, *cuts], [*cuts, len(request)], strict=True) if a < b]


def damaged(rng: random.Random, data: bytes) -> bytes:
    """The bytes with some flipped, inserted, taken out, repeated or swapped."""
    place = rng.randrange(len(data) + 1)
    end = min(len(data), place + rng.choice([1, 1, 2, 8, 100]))
    kind = rng.randrange(6)
    separator = rng.choice(SEPARATORS)
    if kind == 0 and place < len(data):
        return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
    if kind == 1:
        return data[:place] + rng.randbytes(rng.choice([1, 2, 20])) + data[place:]
    if kind == 2:
        return data[:place] + data[end:]
    if kind == 3:
        return data[:end] + data[place:]
    if kind == 4:
        return data[:place] + separator + data[place:]
    return (
        data[end:] + data[:place]
        if rng.random() < 0.1
        else data[:place] + data[place:end][::-1] + data[end:]
    )


def _one_request(rng: random.Random) -> bytes:
    sound = json.dumps({"strokes": STROKES}).encode()
    body = rng.choice([b"", json_body(rng, PREDICT, small=True), sound])
    path = rng.choice(PATHS) if rng.random() < 0.4 else PREDICT
    method = rng.choice(METHODS) if rng.random() < 0.2 else "POST" if body else "GET"
    lines = ["Host: localhost", "Content-Type: application/json"]
    if rng.random() < 0.7:
        lines.append("Connection: close")
    if body or rng.random() < 0.3:
        length = (
            str(len(body))
            if rng.random() < 0.85
            else rng.choice([*LENGTHS, str(len(body) + rng.randint(-9, 9))])
        )
        lines.append(f"Content-Length: {length}")
    if rng.random() < 0.1:
        lines.append(f"Transfer-Encoding: {rng.choice(CODINGS)}")
        body = rng.choice([*CHUNKS, b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)])
    for _ in range(rng.choice([0, 0, 0, 0, 1, 3])):
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(HEADERS))
    if rng.random() < 0.05:
        lines.append(rng.choice(lines))
    if rng.random() < 0.04:
        lines += [f"X-Many-{k}: {k}" for k in range(rng.choice([20, 200, 1000]))]
    if rng.random() < 0.04:
        lines.append("X-Large: " + "l" * rng.choice([1000, 8000, 8192, 9000, 40000]))
    end = "\r\n" if rng.random() < 0.97 else rng.choice(["\n", "\r", "\r\r\n", "\n\r"])
    version = "HTTP/1.1" if rng.random() < 0.95 else rng.choice(VERSIONS)
    head = end.join([f"{method} {path} {version}", *lines, "", ""])
    return head.encode("latin-1", "replace") + body


def json_body(rng: random.Random, path: str, *, small: bool = False) -> bytes:
    """A damaged body for /api/predict or /predict_number/.

    Args:
        small: none that is larger than some kB.
    """
    if not small and rng.random() < 0.03:
        return _large(rng, path)
    text = _with_strange_values(rng, _sound(rng, path))
    if rng.random() < 0.03:
        text = text.replace(":", ": " + rng.choice(["\n", "\t", "\x0b", "\xa0", "\f"]), 1)
    if rng.random() < 0.03:
        text = (
            rng.choice(["\ufeff", " ", "\n", "\0"])
            + text
            + rng.choice(["", "\0", " x", "{}", "\n\n"])
        )
    if rng.random() < 0.03:
        return text.encode(rng.choice(ENCODINGS), "replace")
    data = text.encode("utf-8", "surrogatepass")
    for _ in range(rng.choice([0, 0, 1, 3]) if rng.random() < 0.4 else 0):
        data = damaged(rng, data)
    return data if rng.random() < 0.98 else data[: rng.randrange(len(data) + 1)]


def _sound(rng: random.Random, path: str) -> dict[str, Any]:
    if path == LEGACY:
        return {
            "new_data": [
                rng.choice([0, 0, 0.5, 1]) for _ in range(rng.choice([1, 4, 9, 64, 784, 783]))
            ]
        }
    body: dict[str, Any] = {"strokes": STROKES} if rng.random() < 0.7 else {"pixels": PIXELS}
    if rng.random() < 0.3:
        body = {"strokes": [[[_far(rng), _far(rng)] for _ in range(rng.randint(1, 30))]]}
    return {**body, "image": rng.random() < 0.5} if rng.random() < 0.3 else body


def _far(rng: random.Random) -> float:
    return rng.choice([rng.uniform(-1e3, 1e3), rng.gauss(0, 1e9), 0, 1e308, 1e-320])


def _with_strange_values(rng: random.Random, value: Any) -> str:
    """The value as text, with some of its parts replaced, doubled or under another key."""
    value = json.loads(json.dumps(value))
    strange: list[str] = []
    for _ in range(rng.choice([0, 1, 1, 1, 2, 5])):
        container, key = _place(rng, value)
        if container is None:
            break
        if isinstance(container, dict) and rng.random() < 0.3:
            container[rng.choice(KEYS)] = container[key]
            continue
        strange.append(rng.choice(VALUES))
        container[key] = PLACE
    text = json.dumps(value, ensure_ascii=rng.random() < 0.9)
    for part in strange:
        text = text.replace(f'"{PLACE}"', part, 1)
    if rng.random() < 0.05:
        text = text.replace("{", '{"image":true,"image":false,', 1)
    return rng.choice(VALUES) if rng.random() < 0.02 else text


def _place(rng: random.Random, value: Any) -> tuple[Any, Any]:
    """A container somewhere in the value, and a key of it; None where it holds nothing."""
    found: tuple[Any, Any] = (None, None)
    while isinstance(value, dict | list) and value:
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        found = value, key
        if rng.random() < 0.3:
            break
        value = value[key]
    return found


def _large(rng: random.Random, path: str) -> bytes:
    """Bodies that cost time or memory, up to just above the limit of the path."""
    limit = 6_291_456 if path == LEGACY else 65_536
    key = b"new_data" if path == LEGACY else rng.choice([b"strokes", b"pixels"])
    size = rng.choice([limit // 10, limit - 40, limit - 40, limit + 100])
    depth = rng.choice([500, 990, 1000, 30_000, 100_000])
    pieces: list[Callable[[], bytes]] = [
        lambda: b"[" * depth,
        lambda: b"[" * depth + b"]" * depth,
        lambda: b'{"a":' * depth + b"1" + b"}" * depth,
        lambda: _list(b"[]", size),
        lambda: _list(b"{}", size),
        lambda: _list(b"0", size),
        lambda: _list(b"1e9", size),
        lambda: _list(b"0.12345678901234567", size),
        lambda: b"[" + _list(b"[0,0]", size) + b"]",
        lambda: b"[" + _list(b"[%d,%d]" % (rng.randint(0, 999), rng.randint(0, 999)), size) + b"]",
        lambda: b"[[" + b",".join(_point(rng) for _ in range(2000)) + b"]]",
        lambda: _list(b"[[%d,5],[9,%d]]" % (rng.randint(0, 99), rng.randint(0, 99)), size),
        lambda: _list(b"[" + b",".join([b"255"] * 512) + b"]", size),
        lambda: _list(_list(b"0", 2 * rng.choice([28, 100, 170])), size),
        lambda: _picture(rng, rng.choice([28, 100, 170])),
        lambda: b"[" + b",".join(b"[%s]" % _point(rng) for _ in range(4000)) + b"]",
        lambda: b"[" + b",".join(_line(rng) for _ in range(2500)) + b"]",
        lambda: _flat_picture(rng, rng.choice([28, 200, 512])),
        lambda: b"9" * (size - 20),
        lambda: b'"' + b"\\u0041" * (size // 6 - 20) + b'"',
        lambda: b" " * size,
        lambda: b"{" + b",".join(b'"%d":%d' % (k, k) for k in range(size // 14)) + b"}",
        lambda: b"[1" + b",1e400" * (size // 6 - 9) + b"]",
    ]  # fmt: skip
    value = rng.choice(pieces)()
    return value if rng.random() < 0.1 else b'{"' + key + b'":' + value + b"}"


def _point(rng: random.Random) -> bytes:
    return b"[%d,%d]" % (rng.randrange(500), rng.randrange(500))


def _line(rng: random.Random) -> bytes:
    return b"[%s,%s]" % (_point(rng), _point(rng))


def _picture(rng: random.Random, side: int) -> bytes:
    """Rows of noise, or a chessboard: each point is ink of its own."""
    return b"[" + b",".join(b"[%s]" % row for row in _rows(rng, side)) + b"]"


def _flat_picture(rng: random.Random, side: int) -> bytes:
    """The same in one list, as /predict_number/ takes it."""
    return b"[" + b",".join(_rows(rng, side)) + b"]"


def _rows(rng: random.Random, side: int) -> Iterator[bytes]:
    inks = rng.choice([b"01", b"09", b"0009", b"0123456789"])
    for y in range(side):
        row = (
            rng.choices(inks, k=side) if len(inks) > 2 else [inks[(x + y) % 2] for x in range(side)]
        )
        yield b",".join(bytes([ink]) for ink in row)


def _list(item: bytes, size: int) -> bytes:
    """A list of one item over and over, of about so many bytes."""
    return b"[" + b",".join([item] * max(1, (size - 30) // (len(item) + 1))) + b"]"
