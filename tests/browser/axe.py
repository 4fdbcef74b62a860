"""Asks axe-core whether everybody can use a page: WCAG 2.0 to 2.2, A and AA, and best practice.

axe.min.js comes from the PyPI package axe-playwright-python.
"""

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

PACKAGE = "axe_playwright_python"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
CONTRAST = "color-contrast"

# axe-core gives up on a text over a gradient, and all of the page lies on squared paper. So
# contrast is asked for with the squares away, on the paper's own colour: they are thin and faint.
# It gives up on texts of one character and on arrows too, unless told otherwise: the bars have a
# digit each, a button an arrow.
RUN = """async (tags) => {
  const runOnly = { type: "tag", values: tags };
  const rules = { "color-contrast": { enabled: false } };
  const all = await axe.run(document, { runOnly, rules });
  const plain = new CSSStyleSheet();
  plain.replaceSync("*, *::before, *::after { background-image: none !important }");
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, plain];
  const { options } = axe._audit.checks["color-contrast"];
  const any = { ...options, ignoreLength: true, ignoreUnicode: false };
  const checks = { "color-contrast": { options: any } };
  const contrast = await axe.run(document, { runOnly: ["color-contrast"], checks });
  document.adoptedStyleSheets = document.adoptedStyleSheets.filter((sheet) => sheet !== plain);
  return [all, contrast];
}"""


@dataclass(frozen=True)
class Report:
    """What axe-core says of a page as it was.

    Args:
        version: axe-core's.
        violations: the rules that are broken, a line for each element.
        unsure: what axe-core can't tell, a line for each element.
        passed: the rules that had something to look at, and nothing against it.
    """

    version: str
    violations: list[str]
    unsure: list[str]
    passed: list[str]

    @property
    def unsure_contrast(self) -> list[str]:
        """Those of `unsure` that are about contrast."""
        return [line for line in self.unsure if line.startswith(CONTRAST)]

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        lines = {**vars(self), "unsure_contrast": self.unsure_contrast}
        path.write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")


def violations(page: "Page") -> list[str]:
    """The rules that the page breaks as it is now, a line for each element."""
    return report(page).violations


def report(page: "Page") -> Report:
    """All that axe-core says of the page as it is now; without axe-core it skips the test."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(_source())  # as the debugger does, whom the page's policy does not bind
    others, contrast = page.evaluate(RUN, TAGS)

    def lines(kind: str) -> list[str]:
        return [line for rule in others[kind] + contrast[kind] for line in _lines(rule)]

    passed = sorted(rule["id"] for rule in others["passes"] + contrast["passes"])
    return Report(others["testEngine"]["version"], lines("violations"), lines("incomplete"), passed)


def _lines(rule: dict[str, Any]) -> Iterator[str]:
    """The rule, the element and what is wrong with it, for each element."""
    for node in rule["nodes"]:
        checks = [*node["any"], *node["all"], *node["none"]]
        why = "; ".join(check["message"] for check in checks) or rule["help"]
        yield f"{rule['id']}: {' '.join(map(str, node['target']))}: {why}"


def _source() -> str:
    """The text of axe.min.js."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        pytest.skip("axe-core is not installed: pip install axe-playwright-python")
    return (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")
