"""The view inside: loaded when it is opened, true to the answer, explored by mouse and keyboard."""

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.browser.acts import ask, draw, hold, inked, message, wait_for
from tests.browser.conftest import Tabs
from tests.browser.pens import Drawing, beside

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Request

EXPLAIN = "**/api/explain"
OWN = ("css/inside.css", "js/inside.js", "api/explain")  # what only this view asks for
PARTS = ["From your drawing to its image", "What spoke for it", "Layer by layer"]


def test_nothing_of_it_is_loaded_before_it_is_opened(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(tabs.url)))
    assert page.is_disabled("#inside-open")
    draw(page, digits[0])
    ask(page)
    assert [url for url in asked if url in OWN] == []
    open_inside(page)
    assert sorted(url for url in asked if url in OWN) == sorted(OWN)


def test_the_button_says_whether_it_is_open_and_closes_it(
    tabs: Tabs, digits: list[Drawing]
) -> None:
    page = opened(tabs, digits[0])
    button = page.locator("#inside-open")
    assert button.get_attribute("aria-expanded") == "true"
    button.click()
    assert page.is_hidden("#inside")
    assert button.get_attribute("aria-expanded") == "false"


def test_closed_by_keyboard_it_gives_the_focus_back(tabs: Tabs, digits: list[Drawing]) -> None:
    page = opened(tabs, digits[0])
    page.press("#inside header button", "Enter")
    assert page.is_hidden("#inside")
    assert page.evaluate("document.activeElement.id") == "inside-open"


def test_each_part_has_a_plain_sentence(tabs: Tabs, digits: list[Drawing]) -> None:
    page = opened(tabs, digits[0])
    assert page.locator("#inside h3").all_inner_texts() == PARTS
    assert page.locator(".steps li").count() == 3
    pictures = page.locator(".layers section")
    assert pictures.count() > 2
    told = pictures.locator("h4 + p").all_inner_texts()
    told += page.locator(".steps p, #inside h3 + p:not(:empty)").all_inner_texts()
    assert len(told) == pictures.count() + 3 + 2
    assert [words for words in told if not words.strip().endswith(".")] == []


