"""Explanations hold: each number in them is what the network gives when it is asked by hand."""

import numpy as np
import pytest

from numdraw import DrawingError, Predictor
from numdraw.explain import PATCH, LayerOutput, ReceptiveField, explain, importance, layer_outputs
from numdraw.models import build, convnet_architecture, lenet_architecture, mlp_architecture
from numdraw.nn import AvgPool2d, BatchNorm, Conv2d, Flatten, Linear, ReLU, Sequential
from numdraw.nn.inference import fold_batch_norm
from numdraw.nn.layers import AddChannel, Array

SEVEN = [[[60, 40], [180, 42], [120, 200]]]
ARCHITECTURES = [
    mlp_architecture([20, 15], 0.1, 11),
    lenet_architecture(),
    convnet_architecture([4, 5, 6, 7], 0.1, 11),
]


@pytest.fixture
def image(predictor: Predictor) -> Array:
    return predictor.predict(SEVEN).image


@pytest.fixture(params=ARCHITECTURES, ids=lambda architecture: architecture["name"])
def network(request: pytest.FixtureRequest) -> Sequential:
    made = build(request.param, rng=np.random.default_rng(0))
    return Sequential(fold_batch_norm(made.layers), made.input_shape)


def log_odds(probabilities: Array, digit: int) -> float:
    """Of probabilities (10,); no digit, which they lack to 1, counts against it."""
    return float(np.log(probabilities[digit] / (1 - probabilities[digit])))


def test_explains_the_best_guess_and_what_predict_says_of_it(predictor: Predictor) -> None:
    explained, predicted = explain(predictor, SEVEN), predictor.predict(SEVEN)
    assert explained.digit == predicted.digit == 7
    assert np.array_equal(explained.probabilities, predicted.probabilities)
    assert np.array_equal(explained.rendered.image, predicted.image)
    assert explained.rendered.box == predicted.box


@pytest.mark.parametrize("digit", [7, 1])
def test_importance_is_what_covering_by_hand_says(predictor: Predictor, digit: int) -> None:
    explained = explain(predictor, SEVEN, digit)
    image, reach = explained.rendered.image, PATCH // 2
    whole = log_odds(explained.probabilities, digit)
    rows, columns = np.nonzero(explained.importance)
    assert len(rows) > 100
    for row, column in [*zip(rows, columns, strict=True)][::20]:
        covered = image.copy()
        covered[
            max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1
        ] = 0
        left = predictor.predict_images(covered[None]).probabilities[0]
        fall = whole - log_odds(left, digit)
        assert explained.importance[row, column] == pytest.approx(fall, abs=1e-3)


def test_ink_speaks_for_its_digit_and_no_ink_says_nothing(predictor: Predictor) -> None:
    explained = explain(predictor, SEVEN)
    assert explained.importance.max() > 3
    assert explained.importance[explained.rendered.image > 0.5].mean() > 1
    ink = explained.rendered.image > 0
    far = np.ones_like(ink)
    for row, column in zip(*np.nonzero(ink), strict=True):
        far[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3] = False
    assert far.any()
    assert (explained.importance[far] == 0).all()


def test_ink_at_the_frame_is_covered_there(network: Sequential) -> None:
    image = np.zeros((28, 28), np.float32)
    image[0, 0] = image[27, 27] = 1
    falls = importance(network, image, 3, 1.0)
    assert set(zip(*np.nonzero(falls), strict=True)) <= {
        (row + corner, column + corner)
        for corner, span in ((0, range(3)), (27, range(-2, 1)))
        for row in span
        for column in span
    }
    assert len(set(falls[:3, :3].ravel())) == 1  # each of them takes the same pixel away


def test_what_speaks_for_one_digit_speaks_against_the_only_other() -> None:
    """Two outputs and no hidden layer: the log odds are the difference of the logits."""
    weight = np.random.default_rng(0).normal(size=784).astype(np.float32)
    network = Sequential([Flatten(), Linear(784, 2, rng=None)], (28, 28))
    network.layers[1].parameters()["weight"].value[:] = [weight, -weight]
    image = np.zeros((28, 28), np.float32)
    image[10, 10] = 1
    [one, other] = (importance(network, image, digit, 2.0) for digit in (0, 1))
    assert np.allclose(one[8:13, 8:13], 2 * weight.reshape(28, 28)[10, 10] / 2.0, atol=1e-5)
    assert np.allclose(one, -other, atol=1e-6)


def test_layers_give_what_the_network_s_layers_give(network: Sequential, image: Array) -> None:
    outputs = layer_outputs(network, image)
    x = network.to_batch_last(image[None])
    given = {}
    for name, layer in zip(network.layer_names(), network.layers, strict=True):
        given[name] = x = layer.forward(x)
    for output in outputs:
        expected = given[output.name][..., 0]
        if expected.ndim == 3:
            expected = expected.transpose(1, 0, 2)  # (H, C, W) -> (C, H, W)
        if output is not outputs[-1]:
            expected = np.maximum(expected, 0)  # batch norm is folded in: the rest is ReLU
        assert np.array_equal(output.values, expected.reshape(output.values.shape)), output.name
    with_parameters = {name.partition(".")[0] for name in network.parameters()}
    assert with_parameters <= {output.name for output in outputs}
    assert np.array_equal(outputs[-1].values[0, 0], network(image[None])[0])


