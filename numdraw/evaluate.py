"""Measures a weights file: on MNIST's test images, and on drawings with known labels.

    python -m numdraw.evaluate                        the shipped weights on the test images
    python -m numdraw.evaluate --weights FILE --data DIR
    python -m numdraw.evaluate --drawings FILE...     JSON lines, plain or .gz: a drawing a line,
                                                      {"label": "7", "strokes": [...]}
    python -m numdraw.evaluate --json                 the same as JSON

Images that trained the weights say nothing of them: measure with others.
"""

import argparse
import gzip
import json
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from numdraw.data import data_folder, read_split
from numdraw.metrics import confusion_matrix, scores
from numdraw.models import CLASSES
from numdraw.nn.layers import Array
from numdraw.predictor import Predictor
from numdraw.preprocess import DrawingError

GZIP_MAGIC = b"\x1f\x8b"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m numdraw.evaluate", description=(__doc__ or "").split("\n\n", 1)[0]
    )
    parser.add_argument("--weights", type=Path, help="the weights file (the shipped one)")
    parser.add_argument("--data", help="folder of the IDX files (NUMDRAW_DATA, or data/)")
    parser.add_argument(
        "--drawings", type=Path, nargs="+", help="JSON lines of drawings, in place of the test set"
    )
    parser.add_argument("--json", action="store_true", help="write JSON")
    args = parser.parse_args(arguments)
    try:
        predictor = Predictor.load(args.weights)
        if args.drawings:
            report = {path.name: score_drawings(predictor, path) for path in args.drawings}
        else:
            report = {"MNIST test": score_test(predictor, data_folder(args.data))}
    except (OSError, ValueError) as error:
        sys.stderr.write(f"numdraw.evaluate: {error}\n")
        return 1
    result = {"model": predictor.version, "scores": report}
    sys.stdout.write(json.dumps(result, indent=2) + "\n" if args.json else _table(result))
    return 0


def score_test(predictor: Predictor, folder: Path) -> dict[str, Any]:
    """The predictor's scores and confusion matrix on the test images of a folder."""
    test = read_split(folder, "t10k")
    return _scores(predictor.predict_images(test.images).probabilities, test.labels)


def score_drawings(predictor: Predictor, path: Path) -> dict[str, Any]:
    """The predictor's scores and confusion matrix on a file's drawings, each one digit.

    Raises:
        ValueError: a line is not a drawing of one digit with its label.
    """
    probabilities, labels = [], []
    for number, drawing in read_drawings(path):
        label = drawing.get("label")
        if not isinstance(label, str) or len(label) != 1 or not "0" <= label <= "9":
            raise ValueError(f'{path}:{number} expected a "label" of one digit, got {label!r:.50}')
        try:
            prediction = predictor.predict({"strokes": drawing.get("strokes")})
        except DrawingError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
        probabilities.append(prediction.probabilities)
        labels.append(int(label))
    if not labels:
        raise ValueError(f"{path} expected drawings, got none")
    return _scores(np.array(probabilities), np.array(labels))


def read_drawings(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each drawing of a JSON lines file, plain or gzip, with the number of its line.

    Raises:
        ValueError: a line is not a JSON object, or the gzip data is damaged.
    """
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
    try:
        with gzip.open(path, "rb") if packed else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    drawing = json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{path}:{number} expected JSON, got {error}") from error
                if not isinstance(drawing, dict):
                    raise ValueError(f"{path}:{number} expected an object, got {drawing!r:.50}")
                yield number, drawing
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} expected whole gzip data, got {error}") from error


def _scores(probabilities: Array, labels: Array) -> dict[str, Any]:
    confusion = confusion_matrix(probabilities.argmax(axis=1), labels)
    return {**scores(probabilities, labels), "confusion": confusion.tolist()}


def _table(result: dict[str, Any]) -> str:
    lines = [f"model {result['model']}"]
    for name, values in result["scores"].items():
        lines += [
            "",
            f"{name}: {values['images']:,} digits",
            f"  error  {values['error']:.2%}",
            f"  NLL    {values['nll']:.4f} nats",
            f"  ECE    {values['ece']:.2%}",
            "  label  answered " + " ".join(f"{digit:5d}" for digit in range(CLASSES)),
        ]
        for label, row in enumerate(values["confusion"]):
            lines.append(f"  {label}               " + " ".join(f"{count:5d}" for count in row))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
