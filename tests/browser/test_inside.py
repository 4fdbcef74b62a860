"""See inside: the steps of a drawing, the ink that spoke and every layer, told when asked for."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.browser.acts import PREDICT, ask, draw, hold, inked, message, open_inside, wait_for
from tests.browser.conftest import Tabs
from tests.browser.pens import Drawing, beside, placed, sheet_box, with_mouse
from tests.serving import PUBLIC

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

EXPLAIN = "**/api/explain"
MODULE = "**/js/inside.js"
PARTS = {"js/inside.js", "css/inside.css", "api/explain"}
LAST_STEP = ".steps li:last-child canvas"
TROUBLES: dict[str, Callable[["Route"], None]] = {
    "The server isn\u2019t well.": lambda route: route.fulfill(status=500, body="{}"),
    "A moment, please.": lambda route: route.fulfill(status=429, body="{}"),
    "No answer from the server.": lambda route: route.abort(),
    "That answer makes no sense.": lambda route: route.fulfill(status=200, body="{}"),
}


def show(page: "Page", drawing: Drawing) -> None:
    """Draw, wait for the answer, and see inside."""
    draw(page, drawing)
    ask(page)
    open_inside(page)


def tell(page: "Page", press: Callable[[], None]) -> Any:
    """What the server explains when that is pressed, once it is shown."""
    with page.expect_response(EXPLAIN) as response:
        press()
    told = response.value.json()
    wait_for_digit(page, told["digit"])
    return told


def wait_for_digit(page: "Page", digit: int) -> None:
    """Wait until the view speaks for a digit."""
    choice(page, digit, pressed=True).wait_for()


def choice(page: "Page", digit: int, pressed: bool | None = None) -> Any:
    """The button that asks about a digit."""
    return page.get_by_role("button", name=str(digit), exact=True, pressed=pressed)


def other_than(digit: int) -> int:
    """Another digit."""
    return (digit + 4) % 10


def pixels(page: "Page", selector: str) -> NDArray[np.int64]:
    """A canvas after the next frame: (rows, columns, RGBA)."""
    script = """(canvas) => new Promise((done) => requestAnimationFrame(() => {
      const { width, height } = canvas;
      const context = new OffscreenCanvas(width, height).getContext("2d", {
        willReadFrequently: true,
      });
      context.drawImage(canvas, 0, 0);
      const { data } = context.getImageData(0, 0, width, height);
      // A character a byte: a list of numbers takes a second to come over.
      done([height, width, Array.from(data, (byte) => String.fromCharCode(byte)).join("")]);
    }))"""
    height, width, data = page.eval_on_selector(selector, script)
    return np.frombuffer(data.encode("latin-1"), np.uint8).reshape(height, width, 4).astype(int)


def colour_of(page: "Page", name: str) -> list[int]:
    """The red, green and blue of a custom property of the page."""
    script = "(name) => getComputedStyle(document.body).getPropertyValue(name)"
    return list(bytes.fromhex(page.evaluate(script, name).strip("# ")))


def strongest(image: NDArray[np.int64]) -> list[int]:
    """The red, green and blue of the least transparent pixel."""
    return list(image.reshape(-1, 4)[image[..., 3].argmax(), :3])


def frame(page: "Page", selector: str) -> NDArray[np.float64]:
    """Left, top, right and bottom of a picture's frame, as shares of the first such picture."""
    script = """(picture) => {
      const outer = picture.getBoundingClientRect();
      const { left, top, right, bottom } = picture.querySelector("rect").getBoundingClientRect();
      const [x, y] = [(x) => (x - outer.left) / outer.width, (y) => (y - outer.top) / outer.height];
      return [x(left), y(top), x(right), y(bottom)];
    }"""
    return np.array(page.eval_on_selector(selector, script))