def test_what_is_shown_of_the_shipped_network(predictor: Predictor, image: Array) -> None:
    outputs = layer_outputs(predictor.network, image)
    assert [(each.name, each.kind, each.values.shape) for each in outputs] == [
        ("conv2d1", "convolution", (24, 28, 28)),
        ("maxpool2d1", "pooling", (24, 14, 14)),
        ("conv2d2", "convolution", (48, 14, 14)),
        ("maxpool2d2", "pooling", (48, 7, 7)),
        ("conv2d3", "convolution", (96, 7, 7)),
        ("conv2d4", "convolution", (96, 7, 7)),
        ("maxpool2d3", "pooling", (96, 3, 3)),
        ("linear1", "linear", (1, 1, 11)),
    ]
    assert all(each.values.min() == 0 for each in outputs[:-1])
    assert [each.name for each in outputs if each.filters is not None] == ["conv2d1"]


def test_filters_give_the_first_layer_s_values(predictor: Predictor, image: Array) -> None:
    output = layer_outputs(predictor.network, image)[0]
    assert output.filters is not None
    assert output.filters.shape == (24, 5, 5)
    bias = predictor.network.parameters()["conv2d1.bias"].value
    window = np.pad(image, 2)[12:17, 15:20]
    by_hand = np.maximum((output.filters * window).sum(axis=(1, 2)) + bias, 0)
    assert np.allclose(output.values[:, 12, 15], by_hand, atol=1e-5)


def changed(network: Sequential, image: Array, row: int, column: int) -> list[LayerOutput]:
    other = image.copy()
    other[row, column] = 1 - other[row, column]
    return layer_outputs(network, other)


def test_a_unit_depends_on_the_pixels_of_its_field_and_on_no_others() -> None:
    made = build(convnet_architecture([4, 5, 6, 7], 0.0), rng=np.random.default_rng(0))
    network = Sequential(fold_batch_norm(made.layers), made.input_shape)
    image = np.random.default_rng(1).random((28, 28)).astype(np.float32)
    before = layer_outputs(network, image)
    reached = [0] * len(before)
    for row, column in [(0, 0), (5, 9), (13, 14), (22, 3), (27, 27)]:
        after = changed(network, image, row, column)
        for place, (old, new) in enumerate(zip(before, after, strict=True)):
            if old.receptive_field is None:
                continue
            differs = (old.values != new.values).any(axis=0)
            seen = old.receptive_field
            starts = seen.offset + seen.stride * np.arange(max(differs.shape))
            rows = (starts <= row) & (row < starts + seen.size)
            columns = (starts <= column) & (column < starts + seen.size)
            inside = np.outer(rows[: differs.shape[0]], columns[: differs.shape[1]])
            assert not differs[~inside].any(), (old.name, row, column)
            reached[place] += int((differs & inside).sum())
    assert all(count > 0 for count in reached[:-1])


def test_the_first_fields_are_reached_to_their_edges() -> None:
    made = build(lenet_architecture(), rng=np.random.default_rng(0))
    image = np.random.default_rng(1).random((28, 28)).astype(np.float32)
    before = layer_outputs(made, image)
    assert before[0].receptive_field == ReceptiveField(size=5, stride=1, offset=0)
    assert before[1].receptive_field == ReceptiveField(size=6, stride=2, offset=0)
    for pixel, unit in [((10, 10), (6, 6)), ((10, 10), (10, 10)), ((27, 27), (23, 23))]:
        after = changed(made, image, *pixel)
        row, column = unit
        assert (before[0].values[:, row, column] != after[0].values[:, row, column]).any()


def test_batch_norm_that_cannot_be_folded_is_part_of_its_layer(image: Array) -> None:
    norm = BatchNorm(3)
    rng = np.random.default_rng(0)
    layers = [
        *(AddChannel(), Conv2d(1, 3, 3, rng=rng), AvgPool2d(2), norm, ReLU()),
        *(Flatten(), Linear(3 * 13 * 13, 10, rng=rng)),
    ]
    network = Sequential(layers, (28, 28))
    network.parameters()["batchnorm1.weight"].value[:] = -1
    conv, pool, linear = layer_outputs(network, image)
    assert (conv.name, pool.name, linear.name) == ("conv2d1", "avgpool2d1", "linear1")
    assert conv.values.shape == (3, 26, 26)
    x = network.to_batch_last(image[None])
    for layer in layers[:5]:
        x = layer.forward(x)
    assert np.array_equal(pool.values, x[..., 0].transpose(1, 0, 2))


def test_pixels_are_explained_too(predictor: Predictor) -> None:
    pixels = np.zeros((60, 40), np.uint8)
    pixels[8:52, 18:24] = 255
    explained = explain(predictor, pixels)
    assert explained.digit == 1
    assert explained.rendered.box == (18, 8, 24, 52)


@pytest.mark.parametrize("digit", [-1, 10, 2.5])
def test_another_digit_is_refused(predictor: Predictor, digit: int) -> None:
    with pytest.raises(ValueError, match=f"digit expected a whole number from 0 to 9, got {digit}"):
        explain(predictor, SEVEN, digit)


def test_no_drawing_is_a_drawing_error(predictor: Predictor) -> None:
    with pytest.raises(DrawingError):
        explain(predictor, [])
