"""Every state on phone, tablet and desktop, light and dark: screenshots, and all of it fits.

The server is the real one, behind nginx; a route stands in where it can't be brought to it: an
answer that is held, or hardly sure.
"""

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from tests.browser.acts import (
    PREDICT,
    ask,
    begin_stroke,
    click_sheet,
    draw,
    hold,
    message,
    open_correction,
    open_inside,
    state_of,
    wait_for,
)
from tests.browser.conftest import Tabs
from tests.browser.pens import HOUSE, Drawing, beside
from tests.serving import Site, serving

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

PHONE, TABLET, DESKTOP = (390, 844), (820, 1180), (1280, 800)
SIZES = {"phone": PHONE, "tablet": TABLET, "desktop": DESKTOP}
NARROW, LANDSCAPE = (320, 568), (740, 360)
TEXT_200 = "document.documentElement.style.fontSize = '200%'"
RTL = "document.dir = 'rtl'"
# Those that are seen in a few states only: the window, and what is done to the page.
EXTREMES = {
    "narrow": (NARROW, ""),
    "landscape": (LANDSCAPE, ""),
    "text-200": (PHONE, TEXT_200),
    "rtl-phone": (PHONE, RTL),
    "rtl-desktop": (DESKTOP, RTL),
}

CONTROLS = "a, button, input, canvas#ink"
TARGET = 24  # CSS px, the least side of a control: WCAG 2.2, 2.5.8
BUTTON = 44  # CSS px, the least side of a button

# nginx without workers: the first question fails, the second is one too many.
FAILING = {
    "location /api/ {\n    limit_req zone=numdraw_api burst=60": (
        "location /api/ {\n    limit_req zone=numdraw_api burst=1"
    ),
    "rate=20r/s": "rate=1r/m",
    '/.problem/429 "1"': '/.problem/429 "30"',  # s, in which the page does not ask by itself
}


@dataclass
class Album:
    """Screenshots of states, and what is wrong in them."""

    name: str
    folder: Path
    wrong: dict[str, list[str]] = field(default_factory=dict)

    def keep(self, page: "Page", state: str, title: str) -> None:
        """Shoot the page, which should say that title, and look for faults."""
        assert message(page)[0] == title
        page.screenshot(path=self.folder / f"state-{self.name}-{state}.png", full_page=True)
        found = faults(page)
        if found:
            self.wrong[state] = found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_state_fits_and_its_controls_can_be_hit(
    size: str,
    scheme: Literal["light", "dark"],
    teachable: Site,
    tabs: Tabs,
    digits: list[Drawing],
    artefacts: Path,
) -> None:
    album = Album(f"{size}-{scheme}", artefacts)

    @contextlib.contextmanager
    def opened(site: Site) -> "Iterator[Page]":
        page = tabs.open(viewport=SIZES[size], scheme=scheme, url=site.url)
        yield page
        page.context.close()

    with opened(teachable) as page:
        while_drawing_and_read(page, album, digits)
    with opened(teachable) as page:
        while_waiting(page, album)
    with opened(teachable) as page:
        when_misread(page, album)
    tabs.allow("ERR_INTERNET_DISCONNECTED")
    tabs.allow("error occurred when fetching the script")  # the browser looks for a newer sw.js
    with opened(teachable) as page:
        without_a_network(page, album)
    for error in ("status of 503", "status of 429", "ERR_CONNECTION_REFUSED"):
        tabs.allow(error)
    with serving(app=[], edits=FAILING) as failing, opened(failing) as page:
        when_the_server_fails(page, album, failing)
    assert album.wrong == {}


@pytest.mark.parametrize("extreme", EXTREMES)
def test_an_unusual_window_or_text_fits_too(
    extreme: str, teachable: Site, tabs: Tabs, digits: list[Drawing], artefacts: Path
) -> None:
    viewport, script = EXTREMES[extreme]
    album = Album(f"{extreme}-light", artefacts)
    page = tabs.open(viewport=viewport, url=teachable.url)
    page.evaluate(script)
    album.keep(page, "empty", "Your turn.")
    page.press("#ink", "8")
    wait_for(page, "answer")
    album.keep(page, "answer", "That\u2019s an 8.")
    open_correction(page)
    album.keep(page, "correction", "That\u2019s an 8.")
    number = number_of(digits)
    draw_anew(page, number)
    album.keep(page, "number", f"That\u2019s {number.label}.")
    open_inside(page)
    album.keep(page, "inside-number", f"That\u2019s {number.label}.")
    assert album.wrong == {}


