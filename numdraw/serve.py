"""Serves the page and the API under bjoern.

    python -m numdraw.serve                                  http://127.0.0.1:8000/
    python -m numdraw.serve --port 9000 --workers 2
    python -m numdraw.serve --socket /run/numdraw/numdraw.sock --workers 2      behind nginx
    python -m numdraw.serve --weights weights/digits.npz --public public

Stops on SIGTERM, SIGINT (Ctrl-C) and SIGHUP: it takes no new connections, answers what it has in
hand for at most --drain seconds, and removes its socket. The access log goes to standard output,
the error log to standard error, both as JSON lines. Exit status: 0 stopped by a signal, 1 could
not start, 2 wrong command line.

bjoern limits neither time nor size and must not face clients from outside: nginx does.
"""

import argparse
import contextlib
import errno
import fcntl
import ipaddress
import os
import re
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numdraw.app import App

HOST = "127.0.0.1"
PORT = 8000
DRAIN = 8.0  # s; nginx gives up on an answer after 10
SOCKET_MODE = 0o666  # any user's nginx may connect; the folder's permissions say who gets there

BACKLOG = 1024  # connections that wait for a worker
KEEPALIVE = 60  # s of silence until the kernel asks whether the client is still there
CONNECT_TIMEOUT = 1.0  # s; a live server accepts at once


class StartError(ValueError):
    """Why the server can't start: what was expected, what is there, and the fix."""


def main(argv: list[str] | None = None) -> int:
    """Serve until a signal says stop; returns the exit status."""
    args = _parse(argv)
    _fill_standard_streams()
    # Before NumPy: workers with threads of their own would fight for the cores, and a process
    # with threads does not fork safely.
    for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    with contextlib.ExitStack() as at_exit:
        try:
            serve = _bjoern()
            app, model = _load(args.weights, args.public)
            if args.socket is None:
                sock, address = _listen_tcp(
                    args.host or HOST, PORT if args.port is None else args.port
                )
            else:
                sock = at_exit.enter_context(_listening(args.socket, args.socket_mode))
                address = f"unix:{args.socket}"
        except StartError as error:
            _say(str(error))
            return 1
        from numdraw._log import configure
        from numdraw._master import Master

        configure(access=args.access_log)
        master = Master(sock, app, serve, workers=args.workers, drain=args.drain)
        master.start()
        workers = f"{args.workers} worker" + ("" if args.workers == 1 else "s")
        _say(f"ready at {address} ({workers}, model {model})")
        master.run()
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m numdraw.serve",
        allow_abbrev=False,
        description="Serve the page and the API under bjoern, on this machine or behind nginx.",
    )
    add = parser.add_argument
    add("--host", help=f"address to listen on ({HOST})")
    add("--port", type=_whole(0, 65535), help=f"port to listen on ({PORT}); 0 takes a free one")
    add("--socket", type=Path, metavar="PATH", help="unix socket to listen on instead")
    add(
        "--socket-mode",
        type=_mode,
        default=SOCKET_MODE,
        metavar="MODE",
        help=f"permissions of the socket ({SOCKET_MODE:o}: the folder says who gets to it)",
    )
    add("--workers", type=_whole(1, 999), default=1, metavar="N", help="processes (1)")
    add("--weights", type=Path, metavar="FILE", help="weights file (the one of the package)")
    add("--public", type=Path, metavar="FOLDER", help="the page's folder (the one of the package)")
    add(
        "--drain",
        type=_seconds,
        default=DRAIN,
        metavar="SECONDS",
        help=f"time to finish requests in hand when stopped ({DRAIN:g})",
    )
    add("--no-access-log", dest="access_log", action="store_false", help="log errors only")
    args = parser.parse_args(argv)
    if args.socket is not None and not (args.host is None and args.port is None):
        parser.error("expected --socket or --host and --port, got both")
    return args


def _whole(low: int, high: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(
                f"expected a whole number from {low} to {high}, got {text!r}"
            )
        return int(text)

    return whole


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]+)?", text):
        raise argparse.ArgumentTypeError(f"expected seconds, 0 or more, got {text!r}")
    return float(text)


def _mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise argparse.ArgumentTypeError(f"expected three octal digits such as 660, got {text!r}")
    return int(text, 8)


def _bjoern() -> Callable[..., None]:
    """bjoern's loop over a listening socket."""
    try:
        import bjoern
    except ModuleNotFoundError:
        raise StartError(
            "expected the package bjoern, got none; install it with: pip install 'numdraw[serve]'"
        ) from None
    except ImportError as error:  # libev was removed, or it is another Python's build
        raise StartError(
            f"expected bjoern to load, got: {error}; on Debian: apt-get install libev4"
        ) from None
    serve: Callable[..., None] = bjoern.server_run
    return serve


def _load(weights: Path | None, public: Path | None) -> "tuple[App, str]":
    """The application and its model's version."""
    from numdraw import Predictor, _resources
    from numdraw.app import make_app

    try:
        predictor = Predictor.load(weights)
    except (OSError, ValueError) as error:  # CheckpointError is a ValueError
        raise StartError(_told(error)) from None
    try:
        app = make_app(predictor, public=public or _resources.find("public"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StartError(f"--public expected the page's folder, got {_told(error)}") from None
    except (OSError, ValueError) as error:
        raise StartError(_told(error)) from None
    return app, predictor.version


def _listen_tcp(host: str, port: int) -> tuple[socket.socket, str]:
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
    bound, port = sock.getsockname()[:2]
    if not ipaddress.ip_address(bound.partition("%")[0]).is_loopback:
        _say(
            "warning: bjoern expected to be behind nginx, for it has no limits and no time-outs; "
            f"got {host}, which others may reach"
        )
    return sock, f"http://{f'[{bound}]' if ':' in bound else bound}:{port}/"


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
def _listening(path: Path, mode: int) -> Iterator[socket.socket]:
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
            f"--socket expected a place for a socket, got {path}: {_told(error)}"
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


def _told(error: Any) -> str:
    """An error of our own in its words, one of the system's without its number."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return str(error)


def _fill_standard_streams() -> None:
    """Put /dev/null where a standard stream is closed: a client's socket would take its place."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


def _say(text: str) -> None:
    """Tell the person who started the server; the error log is for what happens later."""
    with contextlib.suppress(OSError):
        os.write(2, f"numdraw.serve: {text}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
