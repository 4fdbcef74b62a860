"""The page's files, read once and answered from memory.

A path is looked up among the names found at the start, so no request can reach another file:
there is no path to build, whatever the client sends.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from numdraw.wsgi import Header, Request, Response, cached

MAX_FILES = 500
MAX_TOTAL = 16 * 1024 * 1024  # bytes, held by each server; the page is under 0.1 MiB

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
OTHER_TYPE = "application/octet-stream"

# The same as in nginx's configuration. The page may use what this server sends, and no inline code;
# a picture opened by itself has its colours and no script; a script that runs as a worker has the
# policy of its own answer, and the page's service worker fetches the page's files; anything else is
# no document.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
PICTURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
SCRIPT_POLICY = "default-src 'none'; connect-src 'self'; frame-ancestors 'none'"
OTHER_POLICY = "default-src 'none'; frame-ancestors 'none'"


@dataclass(frozen=True)
class File:
    """One file.

    Args:
        etag: strong, of the content.
    """

    body: bytes
    content_type: str
    etag: str


class Static:
    """The files of a folder by their request path.

    Left out: names that start with a dot, what is no plain file, and links out of the folder.
    """

    def __init__(self, folder: Path) -> None:
        """Read them all.

        Raises:
            OSError: the folder or a file can't be read; NotADirectoryError where it is none.
            ValueError: it holds no index.html, or more than a page would: not the one meant.
        """
        self._files: dict[str, File] = {}
        root = folder.resolve()
        total = 0
        for path in _plain_files(root):
            body = path.read_bytes()
            total += len(body)
            if total > MAX_TOTAL or len(self._files) >= MAX_FILES:
                raise ValueError(
                    f"{folder} expected the page's files, at most {MAX_FILES} of {MAX_TOTAL:,} "
                    "bytes in all, got more; give --public the folder of the page alone"
                )
            name = path.relative_to(root).as_posix()
            content_type = CONTENT_TYPES.get(path.suffix.lower(), OTHER_TYPE)
            self._files[_request_path(name)] = File(body, content_type, etag_of(body))
        if "/" not in self._files:
            raise ValueError(f"{folder} expected the page's files, got no index.html among them")

    def get(self, path: str) -> File | None:
        """The file at a request path (PATH_INFO), or None."""
        return self._files.get(path)


def respond(file: File, request: Request) -> Response:
    """A file, or 304 where the client has it."""
    headers: list[Header] = [
        ("Content-Type", file.content_type),
        ("Content-Security-Policy", policy_of(file.content_type)),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Referrer-Policy", "no-referrer"),
    ]
    return cached(request, file.body, file.etag, headers)


def policy_of(content_type: str) -> str:
    """The Content-Security-Policy of a file."""
    if content_type.startswith("text/html"):
        return PAGE_POLICY
    if content_type.startswith("text/javascript"):
        return SCRIPT_POLICY
    return PICTURE_POLICY if content_type == "image/svg+xml" else OTHER_POLICY


def etag_of(body: bytes) -> str:
    """A strong entity tag: equal for equal bytes, on every worker and host."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _plain_files(root: Path) -> list[Path]:
    found = []

    def stop(error: OSError) -> None:
        raise error

    for folder, names, files in os.walk(root, onerror=stop):
        names[:] = [name for name in names if not name.startswith(".")]
        for name in files:
            path = Path(folder, name)
            if name.startswith(".") or not path.is_file():
                continue
            if path.is_symlink() and not _inside(path.resolve(), root):
                continue
            found.append(path)
    return sorted(found)


def _inside(target: Path, root: Path) -> bool:
    """Whether a link's target is a file that would be served under its own name too."""
    if not target.is_relative_to(root):
        return False
    return not any(part.startswith(".") for part in target.relative_to(root).parts)


def _request_path(name: str) -> str:
    """What PATH_INFO holds for a file's name: its bytes as Latin-1, and "/" for the index."""
    if name == "index.html" or name.endswith("/index.html"):
        name = name.removesuffix("index.html")
    return "/" + os.fsencode(name).decode("latin-1")
