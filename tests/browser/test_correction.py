""" "No, it was ...": only where the server keeps corrections, and with a word of what it keeps."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.acts import (
    begin_stroke,
    draw,
    hold,
    message,
    open_correction,
    state_of,
    wait_for,
)
from tests.browser.conftest import Tabs, serving_teachable
from tests.browser.pens import Drawing
from tests.serving import Site

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture
def kept() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="numdraw-") as folder:
        yield Path(folder) / "kept"


@pytest.fixture
def teachable(kept: Path) -> Iterator[Site]:
    with serving_teachable(kept) as site:
        yield site


def lines(kept: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (kept / "corrections.jsonl").read_text().splitlines()]


def test_it_is_not_offered_where_nothing_is_kept(tabs: Tabs, digits: list[Drawing]) -> None:
    page = tabs.open()
    draw(page, digits[0])
    wait_for(page, "answer")
    page.wait_for_timeout(200)
    assert page.is_hidden("#wrong")
    assert page.inner_text("#foot").endswith("It is not kept.")


def test_a_correction_is_kept_and_thanked_for(
    teachable: Site, kept: Path, tabs: Tabs, digits: list[Drawing], artefacts: Path
) -> None:
    page = tabs.open(url=teachable.url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    draw(page, digits[0])
    wait_for(page, "answer")
    assert page.inner_text("#foot").endswith("It is kept only if you correct it.")
    assert not any("correction.js" in url for url in asked)
    open_correction(page)
    assert "today\u2019s date. Nothing else." in page.inner_text("#correction")
    page.screenshot(path=artefacts / "correction.png", full_page=True)
    page.keyboard.type("42")
    page.keyboard.press("Enter")
    page.get_by_text("Thank you.").wait_for()
    assert page.is_hidden("#correction")
    assert page.evaluate("document.activeElement.id") == "ink"
    [line] = lines(kept)
    assert line["label"] == "42"
    assert line["read"] == str(digits[0].label)
    assert set(line) == {"label", "strokes", "read", "confidence", "model", "date"}


def test_no_digit_is_a_correction_too(
    teachable: Site, kept: Path, tabs: Tabs, digits: list[Drawing]
) -> None:
    page = opened(tabs, teachable, digits[0])
    page.click("#wrong")
    page.get_by_text("It was no digit").click()
    page.get_by_text("Thank you.").wait_for()
    assert [line["label"] for line in lines(kept)] == [""]


def test_what_is_no_number_is_not_sent(
    teachable: Site, kept: Path, tabs: Tabs, digits: list[Drawing]
) -> None:
    page = opened(tabs, teachable, digits[0])
    page.click("#wrong")
    for label in ("", "seven", "1" * 21):
        page.fill("#label", label)
        page.keyboard.press("Enter")
    assert page.is_visible("#correction")
    assert not (kept / "corrections.jsonl").exists() or lines(kept) == []
    page.click("#wrong")
    assert page.is_hidden("#correction")


@pytest.mark.parametrize(
    ("status", "title"), [(507, "The server isn\u2019t well."), (429, "A moment, please.")]
)
def test_a_correction_that_is_not_kept_can_be_sent_again(
    status: int,
    title: str,
    teachable: Site,
    kept: Path,
    tabs: Tabs,
    digits: list[Drawing],
) -> None:
    tabs.allow(f"status of {status}")
    page = opened(tabs, teachable, digits[0])
    page.route("**/api/corrections", lambda route: route.fulfill(status=status, body="{}"))
    open_correction(page)
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    wait_for(page, "problem")
    assert message(page)[0] == title
    page.unroute("**/api/corrections")
    page.keyboard.press("Enter")
    page.get_by_text("Thank you.").wait_for()
    assert [line["label"] for line in lines(kept)] == ["7"]


def test_drawing_on_ends_a_correction_which_would_be_of_the_older_drawing(
    teachable: Site, tabs: Tabs, digits: list[Drawing]
) -> None:
    page = opened(tabs, teachable, digits[0])
    open_correction(page)
    begin_stroke(page)
    assert page.is_hidden("#correction")


def test_a_correction_on_its_way_is_not_sent_twice(
    teachable: Site, tabs: Tabs, digits: list[Drawing]
) -> None:
    page = opened(tabs, teachable, digits[0])
    held = hold(page, "**/api/corrections")
    open_correction(page)
    page.keyboard.type("7")
    for _ in range(3):
        page.keyboard.press("Enter")
    page.click("text=It was no digit")
    page.wait_for_timeout(100)
    assert len(held) == 1
    held[0].continue_()
    page.get_by_text("Thank you.").wait_for()


def test_thanks_do_not_come_into_the_drawing_that_follows(
    teachable: Site, kept: Path, tabs: Tabs, digits: list[Drawing]
) -> None:
    page = opened(tabs, teachable, digits[0])
    held = hold(page, "**/api/corrections")
    open_correction(page)
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    begin_stroke(page)
    with page.expect_response("**/api/corrections"):
        held[0].continue_()
    page.wait_for_timeout(100)
    assert state_of(page) == "outdated"
    assert "Thank you." not in message(page)
    assert [line["label"] for line in lines(kept)] == ["7"]


def opened(tabs: Tabs, site: Site, drawing: Drawing) -> "Page":
    """The site's page with a drawing that was read."""
    page = tabs.open(url=site.url)
    draw(page, drawing)
    wait_for(page, "answer")
    return page
