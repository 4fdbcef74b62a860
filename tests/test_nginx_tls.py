"""nginx/numdraw-tls.conf: real handshakes, HTTP/2, and the plain address that only sends there."""

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from numdraw.static import PAGE_POLICY
from tests.serving import ROOT, SECONDS, Site, free_port, serving
from tests.through_nginx import DRAWING, ask, echo, tls_edits, wait_until

NAME = "numdraw.example.org"
HSTS = "max-age=63072000"


@dataclass(frozen=True)
class Secure:
    """A site, the port of its TLS, and the certificate to trust."""

    site: Site
    port: int
    trusted: Path

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.trusted))

    def shake_hands(self, context: ssl.SSLContext, name: str = NAME) -> ssl.SSLSocket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)
        return context.wrap_socket(connection, server_hostname=name)

    def curl(self, *arguments: str) -> str:
        """What curl prints of a request for the site by its name."""
        if shutil.which("curl") is None:
            pytest.skip("curl is not installed: apt-get install curl")
        where = ["--resolve", f"{NAME}:{self.port}:127.0.0.1", "--cacert", str(self.trusted)]
        command = ["curl", "-q", "-sS", "--max-time", str(SECONDS), "--noproxy", "*", *where]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def url(self) -> str:
        return f"https://{NAME}:{self.port}"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder, port = tmp_path_factory.mktemp("tls"), free_port()
    edits = {
        **tls_edits(folder, port),
        "root /var/www/acme;": "root acme;",
        "    access_log off;": "    access_log access.log numdraw buffer=64k flush=1s;",
    }
    with serving(app=echo(), edits=edits, site_file="numdraw-tls.conf") as site:
        yield Secure(site, port, folder / "cert.pem")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(secure: Secure, version: ssl.TLSVersion) -> None:
    context = secure.context()
    context.minimum_version = context.maximum_version = version
    with secure.shake_hands(context) as connection:
        assert connection.version() == {771: "TLSv1.2", 772: "TLSv1.3"}[version.value]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_older_versions_are_refused(secure: Secure, version: ssl.TLSVersion) -> None:
    context = secure.context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")  # so that it is the server that refuses
    with pytest.raises(ssl.SSLError, match=r"(?i)alert protocol version"):
        secure.shake_hands(context)


@pytest.mark.parametrize(
    ("cipher", "spoken"),
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", True),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", True),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", True),
        ("ECDHE-ECDSA-AES128-SHA256", False),
        ("ECDHE-ECDSA-AES256-CCM", False),
    ],
)
def test_tls_1_2_has_the_guidelines_ciphers_alone(
    secure: Secure, cipher: str, spoken: bool
) -> None:
    context = secure.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(cipher)
    if spoken:
        with secure.shake_hands(context) as connection:
            assert (connection.cipher() or ("",))[0] == cipher
    else:
        with pytest.raises(ssl.SSLError, match=r"(?i)handshake failure"):
            secure.shake_hands(context)


def test_a_session_is_resumed_without_a_ticket(secure: Secure) -> None:
    context = secure.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with secure.shake_hands(context) as connection:
        session = connection.session
    assert session is not None
    assert not session.has_ticket
    again = socket.create_connection(("127.0.0.1", secure.port), timeout=SECONDS)
    with context.wrap_socket(again, server_hostname=NAME, session=session) as connection:
        assert connection.session_reused


def test_another_name_gets_no_certificate(secure: Secure) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        secure.shake_hands(secure.context(), "other.example.org")


def test_a_connection_s_other_names_are_misdirected(secure: Secure) -> None:
    asked = ["-H", "Host: other.example.org", "-o", "/dev/null", "-w", "%{http_code}"]
    assert secure.curl("--http2", *asked, f"{secure.url}/") == "421"


