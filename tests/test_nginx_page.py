"""nginx/numdraw.conf: the page's files, what may be kept of them and what they may do."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from numdraw.static import (
    CONTENT_TYPES,
    OTHER_POLICY,
    PAGE_POLICY,
    PICTURE_POLICY,
    SCRIPT_POLICY,
)
from tests.serving import ROOT, Site, serving
from tests.through_nginx import ask, assert_headers, assert_problem, send


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


def test_the_page_comes_with_an_etag_and_is_not_sent_twice(site: Site) -> None:
    first = ask(site, "GET", "/")
    assert first.status == 200
    assert first.header("Content-Type") == "text/html; charset=utf-8"
    assert first.header("Cache-Control") == "no-cache"
    assert first.body == (ROOT / "public" / "index.html").read_bytes()
    assert first.header("Content-Security-Policy") == PAGE_POLICY
    assert_headers(first)
    etag = first.header("ETag")
    assert etag is not None
    again = ask(site, "GET", "/", If_None_Match=etag)
    assert (again.status, again.body, again.header("ETag")) == (304, b"", etag)
    # Its headers replace those that the client keeps: without a type there is no policy to say.
    assert again.header("Content-Security-Policy") is None
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


def test_a_document_may_do_what_its_type_needs(tmp_path: Path) -> None:
    for suffix in CONTENT_TYPES:
        (tmp_path / f"file{suffix}").write_text("x")
    with serving(public=tmp_path, app=[]) as site:
        found = {
            suffix: ask(site, "GET", f"/file{suffix}").header("Content-Security-Policy")
            for suffix in CONTENT_TYPES
        }
    assert found.pop(".html") == PAGE_POLICY
    assert found.pop(".svg") == PICTURE_POLICY
    assert found.pop(".js") == SCRIPT_POLICY
    assert set(found.values()) == {OTHER_POLICY}


@pytest.mark.parametrize(
    "path",
    [
        "/js/page.0123abcd.js",
        "/js/page.0123abcd.js?x=1",
        f"/css/page.{'e' * 64}.css",
        "/plain.js?v=2",
        "/plain.js?v=1.2.3-rc_1",
        "/picture.png?v=0123abcd",
    ],
)
def test_a_file_with_a_hash_or_a_version_in_its_address_is_kept_for_good(
    versioned: Site, path: str
) -> None:
    answer = ask(versioned, "GET", path)
    assert answer.status == 200
    assert answer.header("Cache-Control") == "public, max-age=31536000, immutable"
    again = ask(versioned, "GET", path, If_None_Match=answer.header("ETag") or "")
    assert again.status == 304
    assert again.header("Cache-Control") == "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/?v=1",
        "/index.html?v=1",
        "/page.0123abcd.html",
        "/plain.js",
        "/plain.js?v=",
        "/plain.js?v=a%20b",
        "/plain.js?v=1&w=2",
        "/plain.js?w=1",
        "/js/page.0123ab.js",
        "/js/page.0123ABCD.js",
        "/js/page.0123abcx.js",
    ],
)
def test_another_file_is_asked_for_again_with_its_etag(versioned: Site, path: str) -> None:
    answer = ask(versioned, "GET", path)
    assert answer.status == 200
    assert answer.header("Cache-Control") == "no-cache"
    assert answer.header("ETag") is not None


@pytest.mark.parametrize("path", ["/js/gone.0123abcd.js", "/gone.js?v=2", "/.0123abcd.js"])
def test_what_is_not_there_is_not_kept_whatever_its_address(versioned: Site, path: str) -> None:
    assert_problem(ask(versioned, "GET", path), 404, "the server expected the address of the page")


@pytest.fixture(scope="module")
def versioned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    public = tmp_path_factory.mktemp("public")
    for folder in ("js", "css"):
        (public / folder).mkdir()
    for name in (
        "index.html",
        "page.0123abcd.html",
        "plain.js",
        "picture.png",
        "js/page.0123abcd.js",
        "js/page.0123ab.js",
        "js/page.0123ABCD.js",
        "js/page.0123abcx.js",
        f"css/page.{'e' * 64}.css",
    ):
        (public / name).write_text("x")
    with serving(public=public, app=[]) as site:
        yield site
