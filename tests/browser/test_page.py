"""What the page does and says: buttons, keys, every kind of answer and of trouble."""

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.browser.conftest import Tabs
from tests.browser.pens import PENS, Drawing, placed, sheet_box, with_mouse
from tests.serving import PUBLIC, serving

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

PREDICT = "**/api/predict"
MOST_BYTES = 60_000  # of the page's files, before compression


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


def test_the_pages_files_stay_small() -> None:
    assert sum(path.stat().st_size for path in PUBLIC.rglob("*") if path.is_file()) < MOST_BYTES


def test_an_empty_sheet_is_not_sent(tabs: Tabs) -> None:
    page = tabs.open()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.click("#predict")
    assert message(page) == ("The sheet is empty.", "Draw a digit on it first, then press Predict.")
    assert [url for url in asked if "/api/" in url] == []


def test_a_number_is_shown_with_a_box_around_each_digit(
    tabs: Tabs, digits: list[Drawing], artefacts: Path
) -> None:
    page = tabs.open()
    strokes: list[Any] = []
    chosen = [digits[place] for place in (2, 0, 5)]
    for place, digit in enumerate(chosen):
        points = np.concatenate([np.array(stroke, float) for stroke in digit.strokes])
        low, size = points.min(axis=0), float(np.ptp(points, axis=0).max())
        shift = [1.2 * place, 0.0]
        strokes += [((np.array(s, float) - low) / size + shift).tolist() for s in digit.strokes]
    draw(page, Drawing(0, strokes))
    plain = inked(page, "#ink")
    ask(page)
    number = "".join(str(digit.label) for digit in chosen)
    assert number in message(page)[0]
    assert set(page.locator("#bars span").all_inner_texts()) == {""}
    assert inked(page, "#ink") > plain  # the boxes
    page.screenshot(path=artefacts / "number.png", full_page=True)
    box = sheet_box(page)
    page.mouse.move(box.left + 5, box.top + 5)
    page.mouse.down()
    page.mouse.move(box.left + 9, box.top + 9)
    page.mouse.up()
    page.wait_for_selector("[data-state=outdated]")
    assert inked(page, "#ink") < 1.2 * plain  # gone, as they are of another drawing


def test_what_is_no_digit_is_told_so(tabs: Tabs, artefacts: Path) -> None:
    page = tabs.open()
    house = [[(0, 40), (20, 0), (40, 40), (40, 90), (0, 90), (0, 40), (40, 40)]]
    draw(page, Drawing(0, house))
    ask(page)
    title, detail = message(page)
    assert title.endswith("s no digit.")
    assert detail.startswith("Most like a")
    assert page.locator("#bars .best").count() == 0
    page.screenshot(path=artefacts / "no-digit.png", full_page=True)


def test_clear_empties_the_sheet_and_the_answer(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    draw(page, digits[0])
    ask(page)
    page.click("#clear")
    assert message(page)[0] == "Your turn."
    assert inked(page, "#ink") == 0
    assert inked(page, "#seen") == 0
    assert set(page.locator("#bars span").all_inner_texts()) == {""}
    page.click("#predict")
    assert message(page)[0] == "The sheet is empty."


@pytest.mark.parametrize("key", ["Delete", "Escape"])
def test_keys_predict_and_clear(key: str, tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    draw(page, digits[0])
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-state=answer]")
    page.keyboard.press(key)
    page.wait_for_selector("[data-state=empty]")
    assert inked(page, "#ink") == 0


def test_buttons_work_by_keyboard_alone(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    draw(page, digits[0])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "clear"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "predict"
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-state=answer]")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")  # on Clear: it clears and does not ask
    page.wait_for_selector("[data-state=empty]")
    assert [url for url in asked if "/api/" in url] == []


@pytest.mark.parametrize("pen", ["mouse", "finger"])
def test_enter_after_clear_and_drawing_predicts(
    pen: str, tabs: Tabs, digits: list[Drawing]
) -> None:
    page = tabs.open(touch=pen == "finger")
    page.click("#clear")
    PENS[pen](page, placed(digits[0], sheet_box(page)))
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-state=answer]")


def test_clear_in_the_middle_of_a_stroke_drops_it(tabs: Tabs) -> None:
    page = tabs.open()
    box = sheet_box(page)
    page.mouse.move(box.left + 100, box.top + 100)
    page.mouse.down()
    page.mouse.move(box.left + 200, box.top + 200)
    page.keyboard.press("Escape")
    page.mouse.move(box.left + 300, box.top + 200)
    page.mouse.up()
    assert inked(page, "#ink") == 0
    page.click("#predict")
    assert message(page)[0] == "The sheet is empty."


