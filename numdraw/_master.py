"""A master that keeps N bjoern workers running on one listening socket.

master ── fork ──> worker: bjoern's loop; a thread waits for the word to stop
   │ SIGTERM, SIGINT: no new connections, what is in hand is answered, to a deadline
   │ SIGHUP: load the weights anew, then replace the workers, one at a time
   │ SIGUSR1: open the log files anew
   │ shared memory: what the workers count, and their heartbeats; who has none is killed
   └ a pipe that no one writes to: its end tells the workers that the master is gone
"""

import contextlib
import gc
import math
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from numdraw import _worker
from numdraw._log import ERROR, FAULT, INFO, WARNING, Logs, log, log_exception
from numdraw._posts import CRASH_LOOP, Post, Process, close_trace, make_trace, read_trace
from numdraw._systemd import Systemd
from numdraw.app import App
from numdraw.monitor import Monitor, Row

KILL_GRACE = 1.0  # s beyond the deadline for a worker whose thread never gets its turn
TICK = 1.0  # s at most between heartbeats, and between the master's looks at them
TRACE_TIME = 0.05  # s to write down a traceback

_STOP = {signal.SIGTERM, signal.SIGINT}


class Master:
    """Starts workers, replaces those that die, hang or have old weights, and stops them all."""

    def __init__(
        self,
        sock: socket.socket,
        app: App,
        load: Callable[[], App],
        serve: _worker.Serve,
        *,
        workers: int,
        drain: float,
        timeout: float,
        logs: Logs,
        systemd: Systemd,
        on_ready: Callable[[App], None],
    ) -> None:
        """Keep what the workers need.

        Args:
            sock: listening and non-blocking.
            load: an application with the weights as they are when it is called.
            serve: bjoern.server_run; returns when the worker is to end.
            drain: s that requests in hand have when the server stops.
            timeout: s until a worker that does not get on is killed.
            on_ready: called when all workers answer for the first time.
        """
        self._sock = sock
        self._load = load
        self._serve = serve
        self._drain = drain
        self._timeout = timeout
        self._logs = logs
        self._systemd = systemd
        self._on_ready: Callable[[App], None] | None = on_ready
        self._tick = min(TICK, timeout / 4)
        self._loads = 0
        self._app = app
        self._reloading = False
        self._posts = [Post() for _ in range(workers)]
        # In a reload two have the same post for a while.
        self._monitor = Monitor(self._app.routes, workers=workers, spare=1)
        self._free = list(range(workers + 1, 0, -1))
        self._interrupts = 0
        self._looked = time.monotonic()  # for workers that hang
        self._wake, self._bell = os.pipe()
        self._alive, self._alive_end = os.pipe()

    @property
    def _row(self) -> Row:
        return self._monitor.rows[0]

    @property
    def _processes(self) -> list[Process]:
        return [p for post in self._posts for p in (post.process, post.former) if p is not None]

    def start(self) -> None:
        """Take over the signals and start the workers."""
        for fd in (self._wake, self._bell):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)
        for number in _worker.WATCHED:
            signal.signal(number, _worker.leave_to_the_wakeup_fd)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _worker.WATCHED)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # some servers' word for an upgrade
        _share_with_workers()
        self._row.pid = os.getpid()
        self._logs.configure(self._row.count_lost_line)
        self._start_due()

    def run(self) -> None:
        """Keep the workers running until a signal says stop; then stop them."""
        while True:
            numbers = self._signals(self._time_to_wait())
            self._reap()
            if numbers & _STOP:
                break
            if signal.SIGUSR1 in numbers:
                self._reopen_logs()
            if signal.SIGHUP in numbers:
                self._reload()
            self._kill_hung()
            self._start_due()
            self._roll()
            self._report()
        self._stop()

    def _time_to_wait(self) -> float:
        """Seconds until there is something to do without a signal."""
        now = time.monotonic()
        times = [self._tick, *(post.due - now for post in self._posts if post.process is None)]
        if self._systemd.interval is not None:
            times.append(self._systemd.interval)
        return max(0.0, min(times))

    def _signals(self, timeout: float) -> set[int]:
        """The numbers of the signals that came, after waiting at most so many seconds for one."""
        ready, _, _ = select.select([self._wake], [], [], timeout)
        numbers = os.read(self._wake, 4096) if ready else b""
        self._interrupts += numbers.count(signal.SIGINT)
        return set(numbers)

    def _start_due(self) -> None:
        now = time.monotonic()
        for post in self._posts:
            if post.process is None and post.due <= now:
                self._start(post)

    def _start(self, post: Post) -> None:
        try:
            process = self._fork()
        except OSError as error:  # no process or memory is left; that may pass
            post.ended(0.0, time.monotonic())
            log_exception("worker not started", error, restart_in=post.delay)
        else:
            post.process = process
            log(ERROR, INFO, "worker started", pid=process.pid)

    def _fork(self) -> Process:
        place = self._free[-1]
        row = self._monitor.rows[place]
        row.beat = started = time.monotonic()
        trace = make_trace()
        # No signal may reach the child while it still has the master's handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, _worker.WATCHED)
        try:
            pid = os.fork()
            if not pid:
                _worker.work(self._job(place, trace))
        except OSError:
            close_trace(trace)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _worker.WATCHED)
        self._free.pop()
        row.pid = pid
        return Process(pid, place, self._loads, trace, started)

    def _job(self, place: int, trace: int) -> _worker.Job:
        return _worker.Job(
            sock=self._sock,
            app=self._app,
            serve=self._serve,
            monitor=self._monitor,
            place=place,
            logs=self._logs,
            drain=self._drain,
            tick=self._tick,
            master=self._alive,
            bell=self._bell,
            trace=trace,
            foreign=[
                self._wake,
                self._alive_end,
                *(process.trace for process in self._processes if process.trace >= 0),
            ],
        )

    def _reap(self) -> None:
        while True:
            try:
                # Any child: as the first process of a container the master inherits orphans.
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for post in self._posts:
                for process in (post.process, post.former):
                    if process is not None and process.pid == pid:
                        self._ended(post, process, os.waitstatus_to_exitcode(status))

    def _ended(self, post: Post, process: Process, status: int) -> None:
        """Note the end of a worker, and free its row."""
        now = time.monotonic()
        asked = process.told < math.inf
        lived = now - process.started
        if process is post.former:
            post.former = None
        else:
            post.ended(lived, now)
        facts: dict[str, Any] = {"pid": process.pid, "status": status, "lived": round(lived, 3)}
        if asked and status == 0:
            log(ERROR, INFO, "worker drained", **facts)
        else:
            if not asked and not process.hung:
                self._row.count_restart("ended")
                if trace := read_trace(process.trace):
                    facts["traceback"] = trace
            if post.process is None:
                facts["restart_in"] = post.delay
            # negative: the number of the signal that ended it
            log(ERROR, WARNING if status == 0 else FAULT, "worker ended", **facts)
            if post.process is None and post.short_lives >= CRASH_LOOP:
                log(
                    ERROR,
                    FAULT,
                    "crash loop",
                    short_lives=post.short_lives,
                    restart_in=post.delay,
                    hint="the lines above tell why; the other workers answer meanwhile",
                )
        close_trace(process.trace)
        row = self._monitor.rows[process.place]
        row.pid, row.ready = 0, False
        self._free.append(process.place)

    def _kill_hung(self) -> None:
        """Kill the workers that have not shown for too long that they get on."""
        now = time.monotonic()
        if now - self._looked > self._timeout:  # the master stood still as well: a paused machine
            for process in self._processes:
                self._monitor.rows[process.place].beat = now
        self._looked = now
        for process in self._processes:
            since = now - self._monitor.rows[process.place].beat
            if process.told < math.inf:
                overdue = now - process.told > self._drain + KILL_GRACE
            else:
                overdue = since > self._timeout + self._tick
            if overdue and not process.hung:
                process.hung = True
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGUSR2)
                    time.sleep(TRACE_TIME)
                    os.kill(process.pid, signal.SIGKILL)
                self._row.count_restart("hung")
                log(
                    ERROR,
                    FAULT,
                    "worker hung",
                    pid=process.pid,
                    seconds=round(since, 3),
                    traceback=read_trace(process.trace),
                )

    def _reload(self) -> None:
        """Load the weights anew and have the workers replaced; keep the old where that fails."""
        self._systemd.say_reloading()
        log(ERROR, INFO, "reloading", model=self._app.version)
        try:
            app = self._load()
        except Exception as error:
            self._row.count_reload("failed")
            log(ERROR, FAULT, "reload failed", error=str(error), model=self._app.version)
            self._systemd.say(READY=1, STATUS=f"the reload failed; still {self._app.version}")
            return
        self._app = app
        _share_with_workers()
        self._loads += 1
        self._reloading = True

    def _roll(self) -> None:
        """Take a reload's next step: a new worker, and when it is ready the end of the old one."""
        for post in self._posts:
            if post.former is not None:
                if post.process is not None and self._monitor.rows[post.process.place].ready:
                    self._tell_to_drain(post.former)
                return
        for post in self._posts:
            if post.process is not None and post.process.load != self._loads:
                if self._free:
                    post.former, post.process = post.process, None
                    self._start(post)
                return

    def _tell_to_drain(self, process: Process) -> None:
        if process.told == math.inf:
            process.told = time.monotonic()
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)

    def _report(self) -> None:
        """Say it when all are ready and when a reload is done; show systemd that the loop turns."""
        if self._systemd.interval is not None:
            self._systemd.say(WATCHDOG=1)
        if not all(self._is_new(post) for post in self._posts):
            return
        status = f"{len(self._posts)} workers, model {self._app.version}"
        if self._on_ready is not None:
            self._on_ready(self._app)
            self._on_ready = None
            self._systemd.say(READY=1, STATUS=status)
        if self._reloading:
            self._reloading = False
            self._row.count_reload("done")
            log(ERROR, INFO, "reloaded", model=self._app.version)
            self._systemd.say(READY=1, STATUS=status)

    def _is_new(self, post: Post) -> bool:
        """Whether the post has a worker that is ready, with the present weights, and no other."""
        return (
            post.former is None
            and post.process is not None
            and post.process.load == self._loads
            and self._monitor.rows[post.process.place].ready
        )

    def _reopen_logs(self) -> None:
        self._logs.reopen()
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGUSR1)

    def _stop(self) -> None:
        self._systemd.say(STOPPING=1)
        self._sock.close()
        deadline = time.monotonic() + self._drain + KILL_GRACE
        for process in self._processes:
            self._tell_to_drain(process)
        while self._processes:
            left = deadline - time.monotonic()
            if left <= 0 or self._interrupts > 1:  # a second Ctrl-C is impatience
                for process in self._processes:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGKILL)
                left = KILL_GRACE
            self._signals(left)
            self._reap()
        signal.set_wakeup_fd(-1)
        for fd in (self._wake, self._bell, self._alive, self._alive_end):
            os.close(fd)


def _share_with_workers() -> None:
    """Keep the garbage collector's marks off all that there is: a page without them is not copied.

    What the application before left behind goes first; frozen, it would never go.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
