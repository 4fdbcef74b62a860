"""Writes a network as an ONNX file, for programs that run ONNX and know nothing of numdraw.

    python -m numdraw.onnx OUT.onnx                  the shipped weights
    python -m numdraw.onnx --weights FILE OUT.onnx

    input    images         (N, 28, 28) float32 in [0, 1], 1 = ink
    output   logits         (N, 11) float32: the digits 0..9, and no digit
    output   probabilities  (N, 11) float32, at the weights' temperature

Weights without an output for "no digit" have 10 of each. It needs the package onnx:
pip install 'numdraw[onnx]'. Batch norm is folded into the weights and dropout is left out. Images
are (N, C, H, W) inside, as ONNX has them. Each layer by itself:

    layer in numdraw.nn       in ONNX
    Linear                    Gemm
    Conv2d                    Conv, its weight (k, k, C, M) turned to (M, C, k, k)
    MaxPool2d, AvgPool2d      MaxPool, AveragePool
    BatchNorm, not folded     Mul, Add
    ReLU                      Relu
    Flatten                   Flatten, after Transpose: the next weights count (H, C, W)
    AddChannel                Unsqueeze

The same weights, numdraw and onnx give the same bytes.

Source: "Open Neural Network Exchange: ONNX Operators", operator set 13.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from numdraw import __version__, preprocess
from numdraw.nn.checkpoint import PathLike, written_whole
from numdraw.nn.conv import Conv2d
from numdraw.nn.inference import Inference
from numdraw.nn.layers import AddChannel, Array, Flatten, Layer, Linear, ReLU, Shape
from numdraw.nn.network import Sequential
from numdraw.nn.norm import BatchNorm
from numdraw.nn.pool import AvgPool2d, MaxPool2d
from numdraw.predictor import Predictor

if TYPE_CHECKING:
    from onnx import ModelProto

OPERATOR_SET = 13  # of 2020: the first in which Softmax and Unsqueeze mean what they do today
IR_VERSION = 7  # of the file itself, as old as operator set 13: older programs read it too

# What a weights file's meta has, by its name in the ONNX file's metadata.
METADATA = {
    "model_version": "version",
    "sha256": "sha256",
    "training_command": "command",
    "numdraw_version": "numdraw",
    "preprocessing_version": "preprocessing",
}
IMAGES = (
    f"images expected (N, {preprocess.SIDE}, {preprocess.SIDE}) float32 in [0, 1], 0 = paper, "
    "1 = ink, as in MNIST: the ink fitted into "
    f"{preprocess.BOX} x {preprocess.BOX} px in its own shape, its centre of mass at pixel "
    f"({preprocess.CENTRE:g}, {preprocess.CENTRE:g}) counted from 0, lines about "
    f"{preprocess.LINE_WIDTH} px wide; numdraw.preprocess makes such an image of a drawing"
)


class ExportError(ValueError):
    """A network that cannot be written as ONNX, or no package to do it with."""


@dataclass(frozen=True, eq=False)  # arrays have no single truth to compare by
class Operator:
    """One node of the graph, which takes what the one before gives.

    Attributes:
        name: of the node and of its output.
        kind: what ONNX calls the operator.
        constants: its further inputs, in order, by name.
        attributes: as ONNX calls them.
    """

    name: str
    kind: str
    constants: Mapping[str, Array] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m numdraw.onnx", description=(__doc__ or "").split("\n\n", 1)[0]
    )
    parser.add_argument("--weights", type=Path, help="the weights file (the shipped one)")
    parser.add_argument("out", type=_onnx_file, metavar="OUT.onnx", help="the file to write")
    args = parser.parse_args(arguments)
    try:
        export_weights(args.weights, args.out)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"numdraw.onnx: {error}\n")
        return 1
    sys.stdout.write(f"wrote {args.out}\n")
    return 0


def export_weights(weights: PathLike | None, out: PathLike) -> None:
    """Write a weights file's network as ONNX, with its temperature and whence it comes.

    Args:
        weights: written by `python -m numdraw.train`; None is the file that comes with numdraw.
        out: the ONNX file, written whole or not at all.

    Raises:
        FileNotFoundError: there is no such weights file.
        CheckpointError: it is damaged, or not a numdraw weights file of this version.
        ExportError: the package onnx is missing.
        OSError: the ONNX file cannot be written.
    """
    predictor = Predictor.load(weights)
    known = {name: predictor.meta.get(key) for name, key in METADATA.items()}
    metadata = {name: str(value) for name, value in known.items() if value is not None}
    export_network(
        predictor.network,
        out,
        temperature=predictor.calibration.temperature,
        metadata={**metadata, "input": IMAGES},
    )


def export_network(
    network: Sequential,
    out: PathLike,
    *,
    temperature: float = 1.0,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a network as ONNX.

    Args:
        network: trained; its input, `images`, has its own shape, (N, 28, 28) or another.
        out: the ONNX file, written whole or not at all.
        temperature: divides the logits before the softmax that gives `probabilities`.
        metadata: kept in the file as ONNX's metadata_props.

    Raises:
        ExportError: the package onnx is missing, a layer is none of numdraw.nn's, the network does
            not end in logits (K,), or the temperature is not above 0.
        OSError: the ONNX file cannot be written.
    """
    model = _model(network, temperature, metadata or {})
    content = model.SerializeToString(deterministic=True)
    with written_whole(out) as file:
        file.write(content)


