"""How the sheet takes hands and pens: palms and cancelled strokes leave no ink, pressure does.

What it sends of a stroke, and where the ink lies, is test_ink.py's.
"""

import base64
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.browser.acts import (
    begin_stroke,
    hold,
    inked,
    sent,
    state_of,
    strokes_of,
    wait_for,
    wait_until_fitted,
)
from tests.browser.conftest import Tabs
from tests.browser.pens import (
    SHEET,
    TWO,
    farthest,
    placed,
    sheet_box,
    with_finger,
    with_mouse,
    with_pen,
)

if TYPE_CHECKING:
    from playwright.sync_api import Page

PHONE = (390, 844)
LANDSCAPE = (844, 390)
PEN = 18  # canvas px, the width of a line
NEAR = 1.5  # canvas px: two drawings of one stroke

Place = tuple[float, float]  # CSS px from the sheet's corner


class Hand:
    """One hand or two with a pen between them; seconds are since it came to the sheet."""

    def __init__(self, page: "Page") -> None:
        self._box = sheet_box(page)
        self._session = page.context.new_cdp_session(page)
        self._start = time.time()

    def touch(
        self,
        kind: str,
        *places: Place,
        radius: Place = (1, 1),
        pressure: float = 1.0,
        at: float | None = None,
    ) -> None:
        """Send touchStart, touchMove, touchEnd or touchCancel of that many fingers."""
        wide, high = radius
        about = {"radiusX": wide, "radiusY": high, "force": pressure}
        points = [
            {"x": self._box.left + x, "y": self._box.top + y, "id": i, **about}
            for i, (x, y) in enumerate(places)
        ]
        self._send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points}, at)

    def drag(
        self,
        start: Place,
        end: Place,
        *,
        radius: Place = (1, 1),
        pressure: float = 1.0,
        at: float | None = None,
    ) -> None:
        """Draw a line with a finger."""
        kind = "touchStart"
        for share in np.linspace(0, 1, 10):
            place = tuple((1 - share) * np.array(start) + share * np.array(end))
            self.touch(kind, place, radius=radius, pressure=pressure, at=at)
            kind = "touchMove"
        self.touch("touchEnd", at=at)

    def pinch(self, left: Place, right: Place) -> None:
        """Move two fingers apart and upwards, as one who zooms and scrolls does."""
        self.touch("touchStart", left, right)
        for i in range(1, 12):
            self.touch(
                "touchMove",
                (left[0] - 8 * i, left[1] - 6 * i),
                (right[0] + 8 * i, right[1] - 6 * i),
            )
        self.touch("touchEnd")

    def hover(self, x: float, y: float, at: float | None = None) -> None:
        """Move the pen above the sheet."""
        self._pen("mouseMoved", x, y, 0, 0.0, at)

    def press(self, x: float, y: float, pressure: float = 0.5, at: float | None = None) -> None:
        """Put the pen down."""
        self._pen("mousePressed", x, y, 1, pressure, at)

    def move(self, x: float, y: float, pressure: float = 0.5, at: float | None = None) -> None:
        """Move the pen on the sheet."""
        self._pen("mouseMoved", x, y, 1, pressure, at)

    def lift(self, x: float, y: float, at: float | None = None) -> None:
        """Lift the pen."""
        self._pen("mouseReleased", x, y, 0, 0.0, at)

    def _pen(
        self, kind: str, x: float, y: float, buttons: int, pressure: float, at: float | None
    ) -> None:
        event = {
            "type": kind,
            "x": self._box.left + x,
            "y": self._box.top + y,
            "button": "none" if kind == "mouseMoved" else "left",
            "buttons": buttons,
            "clickCount": 1,
            "pointerType": "pen",
            "force": pressure,
        }
        self._send("Input.dispatchMouseEvent", event, at)

    def _send(self, command: str, event: dict[str, Any], at: float | None) -> None:
        if at is not None:
            event["timestamp"] = self._start + at
        self._session.send(command, event)


@pytest.mark.parametrize("radius", [(33, 8), (8, 33)])
def test_a_wide_contact_is_a_palm_and_draws_nothing(radius: Place, tabs: Tabs) -> None:
    page = tabs.open(viewport=PHONE, density=3, touch=True)
    Hand(page).drag((200, 250), (100, 150), radius=radius)
    assert state_of(page) == "empty"
    assert inked(page, "#ink") == 0


def test_the_flat_of_a_thumb_is_a_finger(tabs: Tabs) -> None:
    page = tabs.open(viewport=PHONE, density=3, touch=True)
    Hand(page).drag((200, 250), (100, 150), radius=(31, 31))
    assert len(sent(page)) == 1


