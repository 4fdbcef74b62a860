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

import itertools
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

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

    @cached_property
    def low(self) -> Array:
        """(2,), the least x and y."""
        low: Array = self.points.min(axis=0)
        return low

    @cached_property
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
    x, y = stroke.T.copy()  # a run of memory each
    along = np.zeros(len(x))
    np.hypot(x[1:] - x[:-1], y[1:] - y[:-1]).cumsum(out=along[1:])
    length = float(along[-1])
    count = SAMPLES if step is None else 2 + int(length / step)
    at = np.arange(count) * (length / (count - 1))
    at[-1] = length
    points: Array = np.array([np.interp(at, along, x), np.interp(at, along, y)])
    return np.transpose(points)


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
    first = [0, *itertools.accumulate(map(len, parts[:-1]))]
    low = np.minimum.reduceat(whole.points, first)
    high = np.maximum.reduceat(whole.points, first)
    size = high - low
    line = line_height(size)
    width, longest = size[:, 0], size.max(axis=1)
    dots = longest < 0.12 * line  # what is smaller both ways is a dot
    # near[i, k]: part i may belong to part k, which is no smaller and overlaps it along the line; a
    # dot may belong to any.
    overlap = np.minimum(high[:, :1], high[:, 0]) - np.maximum(low[:, :1], low[:, 0])
    near = overlap >= INSIDE * np.maximum(width, 0.02 * line)[:, None]
    near |= dots[:, None]
    near &= longest >= longest[:, None]
    owner = list(range(len(parts)))
    for i in longest.argsort(kind="stable").tolist():
        places = [k for k in near[i].nonzero()[0].tolist() if k != i]
        if not places:
            continue
        distances = [_distance(parts[i], parts[k]) for k in places]
        nearest = min(distances)
        if dots[i] or nearest < TOUCH * line:
            _join(owner, i, places[distances.index(nearest)])
    roots = [_root(owner, i) for i in range(len(parts))]
    pieces = []
    for root in dict.fromkeys(roots):
        members = tuple(i for i, other in enumerate(roots) if other == root)
        pieces.append(Piece(members, _joined([parts[i] for i in members])))
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
    width, height = sizes.max(axis=0).tolist()
    return float(max(height, 0.25 * width, sys.float_info.min))


def choose(
    pieces: Sequence[Piece],
    all_runs: Sequence[Run],
    scores: Sequence[float] | Array,
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
    # inside[k]: of the borders before piece k
    inside = [0.0, 0.0, *itertools.accumulate(kept)]
    line = line_height(high - low)
    tops, bottoms = low[:, 1].tolist(), high[:, 1].tolist()
    best, total = [0.0] + [-math.inf] * n, [0.0] + [-math.inf] * n
    last = [-1] * (n + 1)
    for index in sorted(range(len(all_runs)), key=lambda i: all_runs[i].stop):
        start, stop = all_runs[index].start, all_runs[index].stop
        height = max(bottoms[start:stop]) - min(tops[start:stop])
        lowness = min(0.0, math.log(max(height, 1e-9 * line) / line)) if n > 1 else 0.0
        score = float(scores[index]) - (lowness / LOWNESS) ** 2 / 2
        score += inside[stop] - inside[start + 1] + (cut[start - 1] if start else 0.0)
        if best[start] + score > best[stop]:
            best[stop], last[stop] = best[start] + score, index
        total[stop] = _log_sum(total[stop], total[start] + SHARPNESS * score)
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
        total[n] = _log_sum(total[n], SHARPNESS * (nothing + inside[n]))
    return chosen[::-1], math.exp(SHARPNESS * best[n] - total[n])


def border_features(pieces: Sequence[Piece], low: Array, high: Array) -> list[tuple[float, float]]:
    """Of each of n - 1 borders the gap along the line, and the distance, in line heights."""
    line = line_height(high - low)
    left, right = low[:, 0].tolist(), high[:, 0].tolist()
    features = []
    for border in range(1, len(pieces)):
        before = slice(max(0, border - NEIGHBOURS), border)
        after = slice(border, border + NEIGHBOURS)
        gap = min(left[after]) - max(right[before])
        sides = (_joined([piece.points for piece in pieces[side]]) for side in (before, after))
        features.append((_clamped(gap / line, 1.0), _clamped(_distance(*sides) / line, 1.0)))
    return features


def _borders(pieces: Sequence[Piece], low: Array, high: Array) -> tuple[list[float], list[float]]:
    """n - 1 each: the log of the chance that a border is between digits, and that it is not."""
    odds = [
        _clamped(CUT_BIAS + CUT_GAP * gap + CUT_DISTANCE * distance, MOST_ODDS)
        for gap, distance in border_features(pieces, low, high)
    ]
    return [-_log_sum(0.0, -each) for each in odds], [-_log_sum(0.0, each) for each in odds]


def _clamped(value: float, most: float) -> float:
    """The value, or the nearest one in [-most, most]."""
    return min(max(value, -most), most)


def _joined(points: Sequence[Array]) -> Array:
    """The points of all, (N, 2)."""
    return points[0] if len(points) == 1 else np.concatenate(points)


def _distance(left: Array, right: Array) -> float:
    """The least distance between two sets of points."""
    (x, y), (other_x, other_y) = left.T, right.T
    squares: Array = (x[:, None] - other_x) ** 2
    squares += (y[:, None] - other_y) ** 2
    return math.sqrt(float(squares.min()))


def _log_sum(a: float, b: float) -> float:
    """log(exp(a) + exp(b)), where neither needs to be a number that float has."""
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def _root(owner: list[int], i: int) -> int:
    while owner[i] != i:
        i = owner[i]
    return i


def _join(owner: list[int], i: int, k: int) -> None:
    owner[_root(owner, i)] = _root(owner, k)
