"""Real ink for the tests: where the drawings are."""

import os
from pathlib import Path

from numdraw.data import data_folder

DRAWINGS_VARIABLE = "NUMDRAW_DRAWINGS"


def drawings_folder() -> Path:
    """The folder of *.jsonl.gz that NUMDRAW_DRAWINGS names, or drawings/ beside MNIST's."""
    beside = data_folder().resolve().parent / "drawings"
    return Path(os.environ.get(DRAWINGS_VARIABLE) or beside)
