"""What is a drawing and what is not, said in a few words."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numdraw.preprocess import DrawingError, image_from_pixels, image_from_strokes, render

SEVEN = [[[10, 15], [85, 15], [40, 130]], [[35, 72], [80, 72]]]


def test_lists_tuples_and_arrays_are_the_same_drawing() -> None:
    strokes: list[Any] = [[[1, 2], [30, 40.5]], [[5, 2], [7, 50]]]
    image = image_from_strokes(strokes)
    for same in (
        {"strokes": strokes},
        strokes,
        tuple(tuple(tuple(point) for point in stroke) for stroke in strokes),
        np.array(strokes),
        np.array(strokes).astype(">f4"),
        [np.array(stroke) for stroke in strokes],
        [[np.array(point) for point in stroke] for stroke in strokes],
        [[tuple(np.float32(x) for x in point) for point in stroke] for stroke in strokes],
    ):
        np.testing.assert_array_equal(render(same).image, image)


def test_rows_lists_and_arrays_are_the_same_picture() -> None:
    pixels = np.tri(20, 12, dtype=np.uint8) * np.uint8(200)
    image = image_from_pixels(pixels)
    drawings: list[Any] = [
        {"pixels": pixels},
        pixels,
        pixels.tolist(),
        list(pixels),
        tuple(map(tuple, pixels.tolist())),
        pixels.astype(float).tolist(),
        pixels.astype(np.int64),
        pixels.astype(np.float16),
        np.asfortranarray(pixels),
    ]
    for same in drawings:
        np.testing.assert_array_equal(render(same).image, image)


def test_the_drawing_is_left_as_it_was() -> None:
    strokes, pixels = np.array([[[1.0, 2.0], [3.0, 4.0]]]), np.tri(20, 12, dtype=np.float32) * 200
    before = strokes.copy(), pixels.copy()
    render(strokes), render(pixels)
    np.testing.assert_array_equal(strokes, before[0])
    np.testing.assert_array_equal(pixels, before[1])


@pytest.mark.parametrize(
    ("drawing", "message"),
    [
        (None, "drawing expected strokes or pixels, got None"),
        ([], "drawing expected strokes or pixels, got []"),
        ("7", "drawing expected strokes or pixels, got '7'"),
        (7, "drawing expected strokes or pixels, got 7"),
        (np.array(7), "drawing expected strokes or pixels, got an array of int64 of shape ()"),
        ([1, 2], "drawing[0] expected a stroke or a row of pixels, got 1"),
        (["ab"], "drawing[0] expected a stroke or a row of pixels, got 'ab'"),
        (np.zeros(3), "drawing[0] expected a stroke or a row of pixels, got 0.0"),
        ({}, 'drawing expected one key, "strokes" or "pixels", got []'),
        (SEVEN[0], "drawing expected strokes, lists of points, or rows of more than two pixels"),
        (np.array(SEVEN[0]), "drawing expected strokes, lists of points, or rows of more than two"),
        ({"stroke": SEVEN}, 'drawing expected one key, "strokes" or "pixels", got [\'stroke\']'),
        (
            {"strokes": SEVEN, "pixels": [[255]]},
            "drawing expected one key, \"strokes\" or \"pixels\", got ['strokes', 'pixels']",
        ),
        ([[]], "strokes[0] expected at least one point, got none"),
        ({"strokes": []}, "strokes expected at least one stroke, got none; draw something"),
        ({"strokes": None}, "strokes expected a list of strokes, got None"),
        ({"strokes": {"a": 1}}, "strokes expected a list of strokes, got {'a': 1}"),
        ({"strokes": np.array([None])}, "strokes expected a list of strokes, got an array of obj"),
        ({"strokes": np.zeros((1, 2, 2), bool)}, "strokes expected a list of strokes, got an arr"),
        ({"strokes": [[[1, 2]], "ab"]}, "strokes[1] expected a list of points, got 'ab'"),
        ({"strokes": [[[1, 2]], 5]}, "strokes[1] expected a list of points, got 5"),
        ({"strokes": [[[1, 2]], []]}, "strokes[1] expected at least one point, got none"),
        ({"strokes": [[1, 2]]}, "strokes[0][0] expected a point [x, y], got 1"),
        ({"strokes": [["ab"]]}, "strokes[0][0] expected a point [x, y], got 'ab'"),
        ({"strokes": [[[1, 2], None]]}, "strokes[0][1] expected a point [x, y], got None"),
        ({"strokes": [[[1, 2], {"x": 1}]]}, "strokes[0][1] expected a point [x, y], got {'x': 1}"),
        *(
            (
                {"strokes": [[[1, 2]], [[3, 4], point]]},
                f"strokes[1][1] expected two finite numbers within 1e+09 of 0, got {shown}",
            )
            for point, shown in [
                ([1], "[1]"),
                ([], "[]"),
                ([1, 2, 3], "[1, 2, 3]"),
                ([math.nan, 2.0], "[nan, 2.0]"),
                ([1, -math.inf], "[1, -inf]"),
                ([1, None], "[1, None]"),
                (["1", 2], "['1', 2]"),
                ([True, 2], "[True, 2]"),
                ([[1], 2], "[[1], 2]"),
                ([1j, 2], "[1j, 2]"),
                ([1.1e9, 2], "[1100000000.0, 2]"),
                ([1, -1e300], "[1, -1e+300]"),
                ([10**400, 2], "[an integer of 1329 bits, 2]"),
                ([1, -(10**9999)], "[1, an integer of 33216 bits]"),
                ([np.bool_(True), 2], "[True, 2]"),
            ]
        ),
        (
            {"strokes": [[[1.0, 2.0]] * 50_000, [[1, 2]] * 50_001]},
            "strokes expected at most 100000 points, got 100001",
        ),
        ({"strokes": [[[1, 2]]] * 10_001}, "strokes expected at most 10000 strokes, got 10001"),
        (
            {"strokes": np.zeros((1, 100_001, 2))},
            "strokes expected at most 200000 numbers, got an array of float64 of shape (1, 100001",
        ),
        ({"pixels": None}, "pixels expected rows of numbers, got None"),
        ({"pixels": "ab"}, "pixels expected rows of numbers, got 'ab'"),
        ({"pixels": np.zeros(4)}, "pixels expected rows of numbers, got an array of float64 of"),
        ({"pixels": np.zeros((2, 2, 2))}, "pixels expected rows of numbers, got an array of fl"),
        ({"pixels": np.ones((2, 2), bool)}, "pixels expected rows of numbers, got an array of bo"),
        ({"pixels": np.full((2, 2), None)}, "pixels expected rows of numbers, got an array of ob"),
        ({"pixels": [[1, 2], 3]}, "pixels[1] expected a row of numbers, got 3"),
        ({"pixels": [[1, 2], "ab"]}, "pixels[1] expected a row of numbers, got 'ab'"),
        ({"pixels": []}, "pixels expected from 1x1 to 512x512 numbers, got 0x0"),
        ({"pixels": [[]]}, "pixels expected from 1x1 to 512x512 numbers, got 1x0"),
        ({"pixels": [[0]] * 513}, "pixels expected from 1x1 to 512x512 numbers, got 513x1"),
        ({"pixels": [[0]] * 513 + ["ab"]}, "pixels expected from 1x1 to 512x512 numbers, got 514x"),
        ({"pixels": [[0] * 513]}, "pixels expected from 1x1 to 512x512 numbers, got 1x513"),
        ({"pixels": np.zeros((2, 513))}, "pixels expected from 1x1 to 512x512 numbers, got 2x513"),
        (
            {"pixels": [[1, 2], [3]]},
            "pixels[1] expected 2 numbers, as many as pixels[0], got 1",
        ),
        *(
            (
                {"pixels": [[0, 255], [0, value]]},
                f"pixels[1][1] expected a number from 0 to 255, got {shown}",
            )
            for value, shown in [
                (256, "256"),
                (-1, "-1"),
                (255.5, "255.5"),
                (math.nan, "nan"),
                (math.inf, "inf"),
                (10**400, "an integer of 1329 bits"),
                (True, "True"),
                (None, "None"),
                ("9", "'9'"),
                ([9], "[9]"),
            ]
        ),
        ({"pixels": np.array([[255, -1]])}, "pixels[0][1] expected a number from 0 to 255, got -1"),
        ({"pixels": np.array([[0, 256]])}, "pixels[0][1] expected a number from 0 to 255, got 256"),
        ({"pixels": np.array([[0], [math.nan]])}, "pixels[1][0] expected a number from 0 to 255,"),
    ],
)
def test_what_cannot_be_drawn_is_said(drawing: Any, message: str) -> None:
    with pytest.raises(DrawingError) as raised:
        render(drawing)
    assert str(raised.value).startswith(message)


def test_a_message_is_short_whatever_came() -> None:
    for wrong in ("a" * 1000, ["b" * 1000] * 1000, [["c" * 30] * 9] * 9, {"d" * 99: [1] * 99}):
        with pytest.raises(DrawingError, match=r"^strokes\[0\]\[0\] expected .*, got .{1,100}$"):
            render({"strokes": [[wrong]]})


def test_the_wrong_point_is_found_among_100_000() -> None:
    stroke = [[1.0, 2.0]] * 99_999 + [[3.0, math.inf]]
    with pytest.raises(DrawingError, match=r"^strokes\[0\]\[99999\] expected two finite numbers"):
        render({"strokes": [stroke]})


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=200)
    | st.integers(300, 9999).map(lambda n: 10**n),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)
number = st.integers(-10, 300) | st.floats(-10, 300)
almost = st.lists(st.lists(number | st.lists(number | anything, max_size=3), max_size=4))


@given(anything | almost | st.fixed_dictionaries({"strokes": anything | almost}))
def test_anything_is_drawn_or_refused_in_few_words(drawing: Any) -> None:
    message = ""
    try:
        rendered = render(drawing)
    except DrawingError as error:
        message = str(error)
    if message:
        assert len(message) < 250
        assert " expected " in message
        assert ", got " in message
    else:
        assert rendered.image.shape == (28, 28)
        assert rendered.image.min() >= 0
        assert rendered.image.max() <= 1
