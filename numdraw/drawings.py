"""Files of drawings, JSON lines, plain or gzip: a drawing a line, with what it shows.

    label      "7", a whole number "2026", or the name of what is no digit
    strokes    [[[x, y], ...], ...], y down, in any unit
    source     where it is from (optional)
    writer     who drew it (optional)

Terms that a file's source sets for its use are the user's to keep.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GZIP_MAGIC = b"\x1f\x8b"

# What is no digit, but may be read as one by a person too: by the labels of Chars74K's letters,
# Omniglot's characters and Quick, Draw!'s things.
LOOKALIKES = frozenset(
    [*"OoIlZzSsbGgq|/()", "circle", "oval", "line", "snowman", "hourglass"]
    + [f"Latin/{place:02d}" for place in (2, 7, 12, 15, 17, 19, 26)]  # b, g, l, o, q, s, z
)


def read_drawings(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each drawing of a file, with the number of its line, counted from 1.

    Raises:
        ValueError: a line is not a JSON object, or the gzip data is damaged.
    """
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
    try:
        with gzip.open(path, "rb") if packed else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    drawing = json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{path}:{number} expected JSON, got {error}") from error
                if not isinstance(drawing, dict):
                    raise ValueError(f"{path}:{number} expected an object, got {drawing!r:.50}")
                yield number, drawing
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} expected whole gzip data, got {error}") from error


def label_of(path: Path, number: int, drawing: dict[str, Any]) -> str:
    """The drawing's label.

    Raises:
        ValueError: it has none.
    """
    label = drawing.get("label")
    if not isinstance(label, str) or not label:
        raise ValueError(f'{path}:{number} expected a "label", got {label!r:.50}')
    return label


def is_number(label: str) -> bool:
    """Whether the label is one or more digits 0..9."""
    return label.isascii() and label.isdigit()
