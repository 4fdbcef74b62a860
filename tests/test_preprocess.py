"""Drawings as images: the convention of MNIST, and the same image of the same drawing.

Tolerances of a pixel's ink, 1 = full:

    moved or scaled                    EXACT at most
    cut into other points or strokes   SAMPLED at most, as a line's edge is right to 0.01 px
    painted with other pens            PEN: on average over the image, and at most

The last is for pens from 2 to 8% of the drawing on canvases from 140 px. A pen fills the corners
that it does not fit into, so a few pixels differ more than the others; and a pen without soft
edges leaves steps.
"""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from numdraw._distance import interpolate
from numdraw._ground import on_empty_ground
from numdraw.drawings import read_drawings
from numdraw.preprocess import (
    DrawingError,
    image_from_pixels,
    image_from_strokes,
    render,
)

EXACT = 1e-4
SAMPLED = 0.025
PEN = {"soft": (0.01, 0.25), "hard": (0.015, 0.35)}

Strokes = list[list[list[float]]]
Array = NDArray[Any]


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> list[list[float]]:
    """Points around (x, y) from one angle to another, in degrees, 0 = right, 90 = down."""
    angles = np.radians(np.linspace(start, end, 25))
    return [[x + rx * math.cos(a), y + ry * math.sin(a)] for a in angles]


DIGITS: dict[str, Strokes] = {
    "0": [arc(50, 70, 35, 60, -90, 270)],
    "1": [[[30, 40], [55, 10], [55, 130]]],
    "2": [[*arc(50, 45, 35, 35, -180, 20), [15, 130], [90, 130]]],
    "3": [[*arc(45, 40, 30, 30, -140, 80), *arc(45, 100, 35, 32, -80, 140)]],
    "4": [[[60, 10], [10, 90], [95, 90]], [[70, 50], [70, 135]]],
    "5": [[[30, 15], [25, 65], *arc(45, 90, 40, 38, -110, 130)], [[30, 15], [85, 15]]],
    "6": [[[70, 10], [30, 60], *arc(50, 95, 32, 35, -160, 190)]],
    "7": [[[10, 15], [85, 15], [40, 130]], [[35, 72], [80, 72]]],
    "8": [[*arc(50, 40, 28, 28, 90, -270), *arc(50, 102, 34, 34, -90, 270)]],
    "9": [[*arc(50, 45, 32, 33, 0, -360), [80, 130]]],
}
SEVEN = DIGITS["7"]

coordinates = st.integers(0, 200).map(float)
points = st.lists(coordinates, min_size=2, max_size=2)
some_strokes = st.lists(st.lists(points, min_size=1, max_size=8), min_size=1, max_size=4).filter(
    lambda strokes: len({tuple(point) for stroke in strokes for point in stroke}) > 1
)


def moved(strokes: Strokes, scale: float, dx: float, dy: float) -> Strokes:
    return [[[x * scale + dx, y * scale + dy] for x, y in stroke] for stroke in strokes]


def paint(strokes: Strokes, canvas: int, pen: float, *, soft: bool = True) -> Array:
    """A canvas painted with a round pen, its ink 60% of the canvas: 4x4 samples a pixel, or 1."""
    fine = 4 if soft else 1
    xy = np.array([point for stroke in strokes for point in stroke])
    low, high = xy.min(axis=0), xy.max(axis=0)
    scale = (0.6 * canvas - pen) / (high - low).max() * fine
    inked = np.zeros((canvas * fine, canvas * fine), dtype=bool)
    for stroke in strokes:
        places = (np.array(stroke) - low) * scale + (canvas * fine - (high - low) * scale) / 2
        for a, b in itertools.pairwise(places):
            left, top = (np.minimum(a, b) - pen * fine).astype(int)
            right, bottom = (np.maximum(a, b) + pen * fine + 1).astype(int)
            y, x = np.mgrid[top:bottom, left:right] + 0.5
            way = b - a
            along = ((x - a[0]) * way[0] + (y - a[1]) * way[1]) / max(way @ way, 1e-9)
            along = np.clip(along, 0, 1)
            distance = np.hypot(x - a[0] - along * way[0], y - a[1] - along * way[1])
            inked[top:bottom, left:right] |= distance < pen * fine / 2
    share: Array = inked.reshape(canvas, fine, canvas, fine).mean(axis=(1, 3))
    pixels: Array = np.rint(255 * share).astype(np.uint8)
    return pixels


def centre_of_mass(image: Array) -> tuple[float, float]:
    axis = np.arange(28)
    x = float((image.sum(axis=0) @ axis) / image.sum())
    return x, float((image.sum(axis=1) @ axis) / image.sum())