def test_drawing_on_dims_the_answer_and_predict_renews_it(
    tabs: Tabs, digits: list[Drawing]
) -> None:
    page = tabs.open()
    draw(page, digits[0])
    ask(page)
    draw(page, digits[1])
    assert page.get_attribute("main", "data-state") == "outdated"
    assert opacity(page, ".answer") < 1
    ask(page)
    assert opacity(page, ".answer") == 1


def test_the_answer_to_an_older_drawing_is_dropped(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    held = hold(page)
    draw(page, digits[0])
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-state=reading]")
    assert message(page)[0] == "Reading …"
    draw(page, digits[1])
    held[0].continue_()
    page.wait_for_timeout(300)
    assert page.get_attribute("main", "data-state") == "drawing"
    assert message(page)[0] == "Your turn."
    page.unroute(PREDICT)
    ask(page)


def test_predict_pressed_twice_asks_once(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    held = hold(page)
    draw(page, digits[0])
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-state=reading]")
    assert len(held) == 1
    held[0].continue_()
    page.wait_for_selector("[data-state=answer]")
    assert len(held) == 1


def test_a_dot_is_called_a_dot_and_not_asked_about(tabs: Tabs) -> None:
    page = tabs.open()
    asked = hold(page)
    box = sheet_box(page)
    page.mouse.click(box.left + 100, box.top + 100)
    assert inked(page, "#ink") > 100
    page.click("#predict")
    page.wait_for_selector("[data-state=problem]")
    title, detail = message(page)
    assert title == "That\u2019s only a dot."
    assert detail == "Draw a whole digit, then press Predict."
    assert asked == []


def test_a_refusal_is_told_in_the_servers_own_words(tabs: Tabs, digits: list[Drawing]) -> None:
    """The real server's refusal, of a body that this page would never send."""
    tabs.allow("status of 422")
    page = tabs.open()
    page.route(PREDICT, lambda route: route.continue_(post_data='{"strokes": [[[5, 5]]]}'))
    draw(page, digits[0])
    page.click("#predict")
    page.wait_for_selector("[data-state=problem]")
    title, detail = message(page)
    assert title == "The server can\u2019t read this."
    assert detail == "Strokes expected a line, got a single dot."


@pytest.mark.parametrize("answered", [False, True])
def test_enter_in_the_middle_of_a_stroke_waits_for_its_end(
    tabs: Tabs, digits: list[Drawing], answered: bool
) -> None:
    page = tabs.open()
    if answered:
        draw(page, digits[0])
        ask(page)
    asked = hold(page)
    before = message(page)
    box = sheet_box(page)
    page.mouse.move(box.left + 100, box.top + 100)
    page.mouse.down()
    page.mouse.move(box.left + 200, box.top + 200)
    page.keyboard.press("Enter")
    page.mouse.up()
    page.wait_for_timeout(300)
    assert asked == []
    assert message(page) == before
    assert page.get_attribute("main", "data-state") == ("outdated" if answered else "drawing")


def test_a_problem_is_shown_as_text(tabs: Tabs, digits: list[Drawing]) -> None:
    tabs.allow("status of 422")
    page = tabs.open()
    answer_with(page, 422, {"detail": "<img src=x onerror=alert(1)> expected less"})
    draw(page, digits[0])
    page.click("#predict")
    page.wait_for_selector("[data-state=problem]")
    assert message(page)[1] == "<img src=x onerror=alert(1)> expected less."


def test_too_many_questions_are_told_how_long_to_wait(tabs: Tabs, digits: list[Drawing]) -> None:
    tabs.allow("status of 429")
    page = tabs.open()
    answer_with(page, 429, {"title": "Too Many Requests"}, {"Retry-After": "3"})
    draw(page, digits[0])
    page.click("#predict")
    page.wait_for_selector("[data-state=problem]")
    assert message(page) == (
        "A moment, please.",
        "Many drawings came at once. Wait 3 seconds, then press Predict.",
    )
    page.unroute(PREDICT)
    ask(page)


