"""Makes training images of drawings: pairs of IDX files that stand beside MNIST's.

    python -m numdraw.ink                 of the drawings in data/, into data/
    python -m numdraw.ink --data DIR      of and into another folder
    python -m numdraw.ink --seed N        with other random numbers (0)
    python -m numdraw.ink --without NAME... leaving out these sources, for measuring on them

    made of                     images to train on     labels
    pendigits-train.jsonl.gz    3 of each drawing      0..9
    uji-digits.jsonl.gz         8 of each drawing      0..9
    omniglot-symbols.jsonl.gz   3 of each drawing      10 = no digit
    quickdraw-shapes.jsonl.gz   5 of each drawing      10
    skeletons of glyphs         10,000                 0..9
    scribbles                   20,000                 10

`NAME` becomes ink-NAME-train-images-idx3-ubyte, ink-NAME-train-labels-idx1-ubyte and, with one
image of every tenth writer's or tenth drawing, ink-NAME-valid-...: nothing of these is trained on.
`python -m numdraw.train` uses all such pairs that it finds. scripts/fetch-data --ink gets the
drawings. Where there are none, glyphs and scribbles are made all the same.

Drawings are varied as strokes, before they become pixels: as another hand, another pen or another
device would have drawn them. Then they go through the preprocessing of the page's canvas.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

import idx
from numdraw import glyphs, scribbles
from numdraw._pairs import ink_files
from numdraw.data import data_folder
from numdraw.drawings import LOOKALIKES, is_number, label_of, read_drawings
from numdraw.glyphs import Stroke
from numdraw.models import CLASSES, NO_DIGIT
from numdraw.nn.layers import Array
from numdraw.nn.parallel import cores
from numdraw.preprocess import LINE_WIDTH, SIDE, DrawingError, image_from_strokes
from numdraw.segment import sampled

GLYPHS, SCRIBBLES = 10_000, 20_000  # images
BLOTS = 0.08  # the share of scribbles that are no lines
PARTS = 16  # that a source is cut into; each has random numbers of its own, whatever the cores
EVERY = 10  # of so many writers or drawings one is for validation

STANDARD_PEN = 0.6  # the share of images drawn as wide as the page's are
PEN = (1.5, 3.8)  # px, the others' least and greatest line width

# How far a drawing is varied: standard deviations, of lengths as shares of the drawing's size.
SLANT = 0.15  # px a px
TURN = 5.0  # degrees
ASPECT = 0.15  # of the logarithm of width over height
WAVES, BEND = 2.5, 0.03  # of the waves that bend it: radians a size, and their height
SHIFT = 0.015  # of each stroke
TREMOR = 0.012  # of each point, in TREMBLING of drawings
HOOK = 0.06  # the length of what a pen adds as it comes down or leaves

TREMBLING, COARSE, DENSE, STAIRS = 0.3, 0.25, 0.2, 0.12  # shares of drawings
CUT, HOOKED = 0.15, 0.08  # of ends; of strokes
STEP = 1 / 30  # between points, of which a coarse drawing keeps some
KEPT = (0.17, 0.7)  # their share: on average a point every 0.05 to 0.2 of the size
CELL = (0.015, 0.09)  # of the grid of a mouse

# Drawings of no digit that a person could read as one teach nothing but doubt: besides LOOKALIKES,
# these characters of Omniglot, chosen by eye, and things of Quick, Draw!.
NOT_TRAINED = LOOKALIKES | {
    *("string bean", "boomerang", "hockey stick"),
    *(f"Early_Aramaic/{place:02d}" for place in (2, 3, 4, 6, 12, 14, 16, 17, 20)),
    *(f"Greek/{place:02d}" for place in (4, 9)),
    *(f"Japanese_(katakana)/{place:02d}" for place in (24, 27, 43)),
    *(f"Korean/{place:02d}" for place in (21, 22, 33)),
    *("Sanskrit/37", "Tagalog/03"),
}


@dataclass(frozen=True)
class Source:
    """A file of drawings that may train weights that are passed on.

    Attributes:
        name: of the file, without .jsonl.gz.
        digits: whether its drawings are digits, or none is.
        copies: images to train on of each drawing; the first is the drawing as it is.
    """

    name: str
    digits: bool
    copies: int


SOURCES = (
    Source("pendigits-train", digits=True, copies=3),
    Source("uji-digits", digits=True, copies=8),
    Source("omniglot-symbols", digits=False, copies=3),
    Source("quickdraw-shapes", digits=False, copies=5),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m numdraw.ink", description=(__doc__ or "").split("\n\n", 1)[0]
    )
    names = [*(source.name for source in SOURCES), "glyphs", "scribbles"]
    parser.add_argument("--data", help="folder of the drawings (NUMDRAW_DATA, or data/)")
    parser.add_argument("--seed", type=int, default=0, help="of every random number (0)")
    parser.add_argument("--without", nargs="+", choices=names, default=[], help="leave these out")
    args = parser.parse_args(arguments)
    folder = data_folder(args.data)
    try:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} expected a folder, got none")
        with ProcessPoolExecutor(cores()) as executor:
            for name in names:
                job = None if name in args.without else _job(folder, name, args.seed)
                if job is None:
                    _remove(folder, name)
                    continue
                parts = list(executor.map(job, range(PARTS)))
                for split, which in ("train", False), ("valid", True):
                    images = np.concatenate([part[0][part[2] == which] for part in parts])
                    labels = np.concatenate([part[1][part[2] == which] for part in parts])
                    images_path, labels_path = ink_files(folder, name, split)
                    if len(labels):
                        idx.write(images_path, images)
                        idx.write(labels_path, labels)
                    sys.stdout.write(f"{name}: {len(labels):,} images to {split}\n")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"numdraw.ink: {error}\n")
        return 1
    return 0


def vary(strokes: Sequence[Stroke], *, rng: np.random.Generator) -> list[Stroke]:
    """The drawing as another hand, pen or device might have drawn it.

    Args:
        strokes: (points, 2) each, at least one point.
        rng: draws how.

    Returns:
        As many strokes, in a box of about 1 x 1 around 0, 0.
    """
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    size = max(float((high - low).max()), np.finfo(np.float64).tiny)
    points = _bent((points - (low + high) / 2) / size, rng) @ _affine(rng).T
    varied = np.split(points, np.cumsum([len(stroke) for stroke in strokes])[:-1])
    varied = [stroke + rng.normal(0, SHIFT, 2) for stroke in varied]
    if rng.random() < COARSE:
        kept = rng.uniform(*KEPT)
        varied = [_thinned(stroke, kept, rng) for stroke in varied]
    elif rng.random() < DENSE:
        varied = [_thickened(stroke) for stroke in varied]
    varied = [_with_other_ends(stroke, rng) for stroke in varied]
    if rng.random() < TREMBLING:
        varied = [stroke + rng.normal(0, TREMOR, stroke.shape) for stroke in varied]
    if rng.random() < STAIRS:
        cell = rng.uniform(*CELL)
        upright = rng.random() < 0.5
        varied = [_on_grid(stroke, cell, upright=upright) for stroke in varied]
    return varied


def _affine(rng: np.random.Generator) -> Array:
    """(2, 2): slanted, stretched and turned."""
    angle = np.radians(rng.normal(0, TURN))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.exp(rng.normal(0, ASPECT) * np.array([0.5, -0.5]))
    affine: Array = turn @ np.array([[1.0, rng.normal(0, SLANT)], [0.0, 1.0]]) * stretch
    return affine


def _bent(points: Array, rng: np.random.Generator) -> Array:
    """Moved by three long waves across the drawing."""
    waves = np.sin(points @ rng.normal(0, WAVES, (2, 3)) + rng.uniform(0, 2 * np.pi, 3))
    bent: Array = points + waves @ rng.normal(0, BEND, (3, 2))
    return bent


def _thinned(stroke: Stroke, kept: float, rng: np.random.Generator) -> Stroke:
    """Points here and there along the stroke, with both ends: a fast hand, or a slow device."""
    stroke = sampled(stroke, step=STEP)
    chosen = rng.random(len(stroke)) < kept
    chosen[[0, -1]] = True
    return stroke[chosen]


def _thickened(stroke: Stroke) -> Stroke:
    """Two more points on each step."""
    at, places = np.linspace(0, len(stroke) - 1, 3 * len(stroke) - 2), np.arange(len(stroke))
    return np.stack([np.interp(at, places, axis) for axis in stroke.T], axis=1)


def _with_other_ends(stroke: Stroke, rng: np.random.Generator) -> Stroke:
    """Sometimes shorter at an end, sometimes with a hook there."""
    spare = len(stroke) // 12 + 1
    if len(stroke) > 2 * spare + 2:
        first, last = (int(rng.integers(spare + 1)) if rng.random() < CUT else 0 for _ in range(2))
        stroke = stroke[first : len(stroke) - last]
    if len(stroke) > 1 and rng.random() < HOOKED:
        hook = rng.normal(0, HOOK, (1, 2))
        if rng.random() < 0.5:
            return np.vstack([stroke[:1] + hook, stroke])
        return np.vstack([stroke, stroke[-1:] + hook])
    return stroke


def _on_grid(stroke: Stroke, cell: float, *, upright: bool) -> Stroke:
    """Points on a grid, as a mouse's; where upright, each step goes along one axis, then the other.

    Args:
        stroke: (points, 2).
        cell: of the grid.
        upright: whether steps are stairs.
    """
    points: Stroke = np.round(stroke / cell) * cell
    if not upright:
        return points
    stairs = np.repeat(points, 2, axis=0)[:-1]
    stairs[1::2, 0] = points[1:, 0]  # across first
    return stairs


def _job(folder: Path, name: str, seed: int) -> Callable[[int], tuple[Array, Array, Array]] | None:
    """What makes a part of a source's images; None where the source is not there."""
    if name == "glyphs":
        return partial(_glyphs, seed)
    if name == "scribbles":
        return partial(_scribbles, seed)
    path = folder / f"{name}.jsonl.gz"
    source = next(source for source in SOURCES if source.name == name)
    return partial(_drawn, path, source, seed) if path.is_file() else None


