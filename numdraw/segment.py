"""Cuts a drawing into pieces that may be digits: a number is read as the best way to group them.

A piece is what surely belongs together: a stroke with what crosses it, or connected pixels. Pieces
stand in a row, by the middles of their boxes, and a digit is a run of up to MAX_RUN of them. Which
runs make the number is a sum of three things, in nats, over the runs and the borders between
pieces:

    of a run       the log of how probable the reader thinks any digit there
    of a run       -(log(height / line height) / LOWNESS)**2 / 2, for a low one
    of a border    log p where it is cut, log(1 - p) where it is inside a run

p is the chance that two digits meet at the border, by a logistic function of how far the pieces on
both sides are from each other, along the line and in all. The best sum and the share of that way
among all, by the softmax of SHARPNESS times the sums, are found from left to right, in time that
grows with the number of pieces.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from numdraw.nn.layers import Array

MAX_DIGITS = 20
MAX_PIECES = 5 * MAX_DIGITS  # more are a scribble, and are left together
MAX_RUN = 5  # pieces a digit

LOWNESS = 0.45  # of the logarithm of a digit's height as a share of the line's
INSIDE, TOUCH = 0.75, 0.06  # how much of a stroke's width lies over another, and how near they come
CUT_BIAS, CUT_GAP, CUT_DISTANCE = -0.5, 8.0, 15.0  # on numbers put together of drawn digits
MOST_ODDS = 4.0  # nats, for or against; the rest is for the reader to say
SHARPNESS = 2.0  # times each way's sum, in the share: so confidence in numbers means what it says

NEIGHBOURS = 3  # pieces on each side of a border whose distances count
SAMPLES = 48  # points of a part that distances are measured between


@dataclass(frozen=True, eq=False)  # arrays have no single truth to compare by
class Piece:
    """A part of a drawing that is not cut.

    Attributes:
        members: which strokes or components it is made of.
        points: (N, 2) points of it, x and y.
    """

    members: tuple[int, ...]
    points: Array

    @property
    def low(self) -> Array:
        """(2,), the least x and y."""
        low: Array = self.points.min(axis=0)
        return low

    @property
    def high(self) -> Array:
        """(2,), the greatest x and y."""
        high: Array = self.points.max(axis=0)
        return high


@dataclass(frozen=True)
class Run:
    """Pieces that may be one digit, from `start` to before `stop`."""

    start: int
    stop: int


def sampled(stroke: Array, *, step: float | None = None) -> Array:
    """Points evenly along a stroke (N, 2): SAMPLES of them, or as many as are a step apart."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(stroke, axis=0).T))])
    count = SAMPLES if step is None else 2 + int(along[-1] / step)
    at = np.linspace(0.0, along[-1], count)
    return np.stack([np.interp(at, along, axis) for axis in stroke.T], axis=1)