def test_nonsense_from_the_server_is_said_to_be_that(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    answer_with(page, 200, {"digit": 12})
    draw(page, digits[0])
    page.click("#predict")
    page.wait_for_selector("[data-state=problem]")
    assert message(page)[0] == "That answer makes no sense."


def test_a_server_that_never_answers_is_given_up(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    page.clock.install()
    page.route(PREDICT, lambda route: None)
    draw(page, digits[0])
    page.click("#predict")
    page.clock.run_for(8_500)
    page.wait_for_selector("[data-state=problem]")
    assert message(page)[0] == "No answer from the server."


def test_a_lost_server_is_said_and_the_drawing_kept(tabs: Tabs, digits: list[Drawing]) -> None:
    tabs.allow("status of 503")
    tabs.allow("ERR_CONNECTION_REFUSED")
    with serving() as site:
        page = tabs.open(url=site.url)
        draw(page, digits[0])
        ink = inked(page, "#ink")
        assert site.app is not None
        site.app.send_signal(signal.SIGTERM)
        site.app.wait(20)
        page.click("#predict")
        page.wait_for_selector("[data-state=problem]")
        assert message(page) == (
            "No answer from the server.",
            "It may be restarting. Press Predict again in a moment.",
        )
        site.nginx.send_signal(signal.SIGTERM)
        site.nginx.wait(20)
        page.click("#predict")
        page.get_by_text("Check your connection").wait_for()
        assert message(page) == (
            "No answer from the server.",
            "Check your connection, then press Predict again.",
        )
        assert inked(page, "#ink") == ink > 0


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
    page.mouse.up()
    with page.expect_request(PREDICT) as asked:
        page.click("#predict")
    page.wait_for_selector("[data-state=answer]")
    body = asked.value.post_data or ""
    [stroke] = json.loads(body)["strokes"]
    assert 500 < len(stroke) <= 2000
    assert len(body) < 64 * 1024


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


def test_a_page_without_its_sheet_says_so(tabs: Tabs) -> None:
    tabs.allow("page expected #ink to be a HTMLCanvasElement, got null")
    html = (PUBLIC / "index.html").read_text().replace('id="ink"', "")
    page = tabs.open(url="about:blank")
    page.route(tabs.url, lambda route: route.fulfill(body=html, content_type="text/html"))
    page.goto(tabs.url)
    assert len(tabs.errors) == 1


def draw(page: "Page", drawing: Drawing) -> None:
    """Draw with the mouse, in the middle of the sheet."""
    with_mouse(page, placed(drawing, sheet_box(page)))


def ask(page: "Page") -> None:
    """Press Predict and wait for the answer to be shown."""
    with page.expect_response(PREDICT):
        page.click("#predict")
    page.wait_for_selector("[data-state=answer]")


def message(page: "Page") -> tuple[str, str]:
    """What the page says: the title and the detail."""
    return page.inner_text("#verdict"), page.inner_text("#detail")


def hold(page: "Page") -> "list[Route]":
    """Let no question of the page go on; the list holds those that were asked."""
    held: list[Route] = []
    page.route(PREDICT, lambda route: held.append(route))
    return held


def answer_with(
    page: "Page", status: int, body: dict[str, Any], headers: dict[str, str] | None = None
) -> None:
    """Answer every question of the page so."""
    kind = "application/json" if status == 200 else "application/problem+json"
    page.route(
        PREDICT,
        lambda route: route.fulfill(
            status=status, body=json.dumps(body), content_type=kind, headers=headers
        ),
    )


def opacity(page: "Page", selector: str) -> float:
    """The element's opacity."""
    script = "element => Number(getComputedStyle(element).opacity)"
    return float(page.eval_on_selector(selector, script))


def inked(page: "Page", selector: str) -> int:
    """How many pixels of a canvas are painted."""
    return _ink(page, selector)[0]


def colour(page: "Page") -> list[int]:
    """The red, green and blue of the ink."""
    return _ink(page, "#ink")[1][:3]


def _ink(page: "Page", selector: str) -> tuple[int, list[int]]:
    """How many pixels of a canvas are painted after the next frame, and the last one's RGBA."""
    script = """(canvas) => new Promise((done) => requestAnimationFrame(() => {
      const copy = new OffscreenCanvas(canvas.width, canvas.height);
      const context = copy.getContext("2d", { willReadFrequently: true });
      context.drawImage(canvas, 0, 0);
      const { data } = context.getImageData(0, 0, copy.width, copy.height);
      let count = 0;
      let last = [];
      for (let i = 0; i < data.length; i += 4) {
        if (data[i + 3] > 0) count += 1;
        if (data[i + 3] === 255) last = [...data.subarray(i, i + 4)];
      }
      done([count, last]);
    }))"""
    count, last = page.eval_on_selector(selector, script)
    return count, last
