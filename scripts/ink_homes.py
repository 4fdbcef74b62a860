"""The public homes of the drawings that scripts/fetch-data --ink gets, and how to read them.

    pendigits-train   UCI's archive 81: UNIPEN text, y up
    uji-digits        UCI's archive 177: a line a stroke, x and y in turn
    omniglot-symbols  Omniglot's strokes: a file a drawing, x, y and time a line, y up
    quickdraw-shapes  Quick, Draw!'s raw drawings: a file of JSON lines a thing

An archive counts only with its SHA-256, and as many drawings of as many people as it should hold.
Quick, Draw!'s files are too large for that: only the first drawings of each are read, and each must
name that thing.
"""

import json
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

Drawing: TypeAlias = dict[str, Any]  # a line of a file of drawings: see numdraw.drawings

TABLET = 500  # pendigits' height, in its own unit
ALPHABETS = (
    *("Balinese", "Early_Aramaic", "Greek", "Japanese_(katakana)"),
    *("Korean", "Latin", "Sanskrit", "Tagalog"),
)
THINGS = (
    *("boomerang", "bowtie", "circle", "cloud", "diamond", "eye", "fish", "hexagon"),
    *("hockey stick", "hourglass", "house", "lightning", "line", "moon", "mountain", "octagon"),
    *("paper clip", "smiley face", "snake", "snowman", "square", "squiggle", "stairs", "star"),
    *("string bean", "triangle", "zigzag"),
)
SKETCHES = 42  # of each thing: 1,134; the shipped weights' file has 1,136
SCREEN = 1e5  # px; no drawing is larger
SKETCHES_HOME = "https://storage.googleapis.com/quickdraw_dataset/full/raw/"


class HomeError(Exception):
    """What a home holds is not what it should be."""


@dataclass(frozen=True)
class Archive:
    """A zip file of drawings.

    Attributes:
        address: where it is.
        digest: its SHA-256.
        read: the drawings that are in it.
        drawings: how many they are.
        writers: how many people drew them.
    """

    address: str
    digest: str
    read: Callable[[zipfile.ZipFile], Iterator[Drawing]]
    drawings: int
    writers: int

    def drawings_in(self, path: Path) -> list[Drawing]:
        """The drawings of the file, once it is here.

        Raises:
            HomeError: it is no zip file, lacks a member, or holds another number of drawings.
        """
        try:
            with zipfile.ZipFile(path) as file:
                found = list(self.read(file))
        except (zipfile.BadZipFile, zlib.error, KeyError, IndexError, ValueError) as error:
            raise HomeError(
                f"{self.address} expected a zip file of drawings, got {error}"
            ) from error
        writers = len({drawing.get("writer", drawing.get("drawer")) for drawing in found})
        if (len(found), writers) != (self.drawings, self.writers):
            raise HomeError(
                f"{self.address} expected {self.drawings:,} drawings of {self.writers} people, "
                f"got {len(found):,} of {writers}"
            )
        return found


