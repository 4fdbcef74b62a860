"""What ONNX files compute, under ONNX Runtime, is what the networks compute."""

import copy
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numdraw.onnx
from numdraw import CheckpointError, Predictor, nn
from numdraw.calibrate import temper
from numdraw.data import read_split
from numdraw.models import (
    as_images,
    build,
    convnet_architecture,
    lenet_architecture,
    mlp_architecture,
)
from numdraw.nn.checkpoint import save_checkpoint
from numdraw.nn.conv import Conv2d
from numdraw.nn.layers import AddChannel, Array, Dropout, Flatten, Layer, Linear, ReLU, Shape
from numdraw.nn.network import Sequential
from numdraw.nn.norm import BatchNorm
from numdraw.nn.pool import AvgPool2d, MaxPool2d
from numdraw.onnx import ExportError, export_network, export_weights
from numdraw.preprocess import VERSION
from tests.layers import Doubled, LeakyReLU, as_trained

REASON = "not installed: pip install 'numdraw[dev]' to run what numdraw.onnx writes"
onnx = pytest.importorskip("onnx", reason=f"onnx is {REASON}")
onnxruntime = pytest.importorskip("onnxruntime", reason=f"onnxruntime is {REASON}")

ROOT = Path(__file__).parent.parent
ARCHITECTURES = [
    mlp_architecture([32, 16], 0.2),
    lenet_architecture(),
    convnet_architecture([4, 6, 8, 8], 0.1),
]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


NETWORKS: list[list[Layer]] = [
    [Flatten(), Linear(120, 3, rng=rng())],
    [Flatten(), Dropout(0.1), ReLU(), Linear(120, 9, rng=rng()), BatchNorm(9), ReLU()],
    [ReLU(), Flatten(), BatchNorm(120), Linear(120, 3, rng=rng())],
    [Flatten(), Flatten()],
    [AddChannel(), Flatten()],
    [AddChannel(), AvgPool2d(2), Flatten()],
    [AddChannel(), AvgPool2d(5), BatchNorm(1), Flatten()],  # leaves rows out
    [AddChannel(), MaxPool2d(3), Flatten()],  # leaves a column out
    [AddChannel(), MaxPool2d(1), BatchNorm(1), Flatten()],
    [AddChannel(), Conv2d(1, 3, 1, rng=rng()), Flatten()],
    [AddChannel(), Conv2d(1, 3, 4, stride=2, rng=rng()), Flatten()],
    [AddChannel(), Conv2d(1, 30, 5, stride=3, padding=4, rng=rng()), Flatten()],
    [AddChannel(), Conv2d(1, 2, 2, stride=4, padding=1, rng=rng()), BatchNorm(2), Flatten()],
    [
        AddChannel(),
        Conv2d(1, 6, 3, padding=1, rng=rng()),
        MaxPool2d(2),
        BatchNorm(6),
        ReLU(),
        Dropout(0.5),
        Conv2d(6, 4, 2, rng=rng()),  # 5 x 4
        AvgPool2d(2),  # 2 x 2
        ReLU(),
        BatchNorm(4),
        Flatten(),
        BatchNorm(16),
        Linear(16, 7, rng=rng()),
        BatchNorm(7),
    ],
]


def of_layers(layers: Sequence[Layer], input_shape: Shape = (12, 10)) -> Sequential:
    return as_trained(Sequential(copy.deepcopy(layers), input_shape))


