"""What the weights file promises: files of before are read as ever, and new ones are like them.

tests/data/README.md says how the files there were made.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numdraw import Predictor, train
from numdraw.models import (
    as_images,
    build,
    convnet_architecture,
    lenet_architecture,
    mlp_architecture,
)
from numdraw.nn.checkpoint import load_checkpoint, save_checkpoint
from numdraw.nn.inference import Inference
from numdraw.preprocess import VERSION

DATA = Path(__file__).parent / "data"

# Every array of the files in tests/data; all of them are float32.
ARRAYS: dict[str, dict[str, tuple[int, ...]]] = {
    "mlp": {
        "linear1.weight": (2, 784),
        "linear1.bias": (2,),
        "linear2.weight": (4, 2),
        "linear2.bias": (4,),
        "linear3.weight": (10, 4),
        "linear3.bias": (10,),
    },
    "convnet": {
        "conv2d1.weight": (5, 5, 1, 2),
        "conv2d1.bias": (2,),
        "batchnorm1.weight": (2,),
        "batchnorm1.bias": (2,),
        "conv2d2.weight": (3, 3, 2, 3),
        "conv2d2.bias": (3,),
        "batchnorm2.weight": (3,),
        "batchnorm2.bias": (3,),
        "conv2d3.weight": (3, 3, 3, 3),
        "conv2d3.bias": (3,),
        "batchnorm3.weight": (3,),
        "batchnorm3.bias": (3,),
        "conv2d4.weight": (3, 3, 3, 4),
        "conv2d4.bias": (4,),
        "batchnorm4.weight": (4,),
        "batchnorm4.bias": (4,),
        "linear1.weight": (10, 36),
        "linear1.bias": (10,),
        "batchnorm1.mean": (2,),
        "batchnorm1.variance": (2,),
        "batchnorm2.mean": (3,),
        "batchnorm2.variance": (3,),
        "batchnorm3.mean": (3,),
        "batchnorm3.variance": (3,),
        "batchnorm4.mean": (4,),
        "batchnorm4.variance": (4,),
    },
}
META: dict[str, type] = {
    "architecture": dict,
    "calibration": dict,
    "command": str,
    "data": dict,
    "format": int,
    "history": list,
    "kept_epoch": int,
    "numdraw": str,
    "options": dict,
    "preprocessing": int,
    "scores": dict,
}


def bars() -> np.ndarray:
    """The six images that the recorded answers are to: a lying bar and a fainter standing one."""
    images = np.zeros((6, 28, 28), np.uint8)
    for i, image in enumerate(images):
        image[4 + 3 * i : 7 + 3 * i, 5:23] = 255
        image[5:23, 22 - 3 * i : 25 - 3 * i] = 40 * (i + 1)
    return images


def plain(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the meta as anybody's NumPy reads them."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return arrays, json.loads(str(arrays.pop("meta")))


@pytest.mark.parametrize("name", ARRAYS)
def test_a_file_of_before_gives_the_answers_of_before(name: str) -> None:
    recorded = json.loads((DATA / f"{name}.json").read_text())
    predictor = Predictor.load(DATA / f"{name}.npz")
    assert predictor.version == f"{name}-{recorded['sha256'][:8]}"
    logits = predictor.network(as_images(bars()))
    assert logits == pytest.approx(np.array(recorded["logits"]), abs=1e-4)
    answers = predictor.predict_images(bars())
    assert answers.digits.tolist() == recorded["digits"]
    assert answers.probabilities == pytest.approx(np.array(recorded["probabilities"]), abs=1e-5)


@pytest.mark.parametrize("name", ARRAYS)
def test_a_file_of_before_fits_the_network_of_today(name: str) -> None:
    arrays, meta = plain(DATA / f"{name}.npz")
    assert {key: array.shape for key, array in arrays.items()} == ARRAYS[name]
    network = build(meta["architecture"], rng=None)
    assert {key: array.shape for key, array in network.arrays().items()} == ARRAYS[name]
    assert {array.dtype for array in [*arrays.values(), *network.arrays().values()]} == {
        np.dtype(np.float32)
    }


@pytest.mark.parametrize("name", ARRAYS)
def test_a_file_of_before_survives_being_read_and_written(name: str, tmp_path: Path) -> None:
    arrays, meta = load_checkpoint(DATA / f"{name}.npz")
    assert meta.pop("sha256") == hashlib.sha256((DATA / f"{name}.npz").read_bytes()).hexdigest()
    save_checkpoint(tmp_path / "a.npz", arrays, meta)
    again, first = plain(tmp_path / "a.npz"), plain(DATA / f"{name}.npz")
    assert again[1] == first[1]
    assert again[0].keys() == first[0].keys()
    for key, array in again[0].items():
        np.testing.assert_array_equal(array, first[0][key])


@pytest.fixture(scope="session")
def written(made_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights files that today's trainer writes, by the architecture's name."""
    folder = tmp_path_factory.mktemp("written")
    arguments = ["--data", str(made_data), "--epochs", "1", "--validation", "400", "--quiet"]
    files = {name: folder / f"{name}.npz" for name in ("mlp", "lenet", "convnet")}
    for name, path in files.items():
        assert train.main(["--arch", name, "--out", str(path), *arguments]) == 0
    return files


