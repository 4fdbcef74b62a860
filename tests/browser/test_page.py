"""What the page does with a drawing: it is read while it grows, and the answer is shown."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.acts import (
    PREDICT,
    ask,
    begin_stroke,
    click_sheet,
    colour,
    draw,
    hold,
    inked,
    message,
    opacity,
    state_of,
    strokes_of,
    wait_for,
)
from tests.browser.conftest import Tabs
from tests.browser.pens import HOUSE, PENS, Drawing, beside, placed, sheet_box
from tests.serving import PUBLIC

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_the_page_has_a_strict_policy_and_asks_no_other_host(
    tabs: Tabs, digits: list[Drawing]
) -> None:
    page = tabs.open(url="about:blank")
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    response = page.goto(tabs.url)
    assert response is not None
    assert "script-src 'self'; style-src 'self'" in response.headers["content-security-policy"]
    draw(page, digits[0])
    ask(page)
    assert all(address.startswith(tabs.url) for address in addresses)
    assert len(addresses) > 5


def test_nothing_is_stored_in_the_browser_but_the_page(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    draw(page, digits[0])
    wait_for(page, "answer")
    assert page.context.cookies() == []
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]


def test_a_drawing_is_read_by_itself_when_the_pen_has_rested(
    tabs: Tabs, digits: list[Drawing]
) -> None:
    page = tabs.open()
    draw(page, digits[0])
    wait_for(page, "answer")
    title, detail = message(page)
    assert str(digits[0].label) in title
    assert detail.endswith("% sure")
    assert page.locator("#bars .best b").inner_text() == str(digits[0].label)
    assert page.locator(".mark path").count() == 1
    assert inked(page, "#seen") > 20


def test_a_drawing_of_several_strokes_is_asked_about_once(tabs: Tabs) -> None:
    page = tabs.open()
    asked = hold(page)
    cross = [[[0, 0], [0, 50], [0, 100]], [[-50, 50], [50, 50]], [[-40, 90], [40, 90]]]
    draw(page, Drawing(0, cross))
    wait_for(page, "reading")
    assert [len(strokes_of(route.request)) for route in asked] == [3]


def test_the_answer_to_an_older_drawing_is_dropped(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    held = hold(page)
    draw(page, digits[0])
    wait_for(page, "reading")
    assert message(page)[0] == "Reading …"
    begin_stroke(page)
    held[0].continue_()
    page.wait_for_timeout(300)
    assert state_of(page) == "outdated"
    page.unroute(PREDICT)
    page.mouse.up()
    wait_for(page, "answer")


def test_predict_pressed_twice_asks_once(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    held = hold(page)
    draw(page, digits[0])
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    wait_for(page, "reading")
    assert len(held) == 1
    held[0].continue_()
    wait_for(page, "answer")
    assert len(held) == 1


def test_an_empty_sheet_is_not_sent_and_its_example_is_no_drawing(tabs: Tabs) -> None:
    page = tabs.open()
    asked = hold(page)
    assert inked(page, "#over") > 100  # the example
    page.click("#predict")
    assert message(page) == ("The sheet is empty.", "Draw a digit on it first.")
    assert asked == []


def test_the_example_draws_itself_and_goes_when_somebody_draws(tabs: Tabs) -> None:
    page = tabs.open(motion="no-preference")
    first = inked(page, "#over")
    for _ in range(100):
        page.wait_for_timeout(20)
        if inked(page, "#over") > first + 100:
            break
    else:
        raise AssertionError(f"the example stays at {first} pixels")
    begin_stroke(page)
    assert inked(page, "#over") < 1000  # the end of the line at most
    assert inked(page, "#ink") > 100


def test_a_number_is_shown_with_a_box_around_each_digit(
    tabs: Tabs, digits: list[Drawing], artefacts: Path
) -> None:
    page = tabs.open()
    chosen = [digits[place] for place in (2, 0, 5)]
    draw(page, beside(chosen))
    ask(page)
    labels = [str(digit.label) for digit in chosen]
    assert "".join(labels) in message(page)[0]
    assert page.locator(".mark path").count() == 3
    assert page.locator("#bars b").all_inner_texts() == labels
    assert all(
        share.strip("<>").isdigit() for share in page.locator("#bars span").all_inner_texts()
    )
    assert page.eval_on_selector("#seen", "canvas => [canvas.width, canvas.height]") == [84, 28]
    assert inked(page, "#over") > 2000  # the boxes
    page.screenshot(path=artefacts / "number.png", full_page=True)
    begin_stroke(page)
    assert state_of(page) == "outdated"
    assert inked(page, "#over") < 1000  # gone, as they are of another drawing


def test_what_is_no_digit_is_told_so_with_the_best_guess_small(tabs: Tabs, artefacts: Path) -> None:
    page = tabs.open()
    draw(page, HOUSE)
    ask(page)
    title, detail = message(page)
    assert title == "That doesn\u2019t look like a digit."
    assert detail.startswith("My best guess would be a")
    assert page.locator("#bars .best").count() == 0
    assert page.locator(".mark path").count() == 2
    sizes = page.eval_on_selector_all(
        ".mark path",
        "(paths) => paths.map((path) => path.getBoundingClientRect().height)",
    )
    assert sizes[1] < 0.5 * sizes[0]
    assert inked(page, "#over") == 0  # no box
    page.screenshot(path=artefacts / "no-digit.png", full_page=True)


def test_drawing_on_dims_the_answer_until_it_is_renewed(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    draw(page, digits[0])
    ask(page)
    begin_stroke(page)
    assert state_of(page) == "outdated"
    assert opacity(page, ".mark") < 1
    page.mouse.up()
    wait_for(page, "answer")
    assert opacity(page, ".mark") == 1


def test_a_dot_is_called_a_dot_and_not_asked_about(tabs: Tabs) -> None:
    page = tabs.open()
    asked = hold(page)
    click_sheet(page, 100, 100)
    assert inked(page, "#ink") > 100
    page.click("#predict")
    wait_for(page, "problem")
    assert message(page) == ("That\u2019s only a dot.", "Draw a whole digit.")
    assert page.is_hidden("#retry")
    assert asked == []


@pytest.mark.parametrize("answered", [False, True])
def test_enter_in_the_middle_of_a_stroke_waits_for_its_end(
    tabs: Tabs, digits: list[Drawing], answered: bool
) -> None:
    page = tabs.open()
    if answered:
        draw(page, digits[0])
        ask(page)
    asked = hold(page)
    begin_stroke(page)
    page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    assert asked == []
    assert state_of(page) == ("outdated" if answered else "drawing")


@pytest.mark.parametrize("pen", ["mouse", "finger"])
def test_enter_after_clear_and_drawing_predicts(
    pen: str, tabs: Tabs, digits: list[Drawing]
) -> None:
    page = tabs.open(touch=pen == "finger")
    draw(page, digits[1])
    page.click("#clear")
    PENS[pen](page, placed(digits[0], sheet_box(page)))
    page.keyboard.press("Enter")
    wait_for(page, "answer")
    assert str(digits[0].label) in message(page)[0]


def test_a_long_scribble_is_simplified_and_sent(tabs: Tabs) -> None:
    page = tabs.open()
    box = sheet_box(page)
    page.mouse.move(box.left + 200, box.top + 200)
    page.mouse.down()
    # As the mouse's own events, which take some ms each to make.
    script = """(count) => {
      const sheet = document.querySelector("#ink");
      const { left, top, width } = sheet.getBoundingClientRect();
      for (let i = 0; i < count; i++) {
        const turn = (i / count) * 120 * Math.PI;
        const radius = (0.1 + (0.35 * i) / count) * width;
        sheet.dispatchEvent(new PointerEvent("pointermove", {
          pointerId: 1,
          buttons: 1,
          clientX: left + width / 2 + radius * Math.cos(turn),
          clientY: top + width / 2 + radius * Math.sin(turn),
        }));
      }
    }"""
    page.evaluate(script, 20_000)
    with page.expect_request(PREDICT) as asked:
        page.mouse.up()
    wait_for(page, "answer")
    [stroke] = strokes_of(asked.value)
    assert 500 < len(stroke) <= 2000
    assert len(asked.value.post_data or "") < 64 * 1024


def test_the_answer_is_announced(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    draw(page, digits[0])
    ask(page)
    region = page.locator("[role=status]")
    assert region.get_attribute("aria-live") == "polite"
    assert str(digits[0].label) in region.inner_text()
    assert "% sure" in region.inner_text()


def test_the_pencil_writes_the_answer_unless_motion_is_reduced(
    tabs: Tabs, digits: list[Drawing], artefacts: Path
) -> None:
    names = {}
    for motion in ("no-preference", "reduce"):
        page = tabs.open(motion=motion)
        draw(page, digits[0])
        ask(page)
        style = "getComputedStyle(document.querySelector('.mark path')).animationName"
        names[motion] = page.evaluate(style)
        page.wait_for_timeout(700)
        page.screenshot(path=artefacts / f"motion-{motion}.png")
    assert names == {"no-preference": "write", "reduce": "none"}


def test_a_change_of_colour_scheme_recolours_the_ink(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    draw(page, digits[0])
    light = colour(page)
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    page.wait_for_timeout(100)
    assert sum(colour(page)) > sum(light) + 200


def test_a_change_of_language_keeps_the_drawing_and_its_answer(
    tabs: Tabs, digits: list[Drawing], artefacts: Path
) -> None:
    page = tabs.open()
    draw(page, digits[0])
    ask(page)
    ink = inked(page, "#ink")
    page.click("#language")
    assert page.get_attribute("html", "lang") == "de"
    assert message(page)[0].startswith("Das ist eine")
    assert page.inner_text("#predict") == "Lesen"
    assert page.get_attribute("#clear", "aria-label") == "Leeren"
    assert inked(page, "#ink") == ink
    assert state_of(page) == "answer"
    page.screenshot(path=artefacts / "german.png", full_page=True)
    page.click("#language")
    assert page.inner_text("#predict") == "Predict"


def test_the_address_can_name_the_language(tabs: Tabs) -> None:
    page = tabs.open(url=f"{tabs.url}?lang=de")
    assert page.inner_text("h1") == "Zeichne eine Zahl"
    assert page.title() == "numdraw: Zeichne eine Zahl"


def test_every_text_of_the_page_is_filled_in(tabs: Tabs) -> None:
    page = tabs.open()
    assert texts_without_words(page) == []


def test_a_page_without_its_sheet_says_so(tabs: Tabs) -> None:
    tabs.allow("page expected an element #ink, got none")
    html = (PUBLIC / "index.html").read_text().replace('id="ink"', "")
    page = tabs.open(url="about:blank")
    page.route(tabs.url, lambda route: route.fulfill(body=html, content_type="text/html"))
    page.goto(tabs.url)
    assert len(tabs.errors) == 1


def texts_without_words(page: "Page") -> list[str]:
    """The elements that should say something, and don't."""
    script = """() => [...document.querySelectorAll("[data-text], [data-label]")]
      .filter((element) => !(element.dataset.label ? element.ariaLabel : element.textContent))
      .map((element) => element.outerHTML)"""
    found: list[str] = page.evaluate(script)
    return found