def _drawn(path: Path, source: Source, seed: int, part: int) -> tuple[Array, Array, Array]:
    """Images and labels of every PARTS-th drawing, and whether each is for validation."""
    rng = np.random.default_rng([seed, *source.name.encode(), part])
    made = []
    writers: dict[str, int] = {}
    for number, drawing in read_drawings(path):
        label = label_of(path, number, drawing)
        writer = drawing.get("writer")
        # who comes tenth is for validation, writer or drawing
        place = number if writer is None else writers.setdefault(str(writer), len(writers))
        if number % PARTS != part or label in NOT_TRAINED:
            continue
        valid = place % EVERY == 0
        if source.digits and not (len(label) == 1 and is_number(label)):
            raise ValueError(f"{path}:{number} expected a label of one digit, got {label!r:.50}")
        if "strokes" not in drawing:
            raise ValueError(f'{path}:{number} expected "strokes", got {sorted(drawing)}')
        try:
            plain = _quantised(image_from_strokes(drawing["strokes"]))
        except DrawingError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
        strokes = [np.array(stroke, np.float64) for stroke in drawing["strokes"]]
        kind = int(label) if source.digits else NO_DIGIT
        made.append((plain, kind, valid))
        if not valid:
            made += [(_varied(strokes, rng), kind, False) for _ in range(source.copies - 1)]
    return _arrays(made)


