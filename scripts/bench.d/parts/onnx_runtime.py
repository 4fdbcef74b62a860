"""A side: onnxruntime, with the networks that numdraw.onnx writes."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.parts import nets
from benchmarks.parts.side import timed
from numdraw import models
from numdraw.nn.parallel import keep_freed_memory
from numdraw.onnx import export_network

keep_freed_memory()  # as on our side


def predictions(*, net: str, count: int, calls: int, threads: int) -> Callable[[], float]:
    """A round of predictions of so many images; it returns the seconds of one.

    Raises:
        ValueError: the logits are not ours.
    """
    network = nets.network(net)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_network(network, path)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = {"images": np.random.default_rng(0).random((count, *models.INPUT), np.float32)}
    (logits,) = session.run(["logits"], inputs)
    nets.check_same("onnxruntime", logits, network(inputs["images"]))
    return timed(lambda: session.run(["logits"], inputs), calls)