def english() -> list[str]:
    """The pieces, between their {names}, of what the view says in English."""
    texts = (PUBLIC / "js" / "texts.js").read_text()
    [block] = re.findall(r"const en = .*?\n  inside: (\{.*?\n  \}),", texts, re.DOTALL)
    found = [
        piece for text in re.findall(r'"(.+?)"', block) for piece in re.split(r"\{\w+\}", text)
    ]
    return [piece for piece in (piece.strip(" .:\u00d7") for piece in found) if len(piece) > 2]


def focused(page: "Page") -> str:
    """The id or else the text of what has the focus."""
    return str(page.evaluate("document.activeElement.id || document.activeElement.textContent"))


def test_nothing_of_it_is_requested_before_it_is_opened(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open(url="about:blank")
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url.removeprefix(tabs.url)))
    page.goto(tabs.url)
    draw(page, digits[0])
    ask(page)
    assert "api/predict" in asked
    assert asked & PARTS == set()
    open_inside(page)
    assert asked >= PARTS


def test_it_can_be_opened_when_there_is_an_answer(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    assert page.is_disabled("#inside-open")
    draw(page, digits[0])
    ask(page)
    assert page.is_enabled("#inside-open")
    page.click("#clear")
    assert page.is_disabled("#inside-open")


def test_its_button_opens_and_closes_it_and_says_which(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    assert page.get_attribute("#inside-open", "aria-expanded") == "false"
    show(page, digits[0])
    page.wait_for_selector("#inside-open[aria-expanded=true]")
    page.click("#inside-open")
    assert page.is_hidden("#inside")
    assert page.get_attribute("#inside-open", "aria-expanded") == "false"


def test_it_shows_steps_ink_layers_and_sums_each_with_a_sentence(
    tabs: Tabs, digits: list[Drawing], artefacts: Path
) -> None:
    page = tabs.open()
    draw(page, digits[0])
    ask(page)
    layers = tell(page, lambda: page.click("#inside-open"))["layers"]
    counts = {".steps > li": 3, ".maps": len(layers) - 1, ".spoke": 1, ".sums": 1}
    for selector, count in counts.items():
        owner = selector if selector == ".steps > li" else f"section:has(> {selector})"
        sentences = page.locator(f"{owner} > p:not(.choices)").all_inner_texts()
        assert len(sentences) == count
        assert all(re.fullmatch(r"\S.{10,}\.", sentence) for sentence in sentences)
    assert page.locator(".steps svg").count() == 3
    assert page.locator(".spoke canvas").count() == 2
    assert page.locator(".maps > .picture canvas:visible").count() == len(layers) - 1
    page.screenshot(path=artefacts / "inside.png", full_page=True)


@pytest.mark.parametrize("place", [0, 3])
def test_the_highest_sum_is_of_the_digit_that_was_read(
    place: int, tabs: Tabs, digits: list[Drawing]
) -> None:
    page = tabs.open()
    show(page, digits[place])
    assert page.locator(".sums .best b").all_inner_texts() == [str(digits[place].label)]
    assert choice(page, digits[place].label, pressed=True).count() == 1
    sums = [
        float(text.replace("\u2212", "-")) for text in page.locator(".sums span").all_inner_texts()
    ]
    assert sums.index(max(sums)) == digits[place].label
    assert len(sums) == 11


def test_the_last_step_is_what_the_network_saw(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    show(page, digits[0])
    seen = pixels(page, "#seen")[..., 3]
    assert seen.shape == (28, 28)
    assert np.array_equal(pixels(page, LAST_STEP)[..., 3], seen)


@pytest.mark.parametrize("way", ["pointer", "click", "keys"])
def test_a_map_is_chosen_and_framed(way: str, tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    show(page, digits[0])
    slider = page.locator(".maps input").first
    slider.fill("0")
    before = frame(page, ".maps > .picture")
    if way == "pointer":
        slider.fill("1")
    elif way == "click":
        grid = page.locator(".maps > .picture").first
        box = grid.bounding_box()
        assert box is not None
        x, y = (before[2] + (before[2] - before[0]) / 2, (before[1] + before[3]) / 2)
        grid.click(position={"x": float(x) * box["width"], "y": float(y) * box["height"]})
    else:
        slider.focus()
        for key in ("End", "Home", "ArrowRight", "ArrowUp", "ArrowLeft"):
            page.keyboard.press(key)
    assert slider.input_value() == "1"
    assert page.locator(".maps label span").first.inner_text().startswith("Map 2 of ")
    after = frame(page, ".maps > .picture")
    assert before[2] <= after[0] < after[2] <= 1
    assert after[[1, 3]] == pytest.approx(before[[1, 3]])


def test_the_frame_on_the_image_is_where_the_map_answers_most(
    tabs: Tabs, digits: list[Drawing]
) -> None:
    """Of the first layer, whose maps are as large as the image."""
    page = tabs.open()
    show(page, digits[0])
    slider = page.locator(".maps input").first
    maps = pixels(page, ".maps > .picture canvas")[..., 3]
    places = set()
    for chosen in range(int(slider.get_attribute("max") or "0") + 1):
        slider.fill(str(chosen))
        left, top, _, _ = frame(page, ".maps > .picture") * [*maps.shape[::-1], *maps.shape[::-1]]
        answers = maps[round(top) : round(top) + 28, round(left) : round(left) + 28]
        row, column = np.unravel_index(answers.argmax(), answers.shape)
        if answers[row, column] == answers.min():
            continue  # nothing makes it answer
        box = 28 * frame(page, ".probe .picture")
        assert (box[:2] + box[2:]) / 2 == pytest.approx([column + 0.5, row + 0.5], abs=1)
        places.add((int(row), int(column)))
    assert len(places) > 2


def test_the_chosen_map_is_laid_over_the_image_each_pixel_on_the_middle_of_what_it_sees(
    tabs: Tabs, digits: list[Drawing]
) -> None:
    page = tabs.open()
    draw(page, digits[0])
    ask(page)
    layers = tell(page, lambda: page.click("#inside-open"))["layers"][:-1]
    for place, layer in enumerate(layers):
        shape = [layer[name] for name in ("channels", "rows", "columns")]
        maps = np.frombuffer(base64.b64decode(layer["values"]), np.uint8).reshape(shape)
        probe = page.locator(".probe").nth(place)
        chosen = int(probe.locator("input").input_value())
        heat = pixels(page, f".heat >> nth={place}")[..., 3]
        assert heat.shape == (28, 28)
        field = layer["field"]
        seen = 0
        for (row, column), answer in np.ndenumerate(maps[chosen]):
            y, x = (
                field["offset"] + field["stride"] * at + field["size"] // 2 for at in (row, column)
            )
            if y < 28 and x < 28:
                assert heat[y, x] == answer
                seen += 1
        assert seen > 0.5 * maps[chosen].size
        assert heat.any()


def test_the_strongest_map_is_shown_first(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    show(page, digits[0])
    maps = pixels(page, ".maps > .picture canvas")[..., 3]
    left, top, right, bottom = frame(page, ".maps > .picture") * np.tile(maps.shape[::-1], 2)
    chosen = maps[round(top) : round(bottom), round(left) : round(right)]
    assert chosen.max() == maps.max() > maps.mean()


def test_another_digit_is_asked_about_in_place(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    show(page, digits[0])
    label, other = digits[0].label, other_than(digits[0].label)
    assert page.get_by_text(f"Red ink spoke for a {label}").count() == 1
    choice(page, other).focus()
    with page.expect_request(EXPLAIN) as asked:
        page.keyboard.press("Enter")
    wait_for_digit(page, other)
    assert json.loads(asked.value.post_data or "")["digit"] == other
    assert page.get_by_text(f"Red ink spoke for a {other}").count() == 1
    assert page.locator("#inside [aria-pressed=true]").all_inner_texts() == [str(other)]
    assert focused(page) == str(other)


def test_each_digit_of_a_number_has_a_tab(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    show(page, beside([digits[2], digits[0]]))
    seen = pixels(page, "#seen")[..., 3]
    labels = [digits[2].label, digits[0].label]
    names = [f"Digit {i}: {label}" for i, label in enumerate(labels, 1)]
    tabs_shown = page.locator(".choices").first.locator("button")
    assert tabs_shown.all_inner_texts() == names
    for place in (1, 0):
        tabs_shown.nth(place).click()
        wait_for_digit(page, labels[place])
        pressed = page.locator("#inside [aria-pressed=true]").all_inner_texts()
        assert pressed == [names[place], str(labels[place])]
        assert page.locator(".sums .best b").all_inner_texts() == [str(labels[place])]
        own = seen[:, 28 * place : 28 * place + 28]
        assert np.array_equal(pixels(page, LAST_STEP)[..., 3], own)
        assert focused(page) == names[place]


def test_drawing_on_is_followed(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    box = sheet_box(page)
    halves = [replace(box, left=box.left + i * box.width / 2, width=box.width / 2) for i in (0, 1)]
    with_mouse(page, placed(digits[2], halves[0]))
    ask(page)
    open_inside(page)
    page.evaluate("scrollTo(0, 0)")
    with_mouse(page, placed(digits[0], halves[1]))
    page.get_by_role("button", name=f"Digit 2: {digits[0].label}").wait_for()
    assert np.array_equal(pixels(page, LAST_STEP)[..., 3], pixels(page, "#seen")[:, :28, 3])


def test_another_drawing_is_followed(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    show(page, digits[0])
    page.focus("#ink")
    page.keyboard.press(str(other_than(digits[0].label)))
    wait_for_digit(page, other_than(digits[0].label))
    assert np.array_equal(pixels(page, LAST_STEP)[..., 3], pixels(page, "#seen")[..., 3])


def test_clearing_closes_it(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    show(page, digits[0])
    page.click("#clear")
    assert page.is_hidden("#inside")
    assert page.get_attribute("#inside-open", "aria-expanded") == "false"


def test_an_answer_that_fails_to_come_closes_it(tabs: Tabs, digits: list[Drawing]) -> None:
    """Else it would be of another drawing than the page's, and its button could not close it."""
    tabs.allow("net::ERR_FAILED")
    page = tabs.open()
    show(page, digits[0])
    page.route(PREDICT, lambda route: route.abort())
    page.click("#predict")
    wait_for(page, "problem")
    assert page.is_hidden("#inside")


@pytest.mark.parametrize("way", ["#clear", "#inside-open", "#inside header button"])
def test_what_was_closed_while_it_was_asked_for_opens_no_more(
    way: str, tabs: Tabs, digits: list[Drawing]
) -> None:
    page = tabs.open()
    draw(page, digits[0])
    ask(page)
    if way != "#clear":  # open already: another digit is asked for
        open_inside(page)
    held = hold(page, EXPLAIN)
    with page.expect_request(EXPLAIN):
        if way == "#clear":
            page.click("#inside-open")
        else:
            choice(page, other_than(digits[0].label)).click()
    page.click(way)
    for route in held:
        route.continue_()
    page.wait_for_timeout(300)
    assert len(held) == 1
    assert page.is_hidden("#inside")
    assert page.get_attribute("#inside-open", "aria-expanded") == "false"


def test_what_was_asked_for_about_an_older_drawing_is_not_shown(
    tabs: Tabs, digits: list[Drawing]
) -> None:
    page = tabs.open()
    draw(page, digits[0])
    ask(page)
    held = hold(page, EXPLAIN)
    with page.expect_request(EXPLAIN):
        page.click("#inside-open")
    page.focus("#ink")
    page.keyboard.press(str(other_than(digits[0].label)))
    wait_for(page, "outdated")
    wait_for(page, "answer")
    for route in held:
        route.continue_()
    page.wait_for_timeout(300)
    assert choice(page, digits[0].label, pressed=True).count() == 0


def test_opened_while_the_answer_is_outdated_it_is_of_that_answer(
    tabs: Tabs, digits: list[Drawing]
) -> None:
    page = tabs.open()
    draw(page, digits[0])
    ask(page)
    hold(page, PREDICT)
    page.focus("#ink")
    page.keyboard.press(str(other_than(digits[0].label)))
    wait_for(page, "reading")
    open_inside(page)
    assert np.array_equal(pixels(page, LAST_STEP)[..., 3], pixels(page, "#seen")[..., 3])


@pytest.mark.parametrize("words", TROUBLES)
@pytest.mark.parametrize("shown", [False, True])
def test_a_trouble_is_told_in_words_with_a_retry_that_works(
    words: str, shown: bool, tabs: Tabs, digits: list[Drawing]
) -> None:
    tabs.allow("Failed to load resource")
    page = tabs.open()
    digit = digits[0].label
    if shown:
        show(page, digits[0])
        digit = other_than(digit)
    else:
        draw(page, digits[0])
        ask(page)
    page.route(EXPLAIN, TROUBLES[words])
    if shown:
        choice(page, digit).click()
    else:
        page.click("#inside-open")
    page.locator("#inside").get_by_text(words).wait_for()
    assert page.locator("#inside canvas").count() == 0
    assert message(page)[0] == f"That\u2019s a {digits[0].label}."
    page.unroute(EXPLAIN)
    page.locator("#inside").get_by_role("button", name="Try again").click()
    wait_for_digit(page, digit)
    assert page.locator("#inside").get_by_text(words).count() == 0


def test_a_trouble_leaves_the_focus_in_the_view(tabs: Tabs, digits: list[Drawing]) -> None:
    tabs.allow("net::ERR_FAILED")
    page = tabs.open()
    show(page, digits[0])
    page.route(EXPLAIN, lambda route: route.abort())
    choice(page, other_than(digits[0].label)).focus()
    page.keyboard.press("Enter")
    page.locator("#inside").get_by_text("No answer from the server.").wait_for()
    assert page.evaluate("document.querySelector('#inside').contains(document.activeElement)")


def test_too_many_questions_promise_only_when_the_next_is_taken(
    tabs: Tabs, digits: list[Drawing]
) -> None:
    tabs.allow("status of 429")
    page = tabs.open()
    draw(page, digits[0])
    ask(page)
    page.route(EXPLAIN, lambda route: route.fulfill(status=429, headers={"Retry-After": "1"}))
    page.click("#inside-open")
    page.locator("#inside").get_by_text("A moment, please.").wait_for()
    assert "The next is taken in 1 s." in page.inner_text("#inside")


def test_without_a_network_it_says_so(tabs: Tabs, digits: list[Drawing]) -> None:
    tabs.allow("ERR_INTERNET_DISCONNECTED")
    page = tabs.open()
    show(page, digits[0])
    page.context.set_offline(True)
    choice(page, other_than(digits[0].label)).click()
    page.locator("#inside").get_by_text("You\u2019re offline.").wait_for()
    page.context.set_offline(False)
    page.locator("#inside").get_by_role("button", name="Try again").click()
    wait_for_digit(page, other_than(digits[0].label))


@pytest.mark.parametrize("part", [MODULE, "**/css/inside.css"])
def test_a_part_that_does_not_load_is_told_and_the_answer_stays(
    part: str, tabs: Tabs, digits: list[Drawing]
) -> None:
    tabs.allow("net::ERR_FAILED")
    page = without_service_worker(tabs)
    draw(page, digits[0])
    ask(page)
    ink = inked(page, "#ink")
    page.route(part, lambda route: route.abort())
    page.click("#inside-open")
    wait_for(page, "problem")
    assert message(page)[0] == "No answer from the server."
    assert inked(page, "#ink") == ink > 0
    assert page.locator("#bars .best b").inner_text() == str(digits[0].label)
    assert page.is_hidden("#inside")
    page.unroute(part)
    open_inside(page)


def test_clearing_while_it_loads_opens_nothing(tabs: Tabs, digits: list[Drawing]) -> None:
    page = without_service_worker(tabs)
    draw(page, digits[0])
    ask(page)
    held = hold(page, MODULE)
    with page.expect_request(MODULE):
        page.click("#inside-open")
    page.click("#clear")
    with page.expect_response("**/css/inside.css"):
        held[0].continue_()
    page.wait_for_timeout(300)
    assert page.is_hidden("#inside")


@pytest.mark.parametrize("way", ["address", "switch"])
def test_in_german_it_is_wholly_german(
    way: str, tabs: Tabs, digits: list[Drawing], artefacts: Path
) -> None:
    page = tabs.open(url=f"{tabs.url}?lang=de" if way == "address" else None)
    show(page, beside([digits[2], digits[0]]))
    if way == "switch":
        page.click("#language")
    page.get_by_role("heading", name="Im Inneren des Netzes").wait_for()
    said = page.inner_text("#inside")
    assert len(english()) > 20
    assert [piece for piece in english() if piece in said] == []
    assert "Ziffer 2: " in said
    page.screenshot(path=artefacts / "inside-german.png", full_page=True)


def test_closing_by_keyboard_brings_the_focus_back(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    show(page, digits[0])
    page.focus("#inside header button")
    page.keyboard.press("Enter")
    assert page.is_hidden("#inside")
    assert focused(page) == "inside-open"


@pytest.mark.parametrize(("scheme", "next_one"), [("light", "dark"), ("dark", "light")])
def test_its_pictures_have_the_colours_of_the_scheme(
    scheme: Literal["light", "dark"],
    next_one: Literal["light", "dark"],
    tabs: Tabs,
    digits: list[Drawing],
    artefacts: Path,
) -> None:
    page = tabs.open(scheme=scheme)
    show(page, digits[0])
    colours = []
    for each in (scheme, next_one):
        page.emulate_media(color_scheme=each, reduced_motion="reduce")
        count = page.locator("#inside canvas").count()
        assert count > 7
        for place in range(count):
            canvas = page.locator("#inside canvas").nth(place)
            is_red = canvas.evaluate("(c) => c.matches('.heat, .spoke > :first-child canvas')")
            painted = strongest(pixels(page, f"#inside canvas >> nth={place}"))
            expected = colour_of(page, "--red" if is_red else "--ink")
            assert painted == pytest.approx(expected, abs=3), (each, place)
        colours.append(colour_of(page, "--ink"))
        page.screenshot(path=artefacts / f"inside-{each}.png", full_page=True)
    assert colours[0] != colours[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_ink_that_spoke_for_the_digit_is_red_and_ink_against_it_is_not(
    scheme: Literal["light", "dark"], tabs: Tabs, digits: list[Drawing]
) -> None:
    page = tabs.open(scheme=scheme)
    show(page, digits[0])
    signs = set()
    for digit in (other_than(digits[0].label), digits[0].label):
        told = tell(page, lambda digit=digit: choice(page, digit).click())  # type: ignore[misc]
        importance = np.array(told["importance"])
        ink = np.array(told["steps"]["image"]) > 128
        red = pixels(page, ".spoke > :first-child canvas")
        blue = pixels(page, ".spoke > :last-child canvas")
        assert strongest(red) == pytest.approx(colour_of(page, "--red"), abs=3)
        assert strongest(blue) == pytest.approx(colour_of(page, "--ink"), abs=3)
        for sign, own, other in ((1, red, blue), (-1, blue, red)):
            strong = ink & (sign * importance > 0.4 * np.abs(importance).max())
            assert (own[strong, 3] > 100).all()
            assert (other[strong, 3] < 30).all()
            signs |= {sign} if strong.any() else set()
    assert signs == {1, -1}


def without_service_worker(tabs: Tabs) -> "Page":
    """The page, whose requests no worker makes in its place, out of a test's reach."""
    page = tabs.open(url="about:blank")
    page.add_init_script("delete Navigator.prototype.serviceWorker")
    page.goto(tabs.url)
    return page