@pytest.mark.parametrize("viewport", [*SIZES.values(), NARROW, LANDSCAPE])
def test_drawing_and_answering_move_nothing(
    viewport: tuple[int, int], tabs: Tabs, digits: list[Drawing]
) -> None:
    page = tabs.open(viewport=viewport)
    script = """() => ["#ink", "#clear", "#predict", "#bars", "#seen", ".foot"].map((selector) => {
      const { left, top, width, height } = document.querySelector(selector).getBoundingClientRect();
      return [selector, left + scrollX, top + scrollY, width, height];
    })"""
    before = page.evaluate(script)
    draw(page, digits[3 % len(digits)])
    ask(page)
    assert page.evaluate(script) == before


@pytest.mark.parametrize("direction", ["ltr", "rtl"])
def test_the_margin_line_is_on_the_networks_page_beside_the_fold(
    direction: str, tabs: Tabs
) -> None:
    spread = spread_of(tabs, direction)
    redness = spread.row[:, 0] - spread.row[:, 2]
    line = int(redness.argmax())
    assert redness[line] > 40
    towards_theirs = 1 if direction == "ltr" else -1
    assert 20 < (line - spread.fold) * towards_theirs < 60


@pytest.mark.parametrize("direction", ["ltr", "rtl"])
def test_both_pages_are_shaded_towards_the_fold(direction: str, tabs: Tabs) -> None:
    spread = spread_of(tabs, direction)
    light = spread.row.sum(axis=1)
    inside = 20  # CSS px from the book's ends, past its cover
    assert light[spread.fold - 2] < light[inside] - 10
    assert light[spread.fold + 2] < light[-inside] - 10


def test_faults_are_found(tabs: Tabs) -> None:
    page = tabs.open()
    assert faults(page) == []
    plant = """(css) => {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(css);
      document.adoptedStyleSheets = [sheet];
    }"""
    planted = {
        ".foot { min-width: 120vw }": "sticks out",
        ".bars b { width: 2px }": "<b>7</b> sticks out",
        "#undo { margin-right: -20px }": "#redo overlaps #undo",
        ".tools { margin-top: -30px }": "#predict overlaps #ink",
        "#redo { padding: 0; min-width: 40px; width: 40px }": "#redo is 40 x 44",
        "nav a { padding: 0; font-size: 12px }": "<a href",
        "h1 { overflow: hidden; height: 10px }": "#draw-title is clipped",
    }
    for css, expected in planted.items():
        page.evaluate(plant, css)
        assert [fault for fault in faults(page) if expected in fault], css


def while_drawing_and_read(page: "Page", album: Album, digits: list[Drawing]) -> None:
    """Walk through what most people see, and what they see inside."""
    album.keep(page, "empty", "Your turn.")
    begin_stroke(page)
    assert state_of(page) == "drawing"
    album.keep(page, "drawing", "Your turn.")
    page.keyboard.press("Escape")
    page.mouse.up()
    digit, number = digits[6 % len(digits)], number_of(digits)
    draw_anew(page, digit)
    album.keep(page, "answer", f"That\u2019s {a(digit)}.")
    open_inside(page)
    album.keep(page, "inside", f"That\u2019s {a(digit)}.")
    page.click("#inside-open")
    begin_stroke(page)
    wait_for(page, "outdated")
    album.keep(page, "outdated", f"That\u2019s {a(digit)}.")
    page.mouse.up()
    draw_anew(page, number)
    album.keep(page, "number", f"That\u2019s {number.label}.")
    open_inside(page)
    album.keep(page, "inside-number", f"That\u2019s {number.label}.")
    page.press("#ink", "Delete")  # closes the view inside too
    page.route(PREDICT, make_unsure)
    page.press("#ink", "8")
    wait_for(page, "answer")
    album.keep(page, "unsure", "Perhaps an 8?")


