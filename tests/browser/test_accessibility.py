"""axe-core finds nothing against the page, in any state, light or dark, on a phone or a desktop."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from tests.browser.axe import CONTRAST, report, violations
from tests.browser.conftest import Tabs
from tests.browser.pens import Drawing, placed, sheet_box, with_mouse

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

PREDICT = "**/api/predict"
SIZES = {"phone": (390, 844), "desktop": (1280, 800)}
HOUSE = Drawing(0, [[[0, 40], [20, 0], [40, 40], [40, 90], [0, 90], [0, 40], [40, 40]]])
# Each has something to look at in every state; a run without them would be of another page.
ALWAYS = {CONTRAST, "button-name", "document-title", "html-has-lang", "region", "target-size"}

Keep = Callable[[str], None]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_state_is_accessible(
    size: str,
    scheme: Literal["light", "dark"],
    tabs: Tabs,
    digits: list[Drawing],
    artefacts: Path,
) -> None:
    tabs.allow("net::ERR_FAILED")
    page = tabs.open(viewport=SIZES[size], scheme=scheme)
    against: dict[str, list[str]] = {}

    def keep(state: str) -> None:
        found = report(page)
        found.write(artefacts / f"axe-{size}-{scheme}-{state}.json")
        assert set(found.passed) >= ALWAYS
        against[state] = found.violations
        assert page.get_attribute("main", "data-state") == state.split("-")[0]

    keep("empty")
    with_pencil_down(page, lambda: keep("drawing"))
    page.click("#clear")

    draw_and_ask(page, digits[3 % len(digits)])
    keep("answer")
    with_pencil_down(page, lambda: keep("outdated"))
    page.click("#clear")

    draw_and_ask(page, beside([digits[2 % len(digits)], digits[1], digits[0]]))
    keep("answer-number")
    page.click("#clear")

    draw_and_ask(page, HOUSE)
    keep("answer-no-digit")
    page.click("#clear")

    held: list[Route] = []
    page.route(PREDICT, lambda route: held.append(route))
    draw_and_ask(page, digits[0], "reading")
    keep("reading")
    for route in held:
        route.abort()
    page.wait_for_selector("main[data-state=problem]")
    keep("problem")
    assert {state: lines for state, lines in against.items() if lines} == {}


def test_faults_are_found(tabs: Tabs) -> None:
    page = tabs.open()
    plant = """() => {
      document.querySelector("#predict").textContent = "";
      const pale = document.createElement("p");
      pale.textContent = "Hardly to be seen";
      pale.id = "pale";
      pale.style.cssText = "color: #ccc; background: linear-gradient(red, blue) white";
      document.querySelector("main").append(pale);
    }"""
    before = page.evaluate("document.adoptedStyleSheets.length")
    page.evaluate(plant)
    found = violations(page)
    assert [line for line in found if line.startswith("button-name: #predict")]
    assert [line for line in found if line.startswith(f"{CONTRAST}: #pale")]
    assert page.evaluate("document.adoptedStyleSheets.length") == before


def draw(page: "Page", drawing: Drawing) -> None:
    """Draw with the mouse, in the middle of the sheet."""
    page.evaluate("scrollTo(0, 0)")  # a button pressed last may have scrolled the sheet away
    with_mouse(page, placed(drawing, sheet_box(page)))


def draw_and_ask(page: "Page", drawing: Drawing, state: str = "answer") -> None:
    """Draw, press Predict and wait for the state."""
    draw(page, drawing)
    page.click("#predict")
    page.wait_for_selector(f"main[data-state={state}]")


def with_pencil_down(page: "Page", look: Callable[[], None]) -> None:
    """Look while a stroke is being drawn: what the page does after one waits for its end."""
    page.evaluate("scrollTo(0, 0)")
    box = sheet_box(page)
    page.mouse.move(box.left + 30, box.top + 30)
    page.mouse.down()
    page.mouse.move(box.left + 60, box.top + 90, steps=4)
    look()
    page.mouse.up()


def beside(drawings: list[Drawing]) -> Drawing:
    """A number: the drawings next to each other, equally large."""
    strokes: list[Any] = []
    for place, digit in enumerate(drawings):
        points = np.vstack([np.array(stroke, float) for stroke in digit.strokes])
        low, size = points.min(axis=0), float(np.ptp(points, axis=0).max())
        shift = [1.2 * place, 0.0]
        strokes += [((np.array(s, float) - low) / size + shift).tolist() for s in digit.strokes]
    return Drawing(0, strokes)
