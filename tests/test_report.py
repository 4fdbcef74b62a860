import base64
import io
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numdraw import evaluate, report
from numdraw.measured import Answers
from numdraw.models import build, convnet_architecture, lenet_architecture, mlp_architecture
from numdraw.nn.checkpoint import save_checkpoint
from numdraw.nn.layers import Array
from numdraw.predictor import Predictions, Predictor
from numdraw.preprocess import VERSION
from numdraw.report import ReportError, write_report

REASON = "matplotlib is not installed: pip install 'numdraw[report]' to draw reports"
pytest.importorskip("matplotlib", reason=REASON)
from matplotlib.image import imread  # noqa: E402  # after the check that it is there

from numdraw import plots  # noqa: E402

ROOT = Path(__file__).parent.parent
MLP = mlp_architecture([70], 0.0)
ARCHITECTURES = [MLP, lenet_architecture(), convnet_architecture([4, 6, 8, 8], 0.1)]
HISTORY: list[dict[str, Any]] = [
    {"epoch": 1, "loss": 1.5, "validation_loss": 0.9, "validation_error": 0.2, "seconds": 3.5},
    {"epoch": 2, "loss": 1.1, "validation_loss": 0.5, "validation_error": 0.1, "note": "x"},
    {"epoch": 3, "loss": 0.9, "validation_loss": 0.6, "validation_error": 0.12},
]
PLOTS = {"confusion-1.svg", "reliability-1.svg", "high-confidence-1.svg"}
CURVES = {"loss.svg", "error.svg"}


def write_weights(path: Path, architecture: dict[str, Any] = MLP, **changes: Any) -> Path:
    """A weights file that no training made, some of its meta changed."""
    meta = {
        "architecture": architecture,
        "calibration": {"temperature": 1.5},
        "command": "python -m numdraw.train --seed 8 --epochs 3",
        "history": HISTORY,
        "kept_epoch": 2,
        "preprocessing": VERSION,
        **changes,
    }
    save_checkpoint(path, build(architecture, rng=np.random.default_rng(0)).arrays(), meta)
    return path


