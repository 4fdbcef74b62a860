"""/metrics and /health through nginx: there for this machine and whom the site names alone."""

import gzip
import json
import re
import socket
import tempfile

import pytest

from tests.serving import SECONDS, serving
from tests.through_nginx import NO_DOCUMENT, ask, assert_headers, assert_problem, echo, wait_until


def test_metrics_come_through_nginx_packed_for_whom_unpacks_them() -> None:
    with serving(workers=2) as site:
        wait_until(
            "both workers", lambda: b"\nnumdraw_workers 2" in ask(site, "GET", "/metrics").body
        )
        plain = ask(site, "GET", "/metrics")
        packed = ask(site, "GET", "/metrics", Accept_Encoding="gzip")
    assert plain.status == packed.status == 200
    assert (plain.header("Content-Type") or "").startswith("text/plain; version=")
    assert b"\nnumdraw_workers 2" in plain.body
    assert b"\nnumdraw_workers 2" in gzip.decompress(packed.body)
    assert plain.header("Content-Security-Policy") == NO_DOCUMENT
    assert_headers(plain)


@pytest.mark.parametrize("path", ["/metrics", "/health/ready", "/health/live"])
def test_health_and_metrics_are_this_machine_s_alone(path: str) -> None:
    one = {"    127.0.0.0/8 1;": "    127.0.0.1 1;"}
    with serving(app=echo(), edits=one) as site:
        assert ask(site, "GET", path).status == 200
        for method in ("GET", "POST", "OPTIONS"):
            answer = ask(site, method, path, source="127.0.0.2", X_Forwarded_For="127.0.0.1")
            assert_problem(answer, 404, "the server expected the address of the page")
        assert ask(site, "GET", "/api/x", source="127.0.0.2").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/metrics?x",
        "/metrics/",
        "//metrics",
        "/./metrics",
        "/%6detrics",
        "/api/../metrics",
        "/api/..%2fmetrics",
        "/api/%2e%2e/metrics",
        "/metrics/../api/x",
        "/metrics%3f/../api/x",
        "/metrics#/../api/x",
        "/metrics?/../api/x",
        "/hello/../health/ready",
        "/health//ready",
        "http://x/metrics",
        "http://x/health/ready?/api/x",
    ],
)
def test_no_spelling_of_the_path_shows_health_or_metrics_to_others(path: str) -> None:
    one = {"    127.0.0.0/8 1;": "    127.0.0.1 1;"}
    with serving(app=echo(), edits=one) as site:
        answer = ask(site, "GET", path, source="127.0.0.2")
    if answer.status == 200:
        assert (
            re.match("/(metrics|health/(ready|live))$", json.loads(answer.body)["PATH_INFO"])
            is None
        )
    else:
        assert_problem(answer, 404, "the server expected the address of the page")


def test_health_and_metrics_are_shown_to_whom_the_site_names() -> None:
    named = {"    127.0.0.0/8 1;": "", "# 192.0.2.10 1;": "127.0.0.2 1;"}
    with serving(app=echo(), edits=named) as site:
        assert ask(site, "GET", "/metrics", source="127.0.0.2").status == 200
        assert ask(site, "GET", "/metrics", source="127.0.0.3").status == 404
        # The address that the site is at is this machine whatever the list says.
        assert ask(site, "GET", "/metrics").status == 200


def test_health_and_metrics_are_shown_over_a_unix_socket() -> None:
    with tempfile.TemporaryDirectory(prefix="numdraw-") as folder:
        path = f"{folder}/nginx.sock"
        with (
            serving(
                app=echo(),
                edits={
                    "    127.0.0.0/8 1;": "",
                    "server_name _;": f"server_name _; listen unix:{path};",
                },
            ),
            socket.socket(socket.AF_UNIX) as connection,
        ):
            connection.settimeout(SECONDS)
            connection.connect(path)
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