@pytest.mark.parametrize("name", ARRAYS)
def test_a_file_of_today_has_the_names_and_dtypes_of_before(
    name: str, written: dict[str, Path]
) -> None:
    arrays, _ = plain(written[name])
    axes = {key: len(shape) for key, shape in ARRAYS[name].items()}
    assert {key: array.ndim for key, array in arrays.items()} == axes
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", ["before: mlp", "before: convnet", "mlp", "lenet", "convnet"])
def test_the_meta_of_every_file_has_what_is_promised(name: str, written: dict[str, Path]) -> None:
    before, _, name = name.rpartition("before: ")
    path = DATA / f"{name}.npz" if before else written[name]
    meta = plain(path)[1]
    assert {key: type(meta.get(key)) for key in META} == META
    assert meta["format"] == 1
    assert meta["preprocessing"] == VERSION
    assert meta["architecture"]["name"] == name
    assert type(meta["calibration"]["temperature"]) is float
    assert meta["command"].startswith("python -m numdraw.train ")
    assert [len(sha256) for sha256 in meta["data"].values()] == [64] * 4
    assert [set(entry) for entry in meta["history"]] == [
        {"epoch", "loss", "validation_loss", "validation_error"}
    ]
    for split in ("validation", "test"):
        assert set(meta["scores"][split]) == {"ece", "error", "images", "nll"}


@pytest.mark.parametrize(
    "architecture",
    [mlp_architecture([8], 0.1), lenet_architecture(), convnet_architecture([2, 3, 3, 4], 0.1)],
    ids=lambda architecture: architecture["name"],
)
def test_what_is_written_is_read_to_the_same_bits(
    architecture: dict[str, Any], tmp_path: Path
) -> None:
    network = build(architecture, rng=np.random.default_rng(0))
    network.state += np.random.default_rng(1).uniform(0.1, 0.2, network.state.size)
    meta = {
        "architecture": architecture,
        "calibration": {"temperature": 1.5},
        "preprocessing": VERSION,
        "of a later version": True,  # an older reader passes over it
    }
    save_checkpoint(tmp_path / "a.npz", network.arrays(), meta)
    arrays, _ = load_checkpoint(tmp_path / "a.npz")
    for name, array in network.arrays().items():
        np.testing.assert_array_equal(arrays[name], array)
    images = as_images(bars())
    predicted = Predictor.load(tmp_path / "a.npz").network(images)
    np.testing.assert_array_equal(predicted, Inference(network).network(images))
