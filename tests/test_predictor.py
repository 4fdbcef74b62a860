import copy
import hashlib
import json
import threading
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numdraw
from numdraw.data import read_split
from numdraw.models import build, mlp_architecture
from numdraw.nn.checkpoint import CheckpointError, save_checkpoint
from numdraw.predictor import Predictor
from numdraw.preprocess import VERSION, DrawingError

SEVEN = [[[10, 10], [60, 10], [30, 90]]]
ZERO = [[[50 + 30 * np.cos(t), 60 + 45 * np.sin(t)] for t in np.linspace(0, 2 * np.pi, 40)]]
ARCHITECTURE = mlp_architecture([8], 0.0)


def write(path: Path, **changes: Any) -> Path:
    """A weights file of a small untrained network, some of its meta changed."""
    network = build(ARCHITECTURE, rng=np.random.default_rng(0))
    meta = {
        "architecture": ARCHITECTURE,
        "calibration": {"temperature": 2.0, "threshold": 0.5},
        "preprocessing": VERSION,
        **changes,
    }
    save_checkpoint(path, network.arrays(), meta)
    return path


@pytest.mark.parametrize(("strokes", "digit"), [(SEVEN, 7), (ZERO, 0)])
def test_reads_a_plain_digit(predictor: Predictor, strokes: Any, digit: int) -> None:
    prediction = predictor.predict(strokes)
    assert prediction.digit == digit
    assert prediction.confidence > 0.9
    assert prediction.is_digit


def test_prediction_holds_together(predictor: Predictor) -> None:
    prediction = predictor.predict({"strokes": SEVEN})
    assert prediction.probabilities.shape == (10,)
    assert 0.9 < prediction.probabilities.sum() <= 1  # the rest is that it is no digit
    assert prediction.confidence == prediction.probabilities.max()
    assert prediction.digit == prediction.probabilities.argmax()
    assert list(prediction.box) == [10, 10, 60, 90]
    assert prediction.image.shape == (28, 28)
    again = predictor.predict_images(prediction.image[None])
    assert again.digits.tolist() == [prediction.digit]
    assert again.confidences[0] == prediction.confidence
    # plain types, so that json.dumps takes them
    assert json.dumps([prediction.digit, prediction.confidence, prediction.is_digit])


def test_prediction_cannot_be_changed(predictor: Predictor) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(predictor.predict(SEVEN), "digit", 3)  # noqa: B010  mypy refuses it plain


def test_reads_mnist_as_measured_when_it_was_trained(predictor: Predictor, mnist: Path) -> None:
    test = read_split(mnist, "t10k")
    answers = predictor.predict_images(test.images)
    error = float((answers.digits != test.labels).mean())
    assert error == pytest.approx(predictor.meta["scores"]["test"]["error"], abs=2e-4)
    assert error <= 0.01


def test_bytes_and_floats_are_read_alike(predictor: Predictor) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)
    of_bytes = predictor.predict_images(images)
    of_floats = predictor.predict_images(images / 255)
    assert of_bytes.probabilities == pytest.approx(of_floats.probabilities, abs=1e-5)


def test_blank_image_is_no_digit(predictor: Predictor) -> None:
    images = np.stack([np.zeros((28, 28)), predictor.predict(SEVEN).image])
    assert predictor.predict_images(images).is_digit.tolist() == [False, True]


def moved(strokes: list[list[list[int]]], x: int) -> list[list[list[int]]]:
    return [[[px + x, py] for px, py in stroke] for stroke in strokes]


def test_a_number_is_read_digit_by_digit(predictor: Predictor) -> None:
    one = [[[0, 10], [0, 90]]]
    drawing = [*SEVEN, *moved(one, 90), *moved(SEVEN, 120)]
    answer = predictor.predict_number(drawing)
    assert answer.number == "717"
    assert [digit.digit for digit in answer.digits] == [7, 1, 7]
    assert [digit.box for digit in answer.digits] == [
        (10, 10, 60, 90), (90, 10, 90, 90), (130, 10, 180, 90)
    ]  # fmt: skip  # shorter so
    if_digits = [digit.confidence / digit.probabilities.sum() for digit in answer.digits]
    assert 0 < answer.confidence <= np.prod(if_digits)


