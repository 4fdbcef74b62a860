import numpy as np
import pytest

from numdraw import segment
from numdraw.segment import (
    MAX_DIGITS,
    MAX_PIECES,
    MAX_RUN,
    SAMPLES,
    Run,
    choose,
    components,
    group,
    runs,
    sampled,
)


def line(*points: tuple[float, float]) -> np.ndarray:
    return sampled(np.array(points, np.float64))


def upright(x: float) -> np.ndarray:
    return line((x, 0), (x, 10))


def test_samples_lie_evenly_along_a_stroke() -> None:
    points = sampled(np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 1.0]]))
    assert len(points) == SAMPLES
    steps = np.abs(np.diff(points, axis=0)).sum(axis=1)
    assert steps == pytest.approx(4 / (SAMPLES - 1))


def test_samples_of_a_dot_are_the_dot() -> None:
    assert (sampled(np.array([[2.0, 5.0]])) == [2, 5]).all()


def test_strokes_apart_are_pieces_left_to_right_whatever_their_order() -> None:
    pieces = group([upright(20), upright(0), upright(10)])
    assert [piece.members for piece in pieces] == [(1,), (2,), (0,)]


def test_a_stroke_across_another_belongs_to_it() -> None:
    seven = line((0, 0), (6, 0), (3, 10))
    bar = line((2.5, 5), (5, 5))
    assert [piece.members for piece in group([seven, upright(20), bar])] == [(0, 2), (1,)]


def test_a_dot_belongs_to_what_is_nearest() -> None:
    pieces = group([upright(0), upright(20), line((14, 5), (14.5, 5))])
    assert [piece.members for piece in pieces] == [(0,), (1, 2)]


def test_a_scribble_of_many_strokes_is_one_piece() -> None:
    parts = [upright(3 * x) for x in range(2 * MAX_PIECES + 1)]
    assert [len(piece.members) for piece in group(parts)] == [len(parts)]
    parts = parts[: MAX_PIECES + 1]
    assert [len(piece.members) for piece in group(parts)] == [len(parts)]


def test_runs_are_short_and_the_whole_is_the_last() -> None:
    pieces = group([upright(10 * x) for x in range(7)])
    found = runs(pieces)
    assert found[-1] == Run(0, 7)
    assert len(set(found)) == len(found)
    assert max(run.stop - run.start for run in found[:-1]) == MAX_RUN
    assert {(run.start, run.stop) for run in found if run.stop - run.start == 1} == {
        (k, k + 1) for k in range(7)
    }


def test_the_number_of_runs_grows_linearly() -> None:
    counts = [len(runs(group([upright(10 * x) for x in range(n)]))) for n in (20, 40, 60)]
    assert counts[2] - counts[1] == counts[1] - counts[0]


def test_what_reads_well_is_chosen() -> None:
    pieces = group([upright(0), upright(1), upright(9)])
    found = runs(pieces)
    good = {(0, 2): 0.99, (2, 3): 0.99}
    scores = np.log([good.get((run.start, run.stop), 0.01) for run in found])
    chosen, share = choose(pieces, found, scores)
    assert [found[i] for i in chosen] == [Run(0, 2), Run(2, 3)]
    assert 0.5 < share <= 1


def test_sharpness_multiplies_the_sums_of_the_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = group([upright(0), upright(8)])
    found = runs(pieces)
    scores = np.log([0.9 if run == Run(0, 2) else 0.7 for run in found])
    odds = []
    for sharpness in 1.0, segment.SHARPNESS:
        monkeypatch.setattr(segment, "SHARPNESS", sharpness)
        _, share = choose(pieces, found, scores)
        odds.append(share / (1 - share))
    assert segment.SHARPNESS > 1
    assert odds[1] == pytest.approx(odds[0] ** segment.SHARPNESS)


def test_shares_of_equal_ways_are_equal() -> None:
    pieces = group([upright(0), line((10, 0), (10, 10))])
    found = runs(pieces)
    impossible = [-np.inf if run == Run(0, 2) else 0.0 for run in found]
    assert choose(pieces, found, np.array(impossible)) == ([0, 1], 1.0)


def test_strokes_that_lie_close_are_held_together_and_those_apart_are_not() -> None:
    close, apart = [upright(0), upright(0.1)], [upright(0), upright(8)]
    for parts, count in (close, 1), (apart, 2):
        pieces = group(parts)
        found = runs(pieces)
        assert len(choose(pieces, found, np.zeros(len(found)))[0]) == count


def test_a_low_digit_beside_tall_ones_is_unlikely() -> None:
    pieces = group([upright(0), line((4, 8), (6, 10)), upright(10)])
    found = runs(pieces)
    chosen, _ = choose(pieces, found, np.zeros(len(found)))
    assert all(found[i] != Run(1, 2) for i in chosen)


def test_where_nothing_can_be_a_digit_all_is_one() -> None:
    pieces = group([upright(0), upright(8)])
    found = runs(pieces)
    chosen, share = choose(pieces, found, np.full(len(found), -np.inf))
    assert ([found[i] for i in chosen], share) == ([Run(0, 2)], 1.0)


@pytest.mark.parametrize(("count", "chosen"), [(MAX_DIGITS, MAX_DIGITS), (MAX_DIGITS + 1, 1)])
def test_more_digits_than_may_be_are_left_together(count: int, chosen: int) -> None:
    pieces = group([upright(10 * x) for x in range(count)])
    found = runs(pieces)
    assert len(choose(pieces, found, np.zeros(len(found)))[0]) == chosen


def test_components_touch_diagonally_too() -> None:
    picture = np.array(
        [
            [1, 0, 0, 1, 1],
            [0, 1, 0, 0, 0],
            [0, 0, 0, 1, 0],
            [1, 1, 0, 1, 1],
        ],
        bool,
    )
    labels, points = components(picture)
    assert len(points) == labels.max() == 4
    assert labels[0, 0] == labels[1, 1]
    assert labels[2, 3] == labels[3, 4]
    corner = points[labels[3, 0] - 1]
    assert corner.min(axis=0).tolist() == [0, 3]
    assert corner.max(axis=0).tolist() == [1, 3]


@pytest.mark.parametrize("seed", range(5))
def test_components_are_those_of_a_flood(seed: int) -> None:
    picture = np.random.default_rng(seed).random((14, 17)) < 0.4
    labels, _ = components(picture)
    assert ((labels > 0) == picture).all()
    flood = np.where(picture, np.arange(picture.size).reshape(picture.shape) + 1, 0)
    for _ in range(picture.size):
        framed = np.pad(flood, 1)
        around = [framed[i : i + 14, k : k + 17] for i in range(3) for k in range(3)]
        flood = np.where(picture, np.max(around, axis=0), 0)
    pairs = set(zip(labels.ravel().tolist(), flood.ravel().tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_noise_is_one_component() -> None:
    picture = np.zeros((64, 64), bool)
    picture[::2, ::2] = True
    labels, points = components(picture)
    assert labels.max() == len(points) == 1


def test_an_empty_picture_has_no_component() -> None:
    labels, points = components(np.zeros((3, 4), bool))
    assert (labels.max(), points) == (0, [])