def while_waiting(page: "Page", album: Album) -> None:
    """Walk from a drawing that is not asked about yet to an answer that never comes."""
    hold(page)
    page.clock.install(time=0)
    page.clock.pause_at(60)
    page.press("#ink", "2")
    page.clock.run_for(50)  # the ink is painted
    assert state_of(page) == "drawing"
    album.keep(page, "drawn", "Your turn.")
    page.clock.run_for(600)
    album.keep(page, "reading", "Reading \u2026")
    page.clock.run_for(3_000)
    album.keep(page, "slow", "Still reading \u2026")
    page.clock.run_for(8_000)
    wait_for(page, "problem")
    album.keep(page, "problem-late", "That took too long.")


def when_misread(page: "Page", album: Album) -> None:
    """Walk through what can't be read, and through a correction."""
    click_sheet(page, 50, 50)
    page.click("#predict")
    wait_for(page, "problem")
    album.keep(page, "problem-dot", "That\u2019s only a dot.")
    draw_anew(page, HOUSE)
    album.keep(page, "not-a-digit", "That doesn\u2019t look like a digit.")
    open_correction(page)
    album.keep(page, "correction", "That doesn\u2019t look like a digit.")
    page.keyboard.type("42")
    page.keyboard.press("Enter")
    page.get_by_text("Thank you.").wait_for()
    album.keep(page, "thanks", "Thank you.")


def without_a_network(page: "Page", album: Album) -> None:
    """Draw offline."""
    page.context.set_offline(True)
    page.press("#ink", "6")
    wait_for(page, "problem")
    album.keep(page, "problem-offline", "You\u2019re offline.")


def when_the_server_fails(page: "Page", album: Album, failing: Site) -> None:
    """Walk through the troubles of a server that has no workers and takes one question."""
    page.press("#ink", "4")
    wait_for(page, "problem")
    album.keep(page, "problem-failing", "The server isn\u2019t well.")
    page.click("#retry")
    page.get_by_text("A moment, please.").wait_for()
    album.keep(page, "problem-limited", "A moment, please.")
    failing.nginx.send_signal(signal.SIGTERM)
    failing.nginx.wait(20)
    page.click("#retry")
    page.get_by_text("No answer from the server.").wait_for()
    album.keep(page, "problem-lost", "No answer from the server.")


def draw_anew(page: "Page", drawing: Drawing) -> None:
    """Empty the sheet, draw and wait until it has been read by itself."""
    page.press("#ink", "Delete")  # not in the field of a correction
    draw(page, drawing)
    wait_for(page, "answer")


def make_unsure(route: "Route") -> None:
    """Send the server's own answer on, but hardly sure."""
    response = route.fetch()
    answer = response.json()
    digit = answer["digit"]
    probabilities = [0.01] * 10
    probabilities[digit], probabilities[(digit + 3) % 10] = 0.48, 0.44
    answer |= {"confidence": 0.48, "number_confidence": 0.48, "probabilities": probabilities}
    answer["digits"][0]["confidence"] = 0.48
    route.fulfill(response=response, json=answer)


def number_of(digits: list[Drawing]) -> Drawing:
    """Three digits next to each other."""
    return beside([digits[place % len(digits)] for place in (1, 7, 4)])


def a(digit: Drawing) -> str:
    """The digit as the page says it."""
    return f"{'an' if digit.label == 8 else 'a'} {digit.label}"


@dataclass(frozen=True)
class Spread:
    """A row of pixels near the top of the open book, where nothing is written."""

    row: "np.ndarray[Any, np.dtype[np.int64]]"  # (N, 3): red, green, blue, from the left
    fold: int  # the pixel at which the right page begins


