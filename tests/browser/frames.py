"""Draws with a quick mouse under Chromium's tracing: what each frame cost the page's main thread.

The other pens of these tests wait for the page after each event, which comes to one event a frame.
A hand's mouse does not wait: here the events are sent by the clock, and the page gets two a frame.
"""

import asyncio
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import CHROMIUM, CHROMIUM_FLAGS
from tests.browser.pens import Points
from tests.loading import run_coroutine

if TYPE_CHECKING:
    from playwright.async_api import Page

FRAME = 1000 / 60  # ms
RATE = 120  # events a second, as of a common mouse
SIZE = (1280, 800)  # CSS px of the window
RESTING_FRAMES = 40  # measured before the drawing: how even the machine's frames are
CATEGORIES = [
    "devtools.timeline",
    "disabled-by-default-devtools.timeline",  # RunTask: all that the thread does
]
# What the trace keeps, for it to be small: the main thread's tasks, and what they were for.
KEPT = {
    "RunTask", "EventDispatch", "FunctionCall", "FireAnimationFrame", "UpdateLayoutTree", "Layout",
    "PrePaint", "Paint", "Layerize", "Commit", "thread_name", "process_name",
}  # fmt: skip  # reads easier in few lines
SHORTEST_TASK = 20  # us; thousands of empty tasks are left out of the trace that is kept

Event = dict[str, Any]


@dataclass(frozen=True)
class Frame:
    """One frame of the page while it was drawn on.

    Args:
        start: ms since the pointer went down.
        work: ms of CPU that the main thread took for it.
        moves: the pointermove events that the page got in it.
    """

    start: float
    work: float
    moves: int


@dataclass(frozen=True)
class Trace:
    """The frames from the first after the pointer went down to when it went up.

    Args:
        events: what happened on the page's main thread; times in us.
        frames: in order.
        layouts: ms, when the page was laid out, not counting the frame in which the stroke began.
        sent: the mouse events that were sent while the button was down.
        points: those that the page heard of, by getCoalescedEvents where it has them.
        rest: ms, the median time between frames in which nothing happens.
    """

    events: list[Event]
    frames: list[Frame]
    layouts: list[float]
    sent: int
    points: int
    rest: float

    @property
    def work(self) -> float:
        """The median of the frames' work, in ms of CPU."""
        return statistics.median(frame.work for frame in self.frames)

    @property
    def interval(self) -> float:
        """The median time from frame to frame, in ms."""
        starts = [frame.start for frame in self.frames]
        return statistics.median(b - a for a, b in pairwise(starts))

    def summary(self) -> dict[str, Any]:
        """What the frames come to."""
        works = sorted(frame.work for frame in self.frames)
        return {
            "frames": len(self.frames),
            "work_ms": {
                "median": round(self.work, 3),
                "p95": round(works[int(0.95 * (len(works) - 1))], 3),
                "most": round(works[-1], 3),
            },
            "interval_ms": {"median": round(self.interval, 3), "at_rest": round(self.rest, 3)},
            "events_sent": self.sent,
            "points_heard": self.points,
            "layouts_ms": self.layouts,
        }

    def write(self, folder: Path, name: str) -> None:
        """Write the trace, for chrome://tracing or ui.perfetto.dev, and its summary."""
        kept = [
            event
            for event in self.events
            if event["name"] in KEPT and event.get("dur", SHORTEST_TASK) >= SHORTEST_TASK
        ]
        trace = json.dumps({"traceEvents": kept}, separators=(",", ":"))
        (folder / f"trace-{name}.json").write_text(trace, encoding="utf-8")
        summary = json.dumps(self.summary(), indent=1)
        (folder / f"frames-{name}.json").write_text(f"{summary}\n", encoding="utf-8")


def trace_of(
    url: str, stroke: Points, *, already: Points | None = None, script: str | None = None
) -> Trace:
    """The trace of a stroke drawn with the mouse on the page at the address.

    Args:
        stroke: shares of the sheet's sides, (N, 2); one event each.
        already: a stroke that the sheet holds before, the same way; it is drawn untraced, at once.
        script: what the page runs before it is drawn on.
    """
    pytest.importorskip(
        "playwright.async_api", reason="playwright is not installed: pip install playwright"
    )
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    return run_coroutine(_trace(url, stroke, already, script))


