"""nginx/numdraw.conf: a real nginx in front of the real server, and what clients get of them."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from numdraw.static import CONTENT_SECURITY_POLICY, CONTENT_TYPES
from numdraw.wsgi import MAX_BODY, MAX_LEGACY_BODY
from tests.serving import NGINX, ROOT, SECONDS, Site, nginx_files, serving

DRAWING = json.dumps({"strokes": [[[100, 60], [90, 200], [110, 60]]]}).encode()
JSON_HEADERS = {"Content_Type": "application/json"}
ON_EVERY_ANSWER = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Server": "nginx",  # without its version
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# An application of a few lines for what ours never does: be slow, show what it was sent.
ECHO = """
import bjoern, json, os, sys, time

def app(environ, start_response):
    if environ["PATH_INFO"] == "/api/slow":
        time.sleep(3)
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    sent = {key: value for key, value in environ.items() if type(value) is str}
    answer = json.dumps({**sent, "bytes": len(body)}).encode()
    hidden = [("X-Frame-Options", "from the application"), ("X-Request-Id", "from the application")]
    length = ("Content-Length", str(len(answer)))
    start_response("200 OK", [("Content-Type", "application/json"), length, *hidden])
    return [answer]

listening = bjoern.bind_and_listen("unix:" + sys.argv[1])
os.chmod(sys.argv[1], 0o666)
bjoern.server_run(listening, app)
"""


@dataclass(frozen=True)
class Answer:
    """One answer: header names in lower case, each with all its values."""

    status: int
    headers: Mapping[str, list[str]]
    body: bytes

    def header(self, name: str) -> str | None:
        values = self.headers.get(name.lower(), [])
        assert len(values) < 2, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


def ask(site: Site, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    """Send one request on a connection of its own; `_` in a header's name stands for `-`."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=SECONDS)
    with contextlib.closing(connection):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        response = connection.getresponse()
        return read(response)


def send(site: Site, *packets: bytes) -> list[Answer]:
    """Send raw bytes, in packets of their own, and return all answers until the end."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for packet in packets:
            connection.sendall(packet)
            time.sleep(0.05)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    answers = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        length = int(re.findall(rb"(?i)content-length: (\d+)", head)[0])
        lines = head.decode("latin-1").split("\r\n")
        named = http.client.HTTPMessage()
        for line in lines[1:]:
            name, _, value = line.partition(": ")
            named[name] = value
        status = int(lines[0].split()[1])
        answers.append(Answer(status, gathered(named), rest[:length]))
        received = rest[length:]
    return answers


def read(response: http.client.HTTPResponse) -> Answer:
    return Answer(response.status, gathered(response.headers), response.read())


def gathered(headers: http.client.HTTPMessage) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for name, value in headers.items():
        result.setdefault(name.lower(), []).append(value)
    return result


def assert_problem(answer: Answer, status: int, detail: str) -> None:
    """Check an error's form, its headers, and that its detail holds a text."""
    assert answer.status == status, answer
    assert answer.header("Content-Type") == "application/problem+json"
    problem = json.loads(answer.body)
    assert set(problem) == {"type", "title", "status", "detail"}
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert detail in problem["detail"]
    assert answer.header("Cache-Control") == "no-store"
    assert_headers(answer)


def assert_headers(answer: Answer) -> None:
    for name, value in ON_EVERY_ANSWER.items():
        assert answer.header(name) == value, name
    assert re.fullmatch("[0-9a-f]{32}", answer.header("X-Request-Id") or "")