def test_a_finger_draws_beside_a_palm_that_rests(tabs: Tabs) -> None:
    page = tabs.open(viewport=PHONE, density=3, touch=True)
    hand = Hand(page)
    palm = (300, 300)
    hand.touch("touchStart", palm, radius=(40, 40))
    for i in range(10):
        kind = "touchMove" if i else "touchStart"
        hand.touch(kind, palm, (100, 60 + 10 * i))
    hand.touch("touchEnd", palm)
    hand.touch("touchEnd")
    assert_sent(page, [[(100, 60), (100, 150)]])


@pytest.mark.parametrize("seen", ["above the sheet", "drawing"])
@pytest.mark.parametrize(("later", "draws"), [(1.4, False), (1.6, True)])
def test_a_finger_draws_only_a_while_after_the_pen_was_seen(
    seen: str, later: float, draws: bool, tabs: Tabs
) -> None:
    page = tabs.open(viewport=PHONE, density=3, touch=True)
    hand = Hand(page)
    strokes: list[list[Place]] = []
    hand.hover(50, 50, at=0)
    if seen == "drawing":
        hand.press(50, 50, at=0.1)
        hand.move(100, 50, at=0.2)
        hand.lift(100, 50, at=0.2)
        strokes.append([(50, 50), (100, 50)])
    hand.drag((200, 250), (100, 150), at=later + (0.2 if strokes else 0))
    if draws:
        strokes.append([(200, 250), (100, 150)])
    if strokes:
        assert_sent(page, strokes)
    else:
        assert state_of(page) == "empty"
        assert inked(page, "#ink") == 0


def test_a_pen_that_rested_on_the_sheet_is_seen_as_it_lifts(tabs: Tabs) -> None:
    page = tabs.open(viewport=PHONE, density=3, touch=True)
    hand = Hand(page)
    hand.press(50, 50, at=0)
    hand.move(100, 50, at=0.1)
    hand.lift(100, 50, at=2)
    hand.drag((200, 250), (100, 150), at=2.1)
    assert_sent(page, [[(50, 50), (100, 50)]])


def test_a_finger_that_comes_while_a_pen_draws_is_ignored(tabs: Tabs) -> None:
    page = tabs.open(viewport=PHONE, density=3, touch=True)
    hand = Hand(page)
    hand.press(50, 50)
    hand.move(100, 50)
    hand.touch("touchStart", (200, 200))
    hand.touch("touchMove", (250, 250))
    hand.move(150, 50)
    hand.touch("touchEnd")
    hand.move(200, 50)
    hand.lift(200, 50)
    assert_sent(page, [[(50, 50), (200, 50)]])


def test_a_pen_that_comes_while_a_finger_draws_wins(tabs: Tabs) -> None:
    page = tabs.open(viewport=PHONE, density=3, touch=True)
    hand = Hand(page)
    hand.drag((40, 40), (100, 40))
    before = inked(page, "#ink")
    hand.touch("touchStart", (200, 250))
    hand.touch("touchMove", (250, 250))
    assert inked(page, "#ink") > before + 1000
    hand.press(50, 150)
    assert inked(page, "#ink") < before + 1000  # the finger's ink is gone, its older stroke is not
    hand.touch("touchMove", (250, 300))
    hand.move(100, 150)
    hand.touch("touchEnd")
    hand.move(150, 150)
    hand.lift(150, 150)
    assert_sent(page, [[(40, 40), (100, 40)], [(50, 150), (150, 150)]])


def test_a_mouse_does_not_take_over_from_a_finger(tabs: Tabs) -> None:
    page = tabs.open(viewport=PHONE, density=3, touch=True)
    hand, box = Hand(page), sheet_box(page)
    hand.touch("touchStart", (50, 50))
    hand.touch("touchMove", (100, 50))
    page.mouse.move(box.left + 200, box.top + 200)
    page.mouse.down()
    page.mouse.move(box.left + 250, box.top + 250)
    page.mouse.up()
    hand.touch("touchMove", (150, 50))
    hand.touch("touchEnd")
    assert_sent(page, [[(50, 50), (150, 50)]])


def test_a_cancelled_stroke_is_dropped_and_the_next_one_drawn(tabs: Tabs) -> None:
    page = tabs.open(viewport=PHONE, density=3, touch=True)
    hand = Hand(page)
    hand.drag((40, 40), (100, 40))
    before = inked(page, "#ink")
    hand.touch("touchStart", (200, 250))
    hand.touch("touchMove", (250, 250))
    hand.touch("touchCancel")  # as the system does that found it to be a palm
    assert inked(page, "#ink") == before
    hand.drag((50, 150), (150, 150))
    assert_sent(page, [[(40, 40), (100, 40)], [(50, 150), (150, 150)]])


