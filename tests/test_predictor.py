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
        "calibration": {"temperature": 2.0},
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
    assert prediction.probabilities.sum() == pytest.approx(1)
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
    blank = np.zeros((2, 28, 28))
    blank[1, 5, 5] = 0.5
    assert predictor.predict_images(blank).is_digit.tolist() == [False, True]


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
    cold = Predictor.load(write(tmp_path / "a.npz", calibration={"temperature": 0.5}))
    warm = Predictor.load(write(tmp_path / "b.npz", calibration={"temperature": 5.0}))
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
    assert len(card["data"]) == 4
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
    ],
)
def test_weights_of_something_else_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = write(tmp_path / "a.npz", **changes)
    with pytest.raises(CheckpointError, match=message):
        Predictor.load(path)
