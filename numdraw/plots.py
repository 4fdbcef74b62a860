"""The pictures of a report: SVG plots for light and dark, and PNG images. Needs matplotlib.

A plot is drawn in the colours of the light theme. A style sheet in the file itself turns each into
its dark counterpart where the reader prefers that, so the picture is the same in a page, opened
alone, or in a README. The same numbers give the same bytes, whatever the user's matplotlibrc.
"""

import io
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import blended_transform_factory

from numdraw.metrics import BINS, CalibrationBins, calibration_bins, equal_width, wilson_interval
from numdraw.nn.layers import Array

SIZE = (5.0, 4.6)  # inches: 360 x 331 pt, a phone's width, so that there nothing becomes smaller
TEXT, MUTED, GRID = "#1b2233", "#566076", "#d3dff1"
BLUE, RED = "#2348b0", "#c2272d"
CELL = "#c62b30"  # of a matrix, behind text
DARK = {
    TEXT: "#ebeee8",
    MUTED: "#a3b4ac",
    GRID: "#34463f",
    BLUE: "#8db4ff",
    RED: "#ff9d88",
    CELL: "#d2453d",
}

STYLE = {
    "svg.fonttype": "path",  # the same letters on every machine
    "svg.hashsalt": "numdraw",  # else the ids in the file are drawn at random
    "font.size": 11.0,
    "text.color": TEXT,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "xtick.labelcolor": TEXT,
    "ytick.color": MUTED,
    "ytick.labelcolor": TEXT,
    "legend.frameon": False,
}
UNDATED = {"Date": None, "Creator": None, "Format": None, "Type": None}

MOST_FILTERS = 64
FILTERS_A_ROW = 8
FILTER_SIDE = 84  # px, about, of each: 8 fill a page's column
FILTER_GAP = 6  # px
FILTER_BLUE, FILTER_RED = "#5586f5", "#ee5f55"  # seen on white and on black

HALF_DECADES = 10  # bins of doubt: 1 to 0.32, 0.32 to 0.1, ... and all under 0.00003
LEAST_DOUBT = 10.0 ** (-HALF_DECADES / 2)


def loss_curve(history: Sequence[Mapping[str, float]], kept_epoch: int | None) -> bytes:
    """The loss on training and validation images, epoch by epoch, as SVG.

    Args:
        history: a dict an epoch, with "epoch", "loss" and "validation_loss" (nats).
        kept_epoch: the one whose weights were kept, if known.
    """
    with style.context(STYLE, after_reset=True):
        figure, axes = _axes("epoch", "loss, nats")
        _curve(axes, history, "loss", MUTED, "training")
        _curve(axes, history, "validation_loss", BLUE, "validation")
        _mark_kept(axes, history, kept_epoch, "validation_loss")
        _log_scale(axes, [entry[key] for entry in history for key in ("loss", "validation_loss")])
        axes.legend()
        return _svg(figure)


def error_curve(history: Sequence[Mapping[str, float]], kept_epoch: int | None) -> bytes:
    """The share of wrong answers on validation images, epoch by epoch, as SVG.

    Args:
        history: a dict an epoch, with "epoch" and "validation_error", in [0, 1].
        kept_epoch: the one whose weights were kept, if known.
    """
    with style.context(STYLE, after_reset=True):
        figure, axes = _axes("epoch", "wrong answers")
        _curve(axes, history, "validation_error", BLUE, "validation")
        _mark_kept(axes, history, kept_epoch, "validation_error")
        _log_scale(axes, [entry["validation_error"] for entry in history])
        axes.yaxis.set_major_formatter(_percent())
        axes.legend()
        return _svg(figure)


def confusion(matrix: Array) -> bytes:
    """The confusion matrix as SVG; only errors are coloured, and each label's error is beside it.

    Args:
        matrix: (K, K) counts: row = label, column = answer.
    """
    classes = len(matrix)
    errors = matrix - np.diag(np.diag(matrix))
    most = max(int(errors.max()), 1)
    with style.context(STYLE, after_reset=True):
        figure, axes = _axes("answer", "label")
        for label, answer in np.ndindex(classes, classes):
            count = int(matrix[label, answer])
            right = label == answer
            shade = 0.0 if right or not count else 0.12 + 0.6 * count / most
            axes.add_patch(_square(answer, label, CELL, shade))
            if count:
                size, colour = (8.5, MUTED) if right else (11.0, TEXT)
                _write(axes, answer, label, f"{count}", size, colour)
        for label, total in enumerate(matrix.sum(axis=1)):
            if total:
                share = f"{errors[label].sum() / total:.1%}"
                _write(axes, classes + 0.35, label, share, 9.5, TEXT)
        _write(axes, classes + 0.35, -0.79, "wrong", 9.5, MUTED)
        axes.set(xlim=(-0.5, classes + 0.9), ylim=(classes - 0.5, -0.5))
        axes.set(xticks=range(classes), yticks=range(classes))
        axes.xaxis.set_label_coords(0.44, 1.1)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return _svg(figure)