def test_a_button_let_go_where_nobody_saw_it_ends_the_stroke(tabs: Tabs) -> None:
    page = tabs.open()
    begin_stroke(page)
    dispatch(page, [(200, 200)], [(300, 100)], buttons=0)
    dispatch(page, [(300, 100)], [(300, 100)])
    assert_sent(page, [[(100, 100), (200, 200)]])
    page.mouse.up()


def test_a_finger_that_rests_opens_no_menu(tabs: Tabs) -> None:
    page = tabs.open()
    script = """(sheet) => {
      const asked = new MouseEvent("contextmenu", { bubbles: true, cancelable: true });
      return sheet.dispatchEvent(asked);
    }"""
    assert page.eval_on_selector("#ink", script) is False
    assert page.eval_on_selector("h1", script) is True


@pytest.mark.parametrize("beside", [False, True])
def test_two_fingers_on_the_sheet_neither_zoom_nor_scroll(beside: bool, tabs: Tabs) -> None:
    page = tabs.open(viewport=PHONE, density=2, touch=True)
    page.evaluate("document.body.style.paddingBottom = '2000px'")
    hand, box = Hand(page), sheet_box(page)
    below = box.height + 250  # of the sheet's buttons too
    hand.pinch((150, 200), (170, below if beside else 200))
    next_frames(page)
    assert page.evaluate("[visualViewport.scale, scrollX, scrollY]") == [1, 0, 0]
    assert len(sent(page)) == 1  # the first finger's
    # The same beside the sheet does zoom.
    hand.pinch((150, below), (170, below))
    page.wait_for_function("() => visualViewport.scale > 1.5")


@pytest.mark.parametrize(("pressure", "width"), [(0.1, 0.55), (0.5, 0.95), (1.0, 1.45)])
def test_a_pen_draws_as_wide_as_it_presses(pressure: float, width: float, tabs: Tabs) -> None:
    page = tabs.open()
    hand = Hand(page)
    hand.press(100, 100, pressure)
    for x in range(110, 310, 10):
        hand.move(x, 100, pressure)
    hand.lift(300, 100)
    assert thickness(page, 200) == pytest.approx(PEN * width, abs=0.5)


def test_a_line_widens_as_the_pen_presses_harder(tabs: Tabs) -> None:
    page = tabs.open()
    hand = Hand(page)
    hand.press(60, 100, 0.1)
    for x in range(70, 380, 10):
        hand.move(x, 100, x / 380)
    hand.lift(370, 100)
    widths = [thickness(page, x) for x in (100, 200, 300)]
    assert widths[0] + 2 < widths[1] < widths[2] - 2
    [stroke] = sent(page)
    assert {len(point) for point in stroke} == {2}  # the width is not


def test_a_finger_draws_as_wide_however_it_presses(tabs: Tabs) -> None:
    widths = []
    for pressure in (0.1, 1.0):
        page = tabs.open(viewport=PHONE, density=3, touch=True)
        Hand(page).drag((50, 100), (250, 100), pressure=pressure, at=0)
        widths.append(thickness(page, 150))
    assert widths[0] == widths[1] > 0


def test_a_hurried_line_is_thinner(tabs: Tabs) -> None:
    widths = []
    for pause in (0.5, 0.004):  # s, for 10 CSS px
        page = tabs.open(viewport=PHONE, density=3, touch=True)
        hand = Hand(page)
        hand.touch("touchStart", (50, 100), at=0)
        for i in range(1, 25):
            hand.touch("touchMove", (50 + 10 * i, 100), at=i * pause)
        hand.touch("touchEnd", at=25 * pause)
        widths.append(thickness(page, 250))
    # The least and the most that speed does.
    assert widths[0] == pytest.approx(1.1 * PEN, abs=0.5)
    assert widths[1] == pytest.approx(0.75 * PEN, abs=0.5)


def test_a_fast_stroke_is_drawn_through_every_point_of_its_event(tabs: Tabs) -> None:
    page = tabs.open()
    box = sheet_box(page)
    page.mouse.move(box.left + 100, box.top + 100)
    page.mouse.down()
    zigzag = [(100.0, 300.0), (200.0, 100.0), (200.0, 300.0), (300.0, 100.0)]
    dispatch(page, zigzag, [zigzag[-1]])
    page.mouse.up()
    assert_sent(page, [[(100, 100), *zigzag]])
    assert thickness(page, 250) > 0  # between the corners


@pytest.mark.parametrize("missing", ["no function", "an empty list"])
def test_where_no_points_are_kept_the_events_own_are_drawn(missing: str, tabs: Tabs) -> None:
    page = tabs.open()
    if missing == "no function":  # as on plain http
        page.evaluate("() => { delete PointerEvent.prototype.getCoalescedEvents }")
    else:
        page.evaluate("() => { PointerEvent.prototype.getCoalescedEvents = () => [] }")
    begin_stroke(page)
    page.mouse.up()
    assert_sent(page, [[(100, 100), (200, 200)]])


def test_predicted_points_are_painted_ahead_and_never_sent(tabs: Tabs) -> None:
    page = tabs.open()
    begin_stroke(page)
    plain = inked(page, "#ink")
    dispatch(page, [(210, 210)], [(210, 210)], predicted=[(300, 210), (350, 210)])
    assert thickness(page, 300, "#over") > PEN / 2
    assert thickness(page, 300) == 0
    assert plain < inked(page, "#ink") < plain + 1000
    dispatch(page, [(200, 300)], [(200, 300)])
    assert thickness(page, 300, "#over") == 0  # it went elsewhere
    page.mouse.up()
    assert_sent(page, [[(100, 100), (210, 210), (200, 300)]])


def test_predicted_points_go_with_the_strokes_end(tabs: Tabs) -> None:
    page = tabs.open()
    asked = hold(page)
    begin_stroke(page)
    dispatch(page, [(210, 210)], [(210, 210)], predicted=[(350, 210)])
    page.mouse.up()
    assert inked(page, "#over") == 0
    wait_for(page, "reading")
    [stroke] = strokes_of(asked[0].request)
    assert max(x for x, _ in stroke) < 300


@pytest.mark.parametrize("density", [1, 1.5, 2, 3])
def test_ink_is_as_sharp_as_the_screen(density: float, tabs: Tabs) -> None:
    page = tabs.open(viewport=(700, 700), density=density)
    page.evaluate("document.querySelector('.sheet').style.background = 'white'")
    box = sheet_box(page)
    line = np.array([[box.left + x, box.top + 200.0] for x in range(100, 301, 10)])
    with_mouse(page, [line])
    pixels = "canvas => [canvas.width, canvas.height]"
    for canvas in ("#ink", "#over"):
        size = page.eval_on_selector(canvas, pixels)
        assert size == pytest.approx([box.width * density, box.height * density], abs=1)
    shades = column_on_screen(page, box.left + 200, box.top + 170, 60)
    assert len(shades) == 60 * density
    low, high = shades.min(), shades.max()
    inside = (shades > low + 0.1 * (high - low)) & (shades < high - 0.1 * (high - low))
    assert inside.sum() <= 4  # of both edges; each lies between two pixels, or three
    assert (shades < high - 0.5 * (high - low)).sum() > 8 * density


def test_a_screen_of_another_density_gets_its_own_pixels(tabs: Tabs) -> None:
    page = tabs.open(viewport=(700, 700))
    with_mouse(page, placed(TWO, sheet_box(page)))
    before, ink = sent(page), inked(page, "#ink")
    session = page.context.new_cdp_session(page)
    width = sheet_box(page).width
    for more, density in enumerate((2, 1.5, 1), 1):
        # A px taller each time: an emulated screen tells the page nothing of its density alone.
        session.send(
            "Emulation.setDeviceMetricsOverride",
            {"width": 700, "height": 700 + more, "deviceScaleFactor": density, "mobile": False},
        )
        page.wait_for_function("(density) => devicePixelRatio === density", arg=density)
        wait_until_fitted(page)
        assert sheet_box(page).width == width
        assert inked(page, "#ink") == pytest.approx(ink * density**2, rel=0.1)
    assert sent(page) == before


@pytest.mark.parametrize("change", ["turned", "zoomed"])
def test_a_drawing_goes_on_where_the_pen_is_after_a_change(change: str, tabs: Tabs) -> None:
    page = tabs.open(viewport=PHONE, density=3, touch=True)
    for i, (stroke, pen) in enumerate(zip(TWO.strokes, (with_finger, with_pen), strict=True)):
        if i > 0:
            resize(page, LANDSCAPE if change == "turned" else (260, 563), 3 * (1 + i / 2))
        box = sheet_box(page)
        x, y = box.width / 100, box.height / 100
        pen(page, [np.array([[box.left + a * x, box.top + (b + 20) * y] for a, b in stroke])])
    strokes = sent(page)
    for stroke, expected in zip(strokes, TWO.strokes, strict=True):
        places = [(a * SHEET / 100, (b + 20) * SHEET / 100) for a, b in expected]
        assert farthest(stroke, places) < 5


