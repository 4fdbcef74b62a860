"""What the browser tests do on the page, and what they see there."""

import json
from typing import TYPE_CHECKING, Any

from tests.browser.pens import Drawing, placed, sheet_box, with_mouse

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request, Route

PREDICT = "**/api/predict"
QUICK = 48.0  # CSS px between two events at most: each takes a frame, most of the time of a test


def draw(page: "Page", drawing: Drawing) -> None:
    """Draw with the mouse, in the middle of the sheet, quickly."""
    to_sheet(page)
    with_mouse(page, placed(drawing, sheet_box(page), step=QUICK))


def to_sheet(page: "Page") -> None:
    """Scroll to the sheet, wherever the last press has left the page."""
    page.eval_on_selector("#ink", "sheet => sheet.scrollIntoView({ block: 'center' })")


def ask(page: "Page") -> None:
    """Press Predict and wait for the answer to be shown."""
    page.click("#predict")
    wait_for(page, "answer")


def open_inside(page: "Page") -> None:
    """Look inside, and wait until everything is there."""
    page.click("#inside-open")
    page.locator("#inside .sums").wait_for()


def open_correction(page: "Page") -> None:
    """Say that it was misread."""
    page.click("#wrong")
    page.wait_for_selector("#label:focus")


def wait_for(page: "Page", state: str) -> None:
    """Wait until the page is in a state."""
    page.wait_for_selector(f"[data-state={state}]")


def state_of(page: "Page") -> str | None:
    """The page's state."""
    return page.get_attribute("main", "data-state")


def click_sheet(page: "Page", x: float, y: float) -> None:
    """Draw a dot, that many CSS px from the sheet's corner."""
    box = sheet_box(page)
    page.mouse.click(box.left + x, box.top + y)


def begin_stroke(page: "Page") -> None:
    """Draw a line, and do not lift the pen."""
    to_sheet(page)
    box = sheet_box(page)
    page.mouse.move(box.left + 100, box.top + 100)
    page.mouse.down()
    page.mouse.move(box.left + 200, box.top + 200, steps=20)


def message(page: "Page") -> tuple[str, str]:
    """What the page says: the title and the detail."""
    return page.inner_text("#verdict"), page.inner_text("#detail")


def hold(page: "Page", url: str = PREDICT) -> "list[Route]":
    """Let no question of the page go on; the list holds those that were asked."""
    held: list[Route] = []
    page.route(url, lambda route: held.append(route))
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


def sent(page: "Page") -> list[list[list[float]]]:
    """The strokes that the page sends now."""
    with page.expect_request(PREDICT) as asked:
        page.keyboard.press("Enter")
    wait_for(page, "answer")
    return strokes_of(asked.value)


def strokes_of(request: "Request") -> list[list[list[float]]]:
    """The strokes in a request's body."""
    strokes: list[list[list[float]]] = json.loads(request.post_data or "")["strokes"]
    return strokes


def wait_until_fitted(page: "Page") -> None:
    """Wait until the canvas has as many pixels as the screen."""
    script = """() => {
      const canvas = document.querySelector("#ink");
      return Math.abs(canvas.width - canvas.clientWidth * devicePixelRatio) <= 1;
    }"""
    page.wait_for_function(script)


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
      if (canvas.height === 0) return done([0, []]);
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
