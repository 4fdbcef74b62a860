"""The page in Firefox, drawn on by mouse and finger: it sends what was drawn, shows the answer."""

import json
from pathlib import Path
from typing import Literal

import pytest

from tests.browser.firefox import Firefox, Pointer, firefox
from tests.browser.pens import SHEET, Drawing, farthest, on_sheet, placed
from tests.serving import Site

EVENT_ERROR = 1.5  # CSS px: events may be rounded to whole px, and the page leaves points out

# What the page sends, kept before it is sent.
KEEP_SENT = """(() => {
  globalThis.sent = [];
  const { fetch } = globalThis;
  globalThis.fetch = (url, options) => {
    if (String(url).endsWith("api/predict")) sent.push(options.body);
    return fetch(url, options);
  };
})()"""


@pytest.mark.parametrize(
    ("device", "size", "density", "pointer", "scheme"),
    [
        ("desktop", (1280, 800), 1, "mouse", "light"),
        ("phone", (390, 844), 3, "touch", "dark"),
    ],
)
def test_digits_are_drawn_and_read(
    device: str,
    size: tuple[int, int],
    density: float,
    pointer: Pointer,
    scheme: Literal["light", "dark"],
    site: Site,
    digits: list[Drawing],
    artefacts: Path,
) -> None:
    with firefox(size=size, density=density, scheme=scheme) as page:
        page.goto(site.url)
        assert page.evaluate("[innerWidth, devicePixelRatio]") == [size[0], density]
        assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == (
            scheme == "dark"
        )
        assert state(page) == "empty"
        page.screenshot(artefacts / f"firefox-{device}-{scheme}-empty.png")
        page.evaluate(KEEP_SENT)
        for drawing in (digits[3 % len(digits)], digits[1]):
            draw_and_check(page, drawing, pointer)
            page.screenshot(artefacts / f"firefox-{device}-{scheme}-{drawing.label}.png")
            page.click("#clear", pointer)
            page.wait_for("document.querySelector('main').dataset.state === 'empty'")
        assert page.errors == []


def test_errors_of_the_page_are_heard(site: Site) -> None:
    with firefox(size=(600, 600)) as page:
        page.goto(site.url)
        page.evaluate("setTimeout(() => { throw new TypeError('thrown on purpose') })")
        page.evaluate("console.warn('warned on purpose')")
        inline = "Object.assign(document.createElement('script'), { textContent: '1' })"
        page.evaluate(f"document.body.append({inline})")
        for told in ("thrown on purpose", "warned on purpose", "Content-Security-Policy"):
            page.wait_to_hear(told)


def draw_and_check(page: Firefox, drawing: Drawing, pointer: Pointer) -> None:
    """Draw and press Predict: what is sent is what was drawn, and the answer is its digit."""
    page.evaluate("scrollTo(0, 0)")
    box = page.box("#ink")
    strokes = placed(drawing, box)
    page.draw(strokes, pointer)
    page.click("#predict", pointer)
    page.wait_for("document.querySelector('main').dataset.state === 'answer'")
    sent = json.loads(page.evaluate("sent.at(-1)"))["strokes"]
    assert len(sent) == len(strokes)
    for got, expected in zip(sent, on_sheet(strokes, box), strict=True):
        assert farthest(got, expected) < EVENT_ERROR * SHEET / box.width
    assert str(drawing.label) in page.evaluate("document.querySelector('#verdict').textContent")
    assert "% sure" in page.evaluate("document.querySelector('#detail').textContent")
    assert page.evaluate("document.querySelector('#bars .best').textContent")[0] == str(
        drawing.label
    )


def state(page: Firefox) -> str:
    """The page's state."""
    return str(page.evaluate("document.querySelector('main').dataset.state"))
