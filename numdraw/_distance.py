"""Distances from the cells of a grid to lines and outlines, the geometry under preprocess.

Points are (N, 2) arrays of x, y in cells of their grid; a cell's centre is at whole numbers.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Grid = NDArray[np.float32]

# Distances worked out at once. 96 KiB of them stay in the cache, and under the 128 KiB from which
# on the C library asks the system for memory anew each time, which then comes page by page.
CHUNK = 12_288


def nearest(points: Floats, shape: tuple[int, int], reach: float) -> Floats:
    """Each cell's distance to the nearest of the points, at most `reach`.

    A point is compared with the cells of the square window around it that holds its reach.

    Args:
        points: at most `reach` outside the grid.
        shape: rows and columns of the grid.

    Returns:
        (rows, columns) float64 in [0, reach].
    """
    rows, columns = shape
    window = math.floor(2 * reach) + 1
    high, wide = min(window, rows), min(window, columns)
    # A margin takes what a window has outside the grid; a window of the grid's size needs none.
    top, left = (high if high < rows else 0), (wide if wide < columns else 0)
    stride = columns + 2 * left
    along, cells = _window(high, wide, stride, top * stride + left)
    squares = np.full((rows + 2 * top) * stride, float(reach) ** 2)
    step = max(1, CHUNK // (high * wide))
    for start in range(0, len(points), step):
        places = points[start : start + step].T  # (2, points), as all that follows
        corners = np.floor(places - reach)
        corners += 1
        if not left:
            corners[0] = 0
        if not top:
            corners[1] = 0
        dx2, dy2 = (along + (corners - places)[:, None]) ** 2
        indices = cells + (corners[1] * stride + corners[0]).astype(np.intp)
        # (high, wide, points) distances, each to be kept where it is the least in its cell
        distances = dy2[:high, None] + dx2[:wide]
        np.minimum.at(squares, indices.ravel(), distances.ravel())
    grid = squares.reshape(-1, stride)[top : top + rows, left : left + columns]
    least: Floats = np.sqrt(grid)
    return least


@lru_cache(maxsize=16)  # a number's parts have windows of a few sizes; nobody writes to the arrays
def _window(high: int, wide: int, stride: int, first: int) -> tuple[Floats, NDArray[np.intp]]:
    """What is the same in every window of `high` rows and `wide` columns.

    Returns:
        (max(high, wide), 1) places along a side, and (high * wide, 1) indices of the cells in a
        grid of `stride` columns; `first` is that of the grid's own first cell.
    """
    cells = first + np.arange(high)[:, None] * stride + np.arange(wide)
    return np.arange(float(max(high, wide)))[:, None], cells.reshape(-1, 1)


def resampling(size: int, cell: float) -> Grid:
    """(cells, size) weights that turn `size` pixels into cells of `cell` px, empty ones around.

    A cell takes the mean of the pixels under it, or, where it is smaller than a pixel, of the px
    around its middle, which is linear interpolation.
    """
    half = max(cell, 1.0) / 2
    margin = math.ceil(half / cell) + 1  # cells, until nothing of the last pixel is left
    centres = (np.arange(math.ceil(size / cell) + 2 * margin) - margin + 0.5) * cell
    left = np.arange(size)
    covered = np.minimum(left + 1, (centres + half)[:, None])
    covered -= np.maximum(left, (centres - half)[:, None])
    weights: Grid = (np.maximum(covered, 0) / (2 * half)).astype(np.float32)
    return weights


def interpolate(grid: Grid, x: Floats, y: Floats) -> Floats:
    """(len(y), len(x)) values at the columns x and rows y; beyond the grid, the nearest cell's."""
    rows = _between(y, grid.shape[0])
    columns = _between(x, grid.shape[1])
    values: Floats = rows @ grid @ columns.T
    return values


def outline(grid: Grid) -> Floats:
    """(N, 2) points where the edge of the ink, grid > 0, crosses the grid's rows and columns."""
    inside = grid > 0
    y, x = np.nonzero(inside[:, 1:] != inside[:, :-1])
    here, there = grid[y, x], grid[y, x + 1]
    on_rows = np.stack([x + here / (here - there), y], axis=1)
    y, x = np.nonzero(inside[1:] != inside[:-1])
    here, there = grid[y, x], grid[y + 1, x]
    on_columns = np.stack([x, y + here / (here - there)], axis=1)
    return np.concatenate([on_rows, on_columns])


def centre_line(grid: Grid, edge: Floats) -> tuple[Floats, float]:
    """The middle of the lines that make up the ink, grid > 0, and their width in cells.

    The middle is where the distance to the outline has a ridge: on either side the distance falls
    by 1 a cell, and a cell near the top lies |gradient| from it. The width is twice the median
    of the ridge's heights, so crossings, corners and blots, where it is higher, don't count.

    Args:
        grid: not all of it ink.
        edge: its outline.

    Returns:
        (N, 2) points of the middle, and the width.
    """
    # Area over half the perimeter; a length of 1 crosses 4 / pi rows and columns on average.
    guess = 2 * int((grid > 0).sum()) / (len(edge) * math.pi / 4)
    # Six probes across a line are enough. More than half the guess deep is no line, but a blot.
    probe = max(guess / 6, 0.5)
    y, x = (np.arange(0, size, probe) for size in grid.shape)
    inside = interpolate(grid, x, y) > 0
    distance = nearest(edge / probe, (len(y), len(x)), 0.9 * guess / probe)
    dy, dx = np.gradient(np.where(inside, distance, -distance))
    slope = np.hypot(dx, dy)
    height = distance + slope  # of the ridge's top near by
    ridge = inside & (slope < 0.45) & (height > 1)
    if not ridge.any():
        ridge = inside & (distance >= distance.max(where=inside, initial=0))
    i, j = np.nonzero(ridge)
    middle = np.stack([j + dx[ridge], i + dy[ridge]], axis=1)
    return middle * probe, 2 * probe * float(np.median(height[ridge]))


def _between(at: Floats, size: int) -> Floats:
    """(N, size) weights that interpolate `size` values at N places."""
    at = np.clip(at, 0, size - 1)[:, None]
    weights: Floats = np.maximum(1 - np.abs(at - np.arange(size)), 0)
    return weights
