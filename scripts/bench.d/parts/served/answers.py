"""What every server of the comparison answers to a drawing: the same as numdraw's own, as JSON."""

import os
from typing import Any

import numpy as np

from benchmarks.parts.served.variables import UNREAD
from numdraw import Predictor
from numdraw.predictor import NumberPrediction, Prediction

ONE = [[[0, 0], [0, 9]]]


def answer(prediction: NumberPrediction, version: str, *, image: bool) -> dict[str, Any]:
    """The body of POST /api/predict.

    Args:
        prediction: of the drawing.
        version: the model's.
        image: with what the network saw.
    """
    whole = prediction.whole
    digits = [{**_read(digit), "box": list(digit.box)} for digit in prediction.digits]
    body = {
        **_read(whole),
        "probabilities": whole.probabilities.tolist(),
        "number": prediction.number,
        "number_confidence": prediction.confidence,
        "digits": digits,
        "model": version,
    }
    if image:
        body["image"] = _pixels(whole)
        for told, digit in zip(digits, prediction.digits, strict=True):
            told["image"] = _pixels(digit)
    return body


def maybe_unread(predictor: Predictor) -> Predictor:
    """The predictor; where the environment asks for it, one that reads the same in everything.

    What a server then takes for an answer is its own: HTTP and JSON, in and out.
    """
    if os.environ.get(UNREAD):
        always = predictor.predict_number(ONE)
        predictor.predict_number = lambda drawing: always  # type: ignore[method-assign]
    return predictor


def _read(prediction: Prediction) -> dict[str, Any]:
    return {
        "digit": prediction.digit,
        "confidence": prediction.confidence,
        "is_digit": prediction.is_digit,
    }


def _pixels(prediction: Prediction) -> list[list[int]]:
    rows: list[list[int]] = np.rint(prediction.image * 255).astype(int).tolist()
    return rows
