"""The sides of a comparison: a process each, of which one runs while the others stand still.

In one process they disturb each other. OpenBLAS's threads and those of OpenMP stay awake for a
while when their work is done, waiting for more, and take a core from whoever comes next. So a
process is stopped (SIGSTOP) as soon as its turn is over.

Whoever uses this must not have imported NumPy: each side is a fork that imports it anew, for that
is when BLAS reads its environment variables. It also makes a side's peak of memory its own.
"""

import ctypes
import importlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

PATIENCE = 25.0  # seconds for one comparison: seven of them stay under three minutes

PR_SET_PDEATHSIG = 1  # of Linux's sys/prctl.h

Round: TypeAlias = Callable[[], Any]


class SideError(RuntimeError):
    """A side could not do what it was asked."""


class Side:
    """A process with one module in it, whose functions it calls; a context, which ends it."""

    def __init__(self, module: str, **environment: str) -> None:
        """Start the process.

        Args:
            module: its name in `benchmarks.parts`.
            environment: variables to set before the module is imported.
        """
        self.module = module
        fork = multiprocessing.get_context("fork")
        self._pipe, theirs = fork.Pipe()
        self._process = fork.Process(target=_serve, args=(module, environment, theirs))
        self._process.start()
        theirs.close()

    def call(self, function: str, **arguments: Any) -> Any:
        """What a function of the module returns.

        Raises:
            SideError: it raised an exception, or the process came to its end.
        """
        return self._ask(function, arguments)

    def make(self, function: str, **arguments: Any) -> Round:
        """What a function of the module returns, itself a function: a call runs in the process.

        Raises:
            SideError: it raised an exception, or the process came to its end.
        """
        number = self._ask(function, arguments)
        return lambda: self._ask(number, {})

    def _ask(self, what: str | int, arguments: dict[str, Any]) -> Any:
        process = self._process.pid or 0
        os.kill(process, signal.SIGCONT)
        try:
            self._pipe.send((what, arguments))
            answer, error = self._pipe.recv()
            os.kill(process, signal.SIGSTOP)
        except (EOFError, OSError):
            answer, error = None, "the end of its process"
        if error is not None:
            raise SideError(f"{self.module}.{what} expected an answer, got {error}")
        return answer

    def __enter__(self) -> "Side":
        """Nothing; leaving the context ends the process."""
        return self

    def __exit__(self, *error: object) -> None:
        """End the process."""
        self._process.kill()  # a process that stands still takes no other signal
        self._process.join()
        self._pipe.close()


def take_turns(
    sides: Mapping[str, Round], rounds: int, *, seconds: float = PATIENCE
) -> dict[str, list[Any]]:
    """What each side's rounds return, after one that does not count.

    Every round has a turn of each side, in one order and then in the other, so that the machine's
    better and worse times meet all sides alike.

    Args:
        sides: a round each, by the side's name.
        rounds: how many, at least 1.
        seconds: after which no further round begins: on a busy machine some take ten times as long.
    """
    end = time.monotonic() + seconds
    for turn in sides.values():
        turn()
    results: dict[str, list[Any]] = {name: [] for name in sides}
    for number in range(rounds):
        if number and time.monotonic() > end:
            break
        for name in sorted(sides, reverse=bool(number % 2)):
            results[name].append(sides[name]())
    return results


def timed(call: Callable[[], object], calls: int) -> Callable[[], float]:
    """A side's round of calls, after some that do not count; it returns the seconds of one."""

    def run() -> float:
        for _ in range(max(1, calls // 10)):
            call()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - start) / calls

    return run


def _serve(module: str, environment: Mapping[str, str], pipe: Connection) -> None:
    """Answer until the process is ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process
    if sys.platform == "linux":  # nobody else would end a process that stands still
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.update(environment)
    made: list[Round] = []
    while True:
        what, arguments = pipe.recv()
        try:
            if isinstance(what, int):
                answer = made[what]()
            else:
                answer = getattr(importlib.import_module(f"benchmarks.parts.{module}"), what)(
                    **arguments
                )
                if callable(answer):
                    made.append(answer)
                    answer = len(made) - 1
        except Exception as error:
            pipe.send((None, f"{type(error).__name__}: {error}"))
        else:
            pipe.send((answer, None))
