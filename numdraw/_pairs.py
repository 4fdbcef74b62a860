"""Where pairs of IDX files of other ink are kept; `numdraw.data` says what they hold."""

from pathlib import Path

INK = "ink-"


def ink_files(folder: Path, name: str, split: str) -> tuple[Path, Path]:
    """Where the images and labels of a source of ink are kept."""
    stem = f"{INK}{name}-{split}"
    return folder / f"{stem}-images-idx3-ubyte", folder / f"{stem}-labels-idx1-ubyte"