def test_beside_other_digits_no_digit_is_less_probable(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooked = [[[5, 60], [40, 5], [45, 90], [5, 88]]]  # might be a 1, a 7, a 2 or nothing
    drawing = [*SEVEN, *moved(hooked, 90)]
    answer = predictor.predict_number(drawing)
    assert len(answer.number) == 2
    assert any(digit.probabilities.sum() < 0.999 for digit in answer.digits)
    monkeypatch.setattr("numdraw.predictor.NO_DIGIT_WEIGHT", 1.0)
    unweighted = predictor.predict_number(drawing)
    assert unweighted.number == answer.number
    assert unweighted.confidence < answer.confidence
    product = np.prod([digit.confidence for digit in unweighted.digits])
    assert unweighted.confidence <= product * (1 + 1e-9)


def test_strokes_that_might_be_one_sign_are_no_sure_number(predictor: Predictor) -> None:
    """A B is drawn as a 1 and a 3 that touch; the same two apart are a 13."""
    bar = [[[10, 0], [10, 100]]]
    three = [[[10, 0], [45, 15], [45, 35], [12, 48], [50, 62], [52, 85], [10, 100]]]
    touching = predictor.predict_number([*bar, *three])
    apart = predictor.predict_number([*bar, *moved(three, 60)])
    assert apart.number == "13"
    assert touching.confidence < 0.7
    assert apart.confidence > 0.9


def test_the_order_of_strokes_does_not_matter(predictor: Predictor) -> None:
    bar = [[[25, 50], [50, 50]]]
    orders = [
        [*SEVEN, *bar, *moved(SEVEN, 100)],
        [*moved(SEVEN, 100), *bar, *SEVEN],
        [*SEVEN, *moved(SEVEN, 100), *bar],
    ]
    answers = [predictor.predict_number(drawing) for drawing in orders]
    assert {answer.number for answer in answers} == {"77"}


def test_one_digit_is_a_number_of_one(predictor: Predictor) -> None:
    answer = predictor.predict_number(SEVEN)
    alone = predictor.predict(SEVEN)
    assert (answer.number, answer.confidence) == ("7", alone.confidence)
    assert answer.digits == [answer.whole]
    assert np.array_equal(answer.whole.image, alone.image)


def test_a_number_is_read_from_pixels(predictor: Predictor) -> None:
    pixels = np.zeros((60, 120), np.uint8)
    pixels[10:50, 20:24] = 255
    pixels[10:50, 60:64] = pixels[10:14, 60:90] = 255
    pixels[10:50, 100:104] = 255
    answer = predictor.predict_number(pixels)
    assert len(answer.number) == 3
    assert answer.number[0] == answer.number[2] == "1"
    assert answer.digits[0].box == (20, 10, 24, 50)


@pytest.mark.parametrize("count", [1, 8, 20])
def test_up_to_twenty_digits_are_read(predictor: Predictor, count: int) -> None:
    drawing = [stroke for place in range(count) for stroke in moved(SEVEN, 80 * place)]
    assert predictor.predict_number(drawing).number == "7" * count


@pytest.mark.parametrize("drawing", [[], [[[5, 5]]], [[[0, 0], [1, None]]]])
def test_a_number_needs_a_drawing(predictor: Predictor, drawing: Any) -> None:
    with pytest.raises(DrawingError, match="expected"):
        predictor.predict_number(drawing)


def test_no_images_give_no_answers(predictor: Predictor) -> None:
    assert predictor.predict_images(np.zeros((0, 28, 28))).digits.shape == (0,)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((28, 28)), r"expected examples of shape \(N, 28, 28\), got \(28, 28\)"),
        (np.zeros((1, 27, 28)), r"expected examples of shape \(N, 28, 28\), got \(1, 27, 28\)"),
        (np.full((1, 28, 28), 2.0), r"images expected finite numbers in \[0, 1\], got others"),
        (np.full((1, 28, 28), -0.1), r"images expected finite numbers in \[0, 1\], got others"),
        (np.full((1, 28, 28), np.nan), r"images expected finite numbers in \[0, 1\], got others"),
        (np.zeros((1, 28, 28), np.int64), "images expected uint8 or floats, got int64"),
        (np.zeros((1, 28, 28), object), "images expected uint8 or floats, got object"),
    ],
)
def test_wrong_images_are_refused(predictor: Predictor, images: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predictor.predict_images(images)


def test_wrong_drawing_is_a_drawing_error(predictor: Predictor) -> None:
    with pytest.raises(DrawingError):
        predictor.predict([])


def test_threads_share_it(predictor: Predictor) -> None:
    drawings = [SEVEN, ZERO] * 20
    expected = [predictor.predict(drawing).probabilities for drawing in drawings]
    wrong: list[int] = []

    def work() -> None:
        for i, drawing in enumerate(drawings):
            if not (predictor.predict(drawing).probabilities == expected[i]).all():
                wrong.append(i)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_temperature_softens_confidence_and_keeps_the_digit(tmp_path: Path) -> None:
    cold = Predictor.load(
        write(tmp_path / "a.npz", calibration={"temperature": 0.5, "threshold": 0.0})
    )
    warm = Predictor.load(
        write(tmp_path / "b.npz", calibration={"temperature": 5.0, "threshold": 0.0})
    )
    assert cold.predict(SEVEN).digit == warm.predict(SEVEN).digit
    assert cold.predict(SEVEN).confidence > warm.predict(SEVEN).confidence


def test_version_names_the_architecture_and_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz")
    predictor = Predictor.load(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert predictor.meta["sha256"] == sha256
    assert predictor.version == predictor.meta["version"] == f"mlp-{sha256[:8]}"


def test_shipped_card_is_complete_and_json(predictor: Predictor) -> None:
    card = json.loads(json.dumps(predictor.meta))
    assert {"architecture", "command", "data", "scores", "sha256", "version"} <= card.keys()
    assert card["command"].startswith("python -m numdraw.train ")
    assert len(card["data"]) >= 4
    assert card["numdraw"] == numdraw.__version__


def test_missing_file_is_named_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"a.npz expected a weights file.*python -m numdraw.train"
    ):
        Predictor.load(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preprocessing": 99}, "expected preprocessing version 1, got 99; train anew"),
        ({"architecture": None}, "architecture expected an object, got None"),
        ({"architecture": {"name": "rnn"}}, 'architecture expected {"name": "mlp"'),
        ({"architecture": mlp_architecture([9], 0.0)}, "expected linear1.weight of float32 .9, "),
        ({"calibration": None}, "expected calibration.temperature from 0.05 to 20.0, got None"),
        ({"calibration": {"temperature": 0.0}}, "temperature from 0.05 to 20.0, got 0.0"),
        ({"calibration": {"temperature": "1"}}, "temperature from 0.05 to 20.0, got '1'"),
        ({"calibration": {"temperature": 1.0, "threshold": 1}}, "calibration.threshold, got 1"),
        ({"calibration": {"temperature": 1.0, "threshold": None}}, "threshold, got None"),
    ],
)
def test_weights_of_something_else_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = write(tmp_path / "a.npz", **changes)
    with pytest.raises(CheckpointError, match=message):
        Predictor.load(path)


def test_a_copy_predicts_the_same(predictor: Predictor) -> None:
    again = copy.deepcopy(predictor)
    assert again.predict(SEVEN).confidence == predictor.predict(SEVEN).confidence


def test_a_folder_is_refused_as_a_weights_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a weights file, got no plain file"):
        Predictor.load(tmp_path)
