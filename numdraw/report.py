"""A report on a weights file: an HTML page with plots, which a browser shows without a network.

    file                               holds
    index.html                         the page, its style sheet, and the images that were missed
    loss.svg, error.svg                learning curves, where the weights file has its history
    filters.png                        the first layer's weights
    confusion-N.svg, reliability-N.svg,
    high-confidence-N.svg              of the Nth set of images measured, counted from 1

All is drawn before anything is written, and index.html is written last. Other files of the folder
are left alone. The plots need matplotlib: pip install 'numdraw[report]'.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from numdraw import models
from numdraw._page import MOST_SHOWN, figure, ink, page
from numdraw._worst import numbers_section, others_section
from numdraw.measured import Answers, Numbers, Others
from numdraw.metrics import wilson_interval
from numdraw.nn.checkpoint import load_checkpoint, written_whole
from numdraw.nn.layers import Array
from numdraw.predictor import Predictor

INDEX = "index.html"
MOST_CONFUSIONS = 5  # named in words
ENDLESS = 1e12  # no training has such an epoch or loss; an axis could not show it
CURVES = ("loss", "validation_loss", "validation_error")


class ReportError(ValueError):
    """A report that cannot be drawn or written."""


def prepare(folder: Path) -> None:
    """See that a report can be written, before there is something to write.

    Args:
        folder: where to; made where it is missing.

    Raises:
        ReportError: matplotlib is missing, or the folder cannot be made or written to.
    """
    _plots()
    try:
        with written_whole(folder / f".{INDEX}"):
            pass
        (folder / f".{INDEX}").unlink()
    except OSError as error:
        raise _unwritable(folder, error) from error


def write_report(
    folder: Path,
    predictor: Predictor,
    weights: Path,
    measured: Sequence[Answers | Numbers | Others],
) -> Path:
    """Write the report, and return the path of its page.

    Args:
        folder: where to; made where it is missing.
        predictor: what gave the answers.
        weights: the file that it was loaded from.
        measured: the answers, for each set of images; to digits at least.

    Raises:
        ReportError: matplotlib is missing, the weights file is no longer the predictor's, or the
            folder cannot be written to.
    """
    plots = _plots()
    arrays, meta = load_checkpoint(weights)
    if meta["sha256"] != predictor.meta["sha256"]:
        raise ReportError(
            f"{weights} expected to stay as it was while it was measured, got another file in its "
            "place; run it again"
        )
    files: dict[str, bytes] = {}
    digits = [answers for answers in measured if isinstance(answers, Answers)]
    parts = [_head(predictor, weights, digits)]
    for number, answers in enumerate(digits, start=1):
        parts.append(_source(plots, files, answers, number))
    for others in measured:
        if isinstance(others, Numbers):
            parts.append(numbers_section(others))
        elif isinstance(others, Others):
            looks = np.concatenate([answers.predictions.looks for answers in digits])
            parts.append(others_section(others, looks, plots.digit))
    parts += [_learning(plots, files, meta), _first_layer(plots, files, arrays)]
    title = f"How well {predictor.version} reads digits"
    files[INDEX] = page(title, "\n".join(parts)).encode()  # the last
    try:
        for name, content in files.items():
            with written_whole(folder / name) as file:
                file.write(content)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return folder / INDEX


def _plots() -> ModuleType:
    """The module numdraw.plots; matplotlib is imported only for a report."""
    try:
        from numdraw import plots
    except ImportError as error:
        raise ReportError(
            f"report expected the package matplotlib, got: {error}; "
            "install it with: pip install 'numdraw[report]'"
        ) from error
    return plots


def _unwritable(folder: Path, error: OSError) -> ReportError:
    return ReportError(
        f"report expected a folder that can be written to, got {folder}: {error}; name another "
        "with --report"
    )


def _head(predictor: Predictor, weights: Path, measured: Sequence[Answers]) -> str:
    rows = []
    for answers in measured:
        values = answers.scores
        wrong, total = len(answers.mistakes()), len(answers.labels)
        low, high = wilson_interval(wrong, total)
        rows.append(
            f'<tr><th scope="row">{escape(answers.source)} '
            f"<small>{wrong:,} of {total:,} wrong</small></th>"
            f"<td>{values['error']:.2%} <small>{low:.2%} to {high:.2%}</small></td>"
            f"<td>{values['nll']:.4f}</td><td>{values['ece']:.2%}</td></tr>"
        )
    meta = predictor.meta
    architecture: dict[str, Any] = meta["architecture"]
    described = [f"{name} {value}" for name, value in architecture.items() if name != "name"]
    parameters = models.build(architecture, rng=None).values.size
    facts = {
        "architecture": escape(", ".join([str(architecture["name"]), *described])),
        "parameters": f"{parameters:,}",
        "file": f"{weights.stat().st_size:,} bytes, SHA-256 <code>{escape(meta['sha256'])}</code>",
        "temperature": f"{predictor.calibration.temperature:.3f}",
        "trained by": _command(meta),
    }
    listed = "\n".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items())
    return f"""<h1>How well <span class="model">{escape(predictor.version)}</span> reads digits</h1>