def pendigits(file: zipfile.ZipFile) -> Iterator[Drawing]:
    """The digits of the 30 training writers."""
    packed = file.read("pendigits-orig.tra.Z")  # of compress: gzip unpacks it, Python does not
    try:
        done = subprocess.run(["gzip", "-dc"], input=packed, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise HomeError(f"gzip -dc expected to unpack pendigits-orig.tra.Z, got {error}") from error
    for record in _records(done.stdout.decode("ascii", "replace"), ".SEGMENT"):
        drawing: Drawing = {
            "label": record[0][-1].strip('"'),
            "strokes": [],
            "source": "pendigits-orig/train",
        }
        for words in record[1:]:
            if words[0] == ".COMMENT" and "writer" not in drawing:
                drawing["writer"] = f"pd-train-{words[2]}"
            elif words[0] == ".PEN_DOWN":
                drawing["strokes"].append([])
            elif not words[0].startswith("."):
                drawing["strokes"][-1].append([int(words[0]), TABLET - int(words[1])])
        yield drawing


def uji(file: zipfile.ZipFile) -> Iterator[Drawing]:
    """The digits among the characters."""
    for record in _records(file.read("ujipenchars2.txt").decode("utf-8", "replace"), "WORD"):
        label = record[0][1]
        if label not in tuple("0123456789"):
            continue
        strokes = []
        for words in record[1:]:
            if words[0] == "POINTS":
                numbers = [int(word) for word in words[3:]]
                pairs = zip(numbers[::2], numbers[1::2], strict=True)
                strokes.append([list(pair) for pair in pairs])
        writer = record[0][2].rpartition("-")[0]  # trn_UJI_W01-02 is of the second time
        yield {"label": label, "strokes": strokes, "source": "UJIpenchars2", "writer": writer}


def omniglot(file: zipfile.ZipFile) -> Iterator[Drawing]:
    """The characters of ALPHABETS."""
    for name in sorted(file.namelist()):
        folders = name.split("/")  # strokes_background/Greek/character01/0394_07.txt
        if len(folders) != 4 or folders[1] not in ALPHABETS or not name.endswith(".txt"):
            continue
        strokes: list[list[list[float]]] = [[]]
        for line in file.read(name).decode("ascii", "replace").splitlines():
            if line.strip() == "BREAK":
                strokes.append([])
            elif "," in line:
                x, y = (float(word) for word in line.split(",")[:2])
                strokes[-1].append([round(x, 1), round(-y, 1)])
        alphabet, place = folders[1], folders[2].removeprefix("character")
        yield {
            "label": f"{alphabet}/{place}",
            "strokes": [stroke for stroke in strokes if stroke],
            "source": "Omniglot",
            "drawer": int(folders[3].rpartition("_")[2].removesuffix(".txt")),  # of 20
        }


def sketches(lines: Iterable[bytes], thing: str) -> Iterator[Drawing]:
    """The first SKETCHES drawings of a file of Quick, Draw!'s.

    Raises:
        HomeError: a line is not a drawing of the thing.
    """
    count = 0
    for count, line in enumerate(lines, start=1):
        try:
            found = json.loads(line)
            strokes = [_stroke(xs, ys) for xs, ys, *_ in found["drawing"]]
            word, recognized = found["word"], bool(found["recognized"])
            if len({tuple(point) for stroke in strokes for point in stroke}) < 2:
                raise ValueError("nothing but a dot")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise HomeError(
                f"{thing}.ndjson expected a drawing in line {count}, got {error!r}"
            ) from error
        if word != thing:
            raise HomeError(f"{thing}.ndjson expected a {thing} in line {count}, got {word!r:.50}")
        yield {"label": thing, "strokes": strokes, "source": "QuickDraw", "recognized": recognized}
        if count == SKETCHES:
            return
    raise HomeError(f"{thing}.ndjson expected {SKETCHES} drawings, got {count}")


def _records(text: str, first: str) -> list[list[list[str]]]:
    """The words of each line that is not empty, in records: each begins with a line of `first`.

    What comes before the first record, a file's head, is left out.
    """
    records: list[list[list[str]]] = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == [first]:
            records.append([])
        if records and words:
            records[-1].append(words)
    return records


def _stroke(xs: list[float], ys: list[float]) -> list[list[float]]:
    """The points of x and y.

    Raises:
        ValueError: there is none, or not as many of both, or one is not a number on a screen.
    """
    if not xs or not all(type(n) in (int, float) and abs(n) < SCREEN for n in [*xs, *ys]):
        raise ValueError(f"a stroke of {xs!r:.50} and {ys!r:.50}")
    return [list(point) for point in zip(xs, ys, strict=True)]


UCI = "https://archive.ics.uci.edu/static/public/"
ARCHIVES = {
    "pendigits-train.jsonl.gz": Archive(
        UCI + "81/pen+based+recognition+of+handwritten+digits.zip",
        "1e02bea023613c2b11c9492f6f34caf975420455934f3527d270cee9a1f03b64",
        pendigits,
        drawings=7_494,
        writers=30,
    ),
    "uji-digits.jsonl.gz": Archive(
        UCI + "177/uji+pen+characters+version+2.zip",
        "0881b522911b99d9922820289441b50fd3d307f71cd7f9cc70e86872424a5f90",
        uji,
        drawings=1_200,
        writers=60,
    ),
    "omniglot-symbols.jsonl.gz": Archive(
        "https://raw.githubusercontent.com/brendenlake/omniglot/"
        "057f034baf2ecb8530bc5710e5a23584d2a519cc/python/strokes_background.zip",
        "c1e445d158fd74b6adf81f1387ebe051f5a23923bdb0c16f539d6e707ce056d4",
        omniglot,
        drawings=4_840,
        writers=20,
    ),
}
