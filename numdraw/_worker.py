"""A worker's life: bjoern's loop over the shared socket, a heartbeat, and an orderly end.

bjoern's own ways to stop are no use alone: SIGTERM ends it in the middle of an answer, SIGINT
waits for ever for a client that keeps an idle connection. So a worker's thread turns the word to
stop into SIGINT, closes idle connections after a moment, and ends the process at the deadline.

    SIGTERM    drain, then end; so does the end of the master
    SIGUSR1    open the log files anew
    SIGUSR2    write down where every thread is; the master reads it before it kills who hangs
    SIGALRM    every tick: show that the loop turns, unless one request takes all the time
"""

import contextlib
import faulthandler
import os
import select
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from numdraw._log import ERROR, WARNING, Logs, log, log_exception
from numdraw.app import App
from numdraw.monitor import Monitor

Serve = Callable[[socket.socket, App], None]

LOOP_TURN = 0.1  # s; bjoern's loop has long taken note of a signal by then
IDLE_GRACE = 1.0  # s for a request that is still arriving; nginx sends each in one piece

# What the master handles too; none of them may reach a worker before it has its own handlers.
WATCHED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD}
_FOR_THE_THREAD = (signal.SIGTERM, signal.SIGUSR1)
# bjoern handles SIGINT while it runs; SIGTTOU comes to whoever logs to a terminal from the
# background; a reload is the master's.
_IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGTTOU)


@dataclass(frozen=True)
class Job:
    """What a worker is given.

    Attributes:
        sock: listening and non-blocking, shared with the others.
        serve: bjoern.server_run; returns when the worker is to end.
        place: the number of its row in the monitor.
        drain: s that requests in hand have when the worker stops.
        tick: s between heartbeats.
        master: the end of a pipe that breaks when the master ends.
        bell: the end of a pipe that wakes the master.
        trace: a file for tracebacks of the interpreter's last moments; -1 for none.
        foreign: descriptors that are the master's alone.
    """

    sock: socket.socket
    app: App
    serve: Serve
    monitor: Monitor
    place: int
    logs: Logs
    drain: float
    tick: float
    master: int
    bell: int
    trace: int
    foreign: Sequence[int]


def work(job: Job) -> NoReturn:
    """Live a worker's life. What the master has on its stack is not the worker's: no return."""
    status = 1
    try:
        os.setpgid(0, 0)  # Ctrl-C at a terminal goes to the master alone
        for fd in job.foreign:
            os.close(fd)
        wake = _wake_on_signals()
        job.app.count_in(job.monitor, job.place)
        job.logs.configure(job.app.row.count_lost_line)
        if job.trace >= 0:
            faulthandler.enable(job.trace)
            faulthandler.register(signal.SIGUSR2, job.trace)
        _beat(job.app, job.tick)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
        threading.Thread(target=_attend, args=(job, wake), daemon=True).start()
        job.app.ready = True
        with contextlib.suppress(BlockingIOError):  # full: the master wakes anyway
            os.write(job.bell, b"\0")
        job.serve(job.sock, job.app)
        status = 0
    except BaseException as error:
        log_exception("worker failed", error, pid=os.getpid())
    finally:
        os._exit(status)


def leave_to_the_wakeup_fd(number: int, frame: object) -> None:
    """Do nothing: the number is in the wake-up pipe already."""


def _wake_on_signals() -> int:
    """Take over the signals; returns a pipe's end that their numbers come out of."""
    wake, wake_end = os.pipe()
    for fd in (wake, wake_end):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
    for number in _FOR_THE_THREAD:
        signal.signal(number, leave_to_the_wakeup_fd)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    return wake


def _beat(app: App, tick: float) -> None:
    """Show every so many seconds that the worker gets on: idle, or at another request than before.

    bjoern's loop runs Python's handlers, and so does a request in Python: an endless loop there is
    found out by its age. Where the handler does not run at all, nothing gets on either. A worker
    without a free descriptor counts as hung too: bjoern would try for ever to accept.
    """
    seen = 0.0

    def beat(number: int, frame: object) -> None:
        nonlocal seen
        with contextlib.suppress(OSError):
            os.close(os.dup(0))  # fails where no descriptor is free
            if not app.busy_since or app.busy_since != seen:
                app.row.beat = time.monotonic()
        seen = app.busy_since

    app.row.beat = time.monotonic()
    signal.signal(signal.SIGALRM, beat)
    signal.setitimer(signal.ITIMER_REAL, tick, tick)


def _attend(job: Job, wake: int) -> NoReturn:
    """Wait for SIGTERM or the master's end, then see to it that the process ends."""
    poll = select.poll()  # not select(), which takes no descriptor above 1,023
    poll.register(wake, select.POLLIN)
    poll.register(job.master, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        numbers = os.read(wake, 4096) if wake in ready else b""
        if job.master in ready or signal.SIGTERM in numbers:
            _drain(job)
        if signal.SIGUSR1 in numbers:
            job.logs.reopen()


def _drain(job: Job) -> NoReturn:
    end = time.monotonic() + job.drain
    job.app.ready = False
    while _ignores_sigint() and time.monotonic() < end:  # it has only just been started
        time.sleep(0.01)
    # Once only: libev puts back the default, so a second one would kill.
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(LOOP_TURN)
    # While any process has it open, the kernel takes connections that no one would answer.
    job.sock.close()
    time.sleep(min(IDLE_GRACE, job.drain))
    _close_idle_connections()
    time.sleep(max(0.0, end - time.monotonic()))
    log(ERROR, WARNING, "drain deadline passed", pid=os.getpid(), seconds=job.drain)
    os._exit(0)


def _ignores_sigint() -> bool:
    """Whether SIGINT would be lost, because bjoern's loop has not yet taken it over."""
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("SigIgn:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGINT - 1) & 1)
    return False  # not Linux: it cannot be told, and the moment is a few ms long


def _close_idle_connections() -> None:
    """Tell bjoern that no more comes from any client; what it is writing, it still writes."""
    try:
        names = os.listdir("/dev/fd")
    except OSError:  # none is left to list them with
        return
    for name in names:
        fd = int(name)
        try:
            # A standard stream may be a socket too: the journal's.
            if fd > 2 and stat.S_ISSOCK(os.fstat(fd).st_mode):
                with socket.socket(fileno=os.dup(fd)) as connection:
                    connection.shutdown(socket.SHUT_RD)
        except OSError:  # closed meanwhile
            continue
