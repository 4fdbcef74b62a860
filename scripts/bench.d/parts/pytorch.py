"""A side: PyTorch, with the same networks and the same parameters."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.parts import nets
from benchmarks.parts.side import timed
from numdraw import models
from numdraw.nn.conv import Conv2d
from numdraw.nn.inference import Inference
from numdraw.nn.layers import Array, Dropout, Flatten, Layer, Linear, ReLU
from numdraw.nn.network import Sequential
from numdraw.nn.norm import BatchNorm
from numdraw.nn.parallel import keep_freed_memory
from numdraw.nn.pool import MaxPool2d

LAYOUTS = {"default": torch.contiguous_format, "channels_last": torch.channels_last}
NAMES = {"mean": "running_mean", "variance": "running_var"}  # of what is not called the same
MODULES: dict[type[Layer], Callable[[Any], nn.Module]] = {  # AddChannel: its input has channels
    Conv2d: lambda layer: nn.Conv2d(
        *layer.weight.value.shape[2:], layer.kernel, stride=layer.stride, padding=layer.padding
    ),
    MaxPool2d: lambda layer: nn.MaxPool2d(layer.size),
    BatchNorm: lambda layer: nn.BatchNorm2d(len(layer.weight.value)),
    ReLU: lambda layer: nn.ReLU(inplace=True),
    Dropout: lambda layer: nn.Dropout(layer.p),
    Flatten: lambda layer: nn.Flatten(),
    Linear: lambda layer: nn.Linear(*reversed(layer.weight.value.shape)),
}

keep_freed_memory()  # as on our side


def same_network(network: Sequential, layout: str) -> nn.Module:
    """PyTorch's network of the same layers and parameters; it gives the same logits.

    Args:
        network: ours.
        layout: a key of `LAYOUTS`.

    Raises:
        ValueError: it gives others.
    """
    modules = []
    for layer, arrays in nets.channels_first(network):
        if type(layer) in MODULES:
            module = MODULES[type(layer)](layer)
            module.load_state_dict(
                {NAMES.get(name, name): torch.tensor(array) for name, array in arrays.items()},
                strict=False,  # BatchNorm2d counts batches too
            )
            modules.append(module)
    theirs = nn.Sequential(*modules).to(memory_format=LAYOUTS[layout]).eval()
    images = np.random.default_rng(0).random((64, *models.INPUT), np.float32)
    with torch.inference_mode():
        logits = theirs(as_input(images, layout)).numpy()
    nets.check_same(f"PyTorch's network, {layout},", logits, network(images))
    return theirs


def as_input(images: Array, layout: str) -> torch.Tensor:
    """(N, 28, 28) float32 -> (N, 1, 28, 28) in a layout."""
    return torch.from_numpy(images)[:, None].to(memory_format=LAYOUTS[layout])


def training(
    *,
    net: str,
    batch: int,
    steps: int,
    threads: int,
    lr: float,
    folder: str | None,
    layout: str,
) -> Callable[[], float]:
    """A round of training steps; it returns its seconds.

    Args:
        net: its name.
        batch: images a step.
        steps: in a round.
        threads: for PyTorch.
        lr: the learning rate.
        folder: of the images.
        layout: a key of `LAYOUTS`.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)  # of dropout
    network = same_network(nets.network(net), layout).train()
    some, their_labels = nets.batch(folder, batch * steps)
    images, labels = as_input(some, layout), torch.from_numpy(their_labels)
    optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9, fused=True)

    def run() -> float:
        start = time.perf_counter()
        for first in range(0, batch * steps, batch):
            here = slice(first, first + batch)
            optimizer.zero_grad()
            cross_entropy(network(images[here]), labels[here]).backward()
            optimizer.step()
        return time.perf_counter() - start

    return run


def predictions(
    *, net: str, count: int, calls: int, threads: int, layout: str, part: int
) -> Callable[[], float]:
    """A round of predictions of so many images; it returns the seconds of one.

    Batch norm is folded into the convolutions, as we do it.

    Args:
        net: its name.
        count: images.
        calls: predictions in a round.
        threads: for PyTorch.
        layout: a key of `LAYOUTS`.
        part: how many images go through the network at once.
    """
    network = same_network(Inference(nets.network(net)).network, layout)
    images = as_input(np.random.default_rng(0).random((count, *models.INPUT), np.float32), layout)
    parts = images.split(part)

    def predict() -> torch.Tensor:
        with torch.inference_mode():
            return network(images) if len(parts) == 1 else torch.cat([network(x) for x in parts])

    run = timed(predict, calls)

    def with_threads() -> float:
        torch.set_num_threads(threads)
        return run()

    return with_threads
