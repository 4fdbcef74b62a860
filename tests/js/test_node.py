"""Runs the tests of the page's pure modules: node --test on *.test.mjs here."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@pytest.mark.parametrize("name", sorted(path.name for path in HERE.glob("*.test.mjs")))
def test_modules_of_the_page(name: str, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: apt-get install nodejs")
    # Node.js before 20.19 takes a .js file for a module only where a package.json says so, and the
    # page has no use for one.
    shutil.copytree(ROOT / "public" / "js", tmp_path / "public" / "js")
    shutil.copytree(HERE, tmp_path / "tests" / "js", ignore=shutil.ignore_patterns("*.py", "__*"))
    (tmp_path / "package.json").write_text('{"type": "module"}')
    done = subprocess.run(
        [node, "--test", tmp_path / "tests" / "js" / name],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
