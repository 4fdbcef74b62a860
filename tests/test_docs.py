"""The documents say what is so: examples run, flags and routes are told, links lead somewhere."""

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from numdraw import Predictor
from numdraw.openapi import document

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
# A block of Python with the block of text that follows it: its output.
EXAMPLES = re.findall(r"```python\n(.*?)```\s+```text\n(.*?)```", README, re.DOTALL)
DOCUMENTS = [  # not those that tools keep in folders with a dot
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *ROOT.glob("[!.]*/README.md"),
    *ROOT.glob("docs/*.md"),
]


def test_every_python_example_has_its_output() -> None:
    assert len(EXAMPLES) == README.count("```python") >= 3


@pytest.mark.parametrize(("code", "output"), EXAMPLES)
def test_example_prints_what_the_readme_says(code: str, output: str) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert printed.getvalue() == output


@pytest.mark.parametrize("module", ["train", "ink", "evaluate", "onnx", "serve"])
def test_every_flag_stands_in_the_readme(module: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", f"numdraw.{module}", "--help"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    ).stdout  # fmt: skip  # shorter so
    flags = set(re.findall(r"--[a-z][a-z-]*", shown)) - {"--help"}
    told = {
        flag
        for paragraph in README.split("\n\n")
        if f"numdraw.{module}`" in paragraph
        for flag in re.findall(r"`(--[a-z][a-z-]*)", paragraph)
    }
    assert flags
    assert flags - told == set()
    assert told - flags == set()


def test_every_route_stands_in_the_readme() -> None:
    routes = set(document()["paths"])
    assert "/api/predict" in routes
    assert {route for route in routes if f" {route}`" not in README} == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_left_to_fill_in(path: Path) -> None:
    assert re.findall(r"@[A-Z]+@|TODO", path.read_text()) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_into_the_project_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", path.read_text())
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_quoted_scores_are_the_weights_own(predictor: Predictor) -> None:
    error = predictor.meta["scores"]["test"]["error"]
    assert f"**{error:.2%}** of MNIST's 10,000 test images" in README
    card = (ROOT / "weights" / "README.md").read_text()
    assert f"{error:.2%}" in card
    assert predictor.version in card
    assert predictor.meta["sha256"] in card


def test_quoted_defaults_are_the_trainers() -> None:
    from numdraw.training import DEFAULT_RECIPE, RECIPES

    options = RECIPES[DEFAULT_RECIPE]
    defaults = f"{options.epochs}, {options.batch_size}, {options.lr}, {options.seed}"
    row = f"| `--epochs N`, `--batch-size N`, `--lr RATE`, `--seed N` | {defaults}; "
    row += "with `--arch mlp` "
    mlp, fast = RECIPES["mlp"], RECIPES["fast"]
    row += f"{mlp.epochs} epochs at {mlp.lr}, with `--fast` {fast.epochs} |"
    assert row in README
    hidden = " ".join(map(str, RECIPES["mlp"].hidden))
    assert (
        f"| `--hidden N [N ...]` | the units of each hidden layer of an mlp; {hidden} |" in README
    )
    assert f"| `--validation N` | images held out of training; {options.validation} |" in README
