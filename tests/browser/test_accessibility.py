"""axe-core finds nothing against the page, in any state, light or dark, on a phone or a desktop."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.browser.acts import (
    begin_stroke,
    draw,
    hold,
    inked,
    open_correction,
    open_inside,
    wait_for,
)
from tests.browser.axe import CONTRAST, report, violations
from tests.browser.conftest import Tabs
from tests.browser.pens import HOUSE, Drawing, beside
from tests.serving import Site

if TYPE_CHECKING:
    from playwright.sync_api import Page

SIZES = {"phone": (390, 844), "desktop": (1280, 800)}
# Each has something to look at in every state; a run without them would be of another page.
ALWAYS = {CONTRAST, "button-name", "document-title", "html-has-lang", "region", "target-size"}

Keep = Callable[[str], None]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_state_is_accessible(
    size: str,
    scheme: Literal["light", "dark"],
    tabs: Tabs,
    teachable: Site,
    digits: list[Drawing],
    artefacts: Path,
) -> None:
    tabs.allow("net::ERR_FAILED")
    page = tabs.open(viewport=SIZES[size], scheme=scheme, url=teachable.url)
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
    open_inside(page)
    keep("answer-inside")
    page.click("#clear")

    draw_and_ask(page, HOUSE)
    keep("answer-no-digit")
    open_correction(page)
    keep("answer-correction")
    page.get_by_text("It was no digit").click()
    page.get_by_text("Thank you.").wait_for()
    keep("answer-thanks")
    page.click("#clear")

    held = hold(page)
    draw_and_ask(page, digits[0], "reading")
    keep("reading")
    for route in held:
        route.abort()
    wait_for(page, "problem")
    keep("problem")
    assert {state: lines for state, lines in against.items() if lines} == {}


@pytest.mark.parametrize("wish", ["contrast", "forced_colors"])
def test_with_high_contrast_it_is_accessible_too(
    wish: Literal["contrast", "forced_colors"],
    tabs: Tabs,
    teachable: Site,
    digits: list[Drawing],
    artefacts: Path,
) -> None:
    page = tabs.open(url=teachable.url)
    if wish == "contrast":
        page.emulate_media(contrast="more", reduced_motion="reduce")
    else:
        page.emulate_media(forced_colors="active", reduced_motion="reduce")
    against = {"empty": violations(page)}
    draw_and_ask(page, digits[0])
    open_correction(page)
    open_inside(page)
    against["answer"] = violations(page)
    assert inked(page, "#ink") > 1000
    assert inked(page, "#seen") > 20
    page.screenshot(path=artefacts / f"high-{wish}.png", full_page=True)
    assert against == {"empty": [], "answer": []}


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


def draw_and_ask(page: "Page", drawing: Drawing, state: str = "answer") -> None:
    """Draw, press Predict and wait for the state."""
    draw(page, drawing)
    page.click("#predict")
    wait_for(page, state)


def with_pencil_down(page: "Page", look: Callable[[], None]) -> None:
    """Look while a stroke is being drawn: what the page does after one waits for its end."""
    begin_stroke(page)
    look()
    page.mouse.up()
