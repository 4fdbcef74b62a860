"""A master that keeps N bjoern workers running on one listening socket.

    master ── fork ──> worker: bjoern's loop; a thread waits for the word to stop
       │ SIGTERM, SIGINT, SIGHUP: no new connections, what is in hand is answered, to a deadline
       └ a pipe that no one writes to: its end tells the workers that the master is gone

bjoern's own ways to stop are no use alone: SIGTERM ends it in the middle of an answer, SIGINT
waits for ever for a client that keeps an idle connection. So a worker's thread turns the word to
stop into SIGINT, closes idle connections after a moment, and ends the process at the deadline.
"""

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from numdraw._log import ERROR, log, log_exception
from numdraw.app import App

Serve = Callable[[socket.socket, App], None]

LOOP_TURN = 0.1  # s; bjoern's loop has long taken note of a signal by then
IDLE_GRACE = 1.0  # s for a request that is still arriving; nginx sends each in one piece
KILL_GRACE = 1.0  # s beyond the deadline for a worker whose thread never gets its turn

STEADY = 5.0  # s; a worker that lived so long did not die of how it starts
FIRST_DELAY, LAST_DELAY = 0.1, 5.0  # s between starts of a worker that keeps dying; it doubles

_STOP = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_WATCHED = {*_STOP, signal.SIGCHLD}


class Worker:
    """One place among the workers: its process, or when there will be one."""

    def __init__(self) -> None:
        """Have a process as soon as the master gets to it."""
        self.pid = 0  # 0: none now
        self.started = 0.0  # s on the monotonic clock
        self.due = 0.0
        self.delay = 0.0  # s

    def ended(self, now: float) -> None:
        """Plan the next start: at once after a steady life, later and later otherwise."""
        self.pid = 0
        if now - self.started >= STEADY:
            self.delay = 0.0
        else:
            self.delay = min(max(FIRST_DELAY, 2 * self.delay), LAST_DELAY)
        self.due = now + self.delay


