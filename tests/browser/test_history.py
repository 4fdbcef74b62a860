"""Undo, redo, the eraser and Clear, by button and by key."""

from typing import TYPE_CHECKING

import pytest

from tests.browser.acts import (
    PREDICT,
    ask,
    begin_stroke,
    draw,
    inked,
    message,
    state_of,
    strokes_of,
    wait_for,
)
from tests.browser.conftest import Tabs
from tests.browser.pens import TWO, Drawing

if TYPE_CHECKING:
    from playwright.sync_api import Page

WAYS = {
    "undo": ["Control+z", "Meta+z"],
    "redo": ["Control+Shift+Z", "Control+y"],
    "erase": ["Backspace"],
    "clear": ["Delete"],
}
PRESSES = [(name, None) for name in WAYS] + [(name, key) for name in WAYS for key in WAYS[name]]


def press(page: "Page", name: str, key: str | None = None) -> None:
    """Press the button, or its key."""
    if key is None:
        page.click(f"#{name}")
    else:
        page.keyboard.press(key)


def strokes_asked_about(page: "Page") -> int:
    """How many strokes the next question has."""
    with page.expect_request(PREDICT) as asked:
        pass
    return len(strokes_of(asked.value))


@pytest.mark.parametrize(("name", "key"), PRESSES)
def test_each_does_what_it_says(name: str, key: str | None, tabs: Tabs) -> None:
    page = tabs.open()
    draw(page, TWO)
    both = inked(page, "#ink")
    if name == "redo":
        page.click("#undo")
    press(page, name, key)
    expected = {"undo": 0.5 * both, "redo": both, "erase": 0.5 * both, "clear": 0}[name]
    assert inked(page, "#ink") == pytest.approx(expected, rel=0.1)
    left = {"undo": 1, "redo": 2, "erase": 1}
    if name in left:
        assert strokes_asked_about(page) == left[name]
    else:
        assert state_of(page) == "empty"


def test_clear_can_be_undone_and_the_eraser_too(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    draw(page, digits[0])
    ask(page)
    ink = inked(page, "#ink")
    for name in ("clear", "erase"):
        page.click(f"#{name}")
        page.click("#undo")
        assert inked(page, "#ink") == ink
        wait_for(page, "answer")
        assert str(digits[0].label) in message(page)[0]


def test_a_new_stroke_leaves_nothing_to_redo(tabs: Tabs) -> None:
    page = tabs.open()
    draw(page, TWO)
    page.click("#undo")
    assert page.get_attribute("#redo", "aria-disabled") == "false"
    draw(page, TWO)
    assert page.get_attribute("#redo", "aria-disabled") == "true"
    ink = inked(page, "#ink")
    page.click("#redo", force=True)  # it is disabled
    assert inked(page, "#ink") == ink


def test_buttons_that_can_do_nothing_say_so_and_keep_the_focus(tabs: Tabs) -> None:
    page = tabs.open()
    names = ("undo", "redo", "erase", "clear")
    assert [page.get_attribute(f"#{name}", "aria-disabled") for name in names] == ["true"] * 4
    draw(page, Drawing(0, TWO.strokes[:1]))
    disabled = [page.get_attribute(f"#{name}", "aria-disabled") for name in names]
    assert disabled == ["false", "true", "false", "false"]
    page.focus("#undo")
    page.keyboard.press("Enter")
    assert page.get_attribute("#undo", "aria-disabled") == "true"
    assert page.evaluate("document.activeElement.id") == "undo"


def test_clear_empties_the_sheet_and_the_answer(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    draw(page, digits[0])
    ask(page)
    page.click("#clear")
    assert message(page)[0] == "Your turn."
    assert inked(page, "#ink") == 0
    assert inked(page, "#seen") == 0
    assert set(page.locator("#bars span").all_inner_texts()) == {""}


@pytest.mark.parametrize("key", ["Escape", "Delete"])
def test_a_stroke_in_hand_is_dropped(key: str, tabs: Tabs) -> None:
    page = tabs.open()
    begin_stroke(page)
    page.keyboard.press(key)
    page.mouse.move(300, 200)
    page.mouse.up()
    assert inked(page, "#ink") == 0
    page.click("#predict")
    assert message(page)[0] == "The sheet is empty."


def test_escape_alone_changes_nothing(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    draw(page, digits[0])
    ask(page)
    ink = inked(page, "#ink")
    page.keyboard.press("Escape")
    assert inked(page, "#ink") == ink
    assert state_of(page) == "answer"
