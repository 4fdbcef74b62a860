"""Drives Debian's Firefox by WebDriver BiDi, which it speaks itself: no driver stands in between.

    {"id": 1, "method": "browsingContext.navigate", "params": {...}}   a command, over a WebSocket
    {"id": 1, "type": "success", "result": {...}}                      its answer, or type "error"
    {"type": "event", "method": "log.entryAdded", "params": {...}}     at any time

Source: https://www.w3.org/TR/webdriver-bidi/
"""

import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from tests.browser.pens import Box, Points
from tests.serving import started

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
SECONDS = 30  # for any step, on a busy machine
EVENT_TIME = 8  # ms from one pointer event to the next: 120 a second
MOST_MESSAGE = 64 * 1024 * 1024  # bytes; a screenshot is one message
DOWN = {"type": "pointerDown", "button": 0}
UP = {"type": "pointerUp", "button": 0}
SCHEMES = {"dark": 0, "light": 1}  # of layout.css.prefers-color-scheme.content-override

Pointer = Literal["mouse", "touch", "pen"]


@dataclass
class Firefox:
    """One tab, and what its console held against the page.

    Args:
        tab: WebDriver's "context".
        errors: errors and warnings, those of scripts and of the content security policy too.
    """

    connection: "ClientConnection"
    tab: str = ""
    errors: list[str] = field(default_factory=list)
    _sent: int = 0

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command; what the console says meanwhile is kept."""
        self._sent += 1
        command = {"id": self._sent, "method": method, "params": params}
        self.connection.send(json.dumps(command))
        while True:
            message = json.loads(self.connection.recv(SECONDS))
            if message["type"] == "event":
                self._hear(message["params"])
            elif message["id"] == self._sent:
                break
        if message["type"] == "error":
            raise RuntimeError(f"Firefox expected to do {method}, got {message['message']}")
        result: dict[str, Any] = message["result"]
        return result

    def goto(self, url: str) -> None:
        """Load the page."""
        self.send("browsingContext.navigate", context=self.tab, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, by way of JSON."""
        answer = self.send(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})) ?? 'null')()",
            target={"context": self.tab},
            awaitPromise=True,
        )
        if answer["type"] == "exception":
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']['text']}")
        return json.loads(answer["result"]["value"])

    def wait_for(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + SECONDS
        while not self.evaluate(f"Boolean({expression})"):
            if time.monotonic() > end:
                raise TimeoutError(f"the page expected {expression}, got none in {SECONDS} s")
            time.sleep(0.02)

    def wait_to_hear(self, text: str) -> None:
        """Wait until an error or a warning holds the text."""
        end = time.monotonic() + SECONDS
        while not any(text in error for error in self.errors):
            if time.monotonic() > end:
                raise TimeoutError(f"the console expected {text}, got {self.errors}")
            self.evaluate("0")  # what the console says comes with an answer
            time.sleep(0.02)

    def box(self, selector: str) -> Box:
        """Where an element is in the window, in CSS px."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        place = self.evaluate(f"(({{ x, y, width, height }}) => [x, y, width, height])({box})")
        return Box(*place)

    def draw(self, strokes: Sequence[Points], pointer: Pointer) -> None:
        """Draw strokes, in CSS px, as a hand does: an event every 8 ms."""
        actions: list[dict[str, Any]] = []
        for stroke in strokes:
            (x, y), *others = stroke.tolist()
            moves = [
                {"type": "pointerMove", "x": x, "y": y, "duration": EVENT_TIME} for x, y in others
            ]
            actions += [{"type": "pointerMove", "x": x, "y": y}, DOWN, *moves, UP]
        self._perform(pointer, actions)

    def click(self, selector: str, pointer: Pointer) -> None:
        """Press an element in its middle, scrolled into the window if need be."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"{element}.scrollIntoView({{ block: 'nearest' }})")
        box = self.box(selector)
        x, y = box.left + box.width / 2, box.top + box.height / 2
        self._perform(pointer, [{"type": "pointerMove", "x": x, "y": y}, DOWN, UP])

    def screenshot(self, path: Path) -> None:
        """Write a picture of the whole page."""
        answer = self.send("browsingContext.captureScreenshot", context=self.tab, origin="document")
        path.write_bytes(base64.b64decode(answer["data"]))

    def _perform(self, pointer: Pointer, actions: list[dict[str, Any]]) -> None:
        parameters = {"pointerType": pointer}
        source = {"type": "pointer", "id": pointer, "parameters": parameters, "actions": actions}
        self.send("input.performActions", context=self.tab, actions=[source])

    def _hear(self, entry: dict[str, Any]) -> None:
        if entry["level"] in ("error", "warn"):
            self.errors.append(f"{entry['type']}: {entry['text']}")


@contextlib.contextmanager
def firefox(
    *,
    size: tuple[int, int],
    density: float = 1.0,
    scheme: Literal["light", "dark"] = "light",
) -> Iterator[Firefox]:
    """A new Firefox with one empty tab; skips the test where it or websockets is not installed.

    Args:
        size: width and height of the window in CSS px.
        density: screen px to a CSS px.
    """
    client = pytest.importorskip(
        "websockets.sync.client", reason="websockets is not installed: pip install websockets"
    )
    with _running(scheme) as address, client.connect(address, max_size=MOST_MESSAGE) as connection:
        browser = Firefox(connection)
        browser.send("session.new", capabilities={})
        browser.send("session.subscribe", events=["log.entryAdded"])
        browser.tab = browser.send("browsingContext.create", type="tab")["context"]
        browser.send(
            "browsingContext.setViewport",
            context=browser.tab,
            viewport={"width": size[0], "height": size[1]},
            devicePixelRatio=density,
        )
        yield browser


@contextlib.contextmanager
def _running(scheme: Literal["light", "dark"]) -> Iterator[str]:
    """Start Firefox with a profile of its own; the WebSocket's address."""
    if FIREFOX is None:
        pytest.skip("Firefox is not installed: apt-get install firefox-esr")
    with tempfile.TemporaryDirectory(prefix="numdraw-", ignore_cleanup_errors=True) as name:
        profile = Path(name)
        prefs = {"layout.css.prefers-color-scheme.content-override": SCHEMES[scheme]}
        prefs["ui.prefersReducedMotion"] = 1
        lines = [f"user_pref({json.dumps(pref)}, {value});\n" for pref, value in prefs.items()]
        (profile / "user.js").write_text("".join(lines))
        options = ["--headless", "--no-remote", "--profile", name, "--remote-debugging-port=0"]
        with started([FIREFOX, *options], profile / "firefox") as process:
            yield _address(profile, process)


def _address(profile: Path, process: "subprocess.Popen[bytes]") -> str:
    """Where Firefox listens, which it writes into its profile once it does."""
    path = profile / "WebDriverBiDiServer.json"
    end = time.monotonic() + SECONDS
    while True:
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            server = json.loads(path.read_text())
            return f"ws://{server['ws_host']}:{server['ws_port']}/session"
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{FIREFOX} expected to listen, got none; its end: {process.poll()}")
        time.sleep(0.02)