def difference(a: Array, b: Array) -> float:
    return float(np.abs(a - b).max())


# The convention


def test_a_straight_line_is_20_px_long_and_2_3_px_wide() -> None:
    image = image_from_strokes([[[0, 5], [100, 5]]])
    assert image.shape == (28, 28)
    assert image.dtype == np.float32
    assert image[14].sum() == pytest.approx(20, abs=0.02)
    assert image[:, 14].sum() == pytest.approx(2.3, abs=0.02)
    np.testing.assert_array_equal(image[14, 6:22], 1)
    assert not image[:12].any()


def test_a_straight_line_in_pixels_is_as_long_and_wide() -> None:
    pixels = np.zeros((60, 200), dtype=np.uint8)
    pixels[20:28, 10:190] = 255
    image = image_from_pixels(pixels)
    assert image[14].sum() == pytest.approx(20, abs=0.2)
    assert image[:, 14].sum() == pytest.approx(2.3, abs=0.1)


@pytest.mark.parametrize("digit", DIGITS)
def test_the_centre_of_mass_is_at_pixel_14(digit: str) -> None:
    for image in (
        image_from_strokes(DIGITS[digit]),
        image_from_pixels(paint(DIGITS[digit], 90, 5)),
    ):
        assert centre_of_mass(image) == pytest.approx((14, 14), abs=0.1)


@given(some_strokes)
def test_the_ink_stays_in_the_frame_and_in_range(strokes: Strokes) -> None:
    image = image_from_strokes(strokes)
    assert image.min() >= 0
    assert image.max() == 1
    # What is cut off, or misplaced, makes the mass lie elsewhere, unless the frame's edge is near.
    off = np.abs(np.array(centre_of_mass(image)) - 14)
    rows, columns = np.nonzero(image > 0.2)
    room = np.array([min(27 - at.max(), at.min()) for at in (columns, rows)])
    assert ((off < 0.2) | (room == 0)).all()


@pytest.mark.parametrize("kind", ["strokes", "pixels"])
@pytest.mark.parametrize("digit", DIGITS)
def test_the_steps_lead_to_the_image(digit: str, kind: str) -> None:
    drawing = DIGITS[digit] if kind == "strokes" else paint(DIGITS[digit], 200, 8)
    rendered = render(drawing)
    fitted, (x, y) = rendered.fitted, rendered.centre
    assert (x, y) == pytest.approx(centre_of_mass(fitted))
    for side in (fitted.sum(axis=0), fitted.sum(axis=1)):  # the box is in the middle
        inked = np.flatnonzero(side > 0.1)
        assert inked[0] + inked[-1] == pytest.approx(27, abs=1)
    axis = np.arange(28, dtype=np.float64)
    shifted = interpolate(fitted.astype(np.float32), axis + x - 14, axis + y - 14)
    assert np.abs(shifted - rendered.image).mean() < 0.03  # half a pixel's shift blurs the edges


