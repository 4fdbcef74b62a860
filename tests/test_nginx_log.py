"""nginx's access log: JSON whatever a client sends, and what it never holds."""

import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.serving import SECONDS, Site, serving
from tests.through_nginx import DRAWING, JSON_HEADERS, ask, echo, send, wait_until

LOGGED = {"    access_log off;": "    access_log access.log numdraw;"}
FIELDS = {
    "time": str,
    "request_id": str,
    "address": str,
    "method": str,
    "path": str,
    "protocol": str,
    "status": int,
    "bytes": int,
    "seconds": float,
    "upstream": str,
    "upstream_status": str,
    "upstream_seconds": str,
    "tls": str,
    "agent": str,
}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving(app=echo(), edits=LOGGED) as site:
        yield site


def lines(site: Site, count: int) -> list[dict[str, Any]]:
    """The log's last lines, after that many more than there were."""
    log = site.folder / "access.log"
    wait_until("the log's lines", lambda: log.read_bytes().count(b"\n") >= count)
    found = [json.loads(line) for line in log.read_text("ascii").splitlines()]
    assert len(found) == count
    for line in found:
        assert {name: type(value) for name, value in line.items()} == FIELDS
    return found


def logged(site: Site) -> int:
    """How many lines the log has."""
    return (site.folder / "access.log").read_bytes().count(b"\n")


def test_a_request_is_one_line_that_tells_of_it(site: Site) -> None:
    before = logged(site)
    answer = ask(
        site, "POST", "/api/predict?secret=1", DRAWING, User_Agent="a test", **JSON_HEADERS
    )
    line = lines(site, before + 1)[-1]
    assert line["request_id"] == answer.header("X-Request-Id")
    assert (line["method"], line["path"], line["status"]) == ("POST", "/api/predict", 200)
    assert (line["address"], line["agent"]) == ("127.0.0.1", "a test")
    assert (line["protocol"], line["tls"]) == ("HTTP/1.1", "")
    assert line["upstream"] == f"unix:{site.socket}"
    assert line["upstream_status"] == "200"
    assert float(line["upstream_seconds"]) >= 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", line["time"])


def test_the_drawing_and_the_query_are_never_logged(site: Site) -> None:
    before = logged(site)
    ask(site, "POST", "/api/predict?token=hunter2", b"drawn-by-somebody", Cookie="hunter2")
    ask(site, "GET", "/nothing?token=hunter2", Referer="http://x/hunter2", Authorization="hunter2")
    # In any order: each of nginx's processes writes its own.
    assert {line["path"] for line in lines(site, before + 2)[-2:]} == {"/api/predict", "/nothing"}
    text = (site.folder / "access.log").read_text()
    assert "hunter2" not in text
    assert "drawn-by-somebody" not in text


@pytest.mark.parametrize(
    "request_text",
    [
        b'GET /"quoted\\" HTTP/1.1\r\nHost: x\r\nUser-Agent: "\\"\r\nConnection: close\r\n\r\n',
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\nUser-Agent: \xff\xc3\r\nConnection: close\r\n\r\n",
        b"GET /%00%22%0a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: a\x01\x1b[31m\tb\r\nConnection: close\r\n\r\n",
        b"GET /%s HTTP/1.1\r\nHost: x\r\nUser-Agent: %s\r\nConnection: close\r\n\r\n"
        % (b"p" * 4000, b"\xc3\xa9" * 2000),
        b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 9000),
        b"%s / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % (b"A" * 900),
        b'"garbage\x00\xff\r\n\r\n',
        b'GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: \xff"\r\nConnection: close\r\n\r\n',
        b'GET http://\xc3\xa9"/?x HTTP/1.1\r\nHost: "\r\n\r\n',
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    ],
)
def test_a_hostile_request_is_one_line_of_json_in_ascii(site: Site, request_text: bytes) -> None:
    before = logged(site)
    send(site, request_text)
    line = lines(site, before + 1)[-1]
    assert len(line["path"]) <= 200
    assert len(line["agent"]) <= 200
    assert len(line["method"]) <= 20


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nUs", 400),
        (b"GET /\r\n", 200),  # HTTP/0.9
        (b"POST /api/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n12", 400),
    ],
)
def test_a_client_that_leaves_early_is_one_line_of_json(
    site: Site, sent: bytes, status: int
) -> None:
    before = logged(site)
    with socket.create_connection(("127.0.0.1", site.port), timeout=SECONDS) as connection:
        connection.sendall(sent)
    assert lines(site, before + 1)[-1]["status"] == status


def test_scripts_serve_and_the_tests_log_nothing() -> None:
    with serving(app=[]) as site:
        ask(site, "GET", "/")
        assert "access_log off;" in (site.folder / "numdraw.conf").read_text()
        assert sorted(path.name for path in site.folder.glob("*.log")) == ["nginx.log"]
