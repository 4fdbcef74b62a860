"""scripts/ink_homes.py, on archives made here, and what scripts/fetch-data does with them."""

import gzip
import hashlib
import io
import itertools
import json
import os
import urllib.parse
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from numdraw.drawings import read_drawings
from tests.test_fetch_ink import fetch_ink, made, ran
from tests.test_scripts import Mirror, fetch_data, running

__all__ = ["fetch_data", "fetch_ink"]  # the fixtures

Drawing = dict[str, Any]
DIGITS = [
    {
        "label": str(k % 10),
        "strokes": [[[k, 2], [3 * k, 9], [40, k]], [[5, 5]]][: 1 + k % 2],
        "source": "UJIpenchars2",
        "writer": str(k // 4),
    }
    for k in range(24)
]


def zipped(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return packed.getvalue()


def as_unipen(drawings: list[Drawing]) -> bytes:
    """As UCI's archive has them, but packed by gzip, which gzip unpacks like compress's."""
    lines = [".VERSION 1.0", ".HIERARCHY DIGIT", ".COORD X Y", ""]
    for number, drawing in enumerate(drawings):
        writer = drawing["writer"].removeprefix("pd-train-")
        lines += [f'.SEGMENT DIGIT {number} ? "{drawing["label"]}"']
        lines += [f".COMMENT  {drawing['label']} {writer} {number}"]
        for stroke in drawing["strokes"]:
            points = [f" {x:4d} {500 - y:4d}" for x, y in stroke]
            lines += [".PEN_DOWN", *points, ".PEN_UP", ".DT 100"]
    return zipped({"pendigits-orig.tra.Z": gzip.compress("\n".join(lines).encode())})


def as_uji(drawings: list[Drawing]) -> bytes:
    """As UCI's archive has them, with letters and signs among them."""
    lines = ["//", "// UJI: 100 units per millimetre"]
    for number, drawing in enumerate(drawings):
        lines += ["WORD A trn_UJI_W01-01", "  NUMSTROKES 1", "  POINTS 2 # 1 2 3 4", "// sign"]
        lines += ["WORD \u00f1 trn_UPV_W18-02", "  NUMSTROKES 1", "  POINTS 1 # 7 8"]
        lines += [f"WORD {drawing['label']} {drawing['writer']}-0{1 + number % 2}"]
        lines += [f"  NUMSTROKES {len(drawing['strokes'])}"]
        for stroke in drawing["strokes"]:
            numbers = " ".join(f"{x} {y}" for x, y in stroke)
            lines += [f"  POINTS {len(stroke)} # {numbers}"]
    return zipped({"ujipenchars2.txt": "\r\n".join(lines).encode()})


def as_omniglot(drawings: list[Drawing]) -> bytes:
    members = {
        "strokes_background/": b"",
        "strokes_background/Futurama/character01/0001_01.txt": b"START\n1,-2,0\nBREAK\n",
    }
    for drawing in drawings:
        alphabet, place = drawing["label"].split("/")
        lines = ["START"]
        for stroke in drawing["strokes"]:
            lines += [*(f"{x:.6f},{-y:.6f},{t * 16:.1f}" for t, (x, y) in enumerate(stroke))]
            lines += ["BREAK"]
        name = f"{alphabet}/character{place}/0123_{drawing['drawer']:02d}.txt"
        members[f"strokes_background/{name}"] = "\n".join(lines).encode()
    return zipped(members)


def as_sketches(drawings: list[Drawing]) -> bytes:
    return b"".join(
        json.dumps(
            {
                "word": drawing["label"],
                "recognized": drawing["recognized"],
                "drawing": [
                    [list(axis) for axis in zip(*stroke, strict=True)] + [[0] * len(stroke)]
                    for stroke in drawing["strokes"]
                ],
            }
        ).encode()
        + b"\n"
        for drawing in drawings
    )


def sketch(thing: str, number: int) -> Drawing:
    strokes = [[[number, 1.5], [2, 3]], [[4, 5]]]
    return {"label": thing, "strokes": strokes, "source": "QuickDraw", "recognized": number != 3}


def opened(content: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(content))


def real(folder: Path, name: str) -> list[Drawing]:
    return [drawing for _, drawing in read_drawings(folder / name)]


def test_unipen_is_read(fetch_ink: ModuleType) -> None:
    found = fetch_ink.ink_homes.pendigits(opened(as_unipen(DIGITS)))
    expected = {"source": "pendigits-orig/train"}
    assert list(found) == [
        {**drawing, **expected, "writer": f"pd-train-{drawing['writer']}"} for drawing in DIGITS
    ]


def test_real_pendigits_are_read_from_unipen(fetch_ink: ModuleType, drawings: Path) -> None:
    wanted = real(drawings, "pendigits-train.jsonl.gz")
    assert list(fetch_ink.ink_homes.pendigits(opened(as_unipen(wanted)))) == wanted


def test_uji_digits_are_read_from_among_the_characters(fetch_ink: ModuleType) -> None:
    assert list(fetch_ink.ink_homes.uji(opened(as_uji(DIGITS)))) == DIGITS


def test_omniglots_alphabets_are_read(fetch_ink: ModuleType, drawings: Path) -> None:
    wanted = real(drawings, "omniglot-symbols.jsonl.gz")
    found = list(fetch_ink.ink_homes.omniglot(opened(as_omniglot(wanted))))
    assert sorted(found, key=json.dumps) == sorted(wanted, key=json.dumps)
    assert {drawing["label"].split("/")[0] for drawing in wanted} == set(
        fetch_ink.ink_homes.ALPHABETS
    )


def test_the_first_sketches_of_a_thing_are_read(fetch_ink: ModuleType) -> None:
    wanted = [sketch("moon", number) for number in range(fetch_ink.ink_homes.SKETCHES)]
    lines = as_sketches([*wanted, sketch("sun", 99)]).splitlines()
    assert list(fetch_ink.ink_homes.sketches(lines, "moon")) == wanted


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([b'{"word": "moon"'], "moon.ndjson expected a drawing in line 1"),
        ([b'{"word": "moon", "recognized": true}'], "moon.ndjson expected a drawing in line 1"),
        *(
            (
                [b'{"word": "moon", "recognized": true, "drawing": %s}' % strokes],
                "moon.ndjson expected a drawing in line 1",
            )
            for strokes in (
                b"[]",
                b"[[[], []]]",
                b"[[[1], [1], [0]]]",
                b"[[[1, 2], [1]]]",
                b'[["ab", "cd"]]',
                b"[[[1, null], [1, 2]]]",
                b"[[[1, 1e400], [1, 2]]]",
                b"[" * 200_000,
            )
        ),
        (as_sketches([sketch("sun", 1)]).splitlines(), "expected a moon in line 1, got 'sun'"),
        (as_sketches([sketch("moon", 1)]).splitlines(), "expected 42 drawings, got 1"),
        ([], "expected 42 drawings, got 0"),
    ],
)
def test_sketches_of_something_else_are_refused(
    fetch_ink: ModuleType, lines: list[bytes], message: str
) -> None:
    with pytest.raises(fetch_ink.ink_homes.HomeError, match=message):
        list(fetch_ink.ink_homes.sketches(lines, "moon"))


