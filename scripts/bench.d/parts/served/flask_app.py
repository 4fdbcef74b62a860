"""Flask with numdraw's own Predictor; gunicorn runs it."""

from flask import Flask, Response, jsonify, request

from benchmarks.parts.served.answers import answer, maybe_unread
from numdraw import Predictor

app = Flask(__name__)
_reader = maybe_unread(Predictor.load())


@app.post("/api/predict")
def predict() -> Response:
    """Read a drawing."""
    body = request.get_json()
    image = body.pop("image", False)
    return jsonify(answer(_reader.predict_number(body), _reader.version, image=image))