@pytest.mark.parametrize("pen", [4, 10])
def test_the_scale_is_px_to_one_of_the_drawing_s(pen: int) -> None:
    line = 20 - 2.3  # px, the middle of a line's longer way
    rendered = render([[[10, 10], [10, 110]], [[10, 60], [50, 60]]])
    assert rendered.scale == pytest.approx(line / 100)
    pixels = np.zeros((150, 80), dtype=np.uint8)
    pixels[10 - pen // 2 : 110 + pen // 2, 10 - pen // 2 : 10 + pen // 2] = 255
    assert render(pixels).scale == pytest.approx(line / 100, rel=0.02)


def test_ink_that_the_centre_of_mass_would_push_out_stops_at_the_edge() -> None:
    block = [[float(x), y] for x in range(0, 61, 4) for y in (0.0, 200.0)]
    image = image_from_strokes([block, [[60, 100], [200, 100]]])
    assert centre_of_mass(image)[0] < 13
    assert image[:, 27].max() > 0.9


def test_the_image_is_turned_over_when_x_and_y_are_swapped() -> None:
    swapped = [[[y, x] for x, y in stroke] for stroke in SEVEN]
    assert difference(image_from_strokes(swapped), image_from_strokes(SEVEN).T) < 1e-6


def test_mnist_images_keep_their_shape(mnist: Path) -> None:
    raw = np.fromfile(mnist / "train-images-idx3-ubyte", np.uint8, count=16 + 200 * 784)[16:]
    images = raw.reshape(-1, 28, 28)
    differences = [np.abs(image_from_pixels(image) - image / 255).mean() for image in images]
    assert np.median(differences) < 0.04
    assert max(differences) < 0.15


# The same drawing, the same image


@given(
    some_strokes,
    st.floats(1e-3, 1e4),
    st.floats(-1e5, 1e5),
    st.floats(-1e5, 1e5),
)
def test_where_and_how_big_makes_no_difference(
    strokes: Strokes, scale: float, dx: float, dy: float
) -> None:
    image = image_from_strokes(moved(strokes, scale, dx, dy))
    assert difference(image, image_from_strokes(strokes)) < EXACT


@given(some_strokes, st.randoms(use_true_random=False))
def test_order_and_direction_of_strokes_make_no_difference(strokes: Strokes, random: Any) -> None:
    turned = [stroke[::-1] if random.random() < 0.5 else stroke for stroke in strokes]
    random.shuffle(turned)
    assert difference(image_from_strokes(turned), image_from_strokes(strokes)) < SAMPLED


@given(some_strokes, st.integers(1, 40), st.integers(1, 3))
def test_more_points_on_the_same_lines_make_no_difference(
    strokes: Strokes, parts: int, copies: int
) -> None:
    more = []
    for stroke in strokes:
        xy = np.array(stroke)
        at = np.linspace(0, len(xy) - 1, (len(xy) - 1) * parts + 1)
        dense = np.stack([np.interp(at, np.arange(len(xy)), axis) for axis in xy.T], axis=1)
        more.append(np.repeat(dense, copies, axis=0).tolist())
    assert difference(image_from_strokes(more), image_from_strokes(strokes)) < SAMPLED


@given(some_strokes)
def test_a_stroke_cut_in_two_makes_no_difference(strokes: Strokes) -> None:
    cut = [part for stroke in strokes for part in (stroke[:1], *itertools.pairwise(stroke))]
    assert difference(image_from_strokes(cut), image_from_strokes(strokes)) < SAMPLED


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(DIGITS)),
    st.integers(140, 300),
    st.floats(0.02, 0.08),
    st.sampled_from(sorted(PEN)),
)
def test_pen_and_canvas_make_no_difference(digit: str, canvas: int, pen: float, edge: str) -> None:
    pixels = paint(DIGITS[digit], canvas, max(pen * 0.6 * canvas, 2), soft=edge == "soft")
    image, drawn = image_from_pixels(pixels), image_from_strokes(DIGITS[digit])
    mean, most = PEN[edge]
    assert np.abs(image - drawn).mean() < mean
    assert difference(image, drawn) < most


@pytest.mark.parametrize("digit", DIGITS)
@pytest.mark.parametrize(
    ("canvas", "pen", "most"),
    [
        (28, 1.5, 0.03),  # as small as MNIST's own
        (40, 5, 0.03),  # a pen of a fifth of the drawing
        (500, 1, 0.01),  # thinner than the cells in which pixels are traced
    ],
)
def test_coarse_thick_and_thin_pens_make_little_difference(
    digit: str, canvas: int, pen: float, most: float
) -> None:
    image = image_from_pixels(paint(DIGITS[digit], canvas, pen, soft=canvas < 500))
    assert np.abs(image - image_from_strokes(DIGITS[digit])).mean() < most


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=20, deadline=None)
def test_empty_ground_makes_no_difference(top: int, left: int, bottom: int, right: int) -> None:
    inked = paint(SEVEN, 64, 4)[8:-8, 8:-8]
    padded = np.pad(inked, ((top, bottom), (left, right)))
    assert difference(image_from_pixels(padded), image_from_pixels(inked)) < 1e-6


@pytest.mark.parametrize("peak", [80, 160])
def test_faint_ink_makes_little_difference(peak: int) -> None:
    pixels = paint(SEVEN, 100, 6)
    faint = image_from_pixels(pixels * (peak / 255))
    assert difference(faint, image_from_pixels(pixels)) < 0.02


def test_faint_pixels_at_the_edge_count() -> None:
    pixels = np.zeros((28, 28))
    pixels[4:24, 6:9] = pixels[21:24, 6:16] = 255
    foot = image_from_pixels(pixels)[18:].max(axis=0).sum()
    pixels[21:24, 16] = 63  # of the next column, a quarter is ink
    assert image_from_pixels(pixels)[18:].max(axis=0).sum() == pytest.approx(foot + 0.25, abs=0.15)


def test_thin_parts_of_a_picture_stay() -> None:
    pixels = np.zeros((100, 100))
    pixels[10:90, 20:34] = 255
    pixels[10:90, 66:80] = 255
    pixels[47:53, 30:70] = 255  # a bar 6 px thick between stems of 14
    image = image_from_pixels(pixels)
    assert (image[13:16].max(axis=0)[8:20] > 0.8).all()


