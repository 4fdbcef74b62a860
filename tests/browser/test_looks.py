"""Every state at the width of phone, tablet and desktop, light and dark: it fits; screenshots."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.browser.conftest import Tabs
from tests.browser.pens import Drawing, placed, sheet_box, with_mouse

if TYPE_CHECKING:
    from playwright.sync_api import Page

SIZES = {
    "phone-320": (320, 568),
    "phone-360": (360, 740),
    "phone-landscape": (740, 360),
    "tablet-768": (768, 1024),
    "desktop-1280": (1280, 800),
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_state_fits_the_window(
    size: str,
    scheme: Literal["light", "dark"],
    tabs: Tabs,
    digits: list[Drawing],
    artefacts: Path,
) -> None:
    tabs.allow("status of 422")
    tabs.allow("net::ERR_FAILED")
    page = tabs.open(viewport=SIZES[size], scheme=scheme)

    def keep(state: str) -> None:
        assert page.get_attribute("main", "data-state") == state.split("-")[0]
        assert overflowing(page) == []
        page.screenshot(path=artefacts / f"state-{size}-{scheme}-{state}.png", full_page=True)

    keep("empty")
    with_mouse(page, placed(digits[5 % len(digits)], sheet_box(page)))
    keep("drawing")
    page.click("#predict")
    page.wait_for_selector("[data-state=answer]")
    keep("answer")
    page.evaluate("scrollTo(0, 0)")  # Predict may have scrolled into view, and the sheet out of it
    with_mouse(page, placed(digits[1], sheet_box(page), share=0.3))
    keep("outdated")
    page.route("**/api/predict", lambda route: route.abort())
    page.click("#predict")
    page.wait_for_selector("[data-state=problem]")
    keep("problem-lost")
    page.unroute("**/api/predict")
    page.click("#clear")
    page.evaluate("scrollTo(0, 0)")
    box = sheet_box(page)
    page.mouse.click(box.left + 50, box.top + 50)
    page.click("#predict")
    page.wait_for_selector("[data-state=problem]")
    keep("problem-dot")


def test_text_twice_as_large_fits_a_phone(
    tabs: Tabs, digits: list[Drawing], artefacts: Path
) -> None:
    page = tabs.open(viewport=(360, 740))
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    with_mouse(page, placed(digits[3 % len(digits)], sheet_box(page)))
    page.click("#predict")
    page.wait_for_selector("[data-state=answer]")
    assert overflowing(page) == []
    page.screenshot(path=artefacts / "text-200.png", full_page=True)


@pytest.mark.parametrize("size", SIZES)
def test_drawing_and_answering_move_nothing(size: str, tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open(viewport=SIZES[size])
    script = """() => ["#ink", "#clear", "#predict", "#bars", "#seen", ".foot"].map((selector) => {
      const { left, top, width, height } = document.querySelector(selector).getBoundingClientRect();
      return [selector, left + scrollX, top + scrollY, width, height];
    })"""
    before = page.evaluate(script)
    with_mouse(page, placed(digits[3 % len(digits)], sheet_box(page)))
    page.click("#predict")
    page.wait_for_selector("[data-state=answer]")
    assert page.evaluate(script) == before


def overflowing(page: "Page") -> list[str]:
    """The elements that stick out of the window sideways, and texts out of their boxes."""
    script = """() => [...document.querySelectorAll("body *:not(.spoken)")]
      .filter((element) => {
        const { left, right, width } = element.getBoundingClientRect();
        const text = element instanceof HTMLElement && element.scrollWidth > element.clientWidth + 1
          && element.clientWidth > 0 && getComputedStyle(element).display !== "inline";
        return width > 0 && (left < -0.5 || right > innerWidth + 0.5 || text);
      })
      .map((element) => element.outerHTML.slice(0, 80))"""
    found: list[str] = page.evaluate(script)
    return found
