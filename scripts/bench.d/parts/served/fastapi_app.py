"""FastAPI with numdraw's preprocessing and ONNX Runtime for the network; uvicorn runs it.

As FastAPI's documentation has it for speed: bodies and answers are pydantic's models, so that Rust
reads and writes them. The handler is `async`, for a thread pool costs more than it gives where the
work is the processor's alone.
"""

import os
from typing import Any

import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict

from benchmarks.parts.served.answers import answer, maybe_unread
from benchmarks.parts.served.variables import MODEL
from numdraw import Predictor
from numdraw.nn.layers import Array


class Drawing(BaseModel):
    """What a browser sends."""

    model_config = ConfigDict(extra="forbid")
    strokes: list[list[tuple[float, float]]]
    image: bool = False


class Digit(BaseModel):
    """One digit of a number."""

    digit: int
    confidence: float
    is_digit: bool
    box: list[float]
    image: list[list[int]] | None = None


class Answer(BaseModel):
    """What a drawing was read as."""

    digit: int
    confidence: float
    is_digit: bool
    probabilities: list[float]
    number: str
    number_confidence: float
    digits: list[Digit]
    model: str
    image: list[list[int]] | None = None


class Logits:
    """The network's logits, by ONNX Runtime on one thread."""

    def __init__(self, path: str) -> None:
        """Read the file."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self.calls = 0

    def __call__(self, images: Array) -> Array:
        """(N, 28, 28) -> (N, K)."""
        self.calls += 1
        logits: Array = self._session.run(["logits"], {"images": images})[0]
        return logits


def _predictor() -> Predictor:
    """The shipped weights' predictor, with its network run by ONNX Runtime."""
    predictor = Predictor.load()
    logits = Logits(os.environ[MODEL])
    predictor._logits = logits  # type: ignore[assignment]  # in the place of numdraw's own
    predictor.predict([[[0, 0], [0, 9]]])
    if not logits.calls:
        raise RuntimeError("the network expected to be ONNX Runtime's, got another")
    return predictor


app = FastAPI()
_reader = maybe_unread(_predictor())


@app.post("/api/predict")
async def predict(drawing: Drawing) -> Answer:
    """Read a drawing."""
    prediction = _reader.predict_number({"strokes": drawing.strokes})
    body: dict[str, Any] = answer(prediction, _reader.version, image=drawing.image)
    return Answer.model_validate(body)
