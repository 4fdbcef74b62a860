"""Training data as arrays: MNIST's four IDX files, and pairs of such files of other ink.

    file                              shape             holds
    train-images-idx3-ubyte           (60000, 28, 28)   0 = paper, 255 = ink
    train-labels-idx1-ubyte           (60000,)          0..9
    t10k-images-idx3-ubyte            (10000, 28, 28)   the test images
    t10k-labels-idx1-ubyte            (10000,)
    ink-NAME-train-images-idx3-ubyte  (N, 28, 28)       to train on beside MNIST's; see numdraw.ink
    ink-NAME-train-labels-idx1-ubyte  (N,)              0..9, and 10 = no digit
    ink-NAME-valid-...                                  to validate on beside those held out

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
"""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import idx
from numdraw import corrections
from numdraw._pairs import INK, ink_files
from numdraw.models import CLASSES, INPUT, NO_DIGIT
from numdraw.nn.layers import Array

FOLDER_VARIABLE = "NUMDRAW_DATA"
DEFAULT_FOLDER = "data"


@dataclass(frozen=True)
class Examples:
    """Images and what they show.

    Attributes:
        images: (N, 28, 28) uint8, 255 = ink.
        labels: (N,) int64, 0..9, and 10 for what is no digit.
        sha256: of each file that they came from, by its name.
    """

    images: Array
    labels: Array
    sha256: dict[str, str]

    def __len__(self) -> int:
        """N."""
        return len(self.labels)

    def take(self, indices: Array) -> "Examples":
        """The examples at these indices, copied."""
        return Examples(self.images[indices], self.labels[indices], self.sha256)


@dataclass(frozen=True)
class Part:
    """Some of the examples, named by their places: none is copied until it is taken.

    Attributes:
        examples: all of them.
        indices: (N,), which of them are the part.
        in_turns: how many of these, at the end, take turns: an epoch has a share of them; see
            `training.INK_EPOCHS`.
    """

    examples: Examples
    indices: Array
    in_turns: int = 0

    def __len__(self) -> int:
        """N."""
        return len(self.indices)

    def take(self, indices: Array) -> Examples:
        """The part's examples at these indices, copied."""
        return self.examples.take(self.indices[indices])

    def __add__(self, others: Examples) -> "Part":
        """These and all of the others after them; the others take turns."""
        added = np.arange(len(others)) + len(self.examples)
        return Part(
            join([self.examples, others]),
            np.concatenate([self.indices, added]),
            self.in_turns + len(others),
        )


def data_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the IDX files: the one given, or NUMDRAW_DATA's, or data/."""
    return Path(given or os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER)


def find_split(folder: Path, split: str) -> tuple[Path, Path]:
    """The files of a split's images and labels, unread.

    Args:
        folder: where the files are, plain or with .gz.
        split: "train" or "t10k".

    Raises:
        FileNotFoundError: a file is missing; the message says how to get it.
    """
    return (
        _find(folder, f"{split}-images-idx3-ubyte"),
        _find(folder, f"{split}-labels-idx1-ubyte"),
    )


def read_split(folder: Path, split: str) -> Examples:
    """The examples of a split.

    Args:
        folder: where the files are, plain or with .gz.
        split: "train" or "t10k".

    Raises:
        FileNotFoundError: a file is missing; the message says how to get it.
        idx.IdxError: a file is damaged.
        ValueError: the two files do not hold images and labels of digits, one for one.
    """
    return _read_pair(*find_split(folder, split), CLASSES)


def find_ink(folder: Path, split: str) -> list[tuple[Path, Path]]:
    """The pairs of files of other ink than MNIST's, by name: images and labels.

    Args:
        folder: where the files are, plain or with .gz.
        split: "train" or "valid".
    """
    ending = f"-{split}-images-idx3-ubyte"
    names = {
        path.name.removesuffix(".gz").removesuffix(ending).removeprefix(INK)
        for end in (ending, f"{ending}.gz")
        for path in folder.glob(f"{INK}*{end}")
    }
    pairs = (ink_files(folder, name, split) for name in sorted(names))
    return [(_find(folder, images.name), _find(folder, labels.name)) for images, labels in pairs]


def source_of(files: tuple[Path, Path]) -> str:
    """The name of the source that a pair of `find_ink` is from."""
    return re.sub("-(train|valid)-images-idx3-ubyte.*", "", files[0].name).removeprefix(INK)


def read_ink(pairs: Sequence[tuple[Path, Path]]) -> Examples:
    """The examples of pairs of `find_ink`, labels 0..10.

    Raises:
        idx.IdxError, ValueError: as in `read_split`.
    """
    return join([_read_pair(*pair, NO_DIGIT + 1) for pair in pairs])


def read_corrections(folder: Path) -> Examples:
    """The examples that a server has kept with --corrections, while it writes none.

    Raises:
        FileNotFoundError: there are none.
        corrections.BusyError, idx.IdxError, ValueError: they can't be read, as in `read_split`.
    """
    pair = ink_files(folder, corrections.SOURCE, "train")
    with corrections.held_still(folder):
        if not pair[0].exists():
            raise FileNotFoundError(
                f"--corrections expected {pair[0]}, got no such file; a server that runs with "
                "--corrections makes it at the first correction of a single digit"
            )
        return read_ink([pair])


def join(parts: Sequence[Examples]) -> Examples:
    """The examples of all parts, one after the other; there may be none."""
    return Examples(
        np.concatenate([np.zeros((0, *INPUT), np.uint8), *(part.images for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.labels for part in parts)]),
        {name: digest for part in parts for name, digest in part.sha256.items()},
    )


def _read_pair(images_path: Path, labels_path: Path, classes: int) -> Examples:
    images, labels = idx.read(images_path), idx.read(labels_path)
    if images.dtype != np.uint8 or images.shape[1:] != INPUT:
        raise ValueError(
            f"{images_path} expected uint8 images (N, {INPUT[0]}, {INPUT[1]}), "
            f"got {images.dtype} {images.shape}"
        )
    if labels.shape != images.shape[:1] or labels.dtype != np.uint8:
        raise ValueError(
            f"{labels_path} expected {len(images)} uint8 labels, got {labels.dtype} {labels.shape}"
        )
    if labels.max(initial=0) >= classes:
        raise ValueError(f"{labels_path} expected labels 0..{classes - 1}, got {labels.max()}")
    return Examples(
        images,
        labels.astype(np.int64),
        {path.name: sha256(path) for path in (images_path, labels_path)},
    )


def split_validation(
    examples: Examples, count: int, *, rng: np.random.Generator
) -> tuple[Part, Examples]:
    """The examples to train on, and `count` others, drawn at random, to validate on.

    Raises:
        ValueError: there are not more than `count` examples.
    """
    if not 0 < count < len(examples):
        raise ValueError(
            f"the training files expected more than {count} images to hold out for validation, "
            f"got {len(examples)}"
        )
    order = rng.permutation(len(examples))
    return Part(examples, np.sort(order[count:])), examples.take(np.sort(order[:count]))


def sha256(path: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        if hasattr(hashlib, "file_digest"):  # Python 3.11 and later
            digest: str = hashlib.file_digest(file, "sha256").hexdigest()
            return digest
        return hashlib.sha256(file.read()).hexdigest()


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    raise FileNotFoundError(
        f"{folder} expected {name} or {name}.gz, got neither; run scripts/fetch-data, "
        f"or name the folder that has the four MNIST files with --data or {FOLDER_VARIABLE}"
    )
