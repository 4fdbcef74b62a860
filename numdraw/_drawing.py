"""Reads a drawing, strokes or pixels from JSON or NumPy, into arrays, and refuses what is wrong.

    drawing    {"strokes": strokes} or {"pixels": pixels}, or one of the two by itself
    strokes    [stroke, ...], at least one
    stroke     [point, ...], at least one; a single point is a dot
    point      [x, y] in canvas px, y down, anywhere
    pixels     [row, ...], from 1 to 512, all equally long
    row        [number, ...], from 1 to 512, each from 0 to 255 = ink

A list may be a tuple or an array. Booleans are no numbers. Whether there is anything in it to
draw is for `numdraw.preprocess` to say.
"""

import math
import reprlib
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_POINTS = 100_000  # half an hour of drawing at 60 points a second; read in 20 ms
MAX_STROKES = 10_000  # a number of 15 digits has 60
MAX_COORDINATE = 1e9  # canvas px; float64 still tells a millionth of a px apart there
MAX_SIDE = 512  # px of a picture; read in 15 ms

_LISTS = frozenset({list, tuple})
_NUMBERS = frozenset({int, float} | {np.dtype(code).type for code in "bhilqBHILQefd"})


class DrawingError(ValueError):
    """A drawing that can't be read; the message says what was expected and what came."""


def kind_of(drawing: Any) -> tuple[str, Any]:
    """Whether a drawing is "strokes" or "pixels", and these.

    Raises:
        DrawingError: it is neither.
    """
    if isinstance(drawing, Mapping):
        keys = list(drawing)
        if keys in (["strokes"], ["pixels"]):
            return keys[0], drawing[keys[0]]
        raise DrawingError(f'drawing expected one key, "strokes" or "pixels", got {_brief(keys)}')
    if not _is_list(drawing) or not len(drawing):
        raise DrawingError(f"drawing expected strokes or pixels, got {_brief(drawing)}")
    first = drawing[0]
    if not _is_list(first):
        raise DrawingError(f"drawing[0] expected a stroke or a row of pixels, got {_brief(first)}")
    if not len(first) or _is_list(first[0]):
        return "strokes", drawing
    if len(first) == 2:  # most likely one stroke, and no picture 2 px wide
        raise DrawingError(
            "drawing expected strokes, lists of points, or rows of more than two pixels, got a "
            'list of pairs; put a stroke into a list, a picture 2 px wide into {"pixels": ...}'
        )
    return "pixels", drawing


def read_strokes(strokes: Any) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """All points, (N, 2), and the indices of the strokes' last ones.

    Raises:
        DrawingError: a stroke or point is malformed or missing, or there are too many points.
    """
    strokes = _list(strokes, "strokes", "a list of strokes")
    if not strokes:
        raise DrawingError("strokes expected at least one stroke, got none; draw something")
    if len(strokes) > MAX_STROKES:
        raise DrawingError(f"strokes expected at most {MAX_STROKES} strokes, got {len(strokes)}")
    if not set(map(type, strokes)) <= _LISTS:
        strokes = [_list(s, f"strokes[{i}]", "a list of points") for i, s in enumerate(strokes)]
    sizes = list(map(len, strokes))
    if 0 in sizes:
        raise DrawingError(f"strokes[{sizes.index(0)}] expected at least one point, got none")
    if sum(sizes) > MAX_POINTS:
        raise DrawingError(f"strokes expected at most {MAX_POINTS} points, got {sum(sizes)}")
    ends = np.add.accumulate(sizes) - 1
    points = list(chain.from_iterable(strokes))
    if set(map(type, points)) <= _LISTS and set(map(len, points)) == {2}:
        flat = list(chain.from_iterable(points))
        if set(map(type, flat)) <= _NUMBERS:
            xy = _float64(flat)
            if np.abs(xy).max() <= MAX_COORDINATE:  # NaN is not
                return xy.reshape(-1, 2), ends
    # One by one: some points are no plain lists, such as arrays, or something is wrong with one.
    pairs = [_pair(point, i, j) for i, s in enumerate(strokes) for j, point in enumerate(s)]
    return np.array(pairs), ends


