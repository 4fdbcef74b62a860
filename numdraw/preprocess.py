"""Turns a drawing, strokes or pixels, into the 28x28 image of MNIST's convention.

MNIST's training images set the convention: the ink fits a box of 20x20 px, its shape kept, and
its centre of mass lies at pixel (14, 14), counted from 0. Coordinates here are x, y in px of that
frame, y down, pixel centres at whole numbers, unless a name says otherwise.

Everything is a distance: with d px from a pixel's centre to the edge of the ink, negative inside,
the pixel's ink is clip(0.5 - d, 0, 1). Strokes give the middle of the pen's line, which is drawn
with the standard pen. Pixels give the outline of the ink, which moves in or out until its lines
have the standard width. So neither the canvas nor the pen can be told from the image, unless the
pen was wider than a fifth of the drawing.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numdraw._distance import Floats, centre_line, interpolate, nearest, outline, resampling
from numdraw._drawing import (
    MAX_POINTS,
    MAX_SIDE,
    DrawingError,
    kind_of,
    read_pixels,
    read_strokes,
)
from numdraw._ground import on_empty_ground
from numdraw.segment import components, sampled

__all__ = [
    "MAX_POINTS",
    "MAX_SIDE",
    "SIDE",
    "VERSION",
    "DrawingError",
    "Rendered",
    "image_from_pixels",
    "image_from_strokes",
    "render",
]

VERSION = 1  # of the images that come out; weights are trained for one

SIDE = 28  # px
BOX = 20  # px; the longer side of the ink
CENTRE = 14.0  # px; the mean centre of mass of MNIST's training images is (14.01, 14.00)
LINE_WIDTH = 2.3  # px; the median of MNIST's training images
LEAST_WIDTH = 0.8 * LINE_WIDTH  # px, of what is thinner than the other lines of a picture
MAX_SHRINK = 1.1  # px, how far an edge moves in; lines over 4.5 px have blots, and are best left

MIN_EXTENT = 1e-9  # canvas px, or times the greatest coordinate; less is rounding, so a dot
MIN_INK = 32  # of 255; what is fainter is the noise of an empty picture

STEP = 0.2  # px between samples of a line, which leaves its edge right to 0.01 px
MAX_SAMPLES = 16_381  # of a scribble; a prime, so that repeated lines fill each other's gaps
FINE = 5  # cells a px when pixels are traced

_AXIS = np.arange(SIDE, dtype=np.float64)
_MOMENTS = np.stack([np.ones(SIDE), _AXIS])


@dataclass(frozen=True, eq=False)  # arrays have no single truth to compare by
class Rendered:
    """What the network sees of a drawing, and the steps to it.

    Attributes:
        image: (28, 28) float32 in [0, 1], 1 = ink.
        box: x0, y0, x1, y1 of the ink in the drawing's own coordinates: around its points, or
            along the edges of its inked pixels.
        scale: px of the image to one of the drawing's coordinates.
        fitted: (28, 28) float64 in [0, 1]: the image before its centre of mass was moved to CENTRE,
            with the middle of the ink's box in the middle of the frame.
        centre: x, y of the centre of mass of `fitted`.
    """

    image: NDArray[np.float32]
    box: tuple[float, float, float, float]
    scale: float
    fitted: Floats
    centre: tuple[float, float]


def render(drawing: Any) -> Rendered:
    """The image and the box of a drawing.

    Args:
        drawing: {"strokes": strokes} or {"pixels": pixels}, or one of the two by itself: three
            levels of lists are strokes, two are pixels.

    Raises:
        DrawingError: it is neither, or there is nothing in it to draw.
    """
    kind, ink = kind_of(drawing)
    return _render_strokes(ink) if kind == "strokes" else _render_pixels(ink)


def image_from_strokes(strokes: Any, *, line_width: float = LINE_WIDTH) -> NDArray[np.float32]:
    """(28, 28) image in [0, 1], 1 = ink, of strokes, each a list of [x, y] in canvas px, y down.

    Args:
        strokes: the drawing.
        line_width: of the image's pen, in px; `render` always takes the standard one.

    Raises:
        DrawingError: they are malformed, or nothing but a dot.
    """
    return _render_strokes(strokes, line_width).image


def image_from_pixels(pixels: Any) -> NDArray[np.float32]:
    """(28, 28) image in [0, 1], 1 = ink, of rows of numbers 0..255.

    On an empty ground, 0, 255 is ink; on another ground, even or not, what stands out from it is.

    Raises:
        DrawingError: they are malformed, empty, or nothing but a dot.
    """
    return _render_pixels(pixels).image


@dataclass(frozen=True, eq=False)  # arrays have no single truth to compare by
class Parts:
    """What a drawing can be cut into: its strokes, or its connected pixels.

    Attributes:
        whole: the image of all.
        points: (SAMPLES, 2) points along each; of a single stroke, those that came.
        render: the image of some of them, given their places; None where they are a dot.
    """

    whole: Rendered
    points: list[Floats]
    render: Callable[[Sequence[int]], Rendered | None]


def parts(drawing: Any) -> Parts:
    """What a drawing can be cut into.

    Raises:
        DrawingError: as for `render`.
    """
    kind, ink = kind_of(drawing)
    if kind == "pixels":
        return _connected(ink)
    xy, ends = read_strokes(ink)
    whole = _draw_strokes(xy, ends, LINE_WIDTH)
    if len(ends) == 1:  # there is nothing to cut, so nothing to measure
        return Parts(whole, [xy], lambda _: whole)
    stops = (ends + 1).tolist()
    strokes = [xy[start:stop] for start, stop in itertools.pairwise([0, *stops])]

    def render_some(places: Sequence[int]) -> Rendered | None:
        some = [strokes[place] for place in places]
        try:
            return _draw_strokes(np.concatenate(some), np.cumsum([*map(len, some)]) - 1, LINE_WIDTH)
        except DrawingError:
            return None

    return Parts(whole, [sampled(stroke) for stroke in strokes], render_some)


def _connected(pixels: Any) -> Parts:
    ink = on_empty_ground(read_pixels(pixels))
    whole = _draw_pixels(ink)
    labels, points = components(ink > float(ink.max()) / 4)
    low = np.array([part.min(axis=0) for part in points]).astype(np.intp)
    high = np.array([part.max(axis=0) for part in points]).astype(np.intp)

    def render_some(places: Sequence[int]) -> Rendered | None:
        chosen = np.asarray(places)
        x, y = np.maximum(low[chosen].min(axis=0) - 1, 0)  # a pixel around, as in the whole
        right, bottom = high[chosen].max(axis=0) + 2
        window = slice(y, bottom), slice(x, right)
        mine = np.isin(labels[window], chosen + 1)
        try:
            rendered = _draw_pixels(np.where(mine, ink[window], np.float32(0)))
        except DrawingError:
            return None
        x0, y0, x1, y1 = rendered.box
        box = (x0 + float(x), y0 + float(y), x1 + float(x), y1 + float(y))
        return replace(rendered, box=box)

    return Parts(whole, points, render_some)


def _render_strokes(strokes: Any, line_width: float = LINE_WIDTH) -> Rendered:
    return _draw_strokes(*read_strokes(strokes), line_width)


def _draw_strokes(xy: Floats, ends: NDArray[np.intp], line_width: float) -> Rendered:
    points = xy.T.copy()  # (2, N): x and y are a run of memory each, here and in `_samples`
    low, high = points.min(axis=1), points.max(axis=1)
    (x0, y0), (x1, y1) = low.tolist(), high.tolist()
    extent = max(x1 - x0, y1 - y0)
    if extent <= MIN_EXTENT * max(1.0, -x0, -y0, x1, y1):
        raise DrawingError("strokes expected a line, got a single dot")
    scale = (BOX - line_width) / extent
    points -= ((low + high) / 2)[:, None]
    points *= scale
    line = _samples(points, ends).T
    reach = line_width / 2 + 0.5

    def ink_at(place: Floats) -> Floats:
        return np.minimum(reach - nearest(line + place, (SIDE, SIDE), reach), 1)

    size = ((x1 - x0) * scale + line_width, (y1 - y0) * scale + line_width)
    return _centred(ink_at, size, (x0, y0, x1, y1), scale)


def _render_pixels(pixels: Any) -> Rendered:
    return _draw_pixels(on_empty_ground(read_pixels(pixels)))


def _draw_pixels(ink: NDArray[np.float32]) -> Rendered:
    peak = float(ink.max())
    if peak < MIN_INK:
        raise DrawingError(
            f"pixels expected ink {MIN_INK} or more of 255 off its ground, got at most {peak:g}"
        )
    inked = ink > peak / 4
    y, x = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    x0, y0, x1, y1 = int(x[0]), int(y[0]), int(x[-1]) + 1, int(y[-1]) + 1
    # A pixel more on each side: the faint ones tell where in the last inked one the edge is.
    ink = ink[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1]
    cell = max(x1 - x0, y1 - y0) / (BOX * FINE)  # canvas px
    grid = resampling(ink.shape[0], cell) @ ink @ resampling(ink.shape[1], cell).T
    # The edge is at half the full ink; at less where lines are too thin to fill a cell.
    grid -= min(peak / 2, 0.6 * float(np.vdot(grid, grid) / grid.sum()))
    edge = outline(grid)
    middle, width = centre_line(grid, edge)
    low = np.minimum(edge.min(axis=0) + width / 2, middle.min(axis=0))
    high = np.maximum(edge.max(axis=0) - width / 2, middle.max(axis=0))
    extent = float((high - low).max())
    if extent < width / 2:
        raise DrawingError("pixels expected lines, got a single dot")
    fitted = width * BOX / (extent + width)  # px, the lines' width if it were left as it is
    line_width = max(LINE_WIDTH, fitted - 2 * MAX_SHRINK)
    scale = (BOX - line_width) / extent  # px a cell
    grow = (line_width - width * scale) / 2
    centre = (low + high) / 2
    edge, middle = (edge - centre) * scale, (middle - centre) * scale
    reach = abs(grow) + 0.5
    least_reach = LEAST_WIDTH / 2 + 0.5

    def ink_at(place: Floats) -> Floats:
        x, y = (_AXIS - place[:, None]) / scale + centre[:, None]
        distance = nearest(edge + place, (SIDE, SIDE), reach)
        ink = 0.5 + grow + np.where(interpolate(grid, x, y) > 0, distance, -distance)
        # Lines that are thinner than the others must not vanish when the edge moves in.
        ink = np.maximum(ink, least_reach - nearest(middle + place, (SIDE, SIDE), least_reach))
        return np.clip(ink, 0, 1)

    width, height = ((high - low) * scale + line_width).tolist()
    box = (float(x0), float(y0), float(x1), float(y1))
    return _centred(ink_at, (width, height), box, scale / cell)


def _centred(
    ink_at: Callable[[Floats], Floats],
    size: tuple[float, float],
    box: tuple[float, float, float, float],
    scale: float,
) -> Rendered:
    """The ink with its centre of mass at CENTRE, or as near as its box stays in the frame.

    Args:
        ink_at: the ink, when the middle of its box is at a place.
        size: width and height of the box in px.
        box: of `Rendered`, as the next one.
        scale: px to one of the drawing's coordinates.
    """
    middle = (SIDE - 1) / 2
    fitted = ink_at(np.array([middle, middle]))
    # (2, 28) @ (28, 28) @ (28, 2): the sums of the ink, times 1 and times its rows and columns
    moments = _MOMENTS @ fitted @ _MOMENTS.T
    (total, x_total), (y_total, _) = moments.tolist()
    centre = (x_total / total, y_total / total)
    place = []
    for mass, side in zip(centre, size, strict=True):
        room = (SIDE - side) / 2
        place.append(middle + min(max(CENTRE - mass, -room), room))
    image = ink_at(np.array(place)).astype(np.float32)
    return Rendered(image, box, scale, fitted, centre)


def _samples(points: Floats, ends: NDArray[np.intp]) -> Floats:
    """Points at most STEP apart along the strokes.

    Args:
        points: (2, N), x and y.
        ends: the indices of the strokes' last points.

    Returns:
        (2, samples).
    """
    way = points[:, 1:] - points[:, :-1]
    if len(ends) > 1:
        way[:, ends[:-1]] = 0  # nothing is drawn between two strokes
    along = np.zeros(points.shape[1])
    np.hypot(way[0], way[1]).cumsum(out=along[1:])
    length = float(along[-1])
    at = np.arange(0, length, max(STEP, length / MAX_SAMPLES))
    # The points themselves make sharp tips exact; of too many, the strokes' first and last ones.
    tips = points
    if points.shape[1] > MAX_SAMPLES:
        tips = points[:, [*ends, *(ends[:-1] + 1), 0]]
    (x, y), (x_tips, y_tips) = points, tips
    rows = [np.interp(at, along, x), x_tips, np.interp(at, along, y), y_tips]
    return np.concatenate(rows).reshape(2, -1)
