"""The page by keyboard alone: buttons, and digits that draw themselves."""

from typing import TYPE_CHECKING

import pytest

from tests.browser.acts import draw, hold, inked, message, state_of, wait_for
from tests.browser.conftest import Tabs
from tests.browser.pens import Drawing

if TYPE_CHECKING:
    from playwright.sync_api import Page


def focused(page: "Page") -> str:
    """The id of what has the focus."""
    return str(page.evaluate("document.activeElement.id"))


def tab_to(page: "Page", wanted: str) -> None:
    """Press Tab until it is there."""
    for _ in range(20):
        page.keyboard.press("Tab")
        if focused(page) == wanted:
            return
    raise AssertionError(f"Tab never came to {wanted}")


def test_every_control_is_reached_in_the_order_of_the_page(tabs: Tabs) -> None:
    page = tabs.open()
    page.evaluate("document.activeElement.blur()")
    order = []
    for _ in range(20):
        page.keyboard.press("Tab")
        if focused(page):
            order.append(focused(page))
    expected = ["ink", "example", "undo", "redo", "erase", "clear", "predict", "language"]
    assert order[: len(expected)] == expected


def test_the_sheet_shows_the_focus_where_the_keyboard_moved_it(
    tabs: Tabs, digits: list[Drawing]
) -> None:
    page = tabs.open()
    outline = "getComputedStyle(document.querySelector('#ink')).outlineStyle"
    draw(page, digits[0])
    assert focused(page) == "ink"
    assert page.evaluate(outline) == "none"
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    assert focused(page) == "ink"
    assert page.evaluate(outline) == "solid"


@pytest.mark.parametrize("digit", range(10))
def test_a_digit_key_draws_that_digit_which_is_read_so(digit: int, tabs: Tabs) -> None:
    page = tabs.open()
    tab_to(page, "ink")
    page.keyboard.press(str(digit))
    wait_for(page, "answer")
    assert message(page)[0].endswith(f" {digit}.")


def test_a_digit_key_elsewhere_does_nothing(tabs: Tabs) -> None:
    page = tabs.open()
    page.focus("#predict")
    page.keyboard.press("7")
    assert inked(page, "#ink") == 0


def test_the_example_is_drawn_and_read_and_can_be_undone(tabs: Tabs) -> None:
    page = tabs.open(motion="no-preference")
    page.focus("#example")
    page.keyboard.press("Enter")
    wait_for(page, "answer")
    assert "2" in message(page)[0]
    assert page.is_hidden("#example")
    assert focused(page) == "ink"
    page.keyboard.press("Control+z")
    assert state_of(page) == "empty"
    assert page.is_visible("#example")


def test_enter_on_a_button_presses_it_and_does_not_ask(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    draw(page, digits[0])
    wait_for(page, "answer")
    asked = hold(page)
    page.focus("#clear")
    page.keyboard.press("Enter")
    wait_for(page, "empty")
    page.wait_for_timeout(400)
    assert asked == []
