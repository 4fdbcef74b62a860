"""What the application answers, as values for JSON.

    explanation  {"digit", "confidence", "probabilities", "no_digit", "model",
                  "steps": {"box", "scale", "fitted", "centre", "image"},
                  "importance": 28 rows of 28 numbers in nats,
                  "layers": [{"name", "kind", "channels", "rows", "columns", "values", "most",
                              "field": {"size", "stride", "offset"}, "filters", "filter_size"},
                             ..., {"name", "kind", "logits"}]}

A layer's "values" are base64 of a byte each, channel by channel and row by row; 255 is "most".
"""

from base64 import b64encode
from dataclasses import asdict
from typing import Any

import numpy as np

from numdraw.explain import Explanation, LayerOutput
from numdraw.nn.layers import Array
from numdraw.predictor import NumberPrediction, Prediction

DECIMALS = 4  # of what is shown as a picture or a bar: more than a screen can show


def read_number(prediction: NumberPrediction, *, with_images: bool = False) -> dict[str, Any]:
    """What a drawing was read as, as one digit and as a number.

    Args:
        with_images: what the network saw too, of the whole and of each digit.
    """
    digits = [{**_read(digit), "box": list(digit.box)} for digit in prediction.digits]
    answer = {
        **_read(prediction.whole),
        "probabilities": prediction.whole.probabilities.tolist(),
        "number": prediction.number,
        "number_confidence": prediction.confidence,
        "digits": digits,
    }
    if with_images:
        answer["image"] = image(prediction.whole.image)
        for told, digit in zip(digits, prediction.digits, strict=True):
            told["image"] = image(digit.image)
    return answer


def image(ink: Array) -> list[list[int]]:
    """An image in [0, 1] as rows of 0..255; 255 = ink."""
    rows: list[list[int]] = np.rint(ink * 255).astype(int).tolist()
    return rows


def explanation(explained: Explanation) -> dict[str, Any]:
    """Why a drawing is read as a digit; see above."""
    rendered, probabilities = explained.rendered, explained.probabilities.tolist()
    return {
        "digit": explained.digit,
        "confidence": probabilities[explained.digit],
        "probabilities": probabilities,
        "no_digit": max(1.0 - sum(probabilities), 0.0),  # rounding may bring the sum above 1
        "steps": {
            "box": list(rendered.box),
            "scale": rendered.scale,
            "fitted": image(rendered.fitted),
            "centre": list(rendered.centre),
            "image": image(rendered.image),
        },
        "importance": _rounded(explained.importance),
        "layers": [
            *map(_layer, explained.layers[:-1]),
            {**_named(explained.layers[-1]), "logits": _rounded(explained.layers[-1].values[0, 0])},
        ],
    }


def _layer(output: LayerOutput) -> dict[str, Any]:
    channels, rows, columns = output.values.shape
    most = float(output.values.max())
    scaled = np.rint(output.values * (255 / most if most > 0 else 0)).astype(np.uint8)
    answer = {
        **_named(output),
        "channels": channels,
        "rows": rows,
        "columns": columns,
        "values": b64encode(scaled.tobytes()).decode("ascii"),
        "most": most,
    }
    if output.receptive_field is not None:
        answer["field"] = asdict(output.receptive_field)
    if output.filters is not None:
        answer["filters"] = _rounded(output.filters)
        answer["filter_size"] = output.filters.shape[1]
    return answer


def _named(output: LayerOutput) -> dict[str, Any]:
    return {"name": output.name, "kind": output.kind}


def _rounded(values: Array) -> list[Any]:
    rounded: list[Any] = np.round(values.astype(np.float64), DECIMALS).tolist()
    return rounded


def _read(prediction: Prediction) -> dict[str, Any]:
    return {
        "digit": prediction.digit,
        "confidence": prediction.confidence,
        "is_digit": prediction.is_digit,
    }
