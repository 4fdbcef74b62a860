"""scripts/fetch-data --ink, on small files of drawings."""

import gzip
import hashlib
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.test_scripts import NAME, PACKED, Mirror, fetch, fetch_data, running

__all__ = ["fetch_data"]  # the fixture

LINES = [{"label": str(k % 10), "strokes": [[[0, 0], [3, 9]]], "writer": k} for k in range(20)]
INK = gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in LINES))
FILE = "uji-digits.jsonl.gz"


@pytest.fixture
def fetch_ink(
    fetch_data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
    """The script, which wants one small file of drawings too, and looks for it nowhere."""
    sums = tmp_path / "INK_SHA256SUMS"
    sums.write_text(f"{hashlib.sha256(INK).hexdigest()}  {FILE}\n")
    monkeypatch.setattr(fetch_data, "INK_SUMS", sums)
    monkeypatch.setattr(fetch_data, "INK_OPTIONS", ("--without", "glyphs", "scribbles"))
    monkeypatch.setattr(fetch_data, "SHARED_DRAWINGS", tmp_path / "nowhere")
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--ink"])
    monkeypatch.delenv("NUMDRAW_DRAWINGS", raising=False)
    monkeypatch.delenv("NUMDRAW_INK_MIRRORS", raising=False)
    monkeypatch.setenv("NUMDRAW_INK_HOMES", "http://127.0.0.1:1/")
    return fetch_data


def ran(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> int:
    with running(Mirror({NAME + ".gz": PACKED})) as mirror:
        return fetch(module, monkeypatch, mirror)


def made(folder: Path) -> list[str]:
    """The pairs' names, of the sources."""
    names = {name.split("-images")[0] for name in os.listdir(folder) if "-images-" in name}
    return sorted(name for name in names if name.startswith("ink-"))


@pytest.mark.parametrize("variable", ["NUMDRAW_DRAWINGS", None])
def test_drawings_are_taken_from_a_folder_and_made_into_images(
    fetch_ink: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    folder = tmp_path / "drawings"
    folder.mkdir()
    (folder / FILE).write_bytes(INK)
    if variable is None:
        monkeypatch.setattr(fetch_ink, "SHARED_DRAWINGS", folder)
    else:
        monkeypatch.setenv(variable, str(folder))
    assert ran(fetch_ink, monkeypatch) == 0
    assert (tmp_path / "data" / FILE).read_bytes() == INK
    assert made(tmp_path / "data") == ["ink-uji-digits-train", "ink-uji-digits-valid"]


def test_drawings_are_fetched_from_an_address(
    fetch_ink: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(Mirror({FILE: INK})) as mirror:
        monkeypatch.setenv("NUMDRAW_INK_MIRRORS", mirror.address)
        assert ran(fetch_ink, monkeypatch) == 0
    assert (tmp_path / "data" / FILE).read_bytes() == INK


def test_other_drawings_than_wanted_are_refused(
    fetch_ink: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with running(Mirror({FILE: INK + b"x"})) as mirror:
        monkeypatch.setenv("NUMDRAW_INK_MIRRORS", mirror.address)
        assert ran(fetch_ink, monkeypatch) == 1
    shown = capsys.readouterr().err
    assert f"--ink expected {FILE} with SHA-256" in shown
    assert "name its folder with NUMDRAW_DRAWINGS" in shown
    assert f"expected {FILE} with SHA-256" in shown.split("\n  ", 1)[1]
    assert made(tmp_path / "data") == []


def test_without_the_flag_no_drawings_are_looked_for(
    fetch_ink: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv[:-1])
    assert ran(fetch_ink, monkeypatch) == 0
    assert os.listdir(tmp_path / "data") == [NAME]