@pytest.fixture
def small_archive(fetch_ink: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A home of UJI's archive with fewer digits, which the script knows by its SHA-256."""
    content, homes = as_uji(DIGITS), fetch_ink.ink_homes
    name = "uji-digits.jsonl.gz"
    archive = homes.ARCHIVES[name]
    digest = hashlib.sha256(content).hexdigest()
    small = replace(archive, digest=digest, drawings=24, writers=6)
    monkeypatch.setitem(homes.ARCHIVES, name, small)
    with running(Mirror({archive.address.rpartition("/")[2]: content})) as mirror:
        monkeypatch.setenv("NUMDRAW_INK_HOMES", mirror.address)
        yield mirror


def test_drawings_come_from_their_home_once(
    fetch_ink: ModuleType,
    small_archive: Mirror,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ran(fetch_ink, monkeypatch) == 0
    assert real(tmp_path / "data", "uji-digits.jsonl.gz") == DIGITS
    assert made(tmp_path / "data") == ["ink-uji-digits-train", "ink-uji-digits-valid"]
    assert not [name for name in os.listdir(tmp_path / "data") if "part" in name or "zip" in name]
    assert len(small_archive.asked) == 1
    assert ran(fetch_ink, monkeypatch) == 0
    assert len(small_archive.asked) == 1


@pytest.mark.parametrize("damaged", [b"abc\n", b"\xff", b"0  uji-digits.jsonl.gz\n", b""])
def test_drawings_of_an_unknown_sum_are_made_anew(
    fetch_ink: ModuleType,
    small_archive: Mirror,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damaged: bytes,
) -> None:
    assert ran(fetch_ink, monkeypatch) == 0
    (tmp_path / "data" / "uji-digits.jsonl.gz.sha256").write_bytes(damaged)
    assert ran(fetch_ink, monkeypatch) == 0
    assert len(small_archive.asked) == 2


def test_a_home_that_is_no_address_is_named(
    fetch_ink: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch_ink.INK_SUMS.write_text(f"{'0' * 64}  quickdraw-shapes.jsonl.gz\n")
    monkeypatch.setenv("NUMDRAW_INK_HOMES", "/some/folder")
    assert ran(fetch_ink, monkeypatch) == 1
    assert "/some/folder/boomerang.ndjson expected drawings, got unknown url" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"digest": "0" * 64}, f"expected SHA-256 {'0' * 64}, got "),
        ({"drawings": 25}, "expected 25 drawings of 6 people, got 24 of 6"),
        ({"writers": 60}, "expected 24 drawings of 60 people, got 24 of 6"),
    ],
)
def test_another_archive_is_refused(
    fetch_ink: ModuleType,
    small_archive: Mirror,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    message: str,
) -> None:
    archives, name = fetch_ink.ink_homes.ARCHIVES, "uji-digits.jsonl.gz"
    monkeypatch.setitem(archives, name, replace(archives[name], **change))
    assert ran(fetch_ink, monkeypatch) == 1
    shown = capsys.readouterr().err
    assert message in shown
    assert "name its folder with NUMDRAW_DRAWINGS" in shown
    assert made(tmp_path / "data") == []
    assert len(small_archive.asked) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("uji-digits", b"no zip", "zip expected a zip file of drawings, got File is not a zip"),
        (
            "uji-digits",
            zipped({"readme": b""}),
            "zip expected a zip file of drawings, got .*ujipen",
        ),
        ("omniglot-symbols", zipped({}), "zip expected 4,840 drawings of 20 people, got 0 of 0"),
        (
            "pendigits-train",
            zipped({"pendigits-orig.tra.Z": b"not packed"}),
            "gzip -dc expected to unpack pendigits-orig.tra.Z, got ",
        ),
        (
            "pendigits-train",
            as_unipen(DIGITS),
            "zip expected 7,494 drawings of 30 people, got 24 of 6",
        ),
    ],
)
def test_an_archive_without_the_drawings_is_refused(
    fetch_ink: ModuleType, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / "archive.zip"
    path.write_bytes(content)
    with pytest.raises(fetch_ink.ink_homes.HomeError, match=message):
        fetch_ink.ink_homes.ARCHIVES[f"{name}.jsonl.gz"].drawings_in(path)


def test_sketches_come_from_their_home(
    fetch_ink: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = fetch_ink.ink_homes
    fetch_ink.INK_SUMS.write_text(f"{'0' * 64}  quickdraw-shapes.jsonl.gz\n")
    files = {
        urllib.parse.quote(f"{thing}.ndjson"): as_sketches(
            [sketch(thing, number) for number in range(homes.SKETCHES + 1)]
        )
        for thing in homes.THINGS
    }
    with running(Mirror(files)) as mirror:
        monkeypatch.setenv("NUMDRAW_INK_HOMES", mirror.address)
        assert ran(fetch_ink, monkeypatch) == 0
    assert real(tmp_path / "data", "quickdraw-shapes.jsonl.gz") == [
        sketch(thing, number)
        for thing, number in itertools.product(homes.THINGS, range(homes.SKETCHES))
    ]
