"""Predictor: a weights file, and answers to drawings and images. What `import numdraw` gives."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from numdraw import _resources, models, preprocess, segment
from numdraw.calibrate import HIGHEST, LOWEST, Calibration, digit_scores, temper
from numdraw.nn.checkpoint import CheckpointError, load_checkpoint
from numdraw.nn.inference import Inference
from numdraw.nn.layers import Array
from numdraw.nn.network import Sequential

WEIGHTS = "digits.npz"
NO_DIGIT_PRIOR = 0.01  # how likely a part of a number is no digit, before it is looked at
NO_NUMBER_PRIOR = 0.5  # how likely a drawing of several parts is no number, likewise
NO_DIGIT_WEIGHT = 0.2  # times the probability of "no digit", in numbers of several digits
TINY = 1e-12
VERSION_DIGITS = 8  # hexadecimal, of the file's SHA-256: enough to tell a team's weights apart


@dataclass(frozen=True, eq=False)  # arrays have no single truth to compare by
class Prediction:
    """What a drawing was read as.

    Attributes:
        digit: the best guess, 0..9.
        confidence: the probability that `digit` is right, in [0, 1]; that it is no digit at all
            counts as wrong.
        is_digit: whether it is taken for a digit: whether `looks` reaches the weights' threshold.
        looks: how much it looks like a digit, in nats; see `numdraw.calibrate.digit_scores`.
        box: x0, y0, x1, y1 of the ink, in the drawing's own coordinates.
        probabilities: (10,) float64, of each digit; what their sum lacks to 1 is the probability
            of no digit.
        image: (28, 28) float32 in [0, 1], 1 = ink: what the network saw.
    """

    digit: int
    confidence: float
    is_digit: bool
    box: tuple[float, float, float, float]
    looks: float = field(repr=False)
    probabilities: Array = field(repr=False)
    image: Array = field(repr=False)


@dataclass(frozen=True, eq=False)  # arrays have no single truth to compare by
class NumberPrediction:
    """What a drawing of one or more digits was read as.

    Attributes:
        number: the digits, left to right: "2026".
        confidence: the probability that they all are right, and are all there is, in [0, 1]; for
            several digits "no digit" is less probable, so it may exceed the product of theirs.
        digits: each of them; a box is in the drawing's own coordinates.
        whole: what the drawing was read as if it were one digit.
    """

    number: str
    confidence: float
    digits: list[Prediction]
    whole: Prediction


@dataclass(frozen=True, eq=False)  # arrays have no single truth to compare by
class Predictions:
    """What N images were read as; for each of them, what `Prediction` has under the same names.

    Attributes:
        digits: (N,) int64.
        confidences: (N,) float64.
        is_digit: (N,) booleans.
        looks: (N,) float64.
        probabilities: (N, 10) float64.
    """

    digits: Array
    confidences: Array
    is_digit: Array
    looks: Array
    probabilities: Array


class Predictor:
    """A trained network that reads drawings.

    Threads can share one: what predicting writes to, each has for itself.

    Attributes:
        version: the architecture and the first digits of the file's SHA-256: "mlp-1f3a9c20".
        meta: the model card, as the weights file has it, with "version" and "sha256".
        network: gives the logits; without dropout, and with batch norm folded in.
        calibration: how to read the logits; see `numdraw.calibrate`.
    """

    def __init__(
        self, network: Sequential, *, calibration: Calibration, meta: Mapping[str, Any]
    ) -> None:
        """Keep a network, and how to read its logits.

        Args:
            network: 28x28 images in; out, 10 logits, or 11 of which the last is "no digit".
            calibration: how to read the logits; see `numdraw.calibrate`.
            meta: the model card, with "version" and "sha256".
        """
        self._logits = Inference(network)
        self.network = self._logits.network
        self.calibration = calibration
        self.meta = dict(meta)
        self.version = str(meta["version"])

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> "Predictor":
        """The predictor of a weights file.

        Args:
            path: written by `python -m numdraw.train`; None is the one that comes with numdraw.

        Raises:
            FileNotFoundError: there is no such file.
            CheckpointError: it is damaged, or not a numdraw weights file of this version.
        """
        path = weights_file(path)
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{path} expected a weights file, got no plain file")
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} expected a weights file, got no such file; "
                "make one with python -m numdraw.train"
            )
        arrays, meta = load_checkpoint(path)
        if meta.get("preprocessing") != preprocess.VERSION:
            raise CheckpointError(
                f"{path} expected preprocessing version {preprocess.VERSION}, "
                f"got {meta.get('preprocessing')!r}; train anew with python -m numdraw.train"
            )
        architecture = meta.get("architecture")
        try:
            if not isinstance(architecture, dict):
                raise ValueError(f"architecture expected an object, got {architecture!r:.200}")
            network = models.build(architecture, rng=None)
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}") from error
        network.load_arrays(arrays, where=str(path))
        version = f"{architecture['name']}-{meta['sha256'][:VERSION_DIGITS]}"
        return cls(
            network,
            calibration=_calibration(path, meta),
            meta={**meta, "version": version},
        )

    def predict(self, drawing: Any) -> Prediction:
        """What one drawing is read as.

        Args:
            drawing: strokes, a list of lists of [x, y] in canvas px, y down; or pixels, rows of
                numbers 0..255, 255 = ink; or {"strokes": ...} or {"pixels": ...}.

        Raises:
            DrawingError: it is neither, is empty, or has more points or pixels than allowed.
        """
        return self._read([preprocess.render(drawing)])[0]

    def predict_number(self, drawing: Any) -> NumberPrediction:
        """What a drawing of one or more digits in a row is read as.

        Args:
            drawing: as for `predict`.

        Raises:
            DrawingError: it is no drawing, is empty, or has more points or pixels than allowed.
        """
        parts = preprocess.parts(drawing)
        pieces = segment.group(parts.points)
        if len(pieces) == 1:
            whole = self._read([parts.whole])[0]
            return NumberPrediction(str(whole.digit), whole.confidence, [whole], whole)
        runs = segment.runs(pieces)
        rendered = [
            parts.render([i for piece in pieces[run.start : run.stop] for i in piece.members])
            for run in runs[:-1]
        ]
        rendered.append(parts.whole)
        readable = [index for index, image in enumerate(rendered) if image is not None]
        read = self._read([image for image in rendered if image is not None])
        answers = dict(zip(readable, read, strict=True))
        scores = [-math.inf] * len(runs)
        for index, answer in answers.items():
            nothing = NO_DIGIT_PRIOR * (1.0 - _any_digit(answer))
            scores[index] = math.log(max(answer.confidence + nothing, TINY))
        whole = answers[len(runs) - 1]
        no_number = NO_NUMBER_PRIOR * (1.0 - _any_digit(whole))
        chosen, share = segment.choose(pieces, runs, scores, nothing=math.log(max(no_number, TINY)))
        digits = [answers[index] for index in chosen]
        weight = NO_DIGIT_WEIGHT if len(digits) > 1 else 1.0
        return NumberPrediction(
            number="".join(str(digit.digit) for digit in digits),
            confidence=share * math.prod(_weighed(digit, weight) for digit in digits),
            digits=digits,
            whole=whole,
        )

    def _read(self, rendered: Sequence[preprocess.Rendered]) -> list[Prediction]:
        """What drawings are read as, whose images need no check: they are in [0, 1], with ink."""
        images = np.concatenate([each.image[None] for each in rendered])
        answer = self._answer(self._logits(images))
        return [
            Prediction(digit, confidence, is_digit, each.box, looks, probabilities, each.image)
            for digit, confidence, is_digit, looks, probabilities, each in zip(
                answer.digits.tolist(),
                answer.confidences.tolist(),
                answer.is_digit.tolist(),
                answer.looks.tolist(),
                answer.probabilities,
                rendered,
                strict=True,
            )
        ]

    def predict_images(self, images: Array) -> Predictions:
        """What many images are read as.

        Args:
            images: (N, 28, 28) as in MNIST: [0, 1] floats, or bytes 0..255; the most is ink.

        Raises:
            ValueError: another shape or dtype, or a number outside of the range.
        """
        images = np.asarray(images)
        if images.dtype == np.uint8:
            images = models.as_images(images)
        if not np.issubdtype(images.dtype, np.floating):
            raise ValueError(f"images expected uint8 or floats, got {images.dtype}")
        # NaN is the least and the most of all that it is among, and in no range.
        most = images.max(axis=tuple(range(1, images.ndim)), initial=0)
        if not (images.min(initial=0) >= 0 and most.max(initial=0) <= 1):
            raise ValueError("images expected finite numbers in [0, 1], got others")
        answer = self._answer(self._logits(images))
        answer.is_digit[most == 0] = False  # an empty image is none
        return answer

    def _answer(self, logits: Array) -> Predictions:
        """What logits (N, K) say."""
        probabilities = temper(logits, self.calibration.temperature)[:, : models.CLASSES]
        looks = digit_scores(logits)
        digits = probabilities.argmax(axis=1)
        return Predictions(
            digits=digits,
            confidences=probabilities.max(axis=1),
            is_digit=looks >= self.calibration.threshold,
            looks=looks,
            probabilities=probabilities,
        )


def _weighed(digit: Prediction, weight: float) -> float:
    """The confidence in a digit with the probability of "no digit" times `weight`, normalised."""
    any_digit = _any_digit(digit)
    return digit.confidence / max(any_digit + weight * (1.0 - any_digit), TINY)


def _any_digit(read: Prediction) -> float:
    """The probability that it is any digit at all."""
    return math.fsum(read.probabilities.tolist())


def weights_file(path: str | os.PathLike[str] | None = None) -> Path:
    """The path given, or that of the weights file that comes with numdraw."""
    return Path(path) if path is not None else _resources.find("weights") / WEIGHTS


def _calibration(path: Path, meta: Mapping[str, Any]) -> Calibration:
    calibration = meta.get("calibration")
    values = calibration if isinstance(calibration, dict) else {}
    temperature = values.get("temperature")
    threshold = values.get("threshold", -math.inf)  # of files of before 0.2: all are digits
    if type(temperature) is not float or not LOWEST <= temperature <= HIGHEST:
        raise CheckpointError(
            f"{path} expected calibration.temperature from {LOWEST} to {HIGHEST}, "
            f"got {temperature!r:.200}"
        )
    if "threshold" in values and not (type(threshold) is float and math.isfinite(threshold)):
        raise CheckpointError(
            f"{path} expected a finite number as calibration.threshold, got {threshold!r:.200}"
        )
    return Calibration(temperature, threshold)
