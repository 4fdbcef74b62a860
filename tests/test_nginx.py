"""nginx/numdraw.conf: a real nginx in front of the real server, and what clients get of them."""

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from numdraw.wsgi import MAX_BODY, MAX_LEGACY_BODY
from tests.serving import Site, serving
from tests.through_nginx import (
    DRAWING,
    JSON_HEADERS,
    NO_DOCUMENT,
    ask,
    assert_headers,
    assert_problem,
    echo,
    processes,
    send,
)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


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
    assert answer.header("Content-Security-Policy") == NO_DOCUMENT
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
        ("/api/explain", MAX_BODY, "at most 64 KiB"),
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
    "path",
    [
        *("/api/predict", "/api/explain", "/api/corrections", "/api/model"),
        *("/health/ready", "/hello/", "/metrics", "/predict_number/"),
    ],
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
    "path", ["/nothing", "/.git/config", "/js/.hidden", "/.problem/404", "/metrics/", "/index.php"]
)
def test_what_is_not_there_returns_404(site: Site, path: str) -> None:
    assert_problem(ask(site, "GET", path), 404, "the server expected the address of the page")


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


def test_explanations_have_a_limit_of_their_own() -> None:
    with serving(app=[]) as site:
        asked = [ask(site, "POST", "/api/explain", DRAWING, **JSON_HEADERS) for _ in range(30)]
        read = ask(site, "POST", "/api/predict", DRAWING, **JSON_HEADERS)
    statuses = [answer.status for answer in asked]
    assert statuses[:11] == [503] * 11  # the burst reaches the workers, who are not there
    assert statuses[-1] == 429
    assert read.status == 503


def test_corrections_are_kept_through_nginx_one_a_second_and_asking_is_not_limited(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o755)
    app: list[str | Path] = [sys.executable, "-m", "numdraw.serve"]
    app += ["--corrections", tmp_path / "kept", "--socket"]
    correction = json.dumps({**json.loads(DRAWING), "label": "1"}).encode()
    with serving(app=app) as site:
        too_large = ask(site, "POST", "/api/corrections", b" " * (MAX_BODY + 1), **JSON_HEADERS)
        asked = [ask(site, "GET", "/api/corrections") for _ in range(30)]
        posted = [
            ask(site, "POST", "/api/corrections", correction, **JSON_HEADERS) for _ in range(12)
        ]
    assert_problem(too_large, 413, "at most 64 KiB")
    assert {answer.status for answer in asked} == {200}
    assert asked[0].header("Cache-Control") == "no-store"
    assert json.loads(asked[0].body) == {"enabled": True}
    statuses = [answer.status for answer in posted]
    assert statuses[:6] == [201] * 6
    assert 429 in statuses
    refused = posted[statuses.index(429)]
    assert_problem(refused, 429, "fewer requests from one address")
    assert refused.header("Retry-After") == "1"
    kept = (tmp_path / "kept" / "corrections.jsonl").read_text()
    assert kept.count("\n") == statuses.count(201)


def test_one_person_is_not_limited(site: Site) -> None:
    answers = [ask(site, "POST", "/api/predict", DRAWING, **JSON_HEADERS) for _ in range(30)]
    assert {answer.status for answer in answers} == {200}


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
        assert_problem(ask(site, "GET", "/api/slow"), 504, "an answer from a worker in time")


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


def test_what_the_application_says_to_other_sites_passes_once() -> None:
    with serving(app=echo()) as site:
        answer = ask(site, "GET", "/api/x", Origin="https://elsewhere.example")
        asked = ask(site, "OPTIONS", "/api/x", Access_Control_Request_Method="POST")
        sent = json.loads(asked.body)
    for one in (answer, asked):
        assert one.header("Access-Control-Allow-Origin") == "https://elsewhere.example"
        assert one.headers["vary"].count("Origin") == 1
        assert_headers(one)
    assert sent["REQUEST_METHOD"] == "OPTIONS"
    assert sent["HTTP_ACCESS_CONTROL_REQUEST_METHOD"] == "POST"


def test_another_site_s_page_may_ask_where_the_application_lets_it() -> None:
    elsewhere = "https://elsewhere.example"
    command = [sys.executable, "-m", "numdraw.serve", "--allow-origin", elsewhere, "--socket"]
    with serving(app=command) as site:
        asked = ask(
            site,
            "OPTIONS",
            "/api/predict",
            Origin=elsewhere,
            Access_Control_Request_Method="POST",
            Access_Control_Request_Headers="content-type",
        )
        answer = ask(site, "POST", "/api/predict", DRAWING, Origin=elsewhere, **JSON_HEADERS)
        other = ask(site, "GET", "/api/model", Origin="https://other.example")
    assert answer.status == 200
    assert asked.status in (200, 204)
    for one in (asked, answer):
        assert one.header("Access-Control-Allow-Origin") == elsewhere
        assert ", ".join(one.headers["vary"]).count("Origin") == 1
    assert "POST" in (asked.header("Access-Control-Allow-Methods") or "")
    assert other.header("Access-Control-Allow-Origin") is None


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


def test_nginx_ends_at_once_when_it_is_told_to(site: Site) -> None:
    with serving(app=[]) as other:
        os.kill(other.nginx.pid, signal.SIGTERM)
        assert other.nginx.wait(5) == 0
    assert site.nginx.poll() is None
