"""Draws strokes on the page as a mouse, a finger or a pen does, and compares strokes.

CSS px are those of the viewport, canvas px those in which the page keeps and sends a drawing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from playwright.sync_api import Page

Points = NDArray[np.float64]  # (N, 2)
SHEET = 500  # canvas px, the side of the sheet
STEP = 16.0  # CSS px between two events at most: 25 cm a second at 60 events a second


@dataclass(frozen=True)
class Drawing:
    """A digit as somebody drew it, in any unit."""

    label: int
    strokes: Sequence[Sequence[Sequence[float]]]


@dataclass(frozen=True)
class Box:
    """Where the sheet is, in CSS px."""

    left: float
    top: float
    width: float
    height: float


Pen = Callable[["Page", Sequence[Points]], None]

# Where there is no real ink.
ONE = [[50, 0], [48, 50], [46, 100]]
THREE = [[15, 12], [45, 0], [72, 12], [70, 35], [42, 48], [72, 60], [78, 82], [48, 100], [12, 88]]
SEVEN = [[10, 4], [80, 0], [62, 38], [48, 70], [38, 100]]
ZERO = [[50, 0], [28, 12], [16, 40], [18, 72], [34, 96], [56, 99], [76, 82], [84, 50], [52, 0]]
TWO = Drawing(0, [[[0, 0], [100, 0]], [[0, 60], [100, 60]]])  # lines
HOUSE = Drawing(0, [[[0, 40], [20, 0], [40, 40], [40, 90], [0, 90], [0, 40], [40, 40]]])  # no digit
BUILT_IN = [Drawing(0, [ZERO]), Drawing(1, [ONE]), Drawing(3, [THREE]), Drawing(7, [SEVEN])]


def sheet_box(page: "Page") -> Box:
    """Where the sheet is now."""
    script = """() => {
      const box = document.querySelector("#ink").getBoundingClientRect();
      return [box.left, box.top, box.width, box.height];
    }"""
    return Box(*page.evaluate(script))


def placed(drawing: Drawing, box: Box, share: float = 0.7, step: float = STEP) -> list[Points]:
    """The strokes in CSS px, in the middle of the box, their longer side that share of its side.

    Points further apart than the step, in CSS px, get more between them, as a hand's events would.
    """
    strokes = [np.array(stroke, dtype=float) for stroke in drawing.strokes]
    low = np.vstack(strokes).min(axis=0)
    high = np.vstack(strokes).max(axis=0)
    scale = share * min(box.width, box.height) / max(high - low)
    middle = np.array([box.left + box.width / 2, box.top + box.height / 2])
    return [filled((stroke - (low + high) / 2) * scale + middle, step) for stroke in strokes]


def beside(drawings: Sequence[Drawing]) -> Drawing:
    """A number: the drawings next to each other, equally large.

    They have fewer points than they had, as each takes a frame.
    """
    strokes: list[Any] = []
    for place, digit in enumerate(drawings):
        points = np.vstack([np.array(stroke, float) for stroke in digit.strokes])
        low, size = points.min(axis=0), float(np.ptp(points, axis=0).max())
        for stroke in digit.strokes:
            fewer = np.array([*stroke[:-1:2], stroke[-1]], float)
            strokes.append(((fewer - low) / size + [1.2 * place, 0]).tolist())
    return Drawing(int("".join(str(digit.label) for digit in drawings)), strokes)


def with_mouse(page: "Page", strokes: Sequence[Points]) -> None:
    """Draw with the left button."""
    for stroke in strokes:
        page.mouse.move(*stroke[0])
        page.mouse.down()
        for point in stroke[1:]:
            page.mouse.move(*point)
        page.mouse.up()


def with_finger(page: "Page", strokes: Sequence[Points]) -> None:
    """Draw with one finger on a touch screen."""
    session = page.context.new_cdp_session(page)

    def send(kind: str, points: Sequence[Points]) -> None:
        touches = [{"x": float(x), "y": float(y), "id": 1} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    for stroke in strokes:
        send("touchStart", [stroke[0]])
        for point in stroke[1:]:
            send("touchMove", [point])
        send("touchEnd", [])
    session.detach()


def with_pen(page: "Page", strokes: Sequence[Points]) -> None:
    """Draw with the tip of a pen that knows its pressure."""
    session = page.context.new_cdp_session(page)

    def send(kind: str, point: Points, buttons: int) -> None:
        event: dict[str, Any] = {
            "type": kind,
            "x": float(point[0]),
            "y": float(point[1]),
            "button": "none" if kind == "mouseMoved" else "left",
            "buttons": buttons,
            "clickCount": 1,
            "pointerType": "pen",
            "force": 0.5 * buttons,
        }
        session.send("Input.dispatchMouseEvent", event)

    for stroke in strokes:
        send("mouseMoved", stroke[0], 0)
        send("mousePressed", stroke[0], 1)
        for point in stroke[1:]:
            send("mouseMoved", point, 1)
        send("mouseReleased", stroke[-1], 0)
    session.detach()


PENS: dict[str, Pen] = {"mouse": with_mouse, "finger": with_finger, "pen": with_pen}


def on_sheet(strokes: Sequence[Points], box: Box) -> list[Points]:
    """The strokes in canvas px: what the page should send."""
    origin = np.array([box.left, box.top])
    return [(stroke - origin) * SHEET / np.array([box.width, box.height]) for stroke in strokes]


def farthest(a: Sequence[Sequence[float]] | Points, b: Sequence[Sequence[float]] | Points) -> float:
    """The greatest distance from a place on either line to the other line."""
    first, second = filled(np.array(a, dtype=float), 1.0), filled(np.array(b, dtype=float), 1.0)
    apart = np.hypot(first[:, None, 0] - second[None, :, 0], first[:, None, 1] - second[None, :, 1])
    return float(max(apart.min(axis=0).max(), apart.min(axis=1).max()))


def filled(points: Points, step: float) -> Points:
    """The same line through points at most `step` apart."""
    pieces = [points[:1]]
    for start, end in pairwise(points):
        count = max(1, int(np.ceil(np.hypot(*(end - start)) / step)))
        pieces.append(start + (end - start) * np.linspace(0, 1, count + 1)[1:, None])
    return np.vstack(pieces)
