"""Predictor: a weights file, and answers to drawings and images. What `import numdraw` gives."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from numdraw import _resources, models, preprocess
from numdraw.calibrate import HIGHEST, LOWEST, temper
from numdraw.nn.checkpoint import CheckpointError, load_checkpoint
from numdraw.nn.inference import Inference
from numdraw.nn.layers import Array
from numdraw.nn.network import Sequential

WEIGHTS = "digits.npz"
VERSION_DIGITS = 8  # hexadecimal, of the file's SHA-256: enough to tell a team's weights apart


@dataclass(frozen=True, eq=False)  # arrays have no single truth to compare by
class Prediction:
    """What a drawing was read as.

    Attributes:
        digit: the best guess, 0..9.
        confidence: the temperature-scaled probability of `digit`, in [0, 1].
        is_digit: whether anything was drawn. It cannot yet tell a digit from another drawing.
        box: x0, y0, x1, y1 of the ink, in the drawing's own coordinates.
        probabilities: (10,) float64, of each digit, summing to 1.
        image: (28, 28) float32 in [0, 1], 1 = ink: what the network saw.
    """

    digit: int
    confidence: float
    is_digit: bool
    box: tuple[float, float, float, float]
    probabilities: Array = field(repr=False)
    image: Array = field(repr=False)


@dataclass(frozen=True, eq=False)  # arrays have no single truth to compare by
class Predictions:
    """What N images were read as; for each of them, what `Prediction` has under the same names.

    Attributes:
        digits: (N,) int64.
        confidences: (N,) float64.
        is_digit: (N,) booleans.
        probabilities: (N, 10) float64.
    """

    digits: Array
    confidences: Array
    is_digit: Array
    probabilities: Array


class Predictor:
    """A trained network that reads drawings.

    Predicting changes nothing in it, so threads can share one.

    Attributes:
        version: the architecture and the first digits of the file's SHA-256: "mlp-1f3a9c20".
        meta: the model card, as the weights file has it, with "version" and "sha256".
        network: gives the logits; without dropout, and with batch norm folded in.
        temperature: divides the logits; see `numdraw.calibrate`.
    """

    def __init__(self, network: Sequential, *, temperature: float, meta: Mapping[str, Any]) -> None:
        """Keep a network, and how to read its logits.

        Args:
            network: 28x28 images in, 10 logits out.
            temperature: divides the logits; see `numdraw.calibrate`.
            meta: the model card, with "version" and "sha256".
        """
        self._logits = Inference(network)
        self.network = self._logits.network
        self.temperature = temperature
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
            temperature=_temperature(path, meta),
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
        rendered = preprocess.render(drawing)
        answer = self.predict_images(rendered.image[None])
        return Prediction(
            digit=int(answer.digits[0]),
            confidence=float(answer.confidences[0]),
            is_digit=bool(answer.is_digit[0]),
            probabilities=answer.probabilities[0],
            image=rendered.image,
            box=rendered.box,
        )

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
        # `not all` and not `any`, because NaN is in no range
        if not ((images >= 0) & (images <= 1)).all():
            raise ValueError("images expected finite numbers in [0, 1], got others")
        probabilities = temper(self._logits(images), self.temperature)
        digits = probabilities.argmax(axis=1)
        return Predictions(
            digits=digits,
            confidences=probabilities[np.arange(len(digits)), digits],
            is_digit=images.max(axis=(1, 2), initial=0) > 0,
            probabilities=probabilities,
        )


def weights_file(path: str | os.PathLike[str] | None = None) -> Path:
    """The path given, or that of the weights file that comes with numdraw."""
    return Path(path) if path is not None else _resources.find("weights") / WEIGHTS


def _temperature(path: Path, meta: Mapping[str, Any]) -> float:
    calibration = meta.get("calibration")
    temperature = calibration.get("temperature") if isinstance(calibration, dict) else None
    if type(temperature) is not float or not LOWEST <= temperature <= HIGHEST:
        raise CheckpointError(
            f"{path} expected calibration.temperature from {LOWEST} to {HIGHEST}, "
            f"got {temperature!r:.200}"
        )
    return temperature