def test_http_2_is_agreed_on_and_spoken(secure: Secure) -> None:
    context = secure.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with secure.shake_hands(context) as connection:
        assert connection.selected_alpn_protocol() == "h2"
    shown = secure.curl("--http2", "-D", "-", "-o", "/dev/null", f"{secure.url}/")
    status, *headers = shown.splitlines()
    assert status.strip() == "HTTP/2 200"
    named = dict(line.split(": ", 1) for line in headers if line)
    assert named["strict-transport-security"] == HSTS
    assert named["content-security-policy"] == PAGE_POLICY
    assert named["x-content-type-options"] == "nosniff"


def test_a_drawing_is_answered_over_http_2(secure: Secure) -> None:
    body = ["--data-binary", DRAWING.decode(), "-H", "Content-Type: application/json"]
    sent = json.loads(secure.curl("--http2", *body, f"{secure.url}/api/x"))
    assert sent["bytes"] == len(DRAWING)
    assert sent["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert sent["HTTP_X_FORWARDED_PROTO"] == "https"
    assert sent["HTTP_HOST"] == NAME
    log = secure.site.folder / "access.log"
    wait_until("the log's line", lambda: '"path":"/api/x"' in log.read_text())
    [line] = [line for line in log.read_text().splitlines() if '"path":"/api/x"' in line]
    logged = json.loads(line)
    assert (logged["tls"], logged["protocol"]) == ("TLSv1.3", "HTTP/2.0")


def test_an_error_over_http_2_is_a_problem_with_the_promise_of_tls(secure: Secure) -> None:
    many = ["-D", "-", "--data-binary", "x" * 70_000, f"{secure.url}/api/x"]
    shown = secure.curl("--http2", *many).replace("\r", "")
    head, _, body = shown.partition("\n\n")
    assert head.startswith("HTTP/2 413")
    assert f"strict-transport-security: {HSTS}" in head
    assert json.loads(body)["status"] == 413


def test_the_plain_address_only_sends_to_the_other(secure: Secure) -> None:
    answer = ask(secure.site, "GET", "/js/page.js?v=2", Host="evil.example")
    assert answer.status == 301
    assert answer.header("Location") == f"https://{NAME}/js/page.js?v=2"
    assert answer.header("Server") == "nginx"
    assert answer.header("Strict-Transport-Security") is None  # over plain HTTP it means nothing


def test_the_plain_address_proves_that_the_name_is_ours(secure: Secure) -> None:
    folder = secure.site.folder / "acme" / ".well-known" / "acme-challenge"
    folder.mkdir(parents=True)
    (folder / "token").write_text("proof")
    assert ask(secure.site, "GET", "/.well-known/acme-challenge/token").body == b"proof"


def test_plain_http_at_the_address_of_tls_returns_400(secure: Secure) -> None:
    with socket.create_connection(("127.0.0.1", secure.port), timeout=SECONDS) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: numdraw.example.org\r\n\r\n")
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    assert received.startswith(b"HTTP/1.1 400 ")
    assert json.loads(received.partition(b"\r\n\r\n")[2])["status"] == 400


def test_the_page_is_the_same_over_tls(secure: Secure) -> None:
    page = (ROOT / "public" / "index.html").read_text()
    assert secure.curl("--http2", f"{secure.url}/") == page


def test_a_client_that_never_says_whom_it_wants_is_cut_off(tmp_path: Path) -> None:
    port = free_port()
    quick = {"client_header_timeout     10s": "client_header_timeout 1s"}
    edits = {**tls_edits(tmp_path, port), **quick}
    with serving(app=[], edits=edits, site_file="numdraw-tls.conf") as site:
        for at in (site.port, port):
            with socket.create_connection(("127.0.0.1", at), timeout=SECONDS) as slow:
                slow.sendall(b"G" if at == site.port else b"\x16")
                with contextlib.suppress(ConnectionResetError):
                    assert slow.recv(1000) == b""


def test_the_plain_address_tells_this_machine_of_health_and_metrics(secure: Secure) -> None:
    for path in ("/health/ready", "/metrics"):
        answer = ask(secure.site, "GET", path)
        assert answer.status == 200
        assert json.loads(answer.body)["PATH_INFO"] == path
    assert ask(secure.site, "GET", "/api/model").status == 301
