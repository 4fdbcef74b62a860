"""Listening sockets: TCP, a unix socket's file, or one that systemd holds."""

import contextlib
import errno
import fcntl
import ipaddress
import os
import select
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BACKLOG = 1024  # connections that wait for a worker
KEEPALIVE = 60  # s of silence until the kernel asks whether the client is still there
CONNECT_TIMEOUT = 1.0  # s; a live server accepts at once


class StartError(ValueError):
    """Why the server can't start: what was expected, what is there, and the fix."""


def listen_tcp(host: str, port: int) -> tuple[socket.socket, str]:
    """A listening socket, and its address as a URL."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise StartError(
            f"--host expected an address of this machine, got {host!r}: {reason}"
        ) from None
    sock = socket.socket(family, kind, protocol)
    # Connections inherit these from the listening socket.
    for level, option, value in _tcp_options():
        sock.setsockopt(level, option, value)
    try:
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise StartError(_why_not(error, host, port)) from None
    sock.setblocking(False)
    bound = sock.getsockname()[0]
    if not ipaddress.ip_address(bound.partition("%")[0]).is_loopback:
        say(
            "warning: bjoern expected to be behind nginx, for it has no limits and no time-outs; "
            f"got {host}, which others may reach"
        )
    return sock, address_of(sock)


def address_of(sock: socket.socket) -> str:
    """The address that a socket listens on: a URL, or unix:PATH."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{name}"
    host, port = name[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _tcp_options() -> Iterator[tuple[int, int, int]]:
    yield socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
    yield socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    yield socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1
    if hasattr(socket, "TCP_KEEPIDLE"):  # Linux
        yield socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"expected port {port} of {host} to be free, got one in use; "
            "stop the other server or choose another --port"
        )
    if error.errno == errno.EACCES:
        return f"expected the right to listen on port {port}, got none; choose a --port above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host expected an address of this machine, got {host!r}"
    return f"expected to listen on {host} port {port}, got: {error.strerror}"


@contextlib.contextmanager
def listening(path: Path, mode: int) -> Iterator[socket.socket]:
    """A listening unix socket whose file goes when the server goes.

    Args:
        mode: of the file, from its first moment on.
    """
    sock, made = _listen_unix(path.absolute(), mode)
    try:
        yield sock
    finally:
        sock.close()
        with contextlib.suppress(OSError):
            # Only the own file: another server may have taken the place since.
            if _identity(path.absolute()) == made:
                path.absolute().unlink()


def _listen_unix(path: Path, mode: int) -> tuple[socket.socket, tuple[int, int]]:
    sock = socket.socket(socket.AF_UNIX)
    try:
        with _alone_in(path.parent):
            _take_over(path)
            umask = os.umask(0o777 & ~mode)
            try:
                sock.bind(str(path))
            finally:
                os.umask(umask)
            sock.listen(BACKLOG)
            sock.setblocking(False)
            return sock, _identity(path)
    except OSError as error:
        sock.close()
        # "AF_UNIX path too long" has no errno.
        raise StartError(
            f"--socket expected a place for a socket, got {path}: {told(error)}"
        ) from None
    except BaseException:
        sock.close()
        raise


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that of two servers that start together one sees the other."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _take_over(path: Path) -> None:
    """Remove the socket that a dead server left; refuse anything else."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise StartError(f"--socket expected a free path or a socket, got another file: {path}")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(CONNECT_TIMEOUT)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except (BlockingIOError, TimeoutError):  # its queue is full: busy, so alive
            pass
    raise StartError(
        f"--socket expected {path} to be free, got a live server on it; "
        "stop that one or choose another path"
    )


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def told(error: Any) -> str:
    """An error of our own in its words, one of the system's without its number."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return str(error)


def say(text: str) -> None:
    """Tell the person who started the server, unless nobody reads; the error log is for later."""
    poll = select.poll()
    poll.register(2, select.POLLOUT)
    with contextlib.suppress(OSError):
        if poll.poll(0):
            os.write(2, f"numdraw.serve: {text}\n".encode())
