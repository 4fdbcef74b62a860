"""Signal handlers for the time of a block."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def handled(handlers: Mapping[int, Callable[[int, object], None]]) -> Iterator[None]:
    """A block in which these handle their signals; after it those that did before do so again.

    Args:
        handlers: by the signal's number, called with it and the frame that it met.
    """
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
