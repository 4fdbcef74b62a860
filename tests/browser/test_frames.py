"""Drawing keeps to 60 frames a second: each takes little of the main thread, and lays out nothing.

The traces go to trace-*.json among the artefacts, for chrome://tracing or ui.perfetto.dev, and what
they come to goes to frames-*.json.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser.frames import FRAME, Trace, read, trace_of
from tests.browser.pens import Points
from tests.serving import Site

MOST_WORK = FRAME / 2  # ms of CPU in the median frame; half is the browser's, or a slower machine's
MOST_INTERVAL = 1.5  # times that of a page at rest: between a frame and every second one left out
LEAST_FRAMES = 30  # fewer say nothing
MOVES = 200  # of the traced stroke: 1.7 s
FULL = 20_000  # points already on the sheet


def curve(count: int, *, wide: float, turns: float) -> Points:
    """A rosette in shares of the sheet's sides."""
    angle = np.linspace(0, 2 * np.pi, count)
    radius = wide * (0.6 + 0.4 * np.cos(5 * angle))
    return np.stack(
        [0.5 + radius * np.cos(turns * angle), 0.5 + radius * np.sin(turns * angle)], axis=1
    )


STROKE = curve(MOVES, wide=0.4, turns=3)


@pytest.mark.parametrize("sheet", ["empty", "full"])
def test_drawing_keeps_to_60_frames_a_second(sheet: str, site: Site, artefacts: Path) -> None:
    already = curve(FULL, wide=0.45, turns=60) if sheet == "full" else None
    trace = trace_of(site.url, STROKE, already=already)
    trace.write(artefacts, sheet)
    said = trace.summary()
    assert len(trace.frames) >= LEAST_FRAMES, said
    assert trace.work < MOST_WORK, said
    assert trace.interval < MOST_INTERVAL * trace.rest, said
    assert trace.layouts == [], said
    assert trace.points >= 0.95 * trace.sent, said  # no event of the hand is lost


def test_a_slow_page_is_found_slow(site: Site) -> None:
    slow = """() => {
      const sheet = document.querySelector("#ink");
      sheet.addEventListener("pointermove", () => {
        for (const start = performance.now(); performance.now() < start + 20; );
        document.body.style.paddingTop = `${Math.random()}px`;
        document.body.offsetHeight;  // has to be laid out for it
      });
    }"""
    trace = trace_of(site.url, STROKE[: MOVES // 2], script=slow)
    assert trace.work > MOST_WORK
    assert trace.interval > MOST_INTERVAL * trace.rest
    assert trace.layouts != []


def test_frames_are_read_from_the_events_of_the_pages_thread() -> None:
    def event(name: str, ts: float, dur: float = 0, tid: int = 1, **more: Any) -> dict[str, Any]:
        return {"name": name, "ph": "X", "pid": 7, "tid": tid, "ts": ts, "dur": dur, **more}

    def dom(kind: str, ts: float) -> dict[str, Any]:
        return event("EventDispatch", ts, args={"data": {"type": kind}})

    events = [
        dom("pointerdown", 1000),
        event("Layout", 1500),  # the button's own frame
        event("Commit", 1900, 100),
        event("RunTask", 17_000, 3000, tdur=2000),
        event("RunTask", 17_000, 9000, tid=2),  # another thread's
        dom("pointermove", 17_500),
        dom("pointermove", 18_500),
        event("Layout", 19_000),
        event("Commit", 19_900, 100),
        event("RunTask", 35_000, 1000),
        dom("pointermove", 35_500),
        event("Commit", 36_000),
        dom("pointerup", 60_000),
        event("Commit", 60_100),
    ]
    kept, frames, layouts = read(events)
    assert len(kept) == len(events) - 1
    assert [(frame.start, frame.work, frame.moves) for frame in frames] == [(1, 2, 2), (19, 1, 1)]
    assert layouts == [18]
    assert Trace(kept, frames, layouts, sent=3, points=3, rest=FRAME).interval == 18