class Master:
    """Starts workers, replaces those that die, and stops them all."""

    def __init__(
        self, sock: socket.socket, app: App, serve: Serve, *, workers: int, drain: float
    ) -> None:
        """Keep what the workers need.

        Args:
            sock: listening and non-blocking.
            serve: bjoern.server_run; returns when the worker is to end.
            drain: s that requests in hand have when the server stops.
        """
        self._sock = sock
        self._app = app
        self._serve = serve
        self._drain = drain
        self._workers = [Worker() for _ in range(workers)]
        self._interrupts = 0

    def start(self) -> None:
        """Take over the signals and start the workers."""
        self._wake, wake_end = os.pipe()
        self._alive, self._alive_end = os.pipe()
        self._pipes = [self._wake, wake_end, self._alive, self._alive_end]
        for fd in (self._wake, wake_end):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        for number in _WATCHED:
            signal.signal(number, _leave_to_the_wakeup_fd)
        gc.freeze()  # what the workers share is then never touched, so never copied
        self._start_due()

    def run(self) -> None:
        """Keep the workers running until a signal says stop; then stop them."""
        while True:
            due = [worker.due for worker in self._workers if not worker.pid]
            wait = max(0.0, min(due) - time.monotonic()) if due else None
            numbers = self._signals(wait)
            self._reap()
            if numbers & _STOP:
                break
            self._start_due()
        self._stop()

    def _stop(self) -> None:
        self._sock.close()
        deadline = time.monotonic() + self._drain + KILL_GRACE
        self._signal_all(signal.SIGTERM)
        while self._running():
            left = deadline - time.monotonic()
            if left <= 0 or self._interrupts > 1:  # a second Ctrl-C is impatience
                self._signal_all(signal.SIGKILL)
                left = KILL_GRACE
            self._signals(left)
            self._reap(restart=False)
        signal.set_wakeup_fd(-1)
        for fd in self._pipes:
            os.close(fd)

    def _signals(self, timeout: float | None) -> set[int]:
        """The numbers of the signals that came, after waiting at most so many seconds for one."""
        ready, _, _ = select.select([self._wake], [], [], timeout)
        numbers = os.read(self._wake, 4096) if ready else b""
        self._interrupts += numbers.count(signal.SIGINT)
        return set(numbers)

    def _running(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.pid]

    def _signal_all(self, number: int) -> None:
        for worker in self._running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, number)

    def _reap(self, *, restart: bool = True) -> None:
        now = time.monotonic()
        while True:
            try:
                # Any child: as the first process of a container the master inherits orphans.
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for worker in self._running():
                if worker.pid == pid:
                    worker.ended(now)
                    if restart:
                        how = os.waitstatus_to_exitcode(status)
                        log(
                            ERROR,
                            logging.WARNING if how == 0 else logging.ERROR,
                            "worker ended",
                            pid=pid,
                            status=how,  # negative: of that signal
                            lived=round(now - worker.started, 3),
                            restart_in=worker.delay,
                        )

    def _start_due(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if not worker.pid and worker.due <= now:
                worker.started = now
                try:
                    worker.pid = self._fork()
                except OSError as error:  # no process or memory is left; that may pass
                    worker.ended(now)
                    log_exception("worker not started", error, restart_in=worker.delay)
                else:
                    log(ERROR, logging.INFO, "worker started", pid=worker.pid)

    def _fork(self) -> int:
        # No signal may reach the child while it still has the master's handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        try:
            pid = os.fork()
            if not pid:
                _work(self._sock, self._app, self._serve, self._alive, self._pipes, self._drain)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        return pid


def _work(
    sock: socket.socket, app: App, serve: Serve, alive: int, pipes: list[int], drain: float
) -> NoReturn:
    """A worker's life. Never returns: what the master has on its stack is not the worker's."""
    status = 1
    try:
        os.setpgid(0, 0)  # Ctrl-C at a terminal goes to the master alone
        for fd in pipes:
            if fd != alive:
                os.close(fd)
        wake, wake_end = os.pipe()
        for fd in (wake, wake_end):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, _leave_to_the_wakeup_fd)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # bjoern handles SIGINT while it runs; SIGTTOU comes to whoever logs to a terminal from the
        # background.
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTTOU):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        waiter = threading.Thread(
            target=_wait_and_drain, args=(sock, app, wake, alive, drain), daemon=True
        )
        waiter.start()
        serve(sock, app)
        status = 0
    except BaseException as error:
        log_exception("worker failed", error, pid=os.getpid())
    finally:
        os._exit(status)


def _wait_and_drain(sock: socket.socket, app: App, wake: int, alive: int, drain: float) -> NoReturn:
    """Wait for SIGTERM or the master's end, then see to it that the process ends."""
    select.select([wake, alive], [], [])
    end = time.monotonic() + drain
    app.ready = False
    while _ignores_sigint() and time.monotonic() < end:  # it has only just been started
        time.sleep(0.01)
    # Once only: libev puts back the default, so a second one would kill.
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(LOOP_TURN)
    # While any process has it open, the kernel takes connections that no one would answer.
    sock.close()
    time.sleep(min(IDLE_GRACE, drain))
    _close_idle_connections()
    time.sleep(max(0.0, end - time.monotonic()))
    log(ERROR, logging.WARNING, "drain deadline passed", pid=os.getpid(), seconds=drain)
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
    for name in os.listdir("/dev/fd"):
        fd = int(name)
        try:
            # A standard stream may be a socket too: the journal's.
            if fd > 2 and stat.S_ISSOCK(os.fstat(fd).st_mode):
                with socket.socket(fileno=os.dup(fd)) as connection:
                    connection.shutdown(socket.SHUT_RD)
        except OSError:  # closed meanwhile
            continue


def _leave_to_the_wakeup_fd(number: int, frame: object) -> None:
    """Do nothing: the number is in the wake-up pipe already."""