def read(events: list[Event]) -> tuple[list[Event], list[Frame], list[float]]:
    """The main thread's events, the frames in which the pointer moved, and when layouts came."""
    thread = _main_thread(events)
    events = [event for event in events if (event["pid"], event["tid"]) == thread]
    down = _only(events, "pointerdown")
    up = _only(events, "pointerup")
    # A frame ends when the main thread hands it to the compositor. That of the button itself is
    # left out: it may lay out anew, and say so.
    ends = sorted(e["ts"] + e["dur"] for e in events if e["name"] == "Commit")
    ends = [end for end in ends if down < end < up]
    moves = [e["ts"] for e in events if _type_of(e) == "pointermove"]
    tasks = [e for e in events if e["name"] == "RunTask" and e["ph"] == "X"]
    frames = [
        Frame(
            start=(start - down) / 1000,
            work=sum(_cpu(e) for e in tasks if start <= _middle(e) < end) / 1000,
            moves=sum(start <= move < end for move in moves),
        )
        for start, end in pairwise(ends)
    ]
    layouts = [
        (e["ts"] - down) / 1000
        for e in events
        if e["name"] == "Layout" and ends[0] <= e["ts"] < ends[-1]
    ]
    return events, frames, layouts


async def _trace(url: str, stroke: Points, already: Points | None, script: str | None) -> Trace:
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        page = await browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        await page.goto(url)
        if already is not None:
            await _fill(page, already)
        if script is not None:
            await page.evaluate(script)
        rest = statistics.median(await page.evaluate(REST, RESTING_FRAMES))
        await page.evaluate(COUNT)
        await browser.start_tracing(page=page, categories=CATEGORIES)
        await _draw(page, stroke)
        events = json.loads(await browser.stop_tracing())["traceEvents"]
        points = await page.evaluate("heard")
        await browser.close()
    kept, frames, layouts = read(events)
    return Trace(kept, frames, layouts, len(stroke), points, rest)


REST = """(count) => new Promise((done) => {
  const times = [];
  let last = performance.now();
  const beat = (now) => {
    times.push(now - last);
    last = now;
    if (times.length === count) done(times.slice(2));
    else requestAnimationFrame(beat);
  };
  requestAnimationFrame(beat);
})"""

COUNT = """() => {
  globalThis.heard = 0;
  document.querySelector("#ink").addEventListener("pointermove", (event) => {
    if (event.buttons) heard += event.getCoalescedEvents?.().length ?? 1;
  });
}"""

# As the mouse's own events, which take some ms each to make.
FILL = """(places) => {
  const sheet = document.querySelector("#ink");
  const { left, top, width, height } = sheet.getBoundingClientRect();
  for (const [x, y] of places) {
    const place = { clientX: left + x * width, clientY: top + y * height };
    sheet.dispatchEvent(new PointerEvent("pointermove", { pointerId: 1, buttons: 1, ...place }));
  }
}"""


async def _fill(page: "Page", places: Points) -> None:
    left, top, width, height = await _box(page)
    x, y = places[0]
    await page.mouse.move(left + x * width, top + y * height)
    await page.mouse.down()
    await page.evaluate(FILL, places.tolist())
    await page.mouse.up()
    await page.wait_for_timeout(500)  # for what the page does after a stroke


async def _draw(page: "Page", places: Points) -> None:
    """Press the button, send a move each 1/RATE s without waiting for the page, let go."""
    session = await page.context.new_cdp_session(page)
    left, top, width, height = await _box(page)
    spots = [(left + x * width, top + y * height) for x, y in places]
    await page.mouse.move(*spots[0])
    await page.mouse.down()
    clock = asyncio.get_running_loop()
    begun = clock.time()
    under_way = []
    for number, (x, y) in enumerate(spots, 1):
        event = {"type": "mouseMoved", "x": x, "y": y, "button": "left", "buttons": 1}
        under_way.append(asyncio.create_task(session.send("Input.dispatchMouseEvent", event)))
        await asyncio.sleep(begun + number / RATE - clock.time())
    await asyncio.gather(*under_way)
    await page.mouse.up()


async def _box(page: "Page") -> Sequence[float]:
    """The sheet's left, top, width and height in CSS px."""
    script = """() => {
      const box = document.querySelector("#ink").getBoundingClientRect();
      return [box.left, box.top, box.width, box.height];
    }"""
    box: Sequence[float] = await page.evaluate(script)
    return box


def _main_thread(events: list[Event]) -> tuple[int, int]:
    """The process and thread that got the pointer's events."""
    [thread] = {(e["pid"], e["tid"]) for e in events if _type_of(e) == "pointermove"}
    return thread


def _type_of(event: Event) -> str | None:
    if event["name"] != "EventDispatch":
        return None
    return str(event["args"]["data"]["type"])


def _only(events: list[Event], kind: str) -> float:
    """When the only DOM event of the kind came, in us."""
    [time] = [event["ts"] for event in events if _type_of(event) == kind]
    return float(time)


def _cpu(event: Event) -> float:
    """The task's time on a CPU, in us; where the machine does not tell, all of its time."""
    return float(event["tdur" if "tdur" in event else "dur"])


def _middle(event: Event) -> float:
    return float(event["ts"] + event["dur"] / 2)
