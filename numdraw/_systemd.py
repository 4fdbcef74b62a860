"""What systemd and a service tell each other: the state, the watchdog, the socket that it holds.

    NOTIFY_SOCKET            where to send READY=1 and the like, a datagram each (sd_notify(3))
    WATCHDOG_USEC, _PID      how often to send WATCHDOG=1, in us (sd_watchdog_enabled(3))
    LISTEN_FDS, LISTEN_PID   how many sockets are open, from descriptor 3 on (sd_listen_fds(3))

Without these variables nothing is said, and nobody holds a socket.
"""

import contextlib
import os
import socket
import time

from numdraw._listen import StartError

_FIRST_FD = 3  # of the sockets that were handed over


class Systemd:
    """The line to whoever started the service.

    Attributes:
        interval: s between two signs of life, half of what is allowed; None where none is wanted.
    """

    def __init__(self) -> None:
        """Read the variables, and take them away: the workers are not the service."""
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        microseconds = os.environ.pop("WATCHDOG_USEC", "")
        for_us = os.environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        wanted = self._address and for_us and microseconds.isdecimal() and int(microseconds)
        self.interval = int(microseconds) / 2e6 if wanted else None

    def say(self, **facts: str | int) -> None:
        """Send facts such as READY=1; one that can't be sent is no reason to stop."""
        if self._address:
            text = "".join(f"{name}={value}\n" for name, value in facts.items())
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                address = self._address
                if address.startswith("@"):  # of the abstract kind, which has no file
                    address = "\0" + address[1:]
                with contextlib.suppress(OSError):
                    sock.sendto(text.encode(), address)

    def say_reloading(self) -> None:
        """Send that a reload begins; READY=1 says that it ended."""
        self.say(
            RELOADING=1,
            MONOTONIC_USEC=time.monotonic_ns() // 1000,
            STATUS="loading the weights anew",
        )


def inherited_socket() -> socket.socket | None:
    """The listening socket that was open when this process was started, if there is one.

    Raises:
        StartError: there are several, or it does not listen for streams.
    """
    count = os.environ.pop("LISTEN_FDS", "")
    pid = os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", "")
    if count in ("", "0") or pid != str(os.getpid()):
        return None
    if count != "1":
        raise StartError(f"LISTEN_FDS expected 1, one socket to serve, got {count!r:.20}")
    wanted = f"descriptor {_FIRST_FD}, of LISTEN_FDS, expected a listening stream socket"
    try:
        sock = socket.socket(fileno=_FIRST_FD)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise StartError(f"{wanted}, got: {error.strerror}") from None
    if not listens or sock.type != socket.SOCK_STREAM:
        raise StartError(f"{wanted}, got another socket")
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock
