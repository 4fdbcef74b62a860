"""Real ink, drawn on the real page, sent to the real server: it arrives as drawn, and is read."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.browser.acts import sent, strokes_of, wait_until_fitted
from tests.browser.conftest import CHROMIUM, CHROMIUM_FLAGS, Tabs
from tests.browser.pens import (
    PENS,
    SHEET,
    Box,
    Drawing,
    Points,
    farthest,
    on_sheet,
    placed,
    sheet_box,
    with_finger,
    with_mouse,
)
from tests.ink import drawings_folder
from tests.serving import Site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DESKTOP = (1280, 800)
LARGE = (2400, 1600)  # the sheet stays as large, in CSS px, at zoom 67% to 150%
PHONE = (390, 844)
EVENT_ERROR = 1.5  # CSS px: a mouse's events may be rounded to whole px, and MIN_STEP is left out

CASES = [
    ("desktop", "mouse"),
    ("desktop", "pen"),
    ("desktop", "finger"),
    ("phone", "finger"),
    ("phone", "pen"),
]


def test_the_drawings_are_real_ink() -> None:
    folder = drawings_folder()
    if not folder.is_dir():
        pytest.skip(f"no drawings in {folder}: the browser tests draw built-in strokes")
    assert list(folder.glob("*-digits.jsonl.gz")) or list(folder.glob("pendigits*"))


@pytest.mark.parametrize("zoom", [1.0, 1.5, 0.67])
@pytest.mark.parametrize(("device", "pen"), CASES)
def test_digits_are_sent_as_drawn_and_read(
    device: str, pen: str, zoom: float, tabs: Tabs, digits: list[Drawing], artefacts: Path
) -> None:
    phone = device == "phone"
    page = tabs.open(
        viewport=PHONE if phone else DESKTOP,
        density=3 if phone else 1,
        zoom=zoom,
        touch=pen == "finger",
    )
    first = len(CASES) * CASES.index((device, pen))
    for drawing in spread(digits, first):
        draw_and_check(page, drawing, pen)
        page.screenshot(path=artefacts / f"{device}-{pen}-{zoom:.0%}-{drawing.label}.png")
        page.click("#clear")


@pytest.mark.parametrize("density", [1.5, 0.67])
def test_a_real_density_moves_no_ink(
    density: float, browser: "Browser", site: Site, digits: list[Drawing]
) -> None:
    # Not emulated: the browser lays out as it does under its own zoom.
    flags = [*CHROMIUM_FLAGS, f"--force-device-scale-factor={density}", "--window-size=1280,900"]
    other = browser.browser_type.launch(executable_path=CHROMIUM, args=flags)
    tabs = Tabs(other, site.url)
    page = tabs.open(viewport=None)
    assert page.evaluate("devicePixelRatio") == pytest.approx(density)
    for pen in PENS:
        draw_and_check(page, digits[4 % len(digits)], pen)
        page.click("#clear")
    tabs.close()
    other.close()


def test_each_digit_is_read(tabs: Tabs, digits: list[Drawing], artefacts: Path) -> None:
    page = tabs.open()
    for number, drawing in enumerate(digits[:10]):
        draw_and_check(page, drawing, "mouse")
        page.screenshot(path=artefacts / f"digit-{drawing.label}-{number}.png")
        page.keyboard.press("Delete")


@pytest.mark.parametrize("pen", ["mouse", "finger", "pen"])
@pytest.mark.parametrize("zoom", [1.5, 0.67])
def test_css_zoom_moves_no_ink(zoom: float, pen: str, tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open(viewport=(1280, 1000), touch=pen == "finger")
    page.evaluate(f"document.documentElement.style.zoom = '{zoom}'")
    draw_and_check(page, digits[3 % len(digits)], pen)


@pytest.mark.parametrize("pen", ["mouse", "finger", "pen"])
def test_a_scrolled_page_moves_no_ink(pen: str, tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open(viewport=(360, 500), density=2, touch=pen == "finger")
    page.evaluate("scrollTo(0, 73)")
    draw_and_check(page, digits[2 % len(digits)], pen)


def test_scrolling_during_a_stroke_keeps_the_ink_under_the_pointer(tabs: Tabs) -> None:
    page = tabs.open(viewport=(700, 600))
    box = sheet_box(page)
    x, y, scrolled = box.left + 100, box.top + 150, 60
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 50, y)
    page.evaluate(f"scrollTo(0, {scrolled})")
    page.mouse.move(x + 51, y)
    page.mouse.move(x + 100, y)
    page.mouse.up()
    [stroke] = sent(page)
    down = scrolled * SHEET / box.height
    assert stroke[-1][1] - stroke[0][1] == pytest.approx(down, abs=3)
    assert stroke[-1][0] - stroke[0][0] == pytest.approx(100 * SHEET / box.width, abs=3)


def test_a_drawing_stands_while_the_window_changes(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open(viewport=DESKTOP)
    strokes = placed(digits[3 % len(digits)], sheet_box(page))
    drawn = on_sheet(strokes, sheet_box(page))
    with_mouse(page, strokes)
    before = sent(page)
    for width, height in [(390, 844), (844, 390), (700, 500)]:
        page.set_viewport_size({"width": width, "height": height})
        wait_until_fitted(page)
        assert_ink_under(page, drawn)
    assert sent(page) == before


def test_a_drawing_stands_while_the_zoom_changes(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open(viewport=LARGE)
    strokes = placed(digits[3 % len(digits)], sheet_box(page))
    drawn = on_sheet(strokes, sheet_box(page))
    with_mouse(page, strokes)
    before = sent(page)
    session = page.context.new_cdp_session(page)
    for zoom in (1.5, 0.67, 3.0):
        width, height = (round(side / zoom) for side in LARGE)
        session.send(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": zoom, "mobile": False},
        )
        wait_until_fitted(page)
        assert_ink_under(page, drawn)
    assert sent(page) == before


def test_a_second_finger_draws_nothing(tabs: Tabs) -> None:
    page = tabs.open(viewport=PHONE, density=3, touch=True)
    box = sheet_box(page)
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float, int]) -> None:
        touches = [{"x": box.left + x, "y": box.top + y, "id": i} for x, y, i in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    touch("touchStart", (100, 50, 1))
    touch("touchMove", (100, 90, 1))
    touch("touchStart", (100, 90, 1), (250, 200, 2))
    touch("touchMove", (100, 130, 1), (290, 240, 2))
    touch("touchMove", (100, 250, 1), (200, 240, 2))
    touch("touchEnd", (200, 240, 2))  # the first finger lifts; the second goes on
    touch("touchMove", (60, 60, 2))
    touch("touchEnd")
    [stroke] = sent(page)
    expected = [[100 * SHEET / box.width, y * SHEET / box.height] for y in (50, 250)]
    assert farthest(stroke, expected) < EVENT_ERROR * SHEET / box.width


def test_a_finger_on_the_sheet_does_not_scroll_the_page(tabs: Tabs) -> None:
    page = tabs.open(viewport=(360, 500), density=2, touch=True)
    box = sheet_box(page)
    up = np.array([[box.left + 60, box.top + y] for y in range(220, 20, -20)])
    with_finger(page, [up])
    page.wait_for_timeout(100)
    assert page.evaluate("scrollY") == 0
    # The same move beside the sheet does scroll.
    with_finger(page, [up - [60 + box.left / 2, 0]])
    page.wait_for_function("() => scrollY > 50")


def test_ink_past_the_edge_stays_on_the_sheet(tabs: Tabs) -> None:
    page = tabs.open()
    box = sheet_box(page)
    middle = box.top + box.height / 2
    with_mouse(page, [np.array([[box.left + 100, middle], [box.left - 30, middle + 60]])])
    [stroke] = sent(page)
    assert stroke[-1][0] == 0
    assert np.min(stroke) >= 0


def test_only_the_main_button_draws(tabs: Tabs) -> None:
    page = tabs.open()
    box = sheet_box(page)
    page.mouse.move(box.left + 100, box.top + 100)
    page.mouse.down(button="right")
    page.mouse.move(box.left + 200, box.top + 200)
    page.mouse.up(button="right")
    page.mouse.move(box.left + 250, box.top + 100)
    assert page.get_attribute("main", "data-state") == "empty"


def spread(digits: list[Drawing], first: int, count: int = 3) -> list[Drawing]:
    """A few of the drawings, other ones for another `first`."""
    return [digits[(first + 7 * i) % len(digits)] for i in range(count)]


def draw_and_check(page: "Page", drawing: Drawing, pen: str) -> None:
    """Draw, see the ink under the pen, predict; what arrives is what was drawn, and is read."""
    box = sheet_box(page)
    strokes = placed(drawing, box)
    PENS[pen](page, strokes)
    assert_ink_under(page, on_sheet(strokes, box))

    with page.expect_response("**/api/predict") as answered:
        page.click("#predict") if pen == "mouse" else page.keyboard.press("Enter")
    page.wait_for_selector("main[data-state=answer]")

    answer = answered.value.json()
    assert_sent(strokes_of(answered.value.request), strokes, box)
    assert_shown(page, answer)
    assert answer["digit"] == drawing.label


def assert_ink_under(page: "Page", drawn: list[Points]) -> None:
    """The canvas has a pixel for each of the screen's, and they are inked along the strokes."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => done()))")
    places = [list(map(float, point)) for stroke in drawn for point in stroke]
    script = """(places) => {
      const canvas = document.querySelector("#ink");
      const { width, height } = canvas.getBoundingClientRect();
      const copy = new OffscreenCanvas(canvas.width, canvas.height);
      const context = copy.getContext("2d", { willReadFrequently: true });
      context.drawImage(canvas, 0, 0);
      const alpha = ([x, y]) => context.getImageData(
        Math.min((x / 500) * canvas.width, canvas.width - 1),
        Math.min((y / 500) * canvas.height, canvas.height - 1), 1, 1).data[3];
      return {
        pixels: [canvas.width / canvas.height, canvas.width - width * devicePixelRatio],
        least: Math.min(...places.map(alpha)),
        corner: alpha([2, 2]),
      };
    }"""
    seen = page.evaluate(script, places)
    ratio, surplus = seen["pixels"]
    assert ratio == pytest.approx(1, abs=0.01)
    assert abs(surplus) <= 1
    assert seen["least"] > 200
    assert seen["corner"] == 0


def assert_sent(body: list[list[list[float]]], strokes: list[Points], box: Box) -> None:
    """The strokes sent are those drawn, in canvas px."""
    assert len(body) == len(strokes)
    for got, expected in zip(body, on_sheet(strokes, box), strict=True):
        assert farthest(got, expected) < EVENT_ERROR * SHEET / box.width


def assert_shown(page: "Page", answer: dict[str, object]) -> None:
    """The page shows the answer: its digit, confidence, bars and image."""
    title, detail = page.inner_text("#verdict"), page.inner_text("#detail")
    assert re.findall(r"\d", title) == [str(answer["digit"])]
    confidence = float(str(answer["confidence"]))
    shown = "more than 99" if confidence >= 0.995 else str(int(100 * confidence + 0.5))
    assert f"{shown}% sure" in detail, confidence
    heights = page.eval_on_selector_all(
        "#bars i", "bars => bars.map((bar) => Number(bar.style.getPropertyValue('--share')))"
    )
    assert heights == pytest.approx(answer["probabilities"], abs=1e-4)
    assert page.inner_text("#bars .best b") == str(answer["digit"])
    image = page.eval_on_selector(
        "#seen",
        """(canvas) => {
          const context = new OffscreenCanvas(28, 28).getContext("2d");
          context.drawImage(canvas, 0, 0);
          return [...context.getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 === 3);
        }""",
    )
    assert np.abs(np.array(image).reshape(28, 28) - np.array(answer["image"])).max() <= 1
