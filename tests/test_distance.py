"""The geometry under preprocess."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numdraw._distance import centre_line, interpolate, nearest, outline, resampling


@given(st.integers(0, 2**32 - 1), st.floats(0.3, 40))
def test_nearest_is_the_least_distance(seed: int, reach: float) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = (int(n) for n in rng.integers(2, 20, 2))
    low, high = (-reach, -reach), (columns - 1 + reach, rows - 1 + reach)
    places = rng.uniform(low, high, (int(rng.integers(1, 9)), 2))
    y, x = np.indices((rows, columns))
    all_of_them = np.hypot(x[..., None] - places[:, 0], y[..., None] - places[:, 1])
    expected = np.minimum(all_of_them.min(axis=2), reach)
    np.testing.assert_allclose(nearest(places, (rows, columns), reach), expected, atol=1e-9)


def test_nearest_works_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    places = np.random.default_rng(0).uniform(0, 27, (500, 2))
    at_once = nearest(places, (28, 28), 3.0)
    monkeypatch.setattr("numdraw._distance.CHUNK", 100)
    np.testing.assert_array_equal(nearest(places, (28, 28), 3.0), at_once)


@pytest.mark.parametrize("cell", [0.05, 0.3, 1, 2.5, 7])
def test_resampling_keeps_the_ink_and_its_place(cell: float) -> None:
    pixels = np.array([0, 3, 1, 4, 1, 5, 9, 2], dtype=np.float32)
    cells = resampling(8, cell) @ pixels
    assert cells[[0, -1]].tolist() == [0, 0]
    assert cells.sum() * cell == pytest.approx(pixels.sum(), rel=0.01)
    empty = (len(cells) - math.ceil(8 / cell)) // 2
    places = (np.arange(len(cells)) - empty + 0.5) * cell
    assert places @ cells / cells.sum() == pytest.approx(
        (np.arange(8) + 0.5) @ pixels / pixels.sum(), abs=0.2 * cell
    )


def test_interpolate_is_exact_for_a_plane_and_holds_its_edge() -> None:
    y, x = np.indices((5, 7))
    plane = (2 * x - 3 * y + 1).astype(np.float32)
    values = interpolate(plane, np.array([-9, 0.25, 5.5, 9]), np.array([-1, 0, 3.75]))
    expected = 2 * np.array([0, 0.25, 5.5, 6]) - 3 * np.array([[0], [0], [3.75]]) + 1
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_the_outline_of_a_plane_is_a_straight_line() -> None:
    y, x = np.indices((20, 30))
    points = outline((11.3 - x + 0.5 * y).astype(np.float32))
    assert len(points) == 20 + 9  # each row once, and the columns from 12 to 20
    np.testing.assert_allclose(points[:, 0] - 0.5 * points[:, 1], 11.3, atol=1e-4)


@pytest.mark.parametrize("angle", [0, 20, 45, 77, 90])
@pytest.mark.parametrize("width", [3.0, 8.0, 21.5])
def test_the_centre_line_of_a_stroke_lies_in_its_middle(angle: float, width: float) -> None:
    y, x = np.indices((120, 120)) - 59.7
    along = x * math.cos(math.radians(angle)) + y * math.sin(math.radians(angle))
    across = x * math.sin(math.radians(angle)) - y * math.cos(math.radians(angle))
    grid = (width / 2 - np.hypot(across, np.maximum(np.abs(along) - 35, 0))).astype(np.float32)
    middle, measured = centre_line(grid, outline(grid))
    assert measured == pytest.approx(width, rel=0.1)
    x, y = middle.T - 59.7
    across = x * math.sin(math.radians(angle)) - y * math.cos(math.radians(angle))
    along = x * math.cos(math.radians(angle)) + y * math.sin(math.radians(angle))
    assert np.abs(across).max() < 0.05 * width + 0.1
    assert (along.min(), along.max()) == pytest.approx((-35, 35), abs=0.15 * width + 0.5)
