import json
from typing import Any

import numpy as np
import pytest

from numdraw.models import as_images, build, mlp_architecture


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_mlp_has_the_layers_described() -> None:
    network = build(mlp_architecture([32, 16], 0.2), rng=rng())
    assert network.layer_names() == [
        "flatten1", "linear1", "relu1", "dropout1", "linear2", "relu2", "dropout2", "linear3",
    ]  # fmt: skip  # shorter so
    assert network(np.zeros((2, 28, 28))).shape == (2, 10)


def test_no_dropout_has_no_dropout_layers() -> None:
    names = build(mlp_architecture([32], 0.0), rng=rng()).layer_names()
    assert names == ["flatten1", "linear1", "relu1", "linear2"]


def test_description_survives_json() -> None:
    described = mlp_architecture((32, 16), 0.2)
    again = json.loads(json.dumps(described))
    assert build(again, rng=rng()).summary() == build(described, rng=rng()).summary()


@pytest.mark.parametrize(
    "architecture",
    [
        {},
        {"name": "vgg", "hidden": [32], "dropout": 0.1},
        {"name": "mlp", "channels": [1, 2, 3, 4], "dropout": 0.1},
        {"name": "convnet", "channels": [1, 2, 3], "dropout": 0.1},
        {"name": "convnet", "channels": [1, 2, 3, 0], "dropout": 0.1},
        {"name": "convnet", "channels": [1, 2, 3, 4], "dropout": None},
        {"name": "mlp", "hidden": "32", "dropout": 0.1},
        {"name": "mlp", "hidden": [32, -1], "dropout": 0.1},
        {"name": "mlp", "hidden": [True], "dropout": 0.1},
        {"name": "mlp", "hidden": [32], "dropout": "0.1"},
    ],
)
def test_unknown_descriptions_are_refused(architecture: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r'architecture expected {"name": "mlp", .* got {'):
        build(architecture, rng=rng())


@pytest.mark.parametrize("hidden", [[10**9], [16_384] * 8])
def test_a_description_of_too_many_parameters_is_refused_before_they_take_memory(
    hidden: list[int],
) -> None:
    with pytest.raises(
        ValueError, match=r"architecture expected at most 10,000,000 parameters, got .* \[1"
    ):
        build(mlp_architecture(hidden, 0.0), rng=rng())


def test_bytes_become_floats_up_to_one() -> None:
    images = as_images(np.array([0, 51, 255], np.uint8))
    assert images.dtype == np.float32
    assert images == pytest.approx([0, 0.2, 1])


def test_without_an_rng_the_parameters_wait_at_0() -> None:
    assert not build(mlp_architecture([32], 0.0), rng=None).values.any()