def _glyphs(seed: int, part: int) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng([seed, *b"glyphs", part])
    labels = rng.integers(CLASSES, size=GLYPHS // PARTS)
    return _arrays([(_varied(_digit(label, rng), rng), label, False) for label in labels])


def _scribbles(seed: int, part: int) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng([seed, *b"scribbles", part])
    made = []
    for _ in range(SCRIBBLES // PARTS):
        if rng.random() < BLOTS:
            made.append((_quantised(scribbles.blot(rng=rng)), NO_DIGIT, False))
            continue
        digits = [_digit(label, rng) for label in range(CLASSES)]
        made.append((_varied(scribbles.scribble(digits, rng=rng), rng), NO_DIGIT, False))
    return _arrays(made)


def _digit(label: int, rng: np.random.Generator) -> list[Stroke]:
    return glyphs.draw(str(rng.choice(glyphs.DIGITS[label])), rng=rng)


def _varied(strokes: Sequence[Stroke], rng: np.random.Generator) -> Array:
    """(28, 28) uint8: the drawing varied, and drawn with some pen."""
    width = LINE_WIDTH if rng.random() < STANDARD_PEN else rng.uniform(*PEN)
    varied = [stroke.tolist() for stroke in vary(strokes, rng=rng)]
    try:
        return _quantised(image_from_strokes(varied, line_width=width))
    except DrawingError:  # varied to nothing but a dot
        return _quantised(image_from_strokes([stroke.tolist() for stroke in strokes]))


def _quantised(image: Array) -> Array:
    quantised: Array = np.rint(image * 255).astype(np.uint8)
    return quantised


def _arrays(made: Sequence[tuple[Array, int, bool]]) -> tuple[Array, Array, Array]:
    """(N, 28, 28) uint8 images, (N,) uint8 labels, (N,) booleans."""
    images = np.array([image for image, _, _ in made], np.uint8).reshape(-1, SIDE, SIDE)
    labels = np.array([label for _, label, _ in made], np.uint8)
    return images, labels, np.array([valid for _, _, valid in made], bool)


def _remove(folder: Path, name: str) -> None:
    """Images of a source that is left out, from another time."""
    for split in ("train", "valid"):
        for path in ink_files(folder, name, split):
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
