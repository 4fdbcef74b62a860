"""Drawings that are no digit, made up: signs, scribbles, figures of random strokes, digits spoilt.

A network that is to say "no digit" must have seen what that is. Each function draws one kind, in a
box of about 1 x 1, y down.

Source: Hendrycks, Mazeika and Dietterich, "Deep Anomaly Detection with Outlier Exposure", 2019.
"""

from collections.abc import Sequence

import numpy as np

from numdraw import glyphs
from numdraw.glyphs import Stroke
from numdraw.nn.layers import Array
from numdraw.preprocess import SIDE

TURNED = (2, 3, 4, 5, 7)  # digits that are none when they lie on their side
NODES = 5  # a side of the grid that figures of straight strokes are built on


def scribble(digits: Sequence[Sequence[Stroke]], *, rng: np.random.Generator) -> list[Stroke]:
    """The strokes of one drawing that is no digit.

    Args:
        digits: for each digit 0..9, the strokes of one drawing of it.
        rng: chooses the kind, and draws.
    """
    kind = rng.choice(9, p=[0.34, 0.1, 0.08, 0.1, 0.14, 0.06, 0.08, 0.06, 0.04])
    if kind == 0:
        return glyphs.draw(str(rng.choice(glyphs.SIGNS)), rng=rng)
    if kind == 1:
        return [_polyline(rng)]
    if kind == 2:
        return [_polygon(rng)]
    if kind == 3:
        return [_wandering(rng) for _ in range(rng.integers(1, 4))]
    if kind == 4:
        return _figure(rng)
    if kind == 5:
        return [_filling(rng)]
    if kind == 6:
        return _together(digits, rng)
    if kind == 7:
        return _on_its_side(digits[int(rng.choice(TURNED))], rng)
    return _struck_out(digits[int(rng.integers(10))], rng)


def blot(*, rng: np.random.Generator) -> Array:
    """(28, 28) float64 in [0, 1]: a picture without a line, such as noise, or a filled shape."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    if rng.random() < 0.5:  # waves of all directions: clouds, or noise where they are short
        waves = rng.normal(0, rng.choice([4.0, 10.0, 25.0, 60.0]), (40, 2))
        phase = rng.uniform(0, 2 * np.pi, 40)
        field = np.cos(y[..., None] * waves[:, 0] + x[..., None] * waves[:, 1] + phase).sum(axis=2)
        sharp = rng.choice([0.1, 0.3, 2.0])
        ink: Array = np.clip(0.5 + sharp * (field - rng.normal(0, 3.0)), 0, 1)
    else:  # an ellipse or a box, turned
        angle, size = rng.uniform(0, np.pi), rng.uniform(0.2, 0.5, 2)
        u = (x * np.cos(angle) + y * np.sin(angle)) / size[0]
        v = (y * np.cos(angle) - x * np.sin(angle)) / size[1]
        reach = np.hypot(u, v) if rng.random() < 0.5 else np.maximum(np.abs(u), np.abs(v))
        ink = np.clip((1 - reach) * SIDE * size.min() + 0.5, 0, 1)
    return ink * rng.uniform(0.4, 1.0)


def _polyline(rng: np.random.Generator) -> Stroke:
    """Straight lines between 4 to 12 random points."""
    return rng.random((int(rng.integers(4, 13)), 2))


def _polygon(rng: np.random.Generator) -> Stroke:
    """A closed outline with 3 to 7 corners, or a star."""
    corners = int(rng.integers(3, 8))
    angle = np.sort(rng.random(corners)) + rng.random()
    if corners > 4:  # far enough from a circle
        radius = rng.uniform(0.25, 1.0, corners)
    else:
        angle = np.arange(corners) / corners + rng.random() + rng.normal(0, 0.04, corners)
        radius = rng.uniform(0.7, 1.0, corners)
    outline = radius[:, None] * np.stack(
        [np.cos(2 * np.pi * angle), np.sin(2 * np.pi * angle)], axis=1
    )
    closed: Stroke = np.concatenate([outline, outline[:1]])
    return closed


def _wandering(rng: np.random.Generator) -> Stroke:
    """A smooth line whose curvature changes at random, long enough to be no digit."""
    steps = int(rng.integers(60, 200))
    slow = np.repeat(rng.normal(0, 0.25, steps // 10 + 1), 10)[:steps]
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(slow)
    line: Stroke = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)
    return line / max(1e-9, float(np.ptp(line, axis=0).max())) + rng.uniform(0, 0.4, 2)


def _figure(rng: np.random.Generator) -> list[Stroke]:
    """Three to eight strokes between the nodes of a grid, some with a hook: like a script."""
    strokes: list[Stroke] = []
    for _ in range(int(rng.integers(3, 9))):
        start = rng.integers(0, NODES, 2)
        way = rng.integers(-NODES + 1, NODES, 2)
        if rng.random() < 0.6:
            way[rng.integers(2)] = 0
        end = np.clip(start + way, 0, NODES - 1)
        if (start == end).all():
            end = NODES - 1 - start
        points = [start, end]
        if rng.random() < 0.35:
            points.append(np.clip(end + rng.integers(-2, 3, 2), 0, NODES - 1))
        stroke = np.array(points, np.float64) + rng.normal(0, 0.15, (len(points), 2))
        strokes.append(glyphs.curve(stroke) if rng.random() < 0.3 else stroke)
    return [stroke / (NODES - 1) for stroke in strokes]


def _filling(rng: np.random.Generator) -> Stroke:
    """To and fro until an area is full, or nearly."""
    turns = int(rng.integers(8, 40))
    along = np.linspace(0, rng.uniform(0.45, 1.0), turns) + rng.normal(0, 0.02, turns)
    across = np.where(np.arange(turns) % 2, 1.0, 0.0) + rng.normal(0, 0.08, turns)
    angle = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    line: Stroke = np.stack([along, across], axis=1) @ turn
    return line


def _together(digits: Sequence[Sequence[Stroke]], rng: np.random.Generator) -> list[Stroke]:
    """Two or three digits, side by side or one over the other."""
    count = int(rng.integers(2, 4))
    aside = rng.random() < 0.6
    strokes: list[Stroke] = []
    for place in range(count):
        shift = np.array([place * rng.uniform(0.55, 1.2), 0.0]) if aside else rng.normal(0, 0.2, 2)
        strokes += [stroke + shift for stroke in _fitted(digits[int(rng.integers(10))])]
    return strokes


def _on_its_side(digit: Sequence[Stroke], rng: np.random.Generator) -> list[Stroke]:
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]]) * rng.choice([-1.0, 1.0])
    return [stroke @ turn for stroke in digit]


def _struck_out(digit: Sequence[Stroke], rng: np.random.Generator) -> list[Stroke]:
    """A digit under one or more lines, or with a frame around."""
    strokes = _fitted(digit)
    if rng.random() < 0.3:
        edge = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]) * 1.5 - 0.25
        return [*strokes, edge + rng.normal(0, 0.06, edge.shape)]
    for _ in range(int(rng.integers(2, 5))):
        strokes.append(np.stack([rng.normal([-0.15, 0.5], 0.25), rng.normal([1.0, 0.5], 0.25)]))
    return strokes


def _fitted(digit: Sequence[Stroke]) -> list[Stroke]:
    """The digit in a box whose height is 1, and whose upper left corner is 0, 0."""
    points = np.concatenate(digit)
    low = points.min(axis=0)
    height = max(1e-9, float(np.ptp(points, axis=0)[1]))
    return [(stroke - low) / height for stroke in digit]
