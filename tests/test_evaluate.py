import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import idx
from numdraw import evaluate
from numdraw.predictor import Predictor

SEVEN = [[[10, 10], [60, 10], [30, 90]]]
ROOT = Path(__file__).parent.parent
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


def test_what_is_no_digit_is_held_against_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digits, others = tmp_path / "ink.jsonl", tmp_path / "others.jsonl"
    digits.write_bytes(lines({"label": "7", "strokes": SEVEN}, {"label": "1", "strokes": ONE}))
    house = [[[0, 40], [20, 0], [40, 40], [40, 90], [0, 90], [0, 40], [40, 40]]]
    others.write_bytes(
        lines({"label": "house", "strokes": house}, {"label": "line", "strokes": ONE})
    )
    args = ["--drawings", str(digits), "--not-digits", str(others)]
    assert evaluate.main([*args, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["not_digits"]["others.jsonl"]
    assert (found["strict"]["images"], found["lookalikes"]["images"]) == (1, 1)
    assert found["strict"]["auroc"] == 1.0
    assert found["lookalikes"]["auroc"] in (0.25, 0.75)  # equal to one, above or below the other
    assert evaluate.main(args) == 0
    shown = capsys.readouterr().out
    assert "\nothers.jsonl: 1 no digits\n  AUROC " in shown
    assert "\nothers.jsonl: 1 look like digits\n" in shown


def test_whole_numbers_are_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "numbers.jsonl"
    beside = [[[x + 90, y] for x, y in stroke] for stroke in ONE]
    path.write_bytes(
        lines(
            {"label": "71", "strokes": SEVEN + beside}, {"label": "72", "strokes": SEVEN + beside}
        )
    )
    assert evaluate.main(["--drawings", str(path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    found = result["numbers"]["numbers.jsonl"]
    assert (found["images"], found["accuracy"], found["miscounted"]) == (2, 0.5, 0.0)
    assert evaluate.main(["--drawings", str(path)]) == 0
    assert "numbers.jsonl: 2 numbers\n  accuracy " in capsys.readouterr().out


def test_what_is_no_digit_needs_a_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digits, others = tmp_path / "ink.jsonl", tmp_path / "others.jsonl"
    digits.write_bytes(lines({"label": "7", "strokes": SEVEN}))
    others.write_bytes(lines({"strokes": SEVEN}))
    assert evaluate.main(["--drawings", str(digits), "--not-digits", str(others)]) == 1
    assert 'others.jsonl:1 expected a "label", got None' in capsys.readouterr().err


def test_table_names_the_model_and_each_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], predictor: Predictor
) -> None:
    path = tmp_path / "ink.jsonl"
    path.write_bytes(lines({"label": "7", "strokes": SEVEN}))
    assert evaluate.main(["--drawings", str(path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"model {predictor.version}\n\nink.jsonl: 1 digits\n  error  ")
    assert re.search(r"\n  error +0\.00%  \[0\.00%, 79\.35%\]\n", shown)
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
        (lines({"label": "1a", "strokes": SEVEN}), "expected a \"label\" of digits, got '1a'"),
        (lines({"label": 7, "strokes": SEVEN}), 'expected a "label" of digits, got 7'),
        (lines({"strokes": SEVEN}), 'expected a "label" of digits, got None'),
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


def test_files_of_the_same_name_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / folder / "ink.jsonl" for folder in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(lines({"label": "7", "strokes": SEVEN}))
    assert evaluate.main(["--drawings", *map(str, paths), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert list(scores) == [*map(str, paths), "macro-average"]


def test_an_empty_test_set_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    idx.write(tmp_path / "t10k-images-idx3-ubyte", np.zeros((0, 28, 28), np.uint8))
    idx.write(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(0, np.uint8))
    assert evaluate.main(["--data", str(tmp_path)]) == 1
    message = f"numdraw.evaluate: {tmp_path} expected test images, got none\n"
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_matplotlib_is_not_imported_without_a_report(made_data: Path, more: list[str]) -> None:
    code = (
        "import sys; from numdraw import evaluate; status = evaluate.main(sys.argv[1:]); "
        "sys.exit(status or sorted(m for m in sys.modules if m.startswith('matplotlib')) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--data", str(made_data), *more],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip  # shorter so
    assert (done.returncode, done.stderr) == (0, "")
    assert "MNIST test" in done.stdout


def test_a_report_without_matplotlib_says_how_to_get_it(
    made_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip  # shorter so
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "numdraw.plots", raising=False)
    monkeypatch.delattr("numdraw.plots", raising=False)
    out = tmp_path / "out"
    assert evaluate.main(["--data", str(made_data), "--report", str(out)]) == 1
    assert re.fullmatch(
        r"numdraw\.evaluate: report expected the package matplotlib, got: .*; "
        r"install it with: pip install 'numdraw\[report\]'\n",
        capsys.readouterr().err,
    )
    assert os.listdir(tmp_path) == []
