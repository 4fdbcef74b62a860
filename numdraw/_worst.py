"""Sections of a report with pictures: what is no digit, and numbers; the worst cases first."""

from collections.abc import Callable
from html import escape

import numpy as np

from numdraw._page import MOST_SHOWN, ink
from numdraw.measured import Numbers, Others
from numdraw.nn.layers import Array
from numdraw.predictor import NumberPrediction

HEIGHT = 64  # px of a number's picture
MARGIN = 0.06  # around a number's picture, as a share of its size

Picture = Callable[[Array], bytes]


def others_section(answers: Others, looks: Array, picture: Picture) -> str:
    """What was said of drawings of no digit.

    Args:
        answers: to them.
        looks: (M,) the scores of digits, to tell them from.
        picture: an image as PNG.
    """
    strict = answers.scores(looks).get("strict")
    mistakes = answers.mistakes()
    rest = np.flatnonzero(~answers.predictions.is_digit)
    sample = (
        rest[np.linspace(0, len(rest) - 1, min(len(rest), 60)).astype(int)] if len(rest) else []
    )
    figures = (
        f"<p>AUROC {strict['auroc']:.2%}, false positives at 95% true positives "
        f"{strict['fpr95']:.2%}, mean confidence {strict['confidence']:.3f} of "
        f"{strict['images']:,} that nobody takes for a digit.</p>"
        if strict
        else ""
    )
    predictions = answers.predictions
    taken, refused = (
        "\n".join(
            f"<li>{ink(picture(answers.images[place]), answers.labels[place])}"
            f"<span>{escape(answers.labels[place])}</span>"
            f"<small>{f'a {predictions.digits[place]}, ' if predictions.is_digit[place] else ''}"
            f"{predictions.confidences[place]:.2f}</small></li>"
            for place in shown
        )
        for shown in (mistakes[:MOST_SHOWN], sample)
    )
    count = len(mistakes)
    return f"""<section>
<h2>{escape(answers.source)}</h2>
{figures}
<h3>{count:,} taken for digits{", the surest shown" * (count > MOST_SHOWN)}</h3>
<ol class="mistakes">
{taken}
</ol>
<h3>Some of those refused</h3>
<ol class="mistakes">
{refused}
</ol>
</section>"""


def numbers_section(answers: Numbers) -> str:
    """How whole numbers were read, with a box around each digit."""
    values = answers.scores
    wrong = answers.mistakes()
    right = np.flatnonzero(answers.correct)[:30]
    tiles = [
        "\n".join(
            f"<li>{_number(answers.drawings[place], answers.predictions[place])}"
            f"<span>{escape(answers.labels[place])}"
            f"{'' if answers.correct[place] else _read_as(answers.predictions[place])}</span>"
            f"<small>{answers.predictions[place].confidence:.2f}</small></li>"
            for place in places
        )
        for places in (wrong[:MOST_SHOWN], right)
    ]
    return f"""<section>
<h2>{escape(answers.source)}</h2>
<p>{values["accuracy"]:.2%} of {values["images"]:,} numbers are read rightly;
{values["miscounted"]:.2%} get too many or too few digits.</p>
<h3>{len(wrong):,} mistakes</h3>
<ol class="mistakes numbers">
{tiles[0]}
</ol>
<h3>Some of those right</h3>
<ol class="mistakes numbers">
{tiles[1]}
</ol>
</section>"""


def _read_as(prediction: NumberPrediction) -> str:
    return f' read as <b class="wrong">{prediction.number}</b>'


def _number(drawing: dict[str, Array], prediction: NumberPrediction) -> str:
    """The strokes of a number and the box of each digit, as SVG; of pixels the boxes alone."""
    boxes = np.array([digit.box for digit in prediction.digits])
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    size = np.maximum(high - low, 1e-9)
    margin = MARGIN * size.max()
    scale = HEIGHT / (size[1] + 2 * margin)
    lines = [
        '<polyline points="'
        + " ".join(
            f"{scale * (x - low[0] + margin):.1f},{scale * (y - low[1] + margin):.1f}"
            for x, y in stroke
        )
        + '"/>'
        for stroke in drawing.get("strokes", [])
    ]
    frames = [
        f'<rect x="{scale * (x0 - low[0] + margin):.1f}" y="{scale * (y0 - low[1] + margin):.1f}" '
        f'width="{max(1, scale * (x1 - x0)):.1f}" height="{max(1, scale * (y1 - y0)):.1f}"/>'
        for x0, y0, x1, y1 in boxes
    ]
    width = scale * (size[0] + 2 * margin)
    return (
        f'<svg viewBox="0 0 {width:.0f} {HEIGHT}" width="{width:.0f}" role="img" '
        f'aria-label="read as {prediction.number}">{"".join(frames)}{"".join(lines)}</svg>'
    )