def test_the_layers_are_those_that_the_server_tells(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    draw(page, digits[0])
    ask(page)
    with page.expect_response(EXPLAIN) as answered:
        page.click("#inside-open")
    told = answered.value.json()
    page.locator("#inside .sums").wait_for()
    names = []
    for its in told["layers"][:-1]:
        size = " \u00d7 ".join(str(its[side]) for side in ("channels", "rows", "columns"))
        names.append(f"{its['name']}: {size}")
    assert page.locator(".layers h4").all_inner_texts() == [*names, "The sums"]
    sums = [f"{logit:.1f}".replace("-", "\u2212") for logit in told["layers"][-1]["logits"]]
    assert page.locator(".sums span").all_inner_texts() == sums
    assert page.inner_text(".sums .best b") == str(told["digit"]) == str(digits[0].label)


def test_the_last_step_is_what_the_network_saw(tabs: Tabs, digits: list[Drawing]) -> None:
    page = opened(tabs, digits[0])
    canvases = page.locator(".steps canvas")
    assert canvases.count() == 2
    seen = alpha(page.locator("#seen"))
    assert np.array_equal(alpha(canvases.last), seen)
    assert not np.array_equal(alpha(canvases.first), seen)
    assert page.locator(".steps li").first.locator("polyline").count() == len(digits[0].strokes)


def test_a_map_is_chosen_by_slider_and_by_click(tabs: Tabs, digits: list[Drawing]) -> None:
    page = opened(tabs, digits[0])
    layer = page.locator(".layers section").first
    name, slider = layer.locator("label span"), layer.locator("input")
    frame = layer.locator(".maps > .picture rect")
    count = int(slider.get_attribute("max") or "") + 1
    slider.focus()
    page.keyboard.press("Home")
    assert name.inner_text() == f"Map 1 of {count}"
    assert (frame.get_attribute("x"), frame.get_attribute("y")) == ("0", "0")
    page.keyboard.press("ArrowRight")
    assert name.inner_text() == f"Map 2 of {count}"
    assert float(frame.get_attribute("x") or "") > 0
    page.keyboard.press("End")
    assert name.inner_text() == f"Map {count} of {count}"
    layer.locator(".maps > .picture").click(position={"x": 5, "y": 5})
    assert name.inner_text() == f"Map 1 of {count}"
    assert slider.input_value() == "0"


def test_the_strongest_map_is_shown_first_and_where_it_answers(
    tabs: Tabs, digits: list[Drawing]
) -> None:
    page = opened(tabs, digits[0])
    layer = page.locator(".layers section").first
    maps = alpha(layer.locator(".maps > .picture canvas"))
    frame = layer.locator(".maps > .picture rect")
    x, y, width, height = (
        int(frame.get_attribute(side) or "") for side in ("x", "y", "width", "height")
    )
    chosen = maps[y : y + height, x : x + width]
    assert chosen.max() == maps.max()
    row, column = np.argwhere(chosen == chosen.max())[0]
    probe = layer.locator(".probe rect")
    left, top, side = (int(probe.get_attribute(name) or "") for name in ("x", "y", "width"))
    assert left <= column < left + side  # the first layer looks at the image itself
    assert top <= row < top + side


def test_asked_about_another_digit_it_tells_what_spoke_for_that(
    tabs: Tabs, digits: list[Drawing]
) -> None:
    page = opened(tabs, digits[0])
    other = (digits[0].label + 3) % 10
    spoke = page.locator("section:has(> .spoke)")
    before = alpha(spoke.locator("canvas").first)
    with page.expect_request(EXPLAIN) as asked:
        choice(page, other).press("Enter")
    assert body_of(asked.value)["digit"] == other
    page.wait_for_selector(f".choices [aria-pressed=true]:text-is('{other}')")
    assert page.locator(".spoke ~ .choices [aria-pressed=true]").all_inner_texts() == [str(other)]
    assert f"spoke for {'an' if other == 8 else 'a'} {other}," in spoke.inner_text()
    assert not np.array_equal(alpha(spoke.locator("canvas").first), before)
    assert page.evaluate("document.activeElement.textContent") == str(other)


def test_red_ink_spoke_for_the_digit_and_the_rest_against_it(
    tabs: Tabs, digits: list[Drawing]
) -> None:
    page = tabs.open()
    draw(page, digits[0])
    ask(page)
    with page.expect_response(EXPLAIN) as answered:
        open_inside(page)
    told = answered.value.json()
    importance, image = np.array(told["importance"]), np.array(told["steps"]["image"])
    canvases = page.locator(".spoke canvas")
    spoke_for, against = alpha(canvases.first), alpha(canvases.last)
    strong = (np.abs(importance) > 0.5 * np.abs(importance).max()) & (image > 128)
    assert (spoke_for > against)[strong & (importance > 0)].all()
    assert (spoke_for < against)[strong & (importance < 0)].all()
    assert (spoke_for[image == 0] == 0).all()
    colours = "canvas => getComputedStyle(canvas).color"
    names = ["#over", "#ink"]  # red, and ink
    assert [each.evaluate(colours) for each in canvases.all()] == [
        page.eval_on_selector(name, colours) for name in names
    ]


def test_each_digit_of_a_number_is_seen_by_itself(tabs: Tabs, digits: list[Drawing]) -> None:
    first, second = digits[1], digits[2 % len(digits)]
    page = tabs.open()
    draw(page, beside([first, second]))
    ask(page)
    with page.expect_request(EXPLAIN) as asked:
        open_inside(page)
    assert len(strokes_in(asked.value)) == len(first.strokes)
    tabs_of_digits = page.locator("header + .choices button")
    assert tabs_of_digits.all_inner_texts() == [
        f"Digit 1: {first.label}",
        f"Digit 2: {second.label}",
    ]
    with page.expect_request(EXPLAIN) as asked:
        tabs_of_digits.last.click()
    page.wait_for_selector(".choices [aria-pressed=true]:text('Digit 2')")
    assert len(strokes_in(asked.value)) == len(second.strokes)
    assert page.inner_text(".sums .best b") == str(second.label)


def test_it_follows_the_next_answer_and_clear_closes_it(tabs: Tabs, digits: list[Drawing]) -> None:
    page = opened(tabs, digits[0])
    other = digits[3 % len(digits)]
    page.press("#ink", str(other.label))
    page.locator(f".sums .best b:text-is('{other.label}')").wait_for()
    page.press("#ink", "Delete")
    assert page.is_hidden("#inside")
    assert page.is_disabled("#inside-open")


def test_closed_before_its_answer_came_it_stays_closed(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    draw(page, digits[0])
    ask(page)
    held = hold(page, EXPLAIN)
    page.click("#inside-open")
    page.wait_for_function("() => document.querySelector('link[href*=inside]')?.sheet")
    page.press("#ink", "Delete")
    for route in held:
        route.continue_()
    page.unroute(EXPLAIN)
    page.press("#ink", str(digits[0].label))
    wait_for(page, "answer")
    assert page.is_hidden("#inside")
    open_inside(page)


@pytest.mark.parametrize(
    ("status", "title"), [(500, "The server isn\u2019t well."), (429, "A moment, please.")]
)
def test_where_it_is_not_told_it_says_why_and_can_be_asked_again(
    status: int, title: str, tabs: Tabs, digits: list[Drawing]
) -> None:
    tabs.allow(f"status of {status}")
    page = tabs.open()
    draw(page, digits[0])
    ask(page)
    page.route(EXPLAIN, lambda route: route.fulfill(status=status, body="{}"))
    page.click("#inside-open")
    page.get_by_role("button", name="Try again").wait_for()
    assert title in page.inner_text("#inside")
    assert page.locator("#inside canvas").count() == 0
    page.unroute(EXPLAIN)
    page.get_by_role("button", name="Try again").click()
    page.locator("#inside .sums").wait_for()


def test_a_module_that_does_not_load_is_told_and_loses_nothing(
    tabs: Tabs, digits: list[Drawing]
) -> None:
    tabs.allow("net::ERR_FAILED")
    page = tabs.open(url="about:blank")
    page.add_init_script("delete Navigator.prototype.serviceWorker")  # it asks past the route
    page.goto(tabs.url)
    draw(page, digits[0])
    ask(page)
    ink = inked(page, "#ink")
    page.route("**/js/inside.js", lambda route: route.abort())
    page.click("#inside-open")
    wait_for(page, "problem")
    assert message(page)[0] == "No answer from the server."
    assert inked(page, "#ink") == ink > 0
    assert page.is_hidden("#inside")
    assert page.inner_text(".bars .best b") == str(digits[0].label)
    page.unroute("**/js/inside.js")
    open_inside(page)


def test_in_german_it_is_wholly_german(tabs: Tabs, digits: list[Drawing]) -> None:
    page = opened(tabs, digits[0], url=f"{tabs.url}?lang=de")
    script = """async () => {
      const { TEXTS } = await import("./js/texts.js");
      const words = (texts) => Object.values(texts.inside).flat();
      const shown = document.querySelector("#inside").textContent;
      const whole = (text) => !text.includes("{") && shown.includes(text);
      return [words(TEXTS.en).filter(whole), words(TEXTS.de).filter(whole).length];
    }"""
    english, german = page.evaluate(script)
    assert english == []
    assert german > 10


def test_its_pictures_take_the_colours_of_the_dark(tabs: Tabs, digits: list[Drawing]) -> None:
    page = opened(tabs, digits[0])
    canvas = page.locator(".steps canvas").last
    light = colour(canvas)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("() => matchMedia('(prefers-color-scheme: dark)').matches")
    dark = colour(canvas)
    assert sum(light) < 300 < 600 < sum(dark)


def opened(tabs: Tabs, drawing: Drawing, url: str | None = None) -> "Page":
    """The page with a drawing that was read, and the view inside."""
    page = tabs.open(url=url)
    draw(page, drawing)
    ask(page)
    open_inside(page)
    return page


def open_inside(page: "Page") -> None:
    """Look inside, and wait until everything is there."""
    page.click("#inside-open")
    page.locator("#inside .sums").wait_for()


def choice(page: "Page", digit: int) -> "Locator":
    """The button that asks about a digit."""
    return page.locator(".spoke ~ .choices button").nth(digit)


def body_of(request: "Request") -> dict[str, object]:
    """What was asked."""
    body: dict[str, object] = json.loads(request.post_data or "")
    return body


def strokes_in(request: "Request") -> list[object]:
    """The strokes in what was asked."""
    strokes = body_of(request)["strokes"]
    assert isinstance(strokes, list)
    return strokes


def alpha(canvas: "Locator") -> "np.ndarray[tuple[int, int], np.dtype[np.int64]]":
    """How much ink each pixel of a canvas has, [0, 255]."""
    script = """(canvas) => {
      const context = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
      context.drawImage(canvas, 0, 0);
      const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
      return [canvas.height, canvas.width, ...data.filter((_, i) => i % 4 === 3)];
    }"""
    rows, columns, *values = canvas.evaluate(script)
    return np.array(values, dtype=np.int64).reshape(rows, columns)


def colour(canvas: "Locator") -> list[int]:
    """The red, green and blue of a canvas's strongest ink."""
    script = """(canvas) => {
      const context = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
      context.drawImage(canvas, 0, 0);
      const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
      let most = 3;
      for (let i = 3; i < data.length; i += 4) if (data[i] > data[most]) most = i;
      return [...data.slice(most - 3, most)];
    }"""
    found: list[int] = canvas.evaluate(script)
    return found