def spread_of(tabs: Tabs, direction: str) -> Spread:
    """The book on a desktop, its pages side by side in that direction."""
    page = tabs.open(viewport=DESKTOP)
    page.evaluate("direction => { document.dir = direction; }", direction)
    script = """() => {
      const [book, yours, theirs] = [".book", ".yours", ".theirs"].map((selector) =>
        document.querySelector(selector).getBoundingClientRect());
      return [book.left, book.top, book.width, yours.left < theirs.left ? theirs.left : yours.left];
    }"""
    left, top, width, fold = page.evaluate(script)
    shot = page.screenshot(clip={"x": left, "y": top + 14, "width": width, "height": 1})
    decode = """async (bytes) => {
      const image = await createImageBitmap(new Blob([new Uint8Array(bytes)]));
      const context = new OffscreenCanvas(image.width, 1).getContext("2d");
      context.drawImage(image, 0, 0);
      return [...context.getImageData(0, 0, image.width, 1).data];
    }"""
    rgba = np.array(page.evaluate(decode, list(shot)), dtype=np.int64).reshape(-1, 4)
    return Spread(rgba[:, :3], round(fold - left))


def faults(page: "Page") -> list[str]:
    """What does not fit, a line for each."""
    return overflowing(page) + overlapping(page) + too_small(page) + clipped(page)


NAME = """const name = (element) =>
  element.id ? `#${element.id}` : element.outerHTML.slice(0, 80);
"""
SHOWN = """const shown = controls.filter((control) =>
  control.checkVisibility({ visibilityProperty: true }));
"""


def overflowing(page: "Page") -> list[str]:
    """The elements that stick out of the window sideways, and texts out of their boxes."""
    script = """() => {
      NAME
      return [...document.querySelectorAll("html, body, body *:not(.spoken, svg *)")]
        .filter((element) => {
          const { left, right, width } = element.getBoundingClientRect();
          const text = element instanceof HTMLElement && element.clientWidth > 0
            && element.scrollWidth > element.clientWidth + 1
            && getComputedStyle(element).display !== "inline";
          return width > 0 && (left < -0.5 || right > innerWidth + 0.5 || text);
        })
        .map((element) => `${name(element)} sticks out`);
    }"""
    found: list[str] = page.evaluate(script.replace("NAME", NAME))
    return found


def overlapping(page: "Page") -> list[str]:
    """The pairs of visible controls of which one lies on the other."""
    script = """(controls) => {
      NAME SHOWN
      const boxes = shown
        .filter(({ id }) => id !== "example") // lies on the sheet by intent
        .map((control) => [name(control), control.getBoundingClientRect()]);
      return boxes.flatMap(([name, a], i) => boxes.slice(0, i)
        .filter(([, b]) => {
          const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
          const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
          return width > 0.5 && height > 0.5;
        })
        .map(([other]) => `${name} overlaps ${other}`));
    }"""
    script = script.replace("NAME", NAME).replace("SHOWN", SHOWN)
    found: list[str] = page.eval_on_selector_all(CONTROLS, script)
    return found


def too_small(page: "Page") -> list[str]:
    """The visible controls that are hard to hit, and their sizes in CSS px."""
    script = """(controls, [target, button]) => {
      NAME SHOWN
      return shown
        .map((control) => [control, control.getBoundingClientRect()])
        .filter(([{ tagName }, { width, height }]) =>
          Math.min(width, height) < (tagName === "BUTTON" ? button : target) - 0.01)
        .map(([control, { width, height }]) =>
          `${name(control)} is ${Math.round(width)} x ${Math.round(height)}`);
    }"""
    script = script.replace("NAME", NAME).replace("SHOWN", SHOWN)
    found: list[str] = page.eval_on_selector_all(CONTROLS, script, [TARGET, BUTTON])
    return found


def clipped(page: "Page") -> list[str]:
    """The elements that hide the lower end of their text."""
    script = """() => {
      NAME
      return [...document.querySelectorAll("body *:not(.spoken, svg, canvas, img)")]
        .filter((element) => /hidden|clip/.test(getComputedStyle(element).overflowY)
          && element.scrollHeight > element.clientHeight + 1)
        .map((element) => `${name(element)} is clipped`);
    }"""
    found: list[str] = page.evaluate(script.replace("NAME", NAME))
    return found
