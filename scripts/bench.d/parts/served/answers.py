"""What every server of the comparison answers to a drawing: the same as numdraw's own, as JSON."""

import os
from typing import Any

from benchmarks.parts.served.variables import UNREAD
from numdraw import Predictor
from numdraw._answers import read_number
from numdraw.predictor import NumberPrediction

ONE = [[[0, 0], [0, 9]]]


def answer(prediction: NumberPrediction, version: str, *, image: bool) -> dict[str, Any]:
    """The body of POST /api/predict.

    Args:
        prediction: of the drawing.
        version: the model's.
        image: with what the network saw.
    """
    return {**read_number(prediction, with_images=image), "model": version}


def maybe_unread(predictor: Predictor) -> Predictor:
    """The predictor; where the environment asks for it, one that reads the same in everything.

    What a server then takes for an answer is its own: HTTP and JSON, in and out.
    """
    if os.environ.get(UNREAD):
        always = predictor.predict_number(ONE)
        predictor.predict_number = lambda drawing: always  # type: ignore[method-assign]
    return predictor