<div class="wide"><table>
<thead><tr><th scope="col">images</th>
<th scope="col">error <small>95% interval</small></th><th scope="col">NLL, nats</th>
<th scope="col">ECE</th></tr></thead>
<tbody>
{"".join(rows)}
</tbody></table></div>
<p class="note">Error is the share of wrong answers; its 95% interval (Wilson's) tells how far
chance in the choice of images may have moved it. NLL is the mean of &minus;log of the probability
given to the right digit. ECE is how far confidence is from the share of right answers, on average.
The lower, the better, all three.</p>
<dl>
{listed}
</dl>"""


def _command(meta: Mapping[str, Any]) -> str:
    """The training command, which breaks between its options only, where it can."""
    first, *options = str(meta.get("command", "not recorded")).split(" --")
    parts = [first, *(f"--{option}" for option in options)]
    return f"<code>{' '.join(f'<span>{escape(part)}</span>' for part in parts)}</code>"


def _source(plots: ModuleType, files: dict[str, bytes], answers: Answers, number: int) -> str:
    """The section on one set of images; its plots go into `files`."""
    correct = answers.digits == answers.labels
    confidences = answers.confidences
    names = [f"{name}-{number}.svg" for name in ("confusion", "reliability", "high-confidence")]
    files[names[0]] = plots.confusion(answers.confusion)
    files[names[1]] = plots.reliability(confidences, correct)
    files[names[2]] = plots.high_confidence(confidences, correct)
    ece = answers.scores["ece"]
    sure = confidences > 0.99
    sure_wrong = int((sure & ~correct).sum())
    of_the_sure = (
        f"{sure_wrong:,} of the {sure.sum():,} answers with over 99% confidence "
        f"{'is' if sure_wrong == 1 else 'are'} wrong."
        if sure.any()
        else "No answer has over 99% confidence."
    )
    confusions = _confusions(answers)
    figures = [
        figure(
            names[0],
            f"Confusion matrix. {confusions}",
            f"What was taken for what. A row is what the digit is, a column what was answered. "
            f"Errors are red, the more the redder; right answers stand in grey on the diagonal. "
            f"{confusions}",
        ),
        figure(
            names[1],
            f"Reliability diagram: share of right answers against confidence, in 15 bins. "
            f"ECE {ece:.2%}.",
            f"Does confidence mean what it says? Each point is a bin of answers, its line the 95% "
            f"interval; on the dashed diagonal confidence is the share of right answers, below it "
            f"the network is too sure of itself. The bars count the answers of each bin, by powers "
            f"of ten: few answers make a long line. ECE {ece:.2%}.",
        ),
        figure(
            names[2],
            f"Share of wrong answers against confidence, both logarithmic. {of_the_sure}",
            f"The same where nearly all answers lie: the right end, stretched, in wrong answers. "
            f"Upright lines bound the bins; the numbers on top count their wrong answers and all. "
            f"Below the dashed line the network is better than it says, above it worse. An arrow "
            f"is a bin without a mistake, from the end of its interval down. {of_the_sure}",
        ),
    ]
    return f"""<section>
<h2>{escape(answers.source)}</h2>
<div class="figures">
{"".join(figures)}
</div>
{_mistakes(plots, answers)}
</section>"""


def _confusions(answers: Answers) -> str:
    """The most frequent errors, in words."""
    errors = answers.confusion - np.diag(np.diag(answers.confusion))
    flat = np.argsort(-errors, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [(*divmod(int(place), models.CLASSES), int(errors.flat[place])) for place in flat]
    told = [f"{label} read as {digit} ({count:,})" for label, digit, count in pairs if count]
    return f"Most frequent: {', '.join(told)}." if told else "There is no error."


def _mistakes(plots: ModuleType, answers: Answers) -> str:
    places = answers.mistakes()
    count, total = len(places), len(answers.labels)
    if not count:
        return f"<h3>Mistakes</h3>\n<p>None in {total:,} digits.</p>"
    shown = f"the {MOST_SHOWN} surest shown" if count > MOST_SHOWN else "all shown"
    tiles = []
    for place in places[:MOST_SHOWN]:
        label, digit = answers.labels[place], answers.digits[place]
        image = ink(plots.digit(answers.images[place]), f"image {place}, a {label}")
        tiles.append(
            f"<li>{image}"
            f'<span>{label} read as <b class="wrong">{digit}</b></span>'
            f"<small>{_sureness(answers.confidences[place])}, #{place}</small></li>"
        )
    return f"""<h3>{count:,} mistake{"s" * (count > 1)} in {total:,} digits; {shown}</h3>
<p class="note">As the network saw them, the surest mistake first: what the label says, what was
read, with what confidence, and the image's place in its file, counted from 0.</p>
<ol class="mistakes">
{"".join(tiles)}
</ol>"""


def _sureness(confidence: float) -> str:
    """A confidence in percent, rounded down: 100% is said of nothing less."""
    return f"{math.floor(1000 * confidence) / 10:.1f}%"


def _learning(plots: ModuleType, files: dict[str, bytes], meta: Mapping[str, Any]) -> str:
    """The section on the training; its plots go into `files`."""
    history = _history(meta)
    if history is None:
        return """<section>
<h2>How it learnt</h2>
<p>The weights file holds no history of its training, so there are no learning curves.</p>
</section>"""
    kept = meta.get("kept_epoch")
    kept = kept if type(kept) is int and 1 <= kept <= len(history) else None
    files["loss.svg"] = plots.loss_curve(history, kept)
    files["error.svg"] = plots.error_curve(history, kept)
    first, last = history[0], history[(kept or len(history)) - 1]
    error = f"from {first['validation_error']:.2%} to {last['validation_error']:.2%}"
    loss = f"from {first['validation_loss']:.3f} to {last['validation_loss']:.3f} nats"
    dot = f" The dot is epoch {kept}, whose weights were kept." if kept else ""
    figures = [
        figure(
            "loss.svg",
            f"Loss by epoch; on the validation images {loss}.",
            "The loss after each epoch, before calibration; lower is better. Training is harder "
            "than validation where images are warped, units dropped and labels smoothed, so its "
            "line may lie above. A validation loss that rises together with the validation error "
            f"tells of learning by heart.{dot}",
        ),
        figure(
            "error.svg",
            f"Validation error by epoch, {error}.",
            "The share of wrong answers on the validation images, which were held out of training: "
            f"{error}.{dot}",
        ),
    ]
    return f"""<section>
<h2>How it learnt</h2>
<div class="figures">
{"".join(figures)}</div>
</section>"""


def _history(meta: Mapping[str, Any]) -> list[dict[str, float]] | None:
    """The epochs that the weights file tells of, or None where it tells of none."""
    history = meta.get("history")
    if not isinstance(history, list) or not history:
        return None
    for entry in history:
        if not isinstance(entry, dict):
            return None
        values = [entry.get(key) for key in ("epoch", *CURVES)]
        if not all(isinstance(value, int | float) and 0 <= value < ENDLESS for value in values):
            return None
    return history


def _first_layer(plots: ModuleType, files: dict[str, bytes], arrays: Mapping[str, Array]) -> str:
    """The section on the first layer's weights; their picture goes into `files`."""
    if "conv2d1.weight" in arrays:
        weights = np.moveaxis(arrays["conv2d1.weight"][:, :, 0], -1, 0)  # (k, k, C, M), C = 1
        what = f"filters of {weights.shape[1]} x {weights.shape[2]} px, slid over the image"
    else:
        weights = arrays["linear1.weight"].reshape(-1, *models.INPUT)
        what = f"units, each of which sees the whole image, {models.INPUT[0]} x {models.INPUT[1]}"
    files["filters.png"], shown = plots.filters(weights)
    many = len(weights) > shown
    which = f"{shown} of the first layer's {len(weights)}" if many else f"The first layer's {shown}"
    picture = figure(
        "filters.png",
        f"{shown} filters of the first layer, as small pictures.",
        f"{which} {what}{'; those with the largest weights' if many else ''}. Ink on "
        '<span class="above">blue</span> raises what a filter answers, ink on '
        '<span class="below">red</span> lowers it; the fainter, the less. Each filter has a scale '
        "of its own.",
        kind="filters",
    )
    return f"""<section>
<h2>What the first layer looks for</h2>
{picture}</section>"""