def test_nginx_finds_no_fault_in_its_files(tmp_path: Path) -> None:
    if NGINX is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    nginx_files(tmp_path, "127.0.0.1:8080", ROOT / "public")
    done = subprocess.run(
        [NGINX, "-t", "-e", "stderr", "-p", f"{tmp_path}/", "-c", tmp_path / "nginx.conf"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"\[(warn|error|emerg)\]", done.stderr) == []


def test_gixy_finds_no_fault_in_the_configuration(tmp_path: Path) -> None:
    pytest.importorskip("gixy", reason="gixy is not installed: pip install gixy-ng")
    nginx_files(tmp_path, "127.0.0.1:8080", ROOT / "public")
    done = subprocess.run(
        [sys.executable, "-m", "gixy", "-f", "json", "nginx.conf"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert json.loads(done.stdout) == [], done.stdout
    assert done.returncode == 0, done.stderr


def test_the_three_values_of_a_site_may_hold_blanks(tmp_path: Path) -> None:
    folder = tmp_path / "a & b|c"
    folder.mkdir()
    nginx_files(folder, "127.0.0.1:8081", folder / "public")
    text = (folder / "numdraw.conf").read_text()
    assert re.findall(r"^ *listen .*;", text, re.MULTILINE) == ["    listen 127.0.0.1:8081;"]
    assert f'    root "{folder}/public";' in text
    assert f'    server "unix:{folder}/numdraw.sock" max_fails=0;' in text


def test_the_page_comes_with_an_etag_and_is_not_sent_twice(site: Site) -> None:
    first = ask(site, "GET", "/")
    assert first.status == 200
    assert first.header("Content-Type") == "text/html; charset=utf-8"
    assert first.header("Cache-Control") == "no-cache"
    assert first.body == (ROOT / "public" / "index.html").read_bytes()
    assert_headers(first)
    etag = first.header("ETag")
    assert etag is not None
    again = ask(site, "GET", "/", If_None_Match=etag)
    assert (again.status, again.body, again.header("ETag")) == (304, b"", etag)
    assert_headers(again)


def test_files_are_packed_where_the_client_can_unpack_them(site: Site) -> None:
    plain = ask(site, "GET", "/index.html")
    packed = ask(site, "GET", "/index.html", Accept_Encoding="gzip")
    assert packed.header("Content-Encoding") == "gzip"
    assert plain.header("Content-Encoding") is None
    assert len(packed.body) < len(plain.body)
    assert packed.header("Vary") == plain.header("Vary") == "Accept-Encoding"
    assert packed.header("ETag") == f"W/{plain.header('ETag')}"
    assert ask(site, "GET", "/", If_None_Match=packed.header("ETag") or "").status == 304


def test_every_file_of_the_page_has_its_type(site: Site) -> None:
    for path in (ROOT / "public").rglob("*"):
        if path.is_file():
            answer = ask(site, "GET", f"/{path.relative_to(ROOT / 'public')}")
            assert answer.status == 200
            assert answer.header("Content-Type") == CONTENT_TYPES[path.suffix]
            assert_headers(answer)


def test_types_are_those_of_the_server_without_nginx(tmp_path: Path) -> None:
    for suffix in (*CONTENT_TYPES, ".unknown"):
        (tmp_path / f"file{suffix}").write_text("x")
    with serving(public=tmp_path, app=[]) as site:
        found = {
            suffix: ask(site, "GET", f"/file{suffix}").header("Content-Type")
            for suffix in (*CONTENT_TYPES, ".unknown")
        }
    assert found == {**CONTENT_TYPES, ".unknown": "application/octet-stream"}


def test_head_has_the_headers_of_get_and_no_body(site: Site) -> None:
    for path in ("/", "/api/model", "/api/nothing", "/nothing"):
        get, head = ask(site, "GET", path), ask(site, "HEAD", path)
        assert (head.status, head.body) == (get.status, b"")
        assert head.header("Content-Type") == get.header("Content-Type")


def test_a_drawing_is_answered_through_nginx(site: Site) -> None:
    answer = ask(site, "POST", "/api/predict", DRAWING, **JSON_HEADERS)
    assert answer.status == 200, answer
    assert len(json.loads(answer.body)["probabilities"]) == 10
    assert answer.header("Content-Type") == "application/json"
    assert answer.header("Cache-Control") == "no-store"
    assert_headers(answer)


def test_a_body_in_chunks_reaches_the_application_whole(site: Site) -> None:
    head = (
        b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    [answer] = send(site, head, b"%x\r\n%s\r\n" % (len(DRAWING), DRAWING), b"0\r\n\r\n")
    assert answer.status == 200, answer


def test_the_application_s_own_errors_pass_through(site: Site) -> None:
    answer = ask(site, "POST", "/api/predict", b"{", **JSON_HEADERS)
    assert_problem(answer, 400, "the body expected JSON")
    assert_problem(ask(site, "GET", "/api/nothing"), 404, "the path expected a route")
    other = ask(site, "GET", "/api/predict")
    assert_problem(other, 405, "the method expected one of")
    assert other.header("Allow") == "OPTIONS, POST"


def test_pynumdraw_s_body_passes_and_is_answered(site: Site) -> None:
    pixels = [0.0] * 250_000
    for row in range(100, 400):
        pixels[500 * row + 240 : 500 * row + 260] = [1.0] * 20
    body = json.dumps({"new_data": pixels}).encode()
    assert len(body) > MAX_BODY
    answer = ask(
        site, "POST", "/predict_number/", body, Content_Type="application/json;charset=UTF-8"
    )
    assert answer.status == 200, answer
    assert set(json.loads(answer.body)) == {"predicted_number", "confidence", "model_version"}
    assert ask(site, "GET", "/hello/").body == b"hello_world"


@pytest.mark.parametrize(
    ("path", "limit", "said"),
    [
        ("/api/predict", MAX_BODY, "at most 64 KiB"),
        ("/predict_number/", MAX_LEGACY_BODY, "at most 6 MiB"),
        ("/hello/", MAX_BODY, "at most 64 KiB"),
    ],
)
def test_a_body_of_one_byte_too_much_returns_413(
    site: Site, path: str, limit: int, said: str
) -> None:
    assert_problem(ask(site, "POST", path, b" " * (limit + 1), **JSON_HEADERS), 413, said)
    # At the limit it is the application that answers: there is nothing but blanks in it.
    at_limit = ask(site, "POST", path, b" " * limit, **JSON_HEADERS)
    assert b"the server expected" not in at_limit.body
    assert at_limit.status == (400 if path != "/hello/" else 405)


def test_a_body_in_chunks_of_one_byte_too_much_returns_413(site: Site) -> None:
    head = b"POST /api/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%s\r\n" % (MAX_BODY + 1, b" " * (MAX_BODY + 1))
    [answer] = send(site, head, chunk, b"0\r\n\r\n")
    assert_problem(answer, 413, "at most 64 KiB")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND", "BREW"])
def test_the_page_takes_no_other_method(site: Site, method: str) -> None:
    answer = ask(site, method, "/")
    assert_problem(answer, 405, "the server expected GET, HEAD, got another method")
    assert answer.header("Allow") == "GET, HEAD"


@pytest.mark.parametrize(
    "path", ["/api/predict", "/api/model", "/health/ready", "/hello/", "/predict_number/"]
)
def test_nginx_allows_what_the_application_allows(site: Site, path: str) -> None:
    ours = ask(site, "DELETE", path)
    assert_problem(ours, 405, "the method expected one of")
    nginx_s = ask(site, "BREW", path)
    assert_problem(nginx_s, 405, f"the server expected {ours.header('Allow')}, got another")
    assert nginx_s.header("Allow") == ours.header("Allow")


def test_trace_returns_405(site: Site) -> None:
    assert_problem(ask(site, "TRACE", "/"), 405, "the server expected GET, HEAD")


@pytest.mark.parametrize(
    "path", ["/nothing", "/.git/config", "/js/.hidden", "/.problem/404", "/metrics", "/index.php"]
)
def test_what_is_not_there_returns_404(site: Site, path: str) -> None:
    assert_problem(ask(site, "GET", path), 404, "the server expected the address of the page")


def test_hidden_files_are_not_served(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("secret")
    (tmp_path / ".env").write_text("secret")
    with serving(public=tmp_path, app=[]) as site:
        for path in ("/.git/config", "/.env"):
            assert_problem(ask(site, "GET", path), 404, "the server expected the address")


def test_a_file_is_sent_whole(site: Site) -> None:
    whole = ask(site, "GET", "/index.html", Range="bytes=5-9")
    assert (whole.status, whole.body) == (200, (ROOT / "public" / "index.html").read_bytes())


def test_a_redirect_names_no_host(site: Site) -> None:
    answer = ask(site, "GET", "/js")
    assert (answer.status, answer.header("Location")) == (301, "/js/")


def test_a_folder_shows_no_list(site: Site) -> None:
    assert_problem(ask(site, "GET", "/js/"), 403, "the server expected the address of a file")


def test_a_path_cannot_leave_the_page_s_folder(site: Site) -> None:
    for path in (b"/../setup.py", b"/js/../../setup.py", b"/%2e%2e/setup.py", b"/js/%2e%2e%2f.."):
        [answer] = send(site, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.status in (400, 404), path
        assert answer.header("Content-Type") == "application/problem+json"


@pytest.mark.parametrize(
    ("request_text", "status", "said"),
    [
        (b"garbage\r\n\r\n", 400, "a well-formed HTTP request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "a well-formed HTTP request"),
        (
            b"GET /api/caf\xc3\xa9 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            400,
            "a well-formed HTTP request",
        ),
        (
            b"GET /hello/?\xff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            400,
            "a well-formed HTTP request",
        ),
        (b"GET / HTTP/3.1\r\nHost: x\r\n\r\n", 505, "HTTP/1.0 or HTTP/1.1"),
        (b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 9000), 414, "at most 8 KiB"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n" % (b"a" * 9000), 431, "at most 8 KiB each"),
        (
            b"POST /api/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            501,
            "Transfer-Encoding: chunked or none",
        ),
        (
            b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "a well-formed HTTP request",
        ),
        (
            b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
            b"Content-Length: 6\r\n\r\n",
            400,
            "a well-formed HTTP request",
        ),
        (
            b'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIf-Match: "other"\r\n\r\n',
            412,
            "the condition in the header",
        ),
    ],
)
def test_a_request_that_nginx_refuses_gets_a_problem(
    site: Site, request_text: bytes, status: int, said: str
) -> None:
    [answer] = send(site, request_text)
    assert_problem(answer, status, said)


def test_a_flood_returns_429_and_says_when_to_come_back() -> None:
    with serving(app=[]) as site:
        # A large body: the answer must be 429 all the same, not 413.
        answers = [ask(site, "POST", "/predict_number/", b" " * 200_000) for _ in range(15)]
        page = ask(site, "GET", "/")
    statuses = [answer.status for answer in answers]
    assert statuses[:11] == [503] * 11  # the burst reaches the workers, who are not there
    assert statuses[11:] == [429] * 4
    assert_problem(answers[-1], 429, "fewer requests from one address")
    assert answers[-1].header("Retry-After") == "1"
    assert page.status == 200


def test_one_person_is_not_limited(site: Site) -> None:
    answers = [ask(site, "POST", "/api/predict", DRAWING, **JSON_HEADERS) for _ in range(30)]
    assert {answer.status for answer in answers} == {200}


def test_one_address_cannot_hold_all_connections() -> None:
    unfinished = b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n12"
    few = {"limit_conn        numdraw_open 100;": "limit_conn numdraw_open 5;"}
    with serving(app=[], edits=few) as site, contextlib.ExitStack() as stack:
        for _ in range(5):
            assert ask(site, "GET", "/").status == 200
            connection = socket.create_connection(("127.0.0.1", site.port), timeout=SECONDS)
            stack.enter_context(connection).sendall(unfinished)
            time.sleep(0.05)
        assert_problem(ask(site, "GET", "/"), 429, "fewer requests from one address")


def test_a_drawing_is_never_written_to_disk() -> None:
    warn = {"access_log  off;": "access_log off; error_log stderr warn;"}
    with serving(app=echo(), edits=warn) as site:
        assert json.loads(ask(site, "POST", "/api/x", b" " * MAX_BODY).body)["bytes"] == MAX_BODY
        log = site.folder / "nginx.log"
        assert "temporary file" not in log.read_text()
        # The legacy route's bodies are too large for memory; it shows that the log would tell.
        ask(site, "POST", "/predict_number/", b" " * 200_000)
        assert "a client request body is buffered to a temporary file" in log.read_text()


def test_workers_that_are_gone_return_503_until_they_are_back() -> None:
    with serving(app=[]) as site:
        answer = ask(site, "GET", "/health/ready")
        assert_problem(answer, 503, "an answer from a worker, got none")
        assert answer.header("Retry-After") == "2"
        assert ask(site, "GET", "/").status == 200


def test_a_worker_that_is_too_slow_returns_504() -> None:
    with serving(
        app=echo(), edits={"proxy_read_timeout      10s": "proxy_read_timeout 1s"}
    ) as site:
        assert_problem(ask(site, "GET", "/api/slow"), 504, "an answer from a worker within")


def test_what_reaches_the_workers_is_one_plain_request() -> None:
    with serving(app=echo()) as site:
        answer = ask(
            site,
            "POST",
            "/api/echo?a=%0d%0a",
            b"x" * 1000,
            X_Forwarded_For="1.2.3.4",
            X_Request_Id="chosen-by-the-client",
            Accept_Encoding="gzip",
            Expect="100-continue",
        )
    assert answer.status == 200, answer
    sent = json.loads(answer.body)
    assert sent["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert sent["HTTP_CONNECTION"] == "close"
    assert sent["HTTP_X_FORWARDED_FOR"] == "127.0.0.1"
    assert sent["HTTP_X_REQUEST_ID"] == answer.header("X-Request-Id")
    assert re.fullmatch("[0-9a-f]{32}", sent["HTTP_X_REQUEST_ID"])
    assert sent["QUERY_STRING"] == "a=%0d%0a"
    assert "HTTP_ACCEPT_ENCODING" not in sent
    assert "HTTP_EXPECT" not in sent
    assert "HTTP_TRANSFER_ENCODING" not in sent
    assert sent["bytes"] == 1000
    assert_headers(answer)


def test_pipelined_requests_kill_no_worker(site: Site) -> None:
    before = processes(site)
    get = b"GET /api/model HTTP/1.1\r\nHost: x\r\n\r\n"
    post = (
        b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(DRAWING)
    )
    last = get.replace(b"Host", b"Connection: close\r\nHost")
    answers = send(site, get + post + DRAWING[:10], DRAWING[10:] + get, last)
    assert [answer.status for answer in answers] == [200, 200, 200, 200]
    assert processes(site) == before


def test_a_request_that_never_ends_is_cut_off() -> None:
    quick = {
        "client_header_timeout     10s": "client_header_timeout 1s",
        "client_body_timeout       10s": "client_body_timeout 1s",
    }
    with serving(app=[], edits=quick) as site:
        for start in (
            b"GET / HTTP/1.1\r\nHo",
            b"POST /api/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9",
        ):
            with socket.create_connection(("127.0.0.1", site.port), timeout=SECONDS) as slow:
                slow.sendall(start + (b"\r\n\r\n12" if b"Length" in start else b""))
                began = time.monotonic()
                with contextlib.suppress(ConnectionResetError):
                    assert slow.recv(1000) == b""
                assert time.monotonic() - began > 0.5


def test_nginx_ends_at_once_when_it_is_told_to(site: Site) -> None:
    with serving(app=[]) as other:
        os.kill(other.nginx.pid, signal.SIGTERM)
        assert other.nginx.wait(5) == 0
    assert site.nginx.poll() is None


def echo() -> list[str | Path]:
    """The command of the application ECHO."""
    pytest.importorskip("bjoern", reason="bjoern is not installed: pip install bjoern")
    return [sys.executable, "-c", ECHO]


def processes(site: Site) -> list[str]:
    """The server's process and its children, the workers if it has any."""
    assert site.app is not None
    assert site.app.poll() is None
    children = Path(f"/proc/{site.app.pid}/task/{site.app.pid}/children")
    return [str(site.app.pid), *children.read_text().split()]