def components(inked: Array) -> tuple[Array, list[Array]]:
    """The connected parts of a picture's ink, diagonally too.

    Args:
        inked: (H, W) booleans.

    Returns:
        (H, W) labels from 1, 0 = no ink; and SAMPLES points or fewer of each part's pixels. All is
        one part where there are more than MAX_PIECES.
    """
    height, width = inked.shape
    framed = np.zeros((height, width + 2), np.int8)
    framed[:, 1:-1] = inked
    turns = np.diff(framed, axis=1)
    rows, starts = np.nonzero(turns == 1)  # runs of ink, row by row
    stops = np.nonzero(turns == -1)[1]
    owner = list(range(len(rows)))
    first = np.searchsorted(rows, np.arange(height + 1))
    for row in range(1, height):
        above, here = range(first[row - 1], first[row]), range(first[row], first[row + 1])
        i, k = above.start, here.start
        while i < above.stop and k < here.stop:
            if starts[i] <= stops[k] and starts[k] <= stops[i]:  # they touch, diagonally too
                _join(owner, i, k)
            if stops[i] < stops[k]:
                i += 1
            else:
                k += 1
    roots = np.array([_root(owner, i) for i in range(len(rows))])
    _, component = np.unique(roots, return_inverse=True)
    if component.max(initial=0) >= 2 * MAX_PIECES:
        component = np.zeros_like(component)
    labels = np.zeros((height, width + 1), np.int32)
    np.add.at(labels, (rows, starts), component + 1)
    np.add.at(labels, (rows, stops), -(component + 1))
    labels = np.cumsum(labels, axis=1)[:, :-1]
    points = []
    for label in range(1, int(component.max(initial=-1)) + 2):
        mine = component == label - 1
        ends = np.concatenate([starts[mine], stops[mine] - 1])
        both = np.stack([ends, np.tile(rows[mine], 2)], axis=1).astype(np.float64)
        step = max(1, len(both) // SAMPLES)
        extremes = both[[*both.argmin(axis=0), *both.argmax(axis=0)]]
        points.append(np.concatenate([both[::step], extremes]))
    return labels, points


def group(parts: Sequence[Array]) -> list[Piece]:
    """The parts as pieces, left to right: a part that lies on another belongs to it, a dot too.

    Args:
        parts: points (N, 2) along each stroke, or of each component; see `sampled`.

    Returns:
        At most MAX_PIECES; a drawing of more parts than these is one piece.
    """
    whole = Piece(tuple(range(len(parts))), np.concatenate(parts))
    if len(parts) == 1 or len(parts) > 2 * MAX_PIECES:
        return [whole]
    low = np.array([part.min(axis=0) for part in parts])
    high = np.array([part.max(axis=0) for part in parts])
    size = high - low
    line = line_height(size)
    least = 0.12 * line  # what is smaller both ways is a dot
    owner = list(range(len(parts)))
    for i in np.argsort(size.max(axis=1), kind="stable").tolist():
        overlap = np.minimum(high[i, 0], high[:, 0]) - np.maximum(low[i, 0], low[:, 0])
        dot = size[i].max() < least
        beside = np.arange(len(parts)) != i
        near = beside if dot else beside & (overlap >= INSIDE * max(size[i, 0], 0.02 * line))
        near &= size.max(axis=1) >= size[i].max()
        places = np.flatnonzero(near)
        if not len(places):
            continue
        distances = [_distance(parts[i], parts[k]) for k in places.tolist()]
        nearest = int(np.argmin(distances))
        if dot or distances[nearest] < TOUCH * line:
            _join(owner, int(i), int(places[nearest]))
    roots = [_root(owner, i) for i in range(len(parts))]
    pieces = []
    for root in dict.fromkeys(roots):
        members = tuple(i for i, other in enumerate(roots) if other == root)
        pieces.append(Piece(members, np.concatenate([parts[i] for i in members])))
    if len(pieces) > MAX_PIECES:
        return [whole]
    return sorted(pieces, key=lambda piece: float(piece.low[0] + piece.high[0]))


def runs(pieces: Sequence[Piece]) -> list[Run]:
    """All that may be one digit: runs of up to MAX_RUN pieces, and the whole drawing, the last."""
    n = len(pieces)
    short = [
        Run(start, stop)
        for start in range(n)
        for stop in range(start + 1, min(start + MAX_RUN, n) + 1)
        if (start, stop) != (0, n)
    ]
    return [*short, Run(0, n)]


def line_height(sizes: Array) -> float:
    """The height of the line of writing, of the widths and heights (N, 2) of its parts."""
    return float(max(sizes[:, 1].max(), 0.25 * sizes[:, 0].max(), np.finfo(np.float64).tiny))


def choose(
    pieces: Sequence[Piece],
    all_runs: Sequence[Run],
    scores: Array,
    *,
    nothing: float = -math.inf,
) -> tuple[list[int], float]:
    """The best way to group the pieces.

    Args:
        pieces: left to right.
        all_runs: as `runs` has them.
        scores: (len(all_runs),) the log of how probable each is a digit; -inf where it can be none.
        nothing: the log of how probable the drawing is no number, before its borders are looked at:
            another way, with all in one piece, that counts in the share alone.

    Returns:
        The indices of the chosen runs, left to right, and the share of this way among all, by the
        softmax of SHARPNESS times the sums. Where they are more than MAX_DIGITS, or nothing can be
        a digit, the whole drawing is the only one.
    """
    n = len(pieces)
    low, high = np.array([p.low for p in pieces]), np.array([p.high for p in pieces])
    cut, kept = _borders(pieces, low, high)
    inner = np.concatenate([[0.0, 0.0], np.cumsum(kept)])  # inner[k]: of the borders before piece k
    line = line_height(high - low)
    best, total = [0.0] + [-math.inf] * n, [0.0] + [-math.inf] * n
    last = [-1] * (n + 1)
    for index in sorted(range(len(all_runs)), key=lambda i: all_runs[i].stop):
        start, stop = all_runs[index].start, all_runs[index].stop
        height = high[start:stop, 1].max() - low[start:stop, 1].min()
        lowness = min(0.0, math.log(max(height, 1e-9 * line) / line)) if n > 1 else 0.0
        score = float(scores[index]) - (lowness / LOWNESS) ** 2 / 2
        score += inner[stop] - inner[start + 1] + (cut[start - 1] if start else 0.0)
        if best[start] + score > best[stop]:
            best[stop], last[stop] = best[start] + score, index
        total[stop] = float(np.logaddexp(total[stop], total[start] + SHARPNESS * score))
    chosen: list[int] = []
    at = n
    while at > 0:
        if last[at] < 0:  # nothing of it can be a digit
            return [len(all_runs) - 1], 1.0
        chosen.append(last[at])
        at = all_runs[last[at]].start
    if len(chosen) > MAX_DIGITS:
        return [len(all_runs) - 1], 1.0
    if len(chosen) > 1:
        total[n] = float(np.logaddexp(total[n], SHARPNESS * (nothing + float(kept.sum()))))
    return chosen[::-1], math.exp(SHARPNESS * best[n] - total[n])


def border_features(pieces: Sequence[Piece], low: Array, high: Array) -> Array:
    """(n - 1, 2): at each border the gap along the line, and the distance, in line heights."""
    line = line_height(high - low)
    features = np.zeros((len(pieces) - 1, 2))
    for border in range(1, len(pieces)):
        before = slice(max(0, border - NEIGHBOURS), border)
        after = slice(border, border + NEIGHBOURS)
        gap = low[after, 0].min() - high[before, 0].max()
        left, right = (
            np.concatenate([piece.points for piece in pieces[side]]) for side in (before, after)
        )
        features[border - 1] = gap, _distance(left, right)
    return np.clip(features / line, -1.0, 1.0)


def _borders(pieces: Sequence[Piece], low: Array, high: Array) -> tuple[Array, Array]:
    """(n - 1,) each: the log of the chance that a border is between digits, and that it is not."""
    gap, distance = border_features(pieces, low, high).T
    odds = np.clip(CUT_BIAS + CUT_GAP * gap + CUT_DISTANCE * distance, -MOST_ODDS, MOST_ODDS)
    return -np.logaddexp(0.0, -odds), -np.logaddexp(0.0, odds)


def _distance(left: Array, right: Array) -> float:
    """The least distance between two sets of points."""
    return math.sqrt(float(((left[:, None] - right) ** 2).sum(axis=2).min()))


def _root(owner: list[int], i: int) -> int:
    while owner[i] != i:
        i = owner[i]
    return i


def _join(owner: list[int], i: int, k: int) -> None:
    owner[_root(owner, i)] = _root(owner, k)
