import gzip
import json
import re
from pathlib import Path

import pytest

from numdraw import evaluate
from numdraw.predictor import Predictor

SEVEN = [[[10, 10], [60, 10], [30, 90]]]
ONE = [[[10, 10], [10, 90]]]


def lines(*drawings: object) -> bytes:
    return b"".join(json.dumps(drawing).encode() + b"\n" for drawing in drawings)


def test_test_set_error_is_the_one_in_the_weights(
    predictor: Predictor, mnist: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main(["--data", str(mnist), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    scores = result["scores"]["MNIST test"]
    assert result["model"] == predictor.version
    assert scores["images"] == 10_000
    assert scores["error"] == pytest.approx(predictor.meta["scores"]["test"]["error"], abs=2e-4)
    assert sum(map(sum, scores["confusion"])) == 10_000


@pytest.mark.parametrize("packed", [False, True])
def test_drawings_are_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], packed: bool
) -> None:
    path = tmp_path / "ink.jsonl"
    content = lines(
        {"label": "7", "strokes": SEVEN, "writer": 3}, {"label": "3", "strokes": SEVEN},
        {"label": "7", "strokes": SEVEN}, {"label": "1", "strokes": ONE},
    )  # fmt: skip  # shorter so
    path.write_bytes(gzip.compress(content) if packed else content)
    assert evaluate.main(["--drawings", str(path), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]["ink.jsonl"]
    assert (scores["images"], scores["error"]) == (4, 0.25)
    assert scores["confusion"][3][7] == 1
    assert scores["confusion"][7][7] == 2


def test_table_names_the_model_and_each_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], predictor: Predictor
) -> None:
    path = tmp_path / "ink.jsonl"
    path.write_bytes(lines({"label": "7", "strokes": SEVEN}))
    assert evaluate.main(["--drawings", str(path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"model {predictor.version}\n\nink.jsonl: 1 digits\n  error  0.00%\n")
    assert (
        "\n  7                   0     0     0     0     0     0     0     1     0     0\n" in shown
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "ink.jsonl expected drawings, got none"),
        (b"{", "ink.jsonl:1 expected JSON, got"),
        (b"[]\n", r"ink.jsonl:1 expected an object, got \[\]"),
        (b"\xff\xfe\n", "ink.jsonl:1 expected JSON, got"),
        (lines({"label": "12", "strokes": SEVEN}), "expected a \"label\" of one digit, got '12'"),
        (lines({"label": 7, "strokes": SEVEN}), 'expected a "label" of one digit, got 7'),
        (lines({"strokes": SEVEN}), 'expected a "label" of one digit, got None'),
        (lines({"label": "7", "strokes": SEVEN}, {"label": "7"}), "ink.jsonl:2: "),
        (gzip.compress(b"x" * 100)[:10] + b"\xff" * 9, "ink.jsonl expected whole gzip data, got"),
        (gzip.compress(b"x" * 100)[:-9], "ink.jsonl expected whole gzip data, got"),
    ],
)
def test_what_is_no_drawing_is_named_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    path = tmp_path / "ink.jsonl"
    path.write_bytes(content)
    assert evaluate.main(["--drawings", str(path)]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("numdraw.evaluate: ")
    assert re.search(message, shown), shown


def test_missing_weights_and_data_say_how_to_get_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main(["--weights", str(tmp_path / "a.npz")]) == 1
    assert "make one with python -m numdraw.train" in capsys.readouterr().err
    assert evaluate.main(["--data", str(tmp_path)]) == 1
    assert "run scripts/fetch-data" in capsys.readouterr().err
