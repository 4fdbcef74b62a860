"""A side: onnxruntime, with the same networks written as ONNX models."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper

from benchmarks.parts import nets
from benchmarks.parts.side import timed
from numdraw import models
from numdraw.nn.conv import Conv2d, MaxPool2d
from numdraw.nn.inference import Inference
from numdraw.nn.layers import Flatten, Layer, Linear, ReLU
from numdraw.nn.network import Sequential
from numdraw.nn.parallel import keep_freed_memory

OPSET, IR_VERSION = 17, 8  # of 2022: any onnxruntime in use reads them
NODES: dict[type[Layer], Callable[[Any], tuple[str, dict[str, Any]]]] = {
    Conv2d: lambda layer: (
        "Conv",
        {
            "kernel_shape": [layer.kernel] * 2,
            "strides": [layer.stride] * 2,
            "pads": [layer.padding] * 4,
        },
    ),
    MaxPool2d: lambda layer: (
        "MaxPool",
        {"kernel_shape": [layer.size] * 2, "strides": [layer.size] * 2},
    ),
    ReLU: lambda layer: ("Relu", {}),
    Flatten: lambda layer: ("Flatten", {"axis": 1}),
    Linear: lambda layer: ("Gemm", {"transB": 1}),
}

keep_freed_memory()  # as on our side


def predictions(*, net: str, count: int, calls: int, threads: int) -> Callable[[], float]:
    """A round of predictions of so many images; it returns the seconds of one.

    Raises:
        ValueError: the model's logits are not ours.
    """
    network = Inference(nets.network(net)).network
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        _model(network), options, providers=["CPUExecutionProvider"]
    )
    images = np.random.default_rng(0).random((count, *models.INPUT), np.float32)
    inputs = {"images": images[:, None]}
    nets.check_same("onnxruntime's model", session.run(None, inputs)[0], network(images))
    return timed(lambda: session.run(None, inputs), calls)


def _model(network: Sequential) -> bytes:
    """A network, its batch norm folded, as an ONNX model: images (N, 1, 28, 28) -> logits (N, 10).

    Source: the ONNX operators' specification, opset 17.
    """
    nodes, initializers, last = [], [], "images"
    for number, (layer, arrays) in enumerate(nets.channels_first(network)):
        if type(layer) in NODES:
            kind, attributes = NODES[type(layer)](layer)
            names = [f"{name}{number}" for name in arrays]  # weight, bias: in ONNX's order too
            initializers += [
                numpy_helper.from_array(array, name)
                for name, array in zip(names, arrays.values(), strict=True)
            ]
            nodes.append(helper.make_node(kind, [last, *names], [f"x{number}"], **attributes))
            last = f"x{number}"
    graph = helper.make_graph(
        nodes,
        "numdraw",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 1, *models.INPUT])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["N", models.CLASSES])],
        initializers,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    checker.check_model(model)
    serialized: bytes = model.SerializeToString()
    return serialized