def test_a_blot_stays_wide() -> None:
    image = image_from_pixels(paint(SEVEN, 100, 20))  # a third of the drawing
    assert image.sum() > 1.3 * image_from_strokes(SEVEN).sum()


# What may be drawn


def test_the_box_is_the_drawings_own() -> None:
    assert render({"strokes": [[[-3, 5.5]], [[10, 7], [4, 20]]]}).box == (-3, 5.5, 10, 20)
    pixels = np.zeros((40, 30))
    pixels[5:30, 8:10] = 255
    pixels[30, 8], pixels[31, 9] = 80, 40  # more and less than a quarter of the full ink
    assert render({"pixels": pixels}).box == (8, 5, 10, 31)


@pytest.mark.parametrize(
    "strokes",
    [
        [[[0, 0], [0, 1]]],
        [[[0, 0]], [[3, 4]]],  # two dots
        [[[1e9, 1e9], [-1e9, -1e9]]],
        [[[1e-6, 0], [0, 0]]],
        [[[0.1 + 0.2, 5], [0.3, 6]]],
    ],
)
def test_lines_and_dots_of_any_size_are_drawn(strokes: Strokes) -> None:
    image = image_from_strokes(strokes)
    assert np.isfinite(image).all()
    assert image.max() > 0.9


def test_a_curve_of_100_000_points_is_the_curve() -> None:
    angles = np.linspace(0, 5, 100_000)
    dense = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert difference(image_from_strokes([dense]), image_from_strokes([dense[::41]])) < SAMPLED


@pytest.mark.parametrize("times", [2, 4096, 8191, 32_760, 65_536, 99_999])
def test_a_line_drawn_back_and_forth_has_no_gaps(times: int) -> None:
    ends: list[list[float]] = [[0, 0], [30, 100]]
    line = [(ends * 50_000)[: times + 1]]
    assert difference(image_from_strokes(line), image_from_strokes([ends])) < SAMPLED


def test_a_scribble_of_100_000_points_is_black() -> None:
    scribble = np.random.default_rng(0).random((1, 100_000, 2))
    np.testing.assert_array_equal(image_from_strokes(scribble)[6:22, 6:22], 1)


@pytest.mark.parametrize("side", [2, 28, 100, 512])
def test_noise_is_drawn_or_taken_for_ground(side: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (side, side))
    with pytest.raises(DrawingError, match="pixels expected ink 32 or more"):
        image_from_pixels(noise)
    noise[np.random.default_rng(1).random((side, side)) < 0.5] = 0
    noise[0, 0], noise[-1] = 255, 0
    image = image_from_pixels(noise)
    assert image.max() == 1
    assert np.isfinite(image).all()


def as_photographed(pixels: Array, how: str) -> Array:
    """The picture on another ground: paper or a board, under uneven light, with noise."""
    ink = pixels / 255
    y, x = np.meshgrid(*(np.linspace(0, 1, size) for size in ink.shape), indexing="ij")
    light = 0.65 + 0.3 * x - 0.25 * y * y
    noise = np.random.default_rng(0).normal(0, 4, ink.shape)
    picture = {
        "inverted": 255 - 255 * ink,
        "grey": 90 + 100 * ink,
        "grey inverted": 190 - 100 * ink,
        "paper": 230 * light * (1 - 0.75 * ink) + noise,
        "board": 60 * light + 150 * ink + noise,
    }[how]
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def changed_by_ground(pixels: Array, how: str) -> float:
    """How far the image of a picture on another ground is from its own, the mean over pixels."""
    difference = image_from_pixels(as_photographed(pixels, how)) - image_from_pixels(pixels)
    return float(np.abs(difference).mean())


@pytest.mark.parametrize("how", ["inverted", "grey", "grey inverted", "paper", "board"])
@pytest.mark.parametrize(("canvas", "pen"), [(60, 5), (200, 12), (500, 30)])
def test_the_ground_makes_little_difference(how: str, canvas: int, pen: int) -> None:
    pixels = paint(SEVEN, canvas, pen)
    assert changed_by_ground(pixels, how) < 0.02


def cut_out(pixels: Array, margin: int) -> Array:
    """The ink's box and so many pixels around it."""
    y, x = np.nonzero(pixels)
    cut: Array = np.pad(pixels[y.min() : y.max() + 1, x.min() : x.max() + 1], margin)
    return cut


