"""Measures a weights file: on MNIST's test images, and on drawings with known labels.

    python -m numdraw.evaluate                        the shipped weights on the test images
    python -m numdraw.evaluate --weights FILE --data DIR
    python -m numdraw.evaluate --drawings FILE...     JSON lines, plain or .gz: a drawing a line,
                                                      {"label": "7", "strokes": [...]}
    python -m numdraw.evaluate --json                 the same as JSON
    python -m numdraw.evaluate --report DIR           DIR/index.html too: a page with plots

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

from numdraw import report
from numdraw.data import data_folder, read_split
from numdraw.models import CLASSES
from numdraw.predictor import Predictor, weights_file
from numdraw.preprocess import DrawingError
from numdraw.report import Answers

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
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="write a page with plots into this folder too"
    )
    args = parser.parse_args(arguments)
    try:
        if args.report:
            report.prepare(args.report)
        predictor = Predictor.load(args.weights)
        if args.drawings:
            names = [path.name for path in args.drawings]
            measured = [
                answers_to_drawings(
                    predictor, path, str(path) if names.count(path.name) > 1 else path.name
                )
                for path in args.drawings
            ]
        else:
            measured = [answers_to_test(predictor, data_folder(args.data))]
        if args.report:
            page = report.write_report(args.report, predictor, weights_file(args.weights), measured)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"numdraw.evaluate: {error}\n")
        return 1
    result = {
        "model": predictor.version,
        "scores": {answers.source: _scores(answers) for answers in measured},
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n" if args.json else _table(result))
    if args.report and not args.json:
        sys.stdout.write(f"\nreport {page}\n")
    return 0


def answers_to_test(predictor: Predictor, folder: Path) -> Answers:
    """What the predictor says of the test images of a folder.

    Raises:
        FileNotFoundError, ValueError: a file is missing, damaged or empty.
    """
    test = read_split(folder, "t10k")
    if not len(test):
        raise ValueError(f"{folder} expected test images, got none")
    answers = predictor.predict_images(test.images)
    return Answers("MNIST test", test.images, test.labels, answers.probabilities)


def answers_to_drawings(predictor: Predictor, path: Path, source: str) -> Answers:
    """What the predictor says of a file's drawings, each one digit.

    Args:
        predictor: reads them.
        path: JSON lines, plain or .gz.
        source: what to call them.

    Raises:
        ValueError: a line is not a drawing of one digit with its label.
    """
    predictions, labels = [], []
    for number, drawing in read_drawings(path):
        label = drawing.get("label")
        if not isinstance(label, str) or len(label) != 1 or not "0" <= label <= "9":
            raise ValueError(f'{path}:{number} expected a "label" of one digit, got {label!r:.50}')
        try:
            predictions.append(predictor.predict({"strokes": drawing.get("strokes")}))
        except DrawingError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
        labels.append(int(label))
    if not labels:
        raise ValueError(f"{path} expected drawings, got none")
    return Answers(
        source,
        np.array([prediction.image for prediction in predictions]),
        np.array(labels),
        np.array([prediction.probabilities for prediction in predictions]),
    )


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


def _scores(answers: Answers) -> dict[str, Any]:
    return {**answers.scores, "confusion": answers.confusion.tolist()}


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
