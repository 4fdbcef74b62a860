import numpy as np
import pytest

from numdraw import glyphs, scribbles
from numdraw.preprocess import image_from_strokes

EVERY = [*(g for styles in glyphs.DIGITS.values() for g in styles), *glyphs.SIGNS]


def test_every_digit_has_several_styles() -> None:
    assert sorted(glyphs.DIGITS) == list(range(10))
    assert min(map(len, glyphs.DIGITS.values())) >= 4


def test_no_glyph_stands_twice() -> None:
    assert len(set(EVERY)) == len(EVERY)


@pytest.mark.parametrize("glyph", EVERY)
def test_a_glyph_can_be_drawn(glyph: str) -> None:
    strokes = glyphs.draw(glyph, rng=np.random.default_rng(0))
    assert len(strokes) == glyph.count(",") + 1
    points = np.concatenate(strokes)
    assert points.min() > -0.3
    assert points.max() < 1.3
    assert image_from_strokes([stroke.tolist() for stroke in strokes]).max() == 1


def test_a_glyph_is_another_each_time() -> None:
    rng = np.random.default_rng(0)
    assert not np.array_equal(glyphs.draw("08 88", rng=rng)[0], glyphs.draw("08 88", rng=rng)[0])


def test_parts_of_a_stroke_hang_together() -> None:
    [stroke] = glyphs.draw("~00 40 44|44 08", rng=np.random.default_rng(0))
    assert np.hypot(*np.diff(stroke, axis=0).T).max() < 1


def test_a_curve_goes_through_its_points() -> None:
    points = np.array([[0.0, 0.0], [1.0, 3.0], [4.0, 2.0], [5.0, 5.0]])
    curve = glyphs.curve(points)
    assert curve[:: glyphs.CURVE_POINTS] == pytest.approx(points)


def test_a_curve_through_a_line_is_a_line() -> None:
    curve = glyphs.curve(np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]))
    assert curve[:, 0] == pytest.approx(curve[:, 1])


def test_scribbles_can_be_drawn_and_differ() -> None:
    rng = np.random.default_rng(0)
    digits = [glyphs.draw(glyphs.DIGITS[label][0], rng=rng) for label in range(10)]
    images = [
        image_from_strokes([s.tolist() for s in scribbles.scribble(digits, rng=rng)])
        for _ in range(300)
    ]
    assert np.isfinite(images).all()
    assert len({image.tobytes() for image in images}) > 270


def test_blots_are_pictures() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        picture = scribbles.blot(rng=rng)
        assert picture.shape == (28, 28)
        assert picture.min() >= 0
        assert picture.max() <= 1
