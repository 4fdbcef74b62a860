import hashlib
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from numdraw import static
from numdraw.static import (
    OTHER_POLICY,
    PAGE_POLICY,
    PICTURE_POLICY,
    SCRIPT_POLICY,
    File,
    Static,
    etag_of,
    respond,
)
from numdraw.wsgi import REASONS, Environ, Request, StartResponse
from tests.asking import ask

ROOT = Path(__file__).parent.parent


@pytest.fixture
def page(tmp_path: Path) -> Path:
    folder = tmp_path / "page"
    (folder / "js").mkdir(parents=True)
    (folder / "index.html").write_bytes(b"<!doctype html>")
    (folder / "js" / "page.js").write_bytes(b"1;")
    return folder


def serving(files: Static) -> Callable[[Environ, StartResponse], Iterable[bytes]]:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        file = files.get(request.path)
        assert file is not None
        response = respond(file, request)
        start_response(f"{response.status} {REASONS[response.status]}", list(response.headers))
        return [response.body]

    return app


def test_a_file_is_answered_with_type_etag_and_policy(page: Path) -> None:
    reply = ask(serving(Static(page)), "GET", "/js/page.js")
    assert (reply.status, reply.body) == (200, b"1;")
    assert reply.headers == {
        "Content-Type": "text/javascript; charset=utf-8",
        "ETag": f'"{hashlib.sha256(b"1;").hexdigest()[:32]}"',
        "Cache-Control": "no-cache",
        "Content-Security-Policy": SCRIPT_POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
    }


def test_who_has_a_file_gets_304(page: Path) -> None:
    app = serving(Static(page))
    etag = ask(app, "GET", "/").headers["ETag"]
    again = ask(app, "GET", "/", headers={"If-None-Match": etag})
    assert (again.status, again.body) == (304, b"")
    assert again.headers["ETag"] == etag
    assert ask(app, "GET", "/", headers={"If-None-Match": '"other"'}).status == 200


@pytest.mark.parametrize(
    ("content_type", "policy"),
    [
        ("text/html; charset=utf-8", PAGE_POLICY),
        ("image/svg+xml", PICTURE_POLICY),
        ("text/javascript; charset=utf-8", SCRIPT_POLICY),
        ("text/css; charset=utf-8", OTHER_POLICY),
    ],
)
def test_the_policy_of_a_type_is_that_of_nginx(content_type: str, policy: str) -> None:
    assert static.policy_of(content_type) == policy
    conf = (ROOT / "nginx" / "numdraw" / "http.conf").read_text()
    named = re.search(r"\$numdraw_content_policy \{(.+?)\n\}", conf, re.DOTALL)
    assert named is not None
    policies = dict(re.findall(r'(default|"[^"]+") +"([^"]+)";', named[1]))
    [key] = [k for k in policies if content_type.startswith(k.strip('"~^'))] or ["default"]
    assert policies[key] == policy


def test_index_html_is_the_folder_itself(page: Path) -> None:
    (page / "help").mkdir()
    (page / "help" / "index.html").write_bytes(b"help")
    files = Static(page)
    assert files.get("/") == File(
        b"<!doctype html>", "text/html; charset=utf-8", etag_of(b"<!doctype html>")
    )
    assert files.get("/help/") is not None
    for path in ("/index.html", "/help", "/help/index.html", "/js", "/js/"):
        assert files.get(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "",
        "*",
        "index.html",
        "/../secret.txt",
        "/js/../../secret.txt",
        "/js/../js/page.js",
        "/./",
        "//",
        "//etc/passwd",
        "/etc/passwd",
        "/js//page.js",
        "/js/page.js/",
        "/js/page.js\0",
        "/js/page.js\0.html",
        "/%2e%2e/secret.txt",
        "/js\\page.js",
        "/JS/page.js",
        "/js/page.js?x",
        "/" + "a" * 10_000,
        "/\xff\xfe",
    ],
)
def test_no_path_but_a_file_s_own_is_found(page: Path, path: str) -> None:
    (page.parent / "secret.txt").write_text("secret")
    assert Static(page).get(path) is None


def test_dotfiles_and_what_is_in_dot_folders_are_left_out(page: Path) -> None:
    (page / ".env").write_text("secret")
    (page / ".git").mkdir()
    (page / ".git" / "config").write_text("secret")
    files = Static(page)
    assert files.get("/.env") is None
    assert files.get("/.git/config") is None


def test_links_are_followed_only_to_files_that_are_served_anyway(page: Path) -> None:
    (page.parent / "secret.txt").write_text("secret")
    (page / ".env").write_text("secret")
    (page / "out.txt").symlink_to(page.parent / "secret.txt")
    (page / "hidden.txt").symlink_to(page / ".env")
    (page / "gone.txt").symlink_to(page / "nothing")
    (page / "folder").symlink_to(page.parent)
    (page / "in.js").symlink_to(page / "js" / "page.js")
    files = Static(page)
    for path in ("/out.txt", "/hidden.txt", "/gone.txt", "/folder/secret.txt"):
        assert files.get(path) is None
    found = files.get("/in.js")
    assert found is not None
    assert found.body == b"1;"


def test_a_link_to_the_folder_itself_is_followed(page: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(page)
    assert Static(tmp_path / "link").get("/js/page.js") is not None


def test_a_fifo_is_not_waited_for(page: Path) -> None:
    os.mkfifo(page / "fifo")
    assert Static(page).get("/fifo") is None


def test_files_are_read_once(page: Path) -> None:
    files = Static(page)
    (page / "js" / "page.js").write_bytes(b"2;")
    found = files.get("/js/page.js")
    assert found is not None
    assert found.body == b"1;"


def test_names_are_looked_up_by_their_bytes(page: Path) -> None:
    (page / "größe.txt").write_text("x")
    found = Static(page).get("/größe.txt".encode().decode("latin-1"))
    assert found is not None
    assert found.content_type == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.CSS", "text/css; charset=utf-8"),
        ("a.svg", "image/svg+xml"),
        ("a.webmanifest", "application/manifest+json"),
        ("a.exe", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ],
)
def test_the_type_goes_by_the_extension(page: Path, name: str, content_type: str) -> None:
    (page / name).write_bytes(b"x")
    found = Static(page).get(f"/{name}")
    assert found is not None
    assert found.content_type == content_type


def test_every_file_of_the_page_has_a_type() -> None:
    suffixes = {path.suffix for path in (ROOT / "public").rglob("*") if path.is_file()}
    assert suffixes <= static.CONTENT_TYPES.keys()


def test_a_missing_folder_and_a_file_are_refused(page: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        Static(page / "nothing")
    with pytest.raises(NotADirectoryError, match=r"index\.html"):
        Static(page / "index.html")


def test_a_folder_without_index_is_refused(page: Path) -> None:
    (page / "index.html").unlink()
    with pytest.raises(ValueError, match=r"expected the page's files, got no index\.html"):
        Static(page)


def test_too_many_and_too_large_files_are_refused(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = r"expected the page's files, at most \d+ of [\d,]+ bytes in all, got more; give"
    with monkeypatch.context() as patch:
        patch.setattr(static, "MAX_FILES", 1)
        with pytest.raises(ValueError, match=message):
            Static(page)
    monkeypatch.setattr(static, "MAX_TOTAL", 16)
    with pytest.raises(ValueError, match=message):
        Static(page)
    monkeypatch.setattr(static, "MAX_TOTAL", 17)
    Static(page)
