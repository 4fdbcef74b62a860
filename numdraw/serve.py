"""Serves the page and the API under bjoern.

    python -m numdraw.serve                                  http://127.0.0.1:8000/
    python -m numdraw.serve --port 9000 --workers 2
    python -m numdraw.serve --socket /run/numdraw/numdraw.sock --workers 2      behind nginx
    python -m numdraw.serve --weights weights/digits.npz --public public
    python -m numdraw.serve --access-log access.log --error-log error.log
    python -m numdraw.serve --allow-origin https://example.org    pages from there may ask too
    python -m numdraw.serve --corrections corrections    keep what people say was misread

    SIGTERM, SIGINT   stop: take no new connections, answer for at most --drain seconds what is in
                      hand, remove the socket
    SIGHUP            load weights and page anew; keep the old ones if the new are damaged, else
                      replace the workers one at a time
    SIGUSR1           open the log files anew

A worker that does not get on for --timeout seconds is killed and replaced. The access log goes to
standard output, the error log to standard error, both as JSON lines. Under systemd the socket may
be a unit's, and the service's type notify, with a watchdog. Exit status: 0 stopped by a signal, 1
could not start, 2 wrong command line.

bjoern limits neither time nor size and must not face clients from outside: nginx does.
"""

import argparse
import contextlib
import functools
import os
import re
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from numdraw._listen import StartError, address_of, listen_tcp, listening, say, told
from numdraw._systemd import Systemd, inherited_socket

if TYPE_CHECKING:
    from numdraw._log import Logs
    from numdraw.app import App

_LATER = {signal.SIGHUP, signal.SIGUSR1}
_FIRST_DRAWING = {"strokes": [[[10, 10], [60, 10], [30, 90]]]}  # a seven

HOST = "127.0.0.1"
PORT = 8000
DRAIN = 8.0  # s; nginx gives up on an answer after 10
TIMEOUT = 5.0  # s; the largest body that is allowed takes 0.2
SOCKET_MODE = 0o666  # any user's nginx may connect; the folder's permissions say who gets there


def main(argv: list[str] | None = None) -> int:
    """Serve until a signal says stop; returns the exit status."""
    args = _parse(argv)
    _fill_standard_streams()
    _raise_limit()
    # Before NumPy: workers with threads of their own would fight for the cores, and a process
    # with threads does not fork safely.
    for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    load = functools.partial(_load, args.weights, args.public, args.allow_origin, args.corrections)
    with contextlib.ExitStack() as at_exit:
        # They wait until there is a master to take them: by themselves they would end the start.
        signal.pthread_sigmask(signal.SIG_BLOCK, _LATER)
        at_exit.callback(signal.pthread_sigmask, signal.SIG_UNBLOCK, _LATER)
        try:
            serve = _bjoern()
            app = load()
            sock, address = _socket(args, at_exit)
            logs = _logs(args)
        except StartError as error:
            say(str(error))
            return 1
        from numdraw._master import Master

        workers = f"{args.workers} worker" + ("" if args.workers == 1 else "s")
        master = Master(
            sock,
            app,
            load,
            serve,
            workers=args.workers,
            drain=args.drain,
            timeout=args.timeout,
            logs=logs,
            systemd=Systemd(),
            on_ready=lambda app: say(f"ready at {address} ({workers}, model {app.version})"),
        )
        master.start()
        master.run()
    return 0


def _socket(args: argparse.Namespace, at_exit: contextlib.ExitStack) -> tuple[socket.socket, str]:
    """The socket to listen on, and its address."""
    inherited = inherited_socket()
    if inherited is not None:
        if not (args.socket is None and args.host is None and args.port is None):
            raise StartError(
                "expected the socket that was handed over, LISTEN_FDS, or --socket, --host and "
                "--port, got both"
            )
        return inherited, address_of(inherited)
    if args.socket is not None:
        return at_exit.enter_context(
            listening(args.socket, args.socket_mode)
        ), f"unix:{args.socket}"
    return listen_tcp(args.host or HOST, PORT if args.port is None else args.port)


def _logs(args: argparse.Namespace) -> "Logs":
    """Where the logs go, with the files open."""
    from numdraw._log import Logs

    logs = Logs(args.access_log, args.error_log, requests=args.requests)
    try:
        logs.open()
    except OSError as error:
        raise StartError(f"expected to write the logs, got {told(error)}") from None
    return logs


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
    add(
        "--timeout",
        type=_positive_seconds,
        default=TIMEOUT,
        metavar="SECONDS",
        help=f"time for a request; a worker that takes longer is replaced ({TIMEOUT:g})",
    )
    add("--access-log", type=Path, metavar="FILE", help="instead of standard output")
    add("--error-log", type=Path, metavar="FILE", help="instead of standard error")
    add("--no-access-log", dest="requests", action="store_false", help="log errors only")
    add(
        "--allow-origin",
        type=_origin,
        action="append",
        default=[],
        metavar="ORIGIN",
        help="of pages that may use the API: https://example.org, * for any; repeatable (none)",
    )
    add(
        "--corrections",
        type=Path,
        metavar="FOLDER",
        help="keep drawings there that people say were misread, to train with (keep none)",
    )
    args = parser.parse_args(argv)
    if args.socket is not None and not (args.host is None and args.port is None):
        parser.error("expected --socket or --host and --port, got both")
    if args.access_log is not None and not args.requests:
        parser.error("expected --access-log or --no-access-log, got both")
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


def _positive_seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]+)?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0, got {text!r}")
    return float(text)


def _origin(text: str) -> str:
    if not re.fullmatch(
        r"\*|https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?", text
    ):
        raise argparse.ArgumentTypeError(
            f"expected an origin such as https://example.org, or *, got {text!r}"
        )
    return text


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


def _load(
    weights: Path | None, public: Path | None, origins: list[str], corrections: Path | None
) -> "App":
    """The application, after a first prediction: what goes wrong in it goes wrong here."""
    from numdraw import Predictor, _resources
    from numdraw.app import make_app
    from numdraw.corrections import Corrections

    try:
        predictor = Predictor.load(weights)
    except (OSError, ValueError) as error:  # CheckpointError is a ValueError
        raise StartError(told(error)) from None
    predictor.predict_number(_FIRST_DRAWING)
    try:
        kept = None if corrections is None else Corrections(corrections)
    except (OSError, ValueError) as error:
        raise StartError(
            f"--corrections expected a folder to write to, got {told(error)}"
        ) from None
    try:
        return make_app(
            predictor,
            public=public or _resources.find("public"),
            allow_origins=origins,
            corrections=kept,
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StartError(f"--public expected the page's folder, got {told(error)}") from None
    except (OSError, ValueError) as error:
        raise StartError(told(error)) from None


def _raise_limit() -> None:
    """Allow as many open files as may be allowed: a connection takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _fill_standard_streams() -> None:
    """Put /dev/null where a standard stream is closed: a client's socket would take its place."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


if __name__ == "__main__":
    sys.exit(main())