def test_a_phone_turned_in_the_middle_of_a_stroke_keeps_its_ink(tabs: Tabs) -> None:
    page = tabs.open(viewport=PHONE, density=3, touch=True)
    hand, box = Hand(page), sheet_box(page)
    hand.touch("touchStart", (50, 50))
    for x in range(60, 160, 10):
        hand.touch("touchMove", (x, 50))
    share = inked(page, "#ink") / (9 * box.width**2)
    resize(page, LANDSCAPE, 3)
    box = sheet_box(page)
    assert inked(page, "#ink") / (9 * box.width**2) == pytest.approx(share, rel=0.05)
    assert state_of(page) == "drawing"
    hand.touch("touchEnd")
    [stroke] = sent(page)
    assert stroke[0][0] == pytest.approx(50 * SHEET / 337, abs=2)


def resize(page: "Page", size: tuple[int, int], density: float) -> None:
    """Turn the phone, or zoom: another window, and wait for the sheet to fit it."""
    before = sheet_box(page).width
    page.context.new_cdp_session(page).send(
        "Emulation.setDeviceMetricsOverride",
        {"width": size[0], "height": size[1], "deviceScaleFactor": density, "mobile": False},
    )
    script = """(before) => document.querySelector("#ink").clientWidth !== Math.round(before)"""
    page.wait_for_function(script, arg=before)
    wait_until_fitted(page)


def dispatch(
    page: "Page",
    points: Sequence[Place],
    last: Sequence[Place],
    *,
    predicted: Sequence[Place] = (),
    buttons: int = 1,
) -> None:
    """Move the mouse, whose button is down, through the points, all in one event."""
    script = """(sheet, { points, last, predicted, buttons }) => {
      const { left, top } = sheet.getBoundingClientRect();
      const event = ([x, y], more) => new PointerEvent("pointermove", {
        pointerId: 1, pointerType: "mouse", buttons, clientX: left + x, clientY: top + y, ...more,
      });
      sheet.dispatchEvent(event(last[0], {
        coalescedEvents: points.map((point) => event(point)),
        predictedEvents: predicted.map((point) => event(point)),
      }));
    }"""
    about = {"points": points, "last": last, "predicted": predicted, "buttons": buttons}
    page.eval_on_selector("#ink", script, about)


def assert_sent(page: "Page", drawn: Sequence[Sequence[Place]]) -> None:
    """The page sends these strokes, given in CSS px from the sheet's corner, and no others."""
    box = sheet_box(page)
    strokes = sent(page)
    assert len(strokes) == len(drawn)
    for stroke, expected in zip(strokes, drawn, strict=True):
        places = [(x * SHEET / box.width, y * SHEET / box.height) for x, y in expected]
        assert farthest(stroke, places) < NEAR * SHEET / box.width


def thickness(page: "Page", x: float, canvas: str = "#ink") -> float:
    """How much ink, in canvas px, a vertical line through the sheet crosses, `x` CSS px in."""
    script = """(canvas, x) => new Promise((done) => requestAnimationFrame(() => {
      const copy = new OffscreenCanvas(canvas.width, canvas.height);
      const context = copy.getContext("2d", { willReadFrequently: true });
      context.drawImage(canvas, 0, 0);
      const column = Math.round((x / canvas.clientWidth) * canvas.width);
      const { data } = context.getImageData(column, 0, 1, canvas.height);
      const alpha = data.filter((_, i) => i % 4 === 3).reduce((sum, each) => sum + each, 0);
      done((500 / canvas.height) * (alpha / 255));
    }))"""
    return float(page.eval_on_selector(canvas, script, x))


def column_on_screen(page: "Page", x: float, y: float, height: float) -> "np.ndarray[Any, Any]":
    """The brightness, [0, 255], of the screen's pixels below a place in CSS px."""
    clip = {"x": round(x), "y": round(y), "width": 1, "height": height}
    png = page.screenshot(clip=clip, scale="device")  # type: ignore[arg-type]
    script = """async (text) => {
      const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
      const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
      const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
      context.drawImage(image, 0, 0);
      const { data } = context.getImageData(0, 0, 1, image.height);
      return [...data.filter((_, i) => i % 4 === 1)];
    }"""
    return np.array(page.evaluate(script, base64.b64encode(png).decode()))


def next_frames(page: "Page") -> None:
    """Wait for two frames: what an event changes is there then."""
    frame = "requestAnimationFrame"
    page.evaluate(f"() => new Promise((done) => {frame}(() => {frame}(() => done())))")
