"""A neural network library in NumPy whose every gradient is written out by hand.

Read it in this order: `layers`, `losses`, `network`, `optim`, `parallel`, `checkpoint`;
`gradcheck` holds each gradient against the slope of the loss.

The batch comes last: an array is (features, N) or (C, H, W, N), one example a column, so that
a layer is `out = weight @ x + bias` as in the textbooks.

The key to single letters, the same in every file:

    N  examples in a batch        C  channels
    D  features in                H  rows of an image
    M  features out               W  columns of an image
    K  classes                    P  parameters of a network

`d<name>` is the gradient of the loss with respect to `name`, with exactly its shape.
"""

from numdraw.nn.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from numdraw.nn.layers import Dropout, Flatten, Layer, Linear, Parameter, ReLU
from numdraw.nn.losses import SoftmaxCrossEntropy, log_softmax, softmax
from numdraw.nn.network import Sequential
from numdraw.nn.optim import SGD, AdamW, Constant, Cosine, OneCycle, Optimizer, Schedule
from numdraw.nn.parallel import ParallelGradient

__all__ = [
    "SGD",
    "AdamW",
    "CheckpointError",
    "Constant",
    "Cosine",
    "Dropout",
    "Flatten",
    "Layer",
    "Linear",
    "OneCycle",
    "Optimizer",
    "ParallelGradient",
    "Parameter",
    "ReLU",
    "Schedule",
    "Sequential",
    "SoftmaxCrossEntropy",
    "load_checkpoint",
    "log_softmax",
    "save_checkpoint",
    "softmax",
]
