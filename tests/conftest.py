"""What the tests share: real data where it is, made data where it is not, the shipped weights."""

import os
import tempfile
from collections.abc import Iterator

# BLAS reads it when NumPy is first imported; bits are compared between numbers of threads.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import idx
from numdraw import Predictor
from numdraw.data import FOLDER_VARIABLE, data_folder
from tests.ink import DRAWINGS_VARIABLE, drawings_folder
from tests.running import Server, running

# No test fails for being slow: a shared machine stalls now and then. The same examples each time,
# so that a red run says something of the change.
settings.register_profile("numdraw", deadline=None, derandomize=True)
settings.load_profile("numdraw")


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    return Predictor.load()


@pytest.fixture(scope="session")
def mnist() -> Path:
    folder = data_folder()
    if not (folder / "train-images-idx3-ubyte").exists():
        pytest.skip(f"no MNIST in {folder}: set {FOLDER_VARIABLE} or run scripts/fetch-data")
    return folder.resolve()


@pytest.fixture(scope="session")
def drawings() -> Path:
    """The folder of *.jsonl.gz with real ink."""
    folder = drawings_folder()
    if not folder.is_dir():
        pytest.skip(f"no drawings in {folder}: set {DRAWINGS_VARIABLE}")
    return folder


@pytest.fixture(scope="session")
def made_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny, easy MNIST's four files: each class a bar of its own, and noise."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    for split, count in (("train", 600), ("t10k", 100)):
        labels = rng.integers(0, 10, count).astype(np.uint8)
        images = rng.integers(0, 60, (count, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            row = 4 + 2 * int(label)
            image[row : row + 2, 4:24] = 255
        idx.write(folder / f"{split}-images-idx3-ubyte", images)
        idx.write(folder / f"{split}-labels-idx1-ubyte", labels)
    return folder


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not tmp_path: a socket's path holds at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="numdraw-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for all tests of a module that only ask it."""
    with running() as server:
        yield server
        assert server.errors("unexpected error") == []
        assert server.errors("worker ended") == []