def answers(labels: list[int], digits: list[int], confidence: float = 0.9) -> Answers:
    """Answers with falling confidence, each image a point of ink at its own place."""
    images = np.zeros((len(labels), 28, 28), np.uint8)
    probabilities = np.empty((len(labels), 10))
    for k, digit in enumerate(digits):
        images[k, k // 28 % 28, k % 28] = 200
        sure = confidence - 1e-4 * k
        probabilities[k] = (1 - sure) / 9
        probabilities[k, digit] = sure
    predictions = Predictions(
        digits=probabilities.argmax(axis=1),
        confidences=probabilities.max(axis=1),
        is_digit=np.ones(len(labels), bool),
        looks=np.ones(len(labels)),
        probabilities=probabilities,
    )
    return Answers("made", images, np.array(labels), predictions)


@pytest.fixture
def blank_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves the time to draw, where a test looks at the page's words."""
    for name in ("confusion", "reliability", "high_confidence", "loss_curve", "error_curve"):
        monkeypatch.setattr(plots, name, lambda *given: b"")


class Page(HTMLParser):
    """What stands in a page: its tags with their attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def made(folder: Path, measured: list[Answers], **changes: Any) -> Page:
    """The page of a report on made answers."""
    weights = write_weights(folder / "a.npz", **changes)
    return Page(write_report(folder / "out", Predictor.load(weights), weights, measured))


def names(folder: Path) -> set[str]:
    return set(os.listdir(folder))


def bits(image: dict[str, str]) -> Array:
    """The ink of an image in the page, 0..255."""
    content = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
    pixels: Array = np.rint(255 * imread(io.BytesIO(content))).astype(np.uint8)
    assert (pixels[..., :3] == 0).all()
    ink: Array = pixels[..., 3]
    return ink


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda described: described["name"])
def test_the_command_writes_a_page_with_all_its_pictures(
    architecture: dict[str, Any], made_data: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip  # shorter so
    weights = write_weights(tmp_path / "a.npz", architecture)
    out = tmp_path / "new" / "out"
    command = ["--weights", str(weights), "--data", str(made_data), "--report", str(out)]
    assert evaluate.main(command) == 0
    assert capsys.readouterr().out.endswith(f"\n\nreport {out / 'index.html'}\n")
    assert names(out) == {"index.html", "filters.png"} | PLOTS | CURVES
    page = Page(out / "index.html")
    images = page.named("img")
    assert {image["src"] for image in images if not image["src"].startswith("data:")} == names(
        out
    ) - {"index.html"}
    assert all(image["alt"] for image in images)
    assert len(page.named("figure")) == len(page.named("figcaption")) == 6
    assert "MNIST test" in page.text


def test_the_page_asks_nothing_of_another_host_and_runs_nothing(tmp_path: Path) -> None:
    page = made(tmp_path, [answers([1, 2], [1, 3])])
    assert "://" not in page.html
    assert "@import" not in page.html
    assert "url(" not in page.html
    assert {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags} == set()
    for path in (tmp_path / "out").glob("*.svg"):
        assert re.findall(r'href="(?!#)[^"]*"', path.read_text()) == []


def test_json_stays_json_beside_a_report(
    made_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = str(write_weights(tmp_path / "a.npz"))
    command = ["--weights", weights, "--data", str(made_data), "--json"]
    assert evaluate.main(command) == 0
    without = capsys.readouterr().out
    assert evaluate.main([*command, "--report", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == without


@pytest.mark.usefixtures("blank_plots")
def test_the_head_tells_the_weights_and_the_scores(tmp_path: Path) -> None:
    # 2 wrong of 4: Wilson's interval is 15.00% to 85.00%, by hand
    page = made(tmp_path, [answers([1, 2, 3, 4], [1, 2, 4, 3])])
    size = (tmp_path / "a.npz").stat().st_size
    version = Predictor.load(tmp_path / "a.npz").version
    assert f"How well {version} reads digits" in page.text
    assert "made 2 of 4 wrong 50.00% 15.00% to 85.00%" in page.text
    assert "architecture mlp, dropout 0.0, hidden [70]" in page.text
    assert f"parameters {784 * 70 + 70 + 70 * 10 + 10:,} file {size:,} bytes, SHA-256" in page.text
    assert "temperature 1.500" in page.text
    assert "trained by python -m numdraw.train --seed 8 --epochs 3" in page.text


@pytest.mark.usefixtures("blank_plots")
def test_parameters_leave_out_what_batch_norm_observes(tmp_path: Path) -> None:
    page = made(tmp_path, [answers([1], [1])], architecture=ARCHITECTURES[2])
    weights = 25 * 4 + 9 * (4 * 6 + 6 * 8 + 8 * 8)
    assert f"parameters {weights + 3 * (4 + 6 + 8 + 8) + (9 * 8 + 1) * 10:,} file" in page.text


@pytest.mark.usefixtures("blank_plots")
def test_mistakes_are_shown_the_surest_first(tmp_path: Path) -> None:
    given = answers([4, 7, 2, 5], [9, 7, 1, 3])
    given.probabilities[3] = 0
    given.probabilities[3, 3] = given.predictions.confidences[3] = 0.99996
    page = made(tmp_path, [given])
    assert "3 mistakes in 4 digits; all shown" in page.text
    shown = [image for image in page.named("img") if image.get("class") == "ink"]
    assert [image["alt"] for image in shown] == ["image 3, a 5", "image 0, a 4", "image 2, a 2"]
    for image, k in zip(shown, (3, 0, 2), strict=True):
        np.testing.assert_array_equal(bits(image), given.images[k])
    assert (
        "5 read as 3 99.9%, #3 4 read as 9 90.0%, #0 2 read as 1 89.9%, #2" in page.text
    )  # 99.996% is not rounded up to a certainty that nobody claimed


@pytest.mark.usefixtures("blank_plots")
def test_float_images_are_shown_too(tmp_path: Path) -> None:
    given = answers([4], [9])
    page = made(tmp_path, [replace(given, images=given.images / np.float32(255))])
    [image] = [image for image in page.named("img") if image.get("class") == "ink"]
    np.testing.assert_array_equal(bits(image), given.images[0])
    assert "1 mistake in 1 digits" in page.text


@pytest.mark.usefixtures("blank_plots")
def test_of_many_mistakes_the_surest_are_shown(tmp_path: Path) -> None:
    page = made(tmp_path, [answers([4] * 1201, [9] * 1201, 0.95)])
    assert "1,201 mistakes in 1,201 digits; the 200 surest shown" in page.text
    assert len([image for image in page.named("img") if image.get("class") == "ink"]) == 200
    assert "#199" in page.text
    assert "#200" not in page.text


@pytest.mark.usefixtures("blank_plots")
def test_no_mistake_is_said_so(tmp_path: Path) -> None:
    page = made(tmp_path, [answers([4, 5], [4, 5])])
    assert "None in 2 digits." in page.text
    assert "There is no error." in page.text
    assert "0 of 2 wrong" in page.text


@pytest.mark.usefixtures("blank_plots")
def test_frequent_confusions_are_told_in_words_and_to_those_who_cannot_see(tmp_path: Path) -> None:
    page = made(tmp_path, [answers([4, 4, 9, 1, 1, 1], [9, 9, 4, 1, 1, 1])])
    told = "Most frequent: 4 read as 9 (2), 9 read as 4 (1)."
    assert told in page.text
    [confusion] = [image for image in page.named("img") if image["src"] == "confusion-1.svg"]
    assert told in confusion["alt"]


@pytest.mark.usefixtures("blank_plots")
def test_answers_over_99_percent_are_counted(tmp_path: Path) -> None:
    page = made(tmp_path, [answers([4, 4, 5], [9, 4, 5], 0.995)])
    assert "1 of the 3 answers with over 99% confidence is wrong." in page.text
    page = made(tmp_path, [answers([4, 4, 5], [9, 4, 5], 0.9)])
    assert "No answer has over 99% confidence." in page.text


def test_each_plot_has_a_dark_colour_for_every_light_one(tmp_path: Path) -> None:
    made(tmp_path, [answers([1, 2, 3] * 20, [1, 2, 4] * 20)])
    for path in (tmp_path / "out").glob("*.svg"):
        sheet, drawn = re.findall(r"<style>(@media.*?)</style>(.*)", path.read_text(), re.DOTALL)[0]
        assert sheet.startswith("@media (prefers-color-scheme: dark) {")
        colours = set(re.findall(r"(?:fill|stroke): #[0-9a-f]{6}", drawn))
        assert f"fill: {plots.TEXT}" in colours
        assert "<text" not in drawn  # letters are drawn, not left to the fonts that are there
        for colour in colours:
            assert f'[style*="{colour}"] {{ {colour.split(":")[0]}: #' in sheet, path.name


@pytest.mark.usefixtures("blank_plots")
def test_filters_of_a_convolution_are_its_last_axis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Array] = []

    def filters(weights: Array) -> tuple[bytes, int]:
        given.append(weights)
        return b"", len(weights)

    monkeypatch.setattr(plots, "filters", filters)
    page = made(tmp_path, [answers([1], [1])], architecture=ARCHITECTURES[1])
    network = build(ARCHITECTURES[1], rng=np.random.default_rng(0))
    weight = network.arrays()["conv2d1.weight"]  # (5, 5, 1, 16)
    assert given[0].shape == (16, 5, 5)
    np.testing.assert_array_equal(given[0][7], weight[:, :, 0, 7])
    assert "The first layer's 16 filters of 5 x 5 px" in page.text


@pytest.mark.usefixtures("blank_plots")
def test_learning_curves_name_the_epoch_that_was_kept(tmp_path: Path) -> None:
    page = made(tmp_path, [answers([1], [1])])
    assert "from 20.00% to 10.00%. The dot is epoch 2, whose weights were kept." in page.text
    assert "The dot" not in made(tmp_path, [answers([1], [1])], kept_epoch=None).text


@pytest.mark.parametrize(
    "history",
    [
        None,
        [],
        "long ago",
        [3],
        [{"epoch": 1, "loss": 1.5, "validation_loss": 0.9}],
        [{**HISTORY[0], "loss": "much"}],
        [{**HISTORY[0], "validation_loss": 10**999}],
        [{**HISTORY[0], "validation_error": float("-1")}],
    ],
)
def test_a_file_without_a_history_says_so_in_place_of_the_plots(
    history: Any, tmp_path: Path
) -> None:
    page = made(tmp_path, [answers([1], [1])], history=history)
    assert "holds no history of its training, so there are no learning curves" in page.text
    assert names(tmp_path / "out") == {"index.html", "filters.png"} | PLOTS


@pytest.mark.parametrize(
    "history", [HISTORY[:1], [{**HISTORY[0], "validation_error": 0, "validation_loss": 0.0}]]
)
def test_curves_of_one_epoch_and_of_no_error(history: Any, tmp_path: Path) -> None:
    made(tmp_path, [answers([1], [1])], history=history, kept_epoch=1)
    assert names(tmp_path / "out") >= CURVES


@pytest.mark.usefixtures("blank_plots")
def test_text_from_files_is_escaped(tmp_path: Path) -> None:
    bad = '<script>alert("&amp;")</script>'
    page = made(tmp_path, [replace(answers([1], [2]), source=bad)], command=bad)
    assert page.named("script") == []
    assert f"{bad} 1 of 1 wrong" in page.text
    assert f"trained by {bad}" in page.text


@pytest.mark.usefixtures("blank_plots")
def test_a_command_that_is_no_text_is_shown_as_it_is(tmp_path: Path) -> None:
    assert "trained by ['x']" in made(tmp_path, [answers([1], [1])], command=["x"]).text


def test_the_same_weights_and_data_give_the_same_bytes(made_data: Path, tmp_path: Path) -> None:
    weights = write_weights(tmp_path / "a.npz")
    (tmp_path / "matplotlibrc").write_text("axes.linewidth: 3\nlegend.fontsize: 30\n")
    for out, environ in (
        ("one", {}),
        ("two", {"PYTHONHASHSEED": "9", "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}),
    ):
        subprocess.run(
            [sys.executable, "-m", "numdraw.evaluate", "--weights", str(weights),
             "--data", str(made_data), "--report", str(tmp_path / out)],
            check=True, cwd=ROOT, env={**os.environ, **environ}, stdout=subprocess.DEVNULL,
        )  # fmt: skip  # shorter so
    assert names(tmp_path / "one") == names(tmp_path / "two")
    for name in names(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_each_file_of_drawings_has_its_section(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], predictor: Predictor
) -> None:
    seven = '"strokes": [[[10, 10], [60, 10], [30, 90]]]'
    (tmp_path / "a.jsonl").write_text(f'{{"label": "7", {seven}}}\n{{"label": "3", {seven}}}\n')
    (tmp_path / "b.jsonl").write_text(f'{{"label": "7", {seven}}}\n')
    files = [str(tmp_path / name) for name in ("a.jsonl", "b.jsonl")]
    assert evaluate.main(["--drawings", *files, "--report", str(tmp_path / "out")]) == 0
    page = Page(tmp_path / "out" / "index.html")
    assert "a.jsonl 1 of 2 wrong" in page.text
    assert "b.jsonl 0 of 1 wrong" in page.text
    assert "3 read as 7" in page.text
    assert {"confusion-1.svg", "confusion-2.svg"} <= names(tmp_path / "out")
    [image] = [image for image in page.named("img") if image.get("class") == "ink"]
    seen = predictor.predict([[[10, 10], [60, 10], [30, 90]]]).image
    np.testing.assert_array_equal(bits(image), np.rint(255 * seen).astype(np.uint8))


def test_a_report_replaces_its_own_files_only(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "index.html").write_text("old")
    (out / "notes.txt").write_text("mine")
    report.prepare(out)
    assert names(out) == {"index.html", "notes.txt"}
    assert (out / "index.html").read_text() == "old"
    made(tmp_path, [answers([1], [1])])
    assert (out / "index.html").read_text() != "old"
    assert (out / "notes.txt").read_text() == "mine"
    assert names(out) == {"index.html", "notes.txt", "filters.png"} | PLOTS | CURVES


@pytest.mark.usefixtures("blank_plots")
@pytest.mark.parametrize("failing", range(7))
def test_a_disk_that_fills_up_leaves_no_half_page(
    failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = write_weights(tmp_path / "a.npz")
    predictor = Predictor.load(weights)
    out = tmp_path / "out"
    calls = iter(range(99))
    replaced: list[str] = []
    real = os.replace

    def replace_some(source: Path, target: Path) -> None:
        if next(calls) == failing:
            raise OSError(28, "No space left on device")
        replaced.append(target.name)
        real(source, target)

    monkeypatch.setattr("os.replace", replace_some)
    with pytest.raises(ReportError, match=r"to, got .*out: \[Errno 28\] No space left on device"):
        write_report(out, predictor, weights, [answers([1], [1])])
    assert names(out) == set(replaced)
    assert len(replaced) == failing
    assert "index.html" not in replaced


def test_a_place_that_cannot_be_written_to_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "out"):
        assert evaluate.main(["--data", str(tmp_path), "--report", str(place)]) == 1
        assert re.fullmatch(
            rf"numdraw\.evaluate: report expected a folder that can be written to, got {place}: "
            r"\[Errno \d+\] .*; name another with --report\n",
            capsys.readouterr().err,
        )


def test_weights_that_change_meanwhile_are_refused(tmp_path: Path) -> None:
    predictor = Predictor.load(write_weights(tmp_path / "a.npz"))
    weights = write_weights(tmp_path / "a.npz", kept_epoch=3)
    with pytest.raises(
        ReportError, match=r"a\.npz expected to stay as it was while it was measured"
    ):
        write_report(tmp_path / "out", predictor, weights, [answers([1], [1])])
    assert not (tmp_path / "out").exists()