@pytest.mark.parametrize("how", ["inverted", "paper", "board"])
@pytest.mark.parametrize("digit", DIGITS)
def test_a_picture_with_much_ink_keeps_its_ground(how: str, digit: str) -> None:
    pixels = cut_out(paint(DIGITS[digit], 90, 6), 3)
    assert 0.25 < (pixels > 0).mean() < 0.45
    assert changed_by_ground(pixels, how) < 0.03


@pytest.mark.parametrize("how", ["inverted", "grey", "grey inverted", "board"])
@pytest.mark.parametrize("digit", DIGITS)
def test_a_picture_with_as_much_ink_as_ground_keeps_it_in_even_light(how: str, digit: str) -> None:
    pixels = cut_out(paint(DIGITS[digit], 40, 6), 2)
    assert 0.4 < (pixels > 0).mean() < 0.6
    assert changed_by_ground(pixels, how) < 0.06


@pytest.mark.parametrize("digit", ["3", "4", "6"])
def test_ink_up_to_the_edges_of_a_tiny_picture_is_no_ground(digit: str) -> None:
    pixels = cut_out(paint(DIGITS[digit], 15, 2), 0).astype(np.float32)
    assert pixels.shape == (9, 7)
    assert on_empty_ground(pixels) is pixels


@pytest.mark.parametrize("how", ["inverted", "paper", "board"])
def test_digits_on_other_grounds_are_read_as_before(how: str, drawings: Path) -> None:
    from numdraw import Predictor

    predictor, same, total = Predictor.load(), 0, 0
    lines = read_drawings(drawings / "uji-digits.jsonl.gz")
    for _, drawing in itertools.islice(lines, 0, 1200, 12):
        pixels = paint(drawing["strokes"], 80, 6)
        alone = predictor.predict(pixels).digit
        same += alone == predictor.predict(as_photographed(pixels, how)).digit
        total += 1
    assert same / total > 0.95


def test_real_ink_is_drawn(drawings: Path) -> None:
    count = 0
    for name in ("pendigits-train", "uji-digits", "chars74k-digits"):
        for line, drawing in read_drawings(drawings / f"{name}.jsonl.gz"):
            image = image_from_strokes(drawing["strokes"])
            assert centre_of_mass(image) == pytest.approx((14, 14), abs=0.2), (name, line)
            count += 1
    assert count > 9000


# What may not


@pytest.mark.parametrize(
    ("drawing", "message"),
    [
        ({"strokes": [[[5, 5]]]}, "strokes expected a line, got a single dot"),
        ({"strokes": [[[5, 5]] * 9, [[5, 5]]]}, "strokes expected a line, got a single dot"),
        ({"strokes": [[[1e8, 5], [1e8 + 0.01, 5]]]}, "strokes expected a line, got a single dot"),
        ({"strokes": [[[0, 0], [5e-324, 0]]]}, "strokes expected a line, got a single dot"),
        (
            {"pixels": np.zeros((9, 9))},
            "pixels expected ink 32 or more of 255 off its ground, got at most 0",
        ),
        (
            {"pixels": np.eye(9)},
            "pixels expected ink 32 or more of 255 off its ground, got at most 1",
        ),
        (
            {"pixels": np.full((9, 9), 255)},
            "pixels expected ink 32 or more of 255 off its ground, got at most 0",
        ),
        ({"pixels": np.pad([[255]], 3)}, "pixels expected lines, got a single dot"),
        ({"pixels": np.pad(np.full((20, 20), 255), 9)}, "pixels expected lines, got a single dot"),
    ],
)
def test_nothing_to_draw_is_said(drawing: Any, message: str) -> None:
    with pytest.raises(DrawingError) as raised:
        render(drawing)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("radius", [1, 2, 5.5, 20, 200])
def test_a_round_dot_of_any_size_is_no_drawing(radius: float) -> None:
    side = int(2 * radius + 4)
    y, x = np.indices((side, side)) - (side - 1) / 2
    pixels = 255 * np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    with pytest.raises(DrawingError, match="pixels expected lines, got a single dot"):
        image_from_pixels(pixels)


@settings(deadline=None)
@given(st.data(), st.integers(1, 12), st.integers(1, 12))
def test_any_picture_is_drawn_or_refused(data: st.DataObject, height: int, width: int) -> None:
    row = st.lists(st.sampled_from([0, 0, 40, 120, 255]), min_size=width, max_size=width)
    pixels = data.draw(st.lists(row, min_size=height, max_size=height))
    try:
        image = image_from_pixels(pixels)
    except DrawingError:
        return
    assert np.isfinite(image).all()
    assert image.max() > 0.5