def _model(network: Sequential, temperature: float, metadata: Mapping[str, str]) -> "ModelProto":
    """What `export_network` writes."""
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise ExportError(
            f"export expected the package onnx, got: {error}; "
            "install it with: pip install 'numdraw[onnx]'"
        ) from error
    if len(network.shapes[-1]) != 1:
        raise ExportError(
            f"export expected a network that ends in logits (K,), got {network.shapes[-1]}"
        )
    if not temperature > 0:
        raise ExportError(f"export expected a temperature above 0, got {temperature}")
    operators = [
        *_operators(Inference(network).network),
        Operator("tempered", "Div", {"temperature": np.array(temperature)}),
        Operator("probabilities", "Softmax"),
    ]
    nodes, constants, given = [], [], "images"
    for operator in operators:
        for name, array in operator.constants.items():
            dtype = np.int64 if array.dtype.kind == "i" else np.float32
            constants.append(numpy_helper.from_array(array.astype(dtype), name))
        inputs, outputs = [given, *operator.constants], [operator.name]
        nodes.append(
            helper.make_node(
                operator.kind, inputs, outputs, name=operator.name, **operator.attributes
            )
        )
        given = operator.name
    graph = helper.make_graph(
        nodes,
        "numdraw",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ("N", *network.input_shape))],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ("N", *network.shapes[-1]))
            for name in ("logits", "probabilities")
        ],
        constants,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPERATOR_SET)],
        ir_version=IR_VERSION,
        producer_name="numdraw",
        producer_version=__version__,
    )
    helper.set_model_props(model, dict(metadata))
    return model


def _operators(network: Sequential) -> list[Operator]:
    """What a network computes, from `images` to `logits`."""
    operators = []
    if len(network.input_shape) == 3:
        operators.append(_transpose("images.transposed"))
    for name, layer, shape in zip(
        network.layer_names(), network.layers, network.shapes[:-1], strict=True
    ):
        operators += _of_layer(name, layer, shape)
    if not operators:
        return [Operator("logits", "Identity")]
    return [*operators[:-1], replace(operators[-1], name="logits")]


def _of_layer(name: str, layer: Layer, input_shape: Shape) -> list[Operator]:
    """What one layer computes; images are (N, C, H, W).

    Args:
        name: the layer's.
        layer: of a network that batch norm was folded in.
        input_shape: one example's, as in the network: (H, C, W) of an image.

    Raises:
        ExportError: the layer is none of numdraw.nn's.
    """
    # By the very class: what somebody derived from it may do something else.
    if type(layer) is Linear:
        weight = layer.weight.value  # (M, D)
        return [Operator(name, "Gemm", _affine(name, weight, layer.bias.value), {"transB": 1})]
    if type(layer) is Conv2d:
        weight = layer.weight.value.transpose(3, 2, 0, 1)  # (k, k, C, M) -> (M, C, k, k)
        window = {
            "kernel_shape": [layer.kernel] * 2,
            "strides": [layer.stride] * 2,
            "pads": [layer.padding] * 4,
        }
        return [Operator(name, "Conv", _affine(name, weight, layer.bias.value), window)]
    if type(layer) is MaxPool2d or type(layer) is AvgPool2d:
        kind = "MaxPool" if type(layer) is MaxPool2d else "AveragePool"
        square = {"kernel_shape": [layer.size] * 2, "strides": [layer.size] * 2}
        return [Operator(name, kind, {}, square)]
    if type(layer) is BatchNorm:
        shape = (-1, 1, 1) if len(input_shape) == 3 else (-1,)
        scale, shift = (array.reshape(shape) for array in layer.scale_and_shift())
        return [
            Operator(f"{name}.scaled", "Mul", {f"{name}.scale": scale}),
            Operator(name, "Add", {f"{name}.shift": shift}),
        ]
    if type(layer) is ReLU:
        return [Operator(name, "Relu")]
    if type(layer) is Flatten:
        turned = [_transpose(f"{name}.transposed")] if len(input_shape) == 3 else []
        return [*turned, Operator(name, "Flatten")]
    if type(layer) is AddChannel:
        return [Operator(name, "Unsqueeze", {f"{name}.axes": np.array([1])})]
    raise ExportError(
        f"export expected the layers of numdraw.nn, got {type(layer).__name__}; "
        "write what it computes in ONNX's operators into numdraw/onnx.py"
    )


def _affine(name: str, weight: Array, bias: Array) -> dict[str, Array]:
    return {f"{name}.weight": weight, f"{name}.bias": bias}


def _transpose(name: str) -> Operator:
    """(N, H, C, W) to (N, C, H, W), or back."""
    return Operator(name, "Transpose", attributes={"perm": [0, 2, 1, 3]})


def _onnx_file(text: str) -> Path:
    if not text.endswith(".onnx"):  # a weights file, named by mistake, would be overwritten
        raise argparse.ArgumentTypeError(
            f"expected a name that ends in .onnx, got {text!r}; --weights names the file to read"
        )
    return Path(text)


if __name__ == "__main__":
    sys.exit(main())