def reliability(confidences: Array, correct: Array) -> bytes:
    """Accuracy against confidence, and the answers in each bin below, as SVG.

    Args:
        confidences: (N,) in [0, 1].
        correct: (N,) booleans.
    """
    bins = calibration_bins(confidences, correct, equal_width(confidences), BINS)
    with style.context(STYLE, after_reset=True):
        figure = Figure(SIZE, layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot([0, 1], [0, 1], color=MUTED, linestyle="--", linewidth=1)
        for count, confidence, accuracy in _filled(bins.counts, bins.confidences, bins.accuracies):
            _whisker(upper, confidence, accuracy, round(accuracy * count), count)
        upper.set(xlim=(0, 1), ylim=(-0.02, 1.02), ylabel="share of right answers")
        upper.yaxis.set_major_formatter(_percent())
        edges = np.arange(BINS) / BINS
        lower.bar(edges, bins.counts, width=0.9 / BINS, align="edge", color=BLUE, alpha=0.6)
        for edge, count in zip(edges, bins.counts, strict=True):
            if count:
                place = (edge + 0.45 / BINS, count)
                lower.annotate(
                    f"{count}", place, (0, 2), textcoords="offset points", ha="center", size=7.5
                )
        lower.set(yscale="log", ylim=(0.5, 12 * max(bins.counts)), ylabel="answers")
        lower.set_xlabel("confidence")
        lower.xaxis.set_major_formatter(_percent())
        lower.yaxis.set_major_locator(LogLocator(numticks=4))
        lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        lower.yaxis.set_minor_formatter(NullFormatter())
        return _svg(figure)


def high_confidence(confidences: Array, correct: Array) -> bytes:
    """The share of wrong answers against doubt, 1 - confidence, both logarithmic, as SVG.

    Args:
        confidences: (N,) in [0, 1].
        correct: (N,) booleans.
    """
    doubts = np.maximum(1.0 - confidences, LEAST_DOUBT)
    index = np.minimum((-2 * np.log10(doubts)).astype(np.int64), HALF_DECADES - 1)
    bins = calibration_bins(doubts, ~correct, index, HALF_DECADES)
    with style.context(STYLE, after_reset=True):
        figure, axes = _axes("confidence", "share of wrong answers")
        low = LEAST_DOUBT / 2
        axes.plot([low, 1], [low, 1], color=MUTED, linestyle="--", linewidth=1)
        for count, mean, share in _filled(bins.counts, bins.confidences, bins.accuracies):
            wrong = round(share * count)
            top = wilson_interval(wrong, count)[1]
            if wrong:
                _whisker(axes, mean, share, wrong, count)
            else:  # a logarithmic axis has no 0: an arrow down from the interval's end
                axes.plot([mean, mean], [top, low], color=BLUE, linewidth=1, linestyle=":")
                axes.plot(mean, top, "_", color=BLUE, markersize=9)
                axes.plot(mean, low * 1.3, "v", color=BLUE, markersize=5)
        edges = 10.0 ** (-np.arange(HALF_DECADES + 1) / 2)
        axes.set(xscale="log", yscale="log", xlim=(1, LEAST_DOUBT), ylim=(low, 1))
        axes.set_xticks(edges[::2], [f"{100 * (1 - edge):g}%" for edge in edges[::2]], size=9.5)
        axes.set_xticks(edges[1::2], minor=True)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(_percent())
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid(which="both", axis="x")
        _counts_above(axes, edges, bins)
        return _svg(figure)


def filters(weights: Array) -> tuple[bytes, int]:
    """The filters with the largest norms as a PNG picture, and how many it shows.

    Blue is above 0, red below, and the fainter the nearer to 0, on a scale of each filter's own.
    0 is transparent, so the picture lies on light and dark paper alike.

    Args:
        weights: (M, h, w).
    """
    norms = np.sqrt((weights.astype(np.float64) ** 2).sum(axis=(1, 2)))
    chosen = weights[np.argsort(-norms, kind="stable")[:MOST_FILTERS]]
    scale = max(1, FILTER_SIDE // weights.shape[1])
    tiles = [_tile(weight).repeat(scale, axis=0).repeat(scale, axis=1) for weight in chosen]
    height, width = tiles[0].shape[:2]
    rows, columns = math.ceil(len(tiles) / FILTERS_A_ROW), min(len(tiles), FILTERS_A_ROW)
    shape = (rows * (height + FILTER_GAP), columns * (width + FILTER_GAP), 4)
    sheet = np.zeros(shape, np.uint8)
    for k, tile in enumerate(tiles):
        top = k // FILTERS_A_ROW * (height + FILTER_GAP)
        left = k % FILTERS_A_ROW * (width + FILTER_GAP)
        sheet[top : top + height, left : left + width] = tile
    return _png(sheet[:-FILTER_GAP, :-FILTER_GAP]), len(tiles)


def digit(image: Array) -> bytes:
    """An image as PNG, black ink on nothing.

    Args:
        image: (H, W), bytes 0..255 or [0, 1] floats; the most is ink.
    """
    ink = image if image.dtype == np.uint8 else np.rint(255 * image).astype(np.uint8)
    black = np.zeros_like(ink)
    return _png(np.stack([black, black, black, ink], axis=2))


def _png(pixels: Array) -> bytes:
    """Pixels as PNG: (H, W, 4) uint8."""
    file = io.BytesIO()
    # no pnginfo: it would name matplotlib's version
    imsave(file, np.ascontiguousarray(pixels), format="png", pil_kwargs={"pnginfo": None})
    return file.getvalue()


def _percent() -> FuncFormatter:
    return FuncFormatter(lambda value, _: f"{100 * value:.3g}%")


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    return figure, axes


def _curve(
    axes: Axes, history: Sequence[Mapping[str, float]], key: str, colour: str, label: str
) -> None:
    epochs, values = [entry["epoch"] for entry in history], [entry[key] for entry in history]
    marker = "o" if len(history) == 1 else ""  # a line of one point cannot be seen
    axes.plot(epochs, values, color=colour, linewidth=1.8, marker=marker, label=label)


def _mark_kept(
    axes: Axes, history: Sequence[Mapping[str, float]], kept_epoch: int | None, key: str
) -> None:
    for entry in history:
        if entry["epoch"] == kept_epoch:
            label = f"kept, epoch {kept_epoch}"
            axes.plot(kept_epoch, entry[key], "o", color=RED, markersize=6, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _log_scale(axes: Axes, values: Sequence[float]) -> None:
    """Make the vertical axis logarithmic, unless a value is 0, which has no place there."""
    if min(values) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)


def _filled(*columns: Array) -> Iterator[tuple[int, float, float]]:
    """Count, confidence and accuracy of each bin that is not empty."""
    for count, first, second in zip(*columns, strict=True):
        if count:
            yield int(count), float(first), float(second)


def _whisker(axes: Axes, x: float, y: float, count: int, total: int) -> None:
    """A point with the 95% interval of a share of `count` out of `total`."""
    low, high = wilson_interval(count, total)
    axes.plot([x, x], [low, high], color=BLUE, linewidth=1.2, clip_on=False)
    axes.plot(x, y, "o", color=BLUE, markersize=5, clip_on=False)


def _counts_above(axes: Axes, edges: Array, bins: CalibrationBins) -> None:
    """Two rows over a plot: the wrong answers of each bin, and all of them."""
    counts, wrong = bins.counts, np.rint(bins.counts * bins.accuracies).astype(np.int64)
    for name, row, height in (("wrong", wrong, 1.09), ("of", counts, 1.035)):
        above = blended_transform_factory(axes.transData, axes.transAxes)
        axes.text(-0.02, height, name, transform=axes.transAxes, ha="right", size=8.5, color=MUTED)
        for left, right, count, value in zip(edges[:-1], edges[1:], counts, row, strict=True):
            if count:
                axes.text(
                    math.sqrt(left * right), height, f"{value}", transform=above,
                    ha="center", size=8.5,
                )  # fmt: skip  # shorter so


def _square(column: int, row: int, colour: str, shade: float) -> Rectangle:
    corner = (column - 0.47, row - 0.47)
    if shade:
        return Rectangle(corner, 0.94, 0.94, facecolor=colour, alpha=shade, linewidth=0)
    return Rectangle(corner, 0.94, 0.94, facecolor=GRID, alpha=0.35, linewidth=0)


def _write(axes: Axes, x: float, y: float, text: str, size: float, colour: str) -> None:
    axes.text(x, y, text, size=size, color=colour, ha="center", va="center")


def _tile(weight: Array) -> Array:
    """A filter's picture, (h, w, 4) uint8: its sign is the colour, its size the opacity."""
    most = float(np.abs(weight).max()) or 1.0
    tile = np.empty((*weight.shape, 4), np.uint8)
    tile[..., :3] = np.where(weight[..., None] > 0, _rgb(FILTER_BLUE), _rgb(FILTER_RED))
    tile[..., 3] = np.rint(255 * np.abs(weight) / most)
    return tile


def _rgb(colour: str) -> list[int]:
    return list(bytes.fromhex(colour.removeprefix("#")))


def _svg(figure: Figure) -> bytes:
    """The figure as SVG with the style sheet for the dark."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata=UNDATED)
    rules = "".join(
        f'[style*="{use}: {light}"] {{ {use}: {dark} !important }}\n'
        for light, dark in DARK.items()
        for use in ("fill", "stroke")
    )
    sheet = f"<style>@media (prefers-color-scheme: dark) {{\n{rules}}}</style>\n"
    return file.getvalue().replace("<defs>", f"{sheet}<defs>", 1).encode()
