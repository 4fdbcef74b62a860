import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import idx
from numdraw import ink
from numdraw.data import find_ink, read_ink, source_of
from numdraw.drawings import LOOKALIKES
from numdraw.preprocess import image_from_strokes

SEVEN = [[[0, 0], [20, 0], [40, 0], [30, 40], [20, 80]]]


def write(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_bytes(gzip.compress(b"".join(json.dumps(x).encode() + b"\n" for x in lines)))


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two sources; few glyphs and scribbles."""
    monkeypatch.setattr(ink, "GLYPHS", 32)
    monkeypatch.setattr(ink, "SCRIBBLES", 32)
    digits: list[dict[str, Any]] = [
        {"label": "7", "strokes": SEVEN, "writer": f"w{k // 2}"} for k in range(24)
    ]
    write(tmp_path / "pendigits-train.jsonl.gz", digits)
    others: list[dict[str, Any]] = [
        {"label": label, "strokes": SEVEN} for label in ["house"] * 11 + ["circle"] * 4
    ]
    write(tmp_path / "quickdraw-shapes.jsonl.gz", others)
    return tmp_path


def test_pairs_are_made_of_what_is_there(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ink.main(["--data", str(small)]) == 0
    pairs = find_ink(small, "train")
    assert [source_of(pair) for pair in pairs] == [
        *("glyphs", "pendigits-train", "quickdraw-shapes", "scribbles")
    ]
    labels = {source_of(pair): read_ink([pair]).labels for pair in pairs}
    assert set(labels["glyphs"]) <= set(range(10))
    assert set(labels["pendigits-train"]) == {7}
    assert set(labels["scribbles"]) == set(labels["quickdraw-shapes"]) == {10}
    assert "pendigits-train: 60 images to train\n" in capsys.readouterr().out


def test_a_writer_is_trained_on_or_validated_on_never_both(small: Path) -> None:
    assert ink.main(["--data", str(small)]) == 0
    valid = read_ink([p for p in find_ink(small, "valid") if source_of(p) == "pendigits-train"])
    train = read_ink([p for p in find_ink(small, "train") if source_of(p) == "pendigits-train"])
    assert len(valid) == 4  # the first and the eleventh writer's two each, as they are
    assert len(train) == (24 - 4) * 3
    plain = np.rint(255 * image_from_strokes(SEVEN)).astype(np.uint8)
    assert (valid.images == plain).all()


def test_what_looks_like_a_digit_is_not_taught_as_none(small: Path) -> None:
    assert ink.main(["--data", str(small)]) == 0
    pairs = [*find_ink(small, "train"), *find_ink(small, "valid")]
    counts = {pair[0].name: len(read_ink([pair])) for pair in pairs if "quick" in pair[0].name}
    assert sum(counts.values()) == 10 * 5 + 1  # of 11 houses one is for validation


def test_the_same_seed_gives_the_same_bytes_and_another_others(small: Path) -> None:
    def made(seed: int) -> list[bytes]:
        assert ink.main(["--data", str(small), "--seed", str(seed)]) == 0
        return [path.read_bytes() for path in sorted(small.glob("ink-*"))]

    first = made(0)
    assert made(0) == first
    assert made(1) != first


def test_a_source_left_out_leaves_nothing_of_another_time(small: Path) -> None:
    assert ink.main(["--data", str(small)]) == 0
    assert ink.main(["--data", str(small), "--without", "pendigits-train", "glyphs"]) == 0
    names = {source_of(pair) for split in ("train", "valid") for pair in find_ink(small, split)}
    assert names == {"quickdraw-shapes", "scribbles"}


def test_a_folder_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ink.main(["--data", str(tmp_path / "no")]) == 1
    assert capsys.readouterr().err == f"numdraw.ink: {tmp_path}/no expected a folder, got none\n"


def test_damaged_drawings_are_named_with_their_line(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = small / "uji-digits.jsonl.gz"
    broken: list[tuple[dict[str, Any], str]] = [
        ({"label": "7"}, 'expected "strokes"'),
        ({"label": "x", "strokes": SEVEN}, "expected a label of one digit, got 'x'"),
        ({"label": "7", "strokes": []}, "strokes expected at least one stroke"),
    ]
    for line, message in broken:
        write(path, [{"label": "7", "strokes": SEVEN}, line])
        assert ink.main(["--data", str(small)]) == 1
        assert f"numdraw.ink: {path}:2" in (shown := capsys.readouterr().err)
        assert message in shown


@pytest.mark.parametrize("seed", range(30))
def test_a_varied_drawing_keeps_its_strokes_and_about_its_shape(seed: int) -> None:
    strokes = [np.array(stroke, np.float64) for stroke in [*SEVEN, [[20, 40], [38, 40]], [[0, 0]]]]
    varied = ink.vary(strokes, rng=np.random.default_rng(seed))
    assert len(varied) == 3
    assert all(stroke.shape[1] == 2 and len(stroke) >= 1 for stroke in varied)
    points = np.concatenate(varied)
    assert np.isfinite(points).all()
    assert 0.5 < np.ptp(points, axis=0).max() < 1.6
    assert not np.array_equal(points[: len(strokes[0])], strokes[0])


def test_varied_sevens_are_still_read_as_sevens() -> None:
    from numdraw import Predictor

    predictor, rng = Predictor.load(), np.random.default_rng(0)
    strokes = [np.array(SEVEN[0], np.float64)]
    images = [
        image_from_strokes([stroke.tolist() for stroke in ink.vary(strokes, rng=rng)])
        for _ in range(100)
    ]
    assert (predictor.predict_images(np.array(images)).digits == 7).mean() > 0.9


def test_a_coarse_stroke_keeps_its_corner() -> None:
    corner = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 1.0]])
    for seed in range(20):
        thin = ink._thinned(corner, ink.KEPT[0], np.random.default_rng(seed))
        assert (thin[0] == corner[0]).all()
        assert (thin[-1] == corner[-1]).all()
        assert np.hypot(*(thin - corner[1]).T).min() < 0.5


def test_stairs_go_along_one_axis_at_a_time() -> None:
    stairs = ink._on_grid(np.array([[0.02, 0.0], [0.98, 2.1], [3.0, 3.0]]), 1.0, upright=True)
    assert stairs.tolist() == [[0, 0], [1, 0], [1, 2], [3, 2], [3, 3]]


def test_nothing_for_evaluation_alone_is_a_source() -> None:
    names = [source.name for source in ink.SOURCES]
    assert not [name for name in names if "chars74k" in name or "crohme" in name]
    assert LOOKALIKES <= ink.NOT_TRAINED


def test_pairs_are_idx_files_of_bytes(small: Path) -> None:
    assert ink.main(["--data", str(small)]) == 0
    images = idx.read(small / "ink-scribbles-train-images-idx3-ubyte")
    assert images.dtype == np.uint8
    assert images.shape == (32, 28, 28)