def read_pixels(pixels: Any) -> NDArray[np.float32]:
    """(H, W) ink in [0, 255].

    Raises:
        DrawingError: the rows are malformed or uneven, too many or too long, or hold something
            other than numbers from 0 to 255.
    """
    if isinstance(pixels, np.ndarray):
        if pixels.ndim != 2 or pixels.dtype.type not in _NUMBERS:
            raise DrawingError(f"pixels expected rows of numbers, got {_brief(pixels)}")
        _check_shape(*pixels.shape)
        grey = np.asarray(pixels)
        if grey.min() >= 0 and grey.max() <= 255:  # NaN is neither
            return grey.astype(np.float32)
        width, flat = grey.shape[1], grey.ravel().tolist()
    else:
        width, flat = _flat_rows(pixels)
        if set(map(type, flat)) <= _NUMBERS:
            numbers = _float64(flat)
            if numbers.min() >= 0 and numbers.max() <= 255:
                return numbers.reshape(-1, width).astype(np.float32)
    wrong = next(k for k, v in enumerate(flat) if type(v) not in _NUMBERS or not 0 <= v <= 255)
    i, j = divmod(wrong, width)
    raise DrawingError(
        f"pixels[{i}][{j}] expected a number from 0 to 255, got {_brief(flat[wrong])}"
    )


def _pair(point: Any, i: int, j: int) -> tuple[float, float]:
    if type(point) not in _LISTS:
        point = _list(point, f"strokes[{i}][{j}]", "a point [x, y]")
    if len(point) == 2 and type(point[0]) in _NUMBERS and type(point[1]) in _NUMBERS:
        x, y = _float(point[0]), _float(point[1])
        if abs(x) <= MAX_COORDINATE and abs(y) <= MAX_COORDINATE:  # NaN is not
            return x, y
    raise DrawingError(
        f"strokes[{i}][{j}] expected two finite numbers within {MAX_COORDINATE:g} of 0, "
        f"got {_brief(point)}"
    )


def _flat_rows(pixels: Any) -> tuple[int, list[Any]]:
    """The rows' common length, and all that is in them."""
    rows = _list(pixels, "pixels", "rows of numbers")
    if len(rows) <= MAX_SIDE:
        rows = [_list(row, f"pixels[{i}]", "a row of numbers") for i, row in enumerate(rows)]
    width = len(rows[0]) if rows and _is_list(rows[0]) else 0
    _check_shape(len(rows), width)
    for i, row in enumerate(rows):
        if len(row) != width:
            raise DrawingError(
                f"pixels[{i}] expected {width} numbers, as many as pixels[0], got {len(row)}"
            )
    return width, list(chain.from_iterable(rows))


def _check_shape(height: int, width: int) -> None:
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise DrawingError(
            f"pixels expected from 1x1 to {MAX_SIDE}x{MAX_SIDE} numbers, got {height}x{width}"
        )


def _list(value: Any, name: str, what: str) -> Any:
    """The value where it is a list or tuple, or as lists where it is an array of numbers."""
    if isinstance(value, (list, tuple)):
        return value
    if not _is_list(value) or value.dtype.type not in _NUMBERS:
        raise DrawingError(f"{name} expected {what}, got {_brief(value)}")
    if value.size > 2 * MAX_POINTS:
        raise DrawingError(f"{name} expected at most {2 * MAX_POINTS} numbers, got {_brief(value)}")
    return value.tolist()


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _float64(numbers: list[Any]) -> NDArray[np.float64]:
    try:
        return np.array(numbers, dtype=np.float64)
    except OverflowError:
        return np.array([_float(number) for number in numbers])


def _float(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:  # an integer beyond all floats
        return math.inf


class _Brief(reprlib.Repr):
    """Short whatever it is given: a message must not grow with what a client sends."""

    def repr1(self, x: Any, level: int) -> str:
        # NumPy's numbers as plain ones: 2.5, and not np.float64(2.5)
        return super().repr1(x.item() if isinstance(x, np.generic) else x, level)

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if abs(x) < 10**18 else f"an integer of {x.bit_length()} bits"

    def repr_ndarray(self, x: Any, level: int) -> str:
        return f"an array of {x.dtype.name} of shape {x.shape}"


def _brief(value: Any) -> str:
    brief = _Brief()
    brief.maxlevel, brief.maxlist, brief.maxtuple, brief.maxdict = 3, 4, 4, 4
    text = brief.repr(value)
    return text if len(text) <= 100 else text[:97] + "..."
