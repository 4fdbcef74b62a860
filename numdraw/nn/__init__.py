"""A neural network library in NumPy whose every gradient is written out by hand.

Read it in this order: `layers`, `conv`, `pool`, `norm`, `losses`, `network`, `team`, `optim`,
`parallel`, `tiled`, `inference`, `checkpoint`; `gradcheck` holds each gradient against the slope of
the loss, and `classifier` is all of it behind `fit` and `predict`.

The batch comes last: an array is (features, N), one example a column, so that a layer is
`out = weight @ x + bias` as in the textbooks. Images are (H, C, W, N): see `conv` for the reason.

The key to single letters, the same in every file:

    N  examples in a batch        C  channels
    D  features in                H  rows of an image, h one of them
    M  features or channels out   W  columns of an image, w one of them
    K  classes                    P  parameters of a network
    k  rows of a window           S  statistics of a network
    s  stride of a window         i  row in a window
    p  padding of an image        j  column in a window

`d<name>` is the gradient of the loss with respect to `name`, with exactly its shape.
"""

from numdraw.nn.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from numdraw.nn.classifier import Classifier
from numdraw.nn.conv import Conv2d
from numdraw.nn.layers import (
    AddChannel,
    Dropout,
    Flatten,
    Layer,
    Linear,
    Parameter,
    ReLU,
    Statistic,
)
from numdraw.nn.losses import SoftmaxCrossEntropy, log_softmax, softmax
from numdraw.nn.network import Sequential
from numdraw.nn.norm import BatchNorm
from numdraw.nn.optim import SGD, AdamW, Constant, Cosine, OneCycle, Optimizer, Schedule
from numdraw.nn.parallel import ParallelGradient
from numdraw.nn.pool import AvgPool2d, MaxPool2d
from numdraw.nn.team import ProcessTeam, Team, WorkerError, make_team

__all__ = [
    "SGD",
    "AdamW",
    "AddChannel",
    "AvgPool2d",
    "BatchNorm",
    "CheckpointError",
    "Classifier",
    "Constant",
    "Conv2d",
    "Cosine",
    "Dropout",
    "Flatten",
    "Layer",
    "Linear",
    "MaxPool2d",
    "OneCycle",
    "Optimizer",
    "ParallelGradient",
    "Parameter",
    "ProcessTeam",
    "ReLU",
    "Schedule",
    "Sequential",
    "SoftmaxCrossEntropy",
    "Statistic",
    "Team",
    "WorkerError",
    "load_checkpoint",
    "log_softmax",
    "make_team",
    "save_checkpoint",
    "softmax",
]
