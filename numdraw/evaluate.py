"""Measures a weights file: on MNIST's test images, on drawings, and on drawings of no digit.

    python -m numdraw.evaluate                        the shipped weights on the test images
    python -m numdraw.evaluate --weights FILE --data DIR
    python -m numdraw.evaluate --drawings FILE...     JSON lines, plain or .gz: a drawing a line,
                                                      {"label": "7", "strokes": [...]}, or all of
                                                      them numbers, {"label": "2026", ...}
    python -m numdraw.evaluate --not-digits FILE...   the same of what is no digit, any "label"
    python -m numdraw.evaluate --json                 the same as JSON
    python -m numdraw.evaluate --report DIR           DIR/index.html too: a page with plots

What is no digit is held against the digits of --drawings, or of the test images without them.
Images that trained the weights say nothing of them: measure with others.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from numdraw import report
from numdraw.data import data_folder, read_split
from numdraw.drawings import is_number, label_of, read_drawings
from numdraw.measured import MACRO, Answers, Numbers, Others, macro_average, stacked
from numdraw.models import CLASSES
from numdraw.nn.layers import Array
from numdraw.predictor import Predictor, weights_file
from numdraw.preprocess import DrawingError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m numdraw.evaluate", description=(__doc__ or "").split("\n\n", 1)[0]
    )
    parser.add_argument("--weights", type=Path, help="the weights file (the shipped one)")
    parser.add_argument("--data", help="folder of the IDX files (NUMDRAW_DATA, or data/)")
    parser.add_argument(
        "--drawings",
        type=Path,
        nargs="+",
        default=[],
        help="JSON lines of drawn digits or numbers, in place of the test set",
    )
    parser.add_argument(
        "--not-digits", type=Path, nargs="+", default=[], help="JSON lines of what is no digit"
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
        named = _named([*args.drawings, *args.not_digits])
        measured = [answers_to_drawings(predictor, path, named[path]) for path in args.drawings]
        digits = [answers for answers in measured if isinstance(answers, Answers)]
        if not measured or (args.not_digits and not digits):
            digits = [answers_to_test(predictor, data_folder(args.data))]
            measured = [*digits, *measured]
        others = [answers_to_others(predictor, path, named[path]) for path in args.not_digits]
        result = _result(predictor, measured, others)
        if args.report:
            page = report.write_report(
                args.report, predictor, weights_file(args.weights), [*measured, *others]
            )
    except (OSError, ValueError) as error:
        sys.stderr.write(f"numdraw.evaluate: {error}\n")
        return 1
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
    return Answers("MNIST test", test.images, test.labels, predictor.predict_images(test.images))


def answers_to_drawings(predictor: Predictor, path: Path, source: str) -> Answers | Numbers:
    """What the predictor says of a file's drawings: digits, or, if any has more, numbers.

    Args:
        predictor: reads them.
        path: JSON lines, plain or .gz.
        source: what to call them.

    Raises:
        ValueError: a line is not a drawing of digits with its label.
    """
    drawings, labels, numbers = [], [], []
    for number, line in read_drawings(path):
        label = line.get("label")
        if not isinstance(label, str) or not is_number(label):
            raise ValueError(f'{path}:{number} expected a "label" of digits, got {label!r:.50}')
        drawings.append(_drawing(line))
        labels.append(label)
        try:
            numbers.append(predictor.predict_number(drawings[-1]))
        except DrawingError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
    if not labels:
        raise ValueError(f"{path} expected drawings, got none")
    if max(map(len, labels)) > 1:
        return Numbers(source, drawings, labels, numbers)
    return Answers(
        source,
        np.array([answer.whole.image for answer in numbers]),
        np.array([int(label) for label in labels]),
        stacked([answer.whole for answer in numbers]),
        [answer.number for answer in numbers],
    )


def answers_to_others(predictor: Predictor, path: Path, source: str) -> Others:
    """What the predictor says of a file's drawings, none of which is a digit.

    Raises:
        ValueError: a line is not a drawing with its label.
    """
    answers, labels = [], []
    for number, line in read_drawings(path):
        labels.append(label_of(path, number, line))
        try:
            answers.append(predictor.predict(_drawing(line)))
        except DrawingError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
    if not labels:
        raise ValueError(f"{path} expected drawings, got none")
    images = np.array([answer.image for answer in answers])
    return Others(source, images, labels, stacked(answers))


def _drawing(line: dict[str, Any]) -> dict[str, Any]:
    """What was drawn, without what is said of it."""
    kind = "pixels" if "pixels" in line else "strokes"
    return {kind: line.get(kind)}


def _named(paths: Sequence[Path]) -> dict[Path, str]:
    """What to call each file: its name, or its path where names are alike."""
    names = [path.name for path in paths]
    return {path: str(path) if names.count(path.name) > 1 else path.name for path in paths}


def _result(
    predictor: Predictor, measured: Sequence[Answers | Numbers], others: Sequence[Others]
) -> dict[str, Any]:
    """All figures, by kind and source."""
    digits = [answers for answers in measured if isinstance(answers, Answers)]
    result: dict[str, Any] = {
        "model": predictor.version,
        "scores": {
            answers.source: {
                **answers.scores,
                "intervals": answers.intervals,
                "confusion": answers.confusion.tolist(),
            }
            for answers in digits
        },
    }
    if len(digits) > 1:
        result["scores"][MACRO] = macro_average([answers.scores for answers in digits])
    if others:
        looks: Array = np.concatenate([answers.predictions.looks for answers in digits])
        result["not_digits"] = {each.source: each.scores(looks, intervals=True) for each in others}
        if len(others) > 1:
            strict = [s["strict"] for s in result["not_digits"].values() if "strict" in s]
            result["not_digits"][MACRO] = {"strict": macro_average(strict)}
    numbers = [answers for answers in measured if isinstance(answers, Numbers)]
    if numbers:
        result["numbers"] = {answers.source: answers.scores for answers in numbers}
    return result


def _table(result: dict[str, Any]) -> str:
    lines = [f"model {result['model']}"]
    for name, values in result["scores"].items():
        lines += ["", _digits_heading(name, values)]
        lines += _shares(values, ("error", "refused", "error_of_accepted", "split"))
        lines += _shares(values, ("nll", "brier"), ".4f")
        lines += _shares(values, ("ece",))
        if "confusion" in values:
            lines.append("  label  answered " + " ".join(f"{digit:5d}" for digit in range(CLASSES)))
            for label, row in enumerate(values["confusion"]):
                lines.append(f"  {label}               " + " ".join(f"{count:5d}" for count in row))
    for name, kinds in result.get("not_digits", {}).items():
        for kind, values in kinds.items():
            what = "no digits" if kind == "strict" else "look like digits"
            lines += ["", f"{name}: {_count(values)}{what}"]
            lines += _shares(values, ("auroc", "fpr95"))
            lines += _shares(values, ("confidence",), ".4f")
            lines += _shares(values, ("taken",))
    for name, values in result.get("numbers", {}).items():
        lines += ["", f"{name}: {values['images']:,} numbers"]
        lines += _shares(values, ("accuracy", "miscounted", "ece"))
    return "\n".join(lines) + "\n"


NAMES = {
    "error": "error",
    "refused": "refused",
    "error_of_accepted": "error of those accepted",
    "split": "right, but split",
    "nll": "NLL, nats",
    "brier": "Brier",
    "ece": "ECE",
    "auroc": "AUROC",
    "fpr95": "FPR at 95% TPR",
    "confidence": "mean confidence",
    "taken": "taken for digits",
    "accuracy": "accuracy",
    "miscounted": "too many or few digits",
}
WIDTH = max(map(len, NAMES.values()))


def _count(values: dict[str, Any]) -> str:
    return f"{values['images']:,} " if "images" in values else ""


def _digits_heading(name: str, values: dict[str, Any]) -> str:
    return f"{name}: {_count(values)}digits"


def _shares(values: dict[str, Any], names: Sequence[str], form: str = ".2%") -> list[str]:
    """A line for each score that there is, with its 95% interval where it has one."""
    lines = []
    for name in names:
        if name in values:
            line = f"  {NAMES[name]:{WIDTH}}  {values[name]:{form}}"
            if interval := values.get("intervals", {}).get(name):
                line += f"  [{interval[0]:{form}}, {interval[1]:{form}}]"
            lines.append(line)
    return lines


if __name__ == "__main__":
    sys.exit(main())
