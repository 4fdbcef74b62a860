"""A side: the bodies that a browser sends for real drawings, or for made-up ones.

The page's sheet is 500 canvas px wide; it sends coordinates to 0.1 px, no two points of a stroke
nearer than 1 px, and asks for the image.
"""

import json
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from numdraw import glyphs
from numdraw.data import data_folder
from numdraw.drawings import read_drawings

FOLDER_VARIABLE = "NUMDRAW_DRAWINGS"
FILES = ("pendigits-train.jsonl.gz", "uji-digits.jsonl.gz")  # both CC BY 4.0
SHEET = 500.0  # canvas px
SIZE = (180.0, 420.0)  # canvas px, the least and greatest height or width of a digit on it
MIN_STEP = 1.0  # canvas px


def bodies(*, count: int) -> dict[str, Any]:
    """So many bodies, {"from": ..., "bodies": [...], "points": their mean number, "bytes": ...}."""
    rng = np.random.default_rng(0)
    folder = Path(os.environ.get(FOLDER_VARIABLE) or data_folder().resolve().parent / "drawings")
    files = [folder / name for name in FILES if (folder / name).is_file()]
    if files:
        source = "drawings by people: " + ", ".join(path.name for path in files)
        drawings = [drawing for path in files for drawing in _spread(path, count // len(files))]
    else:
        source = f"made up by numdraw.glyphs, for there are no {' or '.join(FILES)} in {folder}"
        drawings = list(islice(_made(rng), count))
    drawings = [_on_sheet(drawing, rng) for drawing in drawings]
    texts = [
        json.dumps({"strokes": drawing, "image": True}, separators=(",", ":"))
        for drawing in drawings
    ]
    rng.shuffle(texts)
    return {
        "from": source,
        "bodies": texts,
        "points": sum(len(stroke) for drawing in drawings for stroke in drawing) / len(drawings),
        "bytes": sum(map(len, texts)) / len(texts),
    }


def _spread(path: Path, count: int) -> list[list[Any]]:
    """The strokes of so many drawings of a file, evenly from its first to its last."""
    strokes = [drawing["strokes"] for _, drawing in read_drawings(path)]
    return strokes[:: max(1, len(strokes) // count)][:count]


def _made(rng: np.random.Generator) -> Iterator[list[Any]]:
    while True:
        for styles in glyphs.DIGITS.values():
            yield [
                stroke.tolist()
                for stroke in glyphs.draw(styles[rng.integers(len(styles))], rng=rng)
            ]


def _on_sheet(drawing: Iterable[Any], rng: np.random.Generator) -> list[list[list[float]]]:
    """The drawing somewhere on the sheet, in some size, as the page would send it."""
    strokes = [np.array(stroke, np.float64) for stroke in drawing]
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = rng.uniform(*SIZE) / max(float((high - low).max()), 1e-9)
    place = rng.uniform(0, SHEET - (high - low) * scale)
    return [_thinned(np.round((stroke - low) * scale + place, 1).tolist()) for stroke in strokes]


def _thinned(stroke: list[list[float]]) -> list[list[float]]:
    kept = stroke[:1]
    for x, y in stroke[1:]:
        if (x - kept[-1][0]) ** 2 + (y - kept[-1][1]) ** 2 >= MIN_STEP**2:
            kept.append([x, y])
    return kept