def session(path: Path) -> Any:
    """The file, checked as far as ONNX's own checker goes, in ONNX Runtime."""
    onnx.checker.check_model(onnx.load(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(path: Path, images: Array) -> tuple[Array, Array]:
    """The file's logits and probabilities."""
    logits, probabilities = session(path).run(
        ["logits", "probabilities"], {"images": images.astype(np.float32)}
    )
    return logits, probabilities


def kinds(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def same(logits: Array, expected: Array) -> bool:
    """Whether logits are equal but for rounding, which is as large as the largest ones make it."""
    assert logits.shape == expected.shape
    assert logits.dtype == np.float32
    return bool(np.abs(logits - expected).max() < 1e-5 * np.abs(expected).max())


def write_weights(path: Path, **changes: Any) -> Path:
    """A weights file of a small network, some of its meta changed."""
    architecture = ARCHITECTURES[2]
    meta = {
        "architecture": architecture,
        "calibration": {"temperature": 2.5},
        "command": "python -m numdraw.train --seed 8",
        "numdraw": "0.0.9",
        "preprocessing": VERSION,
        **changes,
    }
    save_checkpoint(path, as_trained(build(architecture, rng=rng())).arrays(), meta)
    return path


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda described: described["name"])
def test_the_named_architectures(
    architecture: dict[str, Any], positive: bool, tmp_path: Path
) -> None:
    network = as_trained(build(architecture, rng=rng()), positive=positive)
    export_network(network, tmp_path / "a.onnx")
    for count in (1, 7):
        images = rng(3).random((count, 28, 28), np.float32)
        logits, probabilities = run(tmp_path / "a.onnx", images)
        assert same(logits, network(images))
        assert probabilities == pytest.approx(temper(network(images), 1.0), abs=1e-5)


@pytest.mark.parametrize(
    "layers",
    NETWORKS,
    ids=lambda layers: "-".join(type(layer).__name__ for layer in layers),
)
@pytest.mark.parametrize("count", [1, 7])
def test_each_layer(layers: list[Layer], count: int, tmp_path: Path) -> None:
    network = of_layers(layers)
    export_network(network, tmp_path / "a.onnx")
    examples = rng(3).normal(size=(count, 12, 10))
    assert same(run(tmp_path / "a.onnx", examples)[0], network(examples))


def test_every_layer_that_there_is_was_tried() -> None:
    there = {kind for kind in vars(nn).values() if inspect.isclass(kind)}
    tried = {type(layer) for layers in NETWORKS for layer in layers}
    assert tried == {kind for kind in there if issubclass(kind, Layer)} - {Layer}


@pytest.mark.parametrize(
    ("layers", "input_shape"),
    [
        ([Flatten(), Linear(24, 5, rng=rng())], (4, 2, 3)),
        ([Conv2d(2, 3, 2, rng=rng()), ReLU(), Flatten()], (4, 2, 3)),
        ([Linear(6, 4, rng=rng())], (6,)),
        ([Dropout(0.5)], (6,)),
    ],
)
def test_inputs_other_than_images(layers: list[Layer], input_shape: Shape, tmp_path: Path) -> None:
    network = of_layers(layers, input_shape)
    export_network(network, tmp_path / "a.onnx")
    examples = rng(3).normal(size=(5, *input_shape))
    assert same(run(tmp_path / "a.onnx", examples)[0], network(examples))


def test_batch_norm_is_a_layer_of_its_own_only_where_it_must_be(tmp_path: Path) -> None:
    network = build(ARCHITECTURES[2], rng=rng())
    export_network(as_trained(network, positive=True), tmp_path / "a.onnx")
    assert "Mul" not in kinds(tmp_path / "a.onnx")
    export_network(as_trained(network), tmp_path / "a.onnx")
    assert kinds(tmp_path / "a.onnx").count("Mul") == 3  # those after max pooling


def test_a_float64_network_becomes_float32(tmp_path: Path) -> None:
    network = Sequential([Flatten(), Linear(6, 2, rng=rng(), dtype=np.float64)], (3, 2))
    export_network(network, tmp_path / "a.onnx")
    examples = rng(3).normal(size=(5, 3, 2))
    assert same(run(tmp_path / "a.onnx", examples)[0], network(examples))


def test_exporting_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    network = as_trained(build(ARCHITECTURES[2], rng=rng()))
    before, names = network.arrays(), network.layer_names()
    export_network(network, tmp_path / "a.onnx")
    assert network.layer_names() == names
    for name, array in network.arrays().items():
        np.testing.assert_array_equal(array, before[name])


def test_inputs_and_outputs_are_as_told(tmp_path: Path) -> None:
    export_weights(None, tmp_path / "a.onnx")
    loaded = session(tmp_path / "a.onnx")
    told = [(of.name, of.type, of.shape) for of in [*loaded.get_inputs(), *loaded.get_outputs()]]
    assert told == [
        ("images", "tensor(float)", ["N", 28, 28]),
        ("logits", "tensor(float)", ["N", 11]),
        ("probabilities", "tensor(float)", ["N", 11]),
    ]


def test_a_weights_file_takes_its_temperature_and_its_card_along(tmp_path: Path) -> None:
    predictor = Predictor.load(write_weights(tmp_path / "a.npz"))
    export_weights(tmp_path / "a.npz", tmp_path / "a.onnx")
    images = rng(3).random((7, 28, 28), np.float32)
    logits, probabilities = run(tmp_path / "a.onnx", images)
    assert probabilities == pytest.approx(temper(logits, 2.5), abs=1e-6)
    expected = predictor.predict_images(images).probabilities
    assert probabilities == pytest.approx(expected, abs=1e-5)
    told: Mapping[str, str] = session(tmp_path / "a.onnx").get_modelmeta().custom_metadata_map
    assert told.keys() == {
        "model_version", "sha256", "training_command", "numdraw_version",
        "preprocessing_version", "input",
    }  # fmt: skip  # shorter so
    assert told["model_version"] == predictor.version
    assert told["sha256"] == predictor.meta["sha256"]
    assert told["training_command"] == "python -m numdraw.train --seed 8"
    assert told["numdraw_version"] == "0.0.9"
    assert told["preprocessing_version"] == str(VERSION)
    assert told["input"].startswith("images expected (N, 28, 28) float32 in [0, 1], 0 = paper")
    assert onnx.load(tmp_path / "a.onnx").producer_version == numdraw.__version__


def test_what_a_card_lacks_is_left_out(tmp_path: Path) -> None:
    export_weights(write_weights(tmp_path / "a.npz", command=None), tmp_path / "a.onnx")
    told = session(tmp_path / "a.onnx").get_modelmeta().custom_metadata_map
    assert "training_command" not in told
    assert "sha256" in told


def test_the_shipped_weights_read_mnist_alike(
    predictor: Predictor, mnist: Path, tmp_path: Path
) -> None:
    images = as_images(read_split(mnist, "t10k").images[:1000])
    export_weights(None, tmp_path / "a.onnx")
    logits, probabilities = run(tmp_path / "a.onnx", images)
    answers = predictor.predict_images(images)
    assert same(logits, predictor.network(images))
    assert logits[:, :10].argmax(axis=1).tolist() == answers.digits.tolist()
    assert probabilities[:, :10] == pytest.approx(answers.probabilities, abs=1e-5)


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    weights = write_weights(tmp_path / "a.npz")
    for name in ("a.onnx", "b.onnx"):
        export_weights(weights, tmp_path / name)
    names = ["--weights", str(weights), str(tmp_path / "c.onnx")]
    command = [sys.executable, "-m", "numdraw.onnx", *names]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "9"}
    )
    assert (done.stdout, done.stderr) == (f"wrote {tmp_path / 'c.onnx'}\n", "")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "c.onnx").read_bytes()


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.onnx").write_bytes(b"old")

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left on device"):
        export_network(of_layers([Flatten()]), tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.onnx"]


@pytest.mark.parametrize("layer", [Doubled(), LeakyReLU()])
def test_an_unknown_layer_is_named(layer: Layer, tmp_path: Path) -> None:
    message = f"export expected the layers of numdraw.nn, got {type(layer).__name__}; write what it"
    with pytest.raises(ExportError, match=message):
        export_network(of_layers([Flatten(), layer]), tmp_path / "a.onnx")
    assert os.listdir(tmp_path) == []


def test_a_network_without_logits_is_refused(tmp_path: Path) -> None:
    message = r"export expected a network that ends in logits \(K,\), got \(12, 1, 10\)"
    with pytest.raises(ExportError, match=message):
        export_network(of_layers([AddChannel()]), tmp_path / "a.onnx")


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_an_impossible_temperature_is_refused(temperature: float, tmp_path: Path) -> None:
    with pytest.raises(
        ExportError, match=f"export expected a temperature above 0, got {temperature}"
    ):
        export_network(of_layers([Flatten()]), tmp_path / "a.onnx", temperature=temperature)


def test_without_the_package_onnx_the_command_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert numdraw.onnx.main([str(tmp_path / "a.onnx")]) == 1
    assert re.fullmatch(
        r"numdraw\.onnx: export expected the package onnx, got: .*; "
        r"install it with: pip install 'numdraw\[onnx\]'\n",
        capsys.readouterr().err,
    )
    assert os.listdir(tmp_path) == []


def test_the_module_hides_no_package_and_brings_it_only_to_export() -> None:
    code = "import sys, numdraw.onnx; print('onnx' in sys.modules); import onnx; print(onnx.helper)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    first, second = done.stdout.splitlines()
    assert first == "False"
    assert f"onnx{os.sep}helper.py" in second
    assert f"numdraw{os.sep}onnx" not in second


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.npz").write_bytes(b"nothing")
    with pytest.raises(CheckpointError):
        export_weights(tmp_path / "a.npz", tmp_path / "a.onnx")
    out = str(tmp_path / "a.onnx")
    assert numdraw.onnx.main(["--weights", str(tmp_path / "a.npz"), out]) == 1
    assert "a.npz expected an .npz checkpoint, got" in capsys.readouterr().err
    assert numdraw.onnx.main(["--weights", str(tmp_path / "b.npz"), out]) == 1
    assert "make one with python -m numdraw.train" in capsys.readouterr().err
    assert numdraw.onnx.main([str(tmp_path / "a.npz" / "a.onnx")]) == 1
    assert capsys.readouterr().err.startswith("numdraw.onnx: ")


def test_a_weights_file_named_as_the_one_to_write_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = write_weights(tmp_path / "a.npz")
    content = weights.read_bytes()
    with pytest.raises(SystemExit):
        numdraw.onnx.main([str(weights)])
    message = f"expected a name that ends in .onnx, got {str(weights)!r}; --weights names the file"
    assert message in capsys.readouterr().err
    assert weights.read_bytes() == content
