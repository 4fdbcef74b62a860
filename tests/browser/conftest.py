"""Chromium, the whole site behind nginx, and real ink for the browser tests.

NUMDRAW_ARTEFACTS names the folder for the screenshots; without it they go to tests/artefacts/.
"""

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from numdraw import Predictor
from numdraw.drawings import read_drawings
from tests.browser.pens import BUILT_IN, Drawing
from tests.ink import drawings_folder
from tests.serving import Site, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHROMIUM_FLAGS = [
    "--no-sandbox",  # root may not use it
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SOURCES = ("pendigits-train", "uji-digits")
SURE = 0.9  # the network's confidence in the drawings that the tests choose


@dataclass
class Tabs:
    """Opens pages in Chromium and keeps what went wrong in them."""

    browser: "Browser"
    url: str
    contexts: "list[BrowserContext]" = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def open(
        self,
        *,
        viewport: tuple[float, float] | None = (1280, 800),
        zoom: float = 1.0,
        density: float = 1.0,
        touch: bool = False,
        scheme: Literal["light", "dark"] = "light",
        motion: Literal["no-preference", "reduce"] = "reduce",
        url: str | None = None,
    ) -> "Page":
        """The page, loaded.

        Args:
            viewport: width and height of the window in CSS px at zoom 1; None leaves both the
                window and the density as the browser has them.
            zoom: the browser's: it makes the viewport fewer CSS px and each of them larger.
            density: screen px to a CSS px at zoom 1.
        """
        options: dict[str, Any] = {"no_viewport": True}
        if viewport is not None:
            width, height = (round(side / zoom) for side in viewport)
            size = {"width": width, "height": height}
            options = {"viewport": size, "device_scale_factor": density * zoom}
        context = self.browser.new_context(
            has_touch=touch, color_scheme=scheme, reduced_motion=motion, **options
        )
        context.set_default_timeout(10_000)
        self.contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        # Violations of the CSP are among the console's errors.
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.goto(url or self.url)
        return page

    def allow(self, text: str) -> None:
        """Take console errors that hold the text as the test's own doing."""
        self.allowed.append(text)

    def close(self) -> None:
        """Close every page, then fail if one of them had an error."""
        for context in self.contexts:
            context.close()
        left = [e for e in self.errors if not any(text in e for text in self.allowed)]
        assert left == []

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.errors.append(f"console: {text}")


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture(scope="session")
def teachable() -> Iterator[Site]:
    """A server that takes corrections."""
    with (
        tempfile.TemporaryDirectory(prefix="numdraw-") as folder,
        serving_teachable(Path(folder) / "kept") as site,
    ):
        yield site


def serving_teachable(kept: Path) -> contextlib.AbstractContextManager[Site]:
    """A server that keeps corrections in the folder, for a block."""
    command: list[str | Path] = [sys.executable, "-m", "numdraw.serve", "--corrections", kept]
    return serving(app=[*command, "--socket"])


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def tabs(browser: "Browser", site: Site) -> Iterator[Tabs]:
    tabs = Tabs(browser, site.url)
    yield tabs
    tabs.close()


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """The folder for the screenshots."""
    folder = Path(os.environ.get("NUMDRAW_ARTEFACTS") or Path(__file__).parent.parent / "artefacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def digits(predictor: Predictor) -> list[Drawing]:
    """Drawings that the network reads rightly: of each digit one from each source of real ink.

    Where there is no real ink they are a few built-in strokes.
    """
    found = [drawing for source in SOURCES for drawing in _read_rightly(source, predictor)]
    return found or BUILT_IN


def _read_rightly(source: str, predictor: Predictor) -> list[Drawing]:
    path = drawings_folder() / f"{source}.jsonl.gz"
    if not path.exists():
        return []
    found: dict[str, Drawing] = {}
    for _, row in read_drawings(path):
        label = row["label"]
        if label in found or not re.fullmatch(r"\d", label):
            continue
        prediction = predictor.predict({"strokes": row["strokes"]})
        if str(prediction.digit) == label and prediction.confidence >= SURE:
            found[label] = Drawing(int(label), row["strokes"])
        if len(found) == 10:
            break
    return [found[label] for label in sorted(found)]
