"""When there is no answer: each trouble in words of its own, the drawing kept, and a way on."""

import signal

import pytest

from tests.browser.acts import PREDICT, answer_with, ask, draw, hold, inked, message, wait_for
from tests.browser.conftest import Tabs
from tests.browser.pens import Drawing
from tests.serving import serving


def test_a_refusal_is_told_in_the_servers_own_words(tabs: Tabs, digits: list[Drawing]) -> None:
    """The real server's refusal, of a body that this page would never send."""
    tabs.allow("status of 422")
    page = tabs.open()
    page.route(PREDICT, lambda route: route.continue_(post_data='{"strokes": [[[5, 5]]]}'))
    draw(page, digits[0])
    wait_for(page, "problem")
    assert message(page) == (
        "The server can\u2019t take this.",
        "Strokes expected a line, got a single dot.",
    )


def test_a_problem_is_shown_as_text(tabs: Tabs, digits: list[Drawing]) -> None:
    tabs.allow("status of 422")
    page = tabs.open()
    answer_with(page, 422, {"detail": "<img src=x onerror=alert(1)> expected less"})
    draw(page, digits[0])
    wait_for(page, "problem")
    assert message(page)[1] == "<img src=x onerror=alert(1)> expected less."


def test_too_many_questions_are_told_so_and_the_next_goes_by_itself(
    tabs: Tabs, digits: list[Drawing]
) -> None:
    tabs.allow("status of 429")
    page = tabs.open()
    answer_with(page, 429, {"title": "Too Many Requests"}, {"Retry-After": "1"})
    draw(page, digits[0])
    wait_for(page, "problem")
    assert message(page) == (
        "A moment, please.",
        "Many questions came at once. The next is taken in 1 s.",
    )
    assert page.is_visible("#retry")
    page.unroute(PREDICT)
    wait_for(page, "answer")
    assert str(digits[0].label) in message(page)[0]


def test_nonsense_from_the_server_is_said_to_be_that(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    answer_with(page, 200, {"digit": 12})
    draw(page, digits[0])
    wait_for(page, "problem")
    assert message(page)[0] == "That answer makes no sense."


@pytest.mark.parametrize("status", [500, 503])
def test_a_failing_server_is_told_so_and_can_be_asked_again(
    tabs: Tabs, digits: list[Drawing], status: int
) -> None:
    tabs.allow(f"status of {status}")
    page = tabs.open()
    answer_with(page, status, {"title": "no"})
    draw(page, digits[0])
    wait_for(page, "problem")
    assert message(page) == (
        "The server isn\u2019t well.",
        "It may be restarting. Try again in a moment.",
    )
    page.unroute(PREDICT)
    page.click("#retry")
    wait_for(page, "answer")
    assert page.is_hidden("#retry")


def test_a_slow_server_is_said_to_be_slow_and_then_given_up(
    tabs: Tabs, digits: list[Drawing]
) -> None:
    page = tabs.open()
    page.clock.install()
    held = hold(page)
    draw(page, digits[0])
    page.clock.run_for(700)
    assert message(page)[0] == "Reading …"
    page.clock.run_for(3_000)
    assert message(page)[0] == "Still reading …"
    page.clock.run_for(8_000)
    wait_for(page, "problem")
    assert message(page)[0] == "That took too long."
    assert len(held) == 1
    page.unroute(PREDICT)
    page.click("#retry")
    wait_for(page, "answer")


def test_without_a_network_it_says_so_and_asks_when_it_is_back(
    tabs: Tabs, digits: list[Drawing]
) -> None:
    tabs.allow("ERR_INTERNET_DISCONNECTED")
    tabs.allow("error occurred when fetching the script")  # the browser looks for a newer sw.js
    page = tabs.open()
    page.context.set_offline(True)
    assert message(page)[0] == "You\u2019re offline."
    draw(page, digits[0])
    wait_for(page, "problem")
    assert message(page)[0] == "You\u2019re offline."
    ink = inked(page, "#ink")
    page.context.set_offline(False)
    wait_for(page, "answer")
    assert inked(page, "#ink") == ink > 0


def test_a_lost_server_is_said_and_the_drawing_kept(tabs: Tabs, digits: list[Drawing]) -> None:
    tabs.allow("status of 503")
    tabs.allow("ERR_CONNECTION_REFUSED")
    with serving() as site:
        page = tabs.open(url=site.url)
        draw(page, digits[0])
        ask(page)
        ink = inked(page, "#ink")
        assert site.app is not None
        site.app.send_signal(signal.SIGTERM)
        site.app.wait(20)
        page.click("#predict")
        page.get_by_text("The server isn\u2019t well.").wait_for()
        site.nginx.send_signal(signal.SIGTERM)
        site.nginx.wait(20)
        page.click("#retry")
        page.get_by_text("No answer from the server.").wait_for()
        assert message(page)[1] == "Check your connection. Your drawing stays."
        assert inked(page, "#ink") == ink > 0
