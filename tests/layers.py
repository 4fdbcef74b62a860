"""What the tests of layers share."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from numdraw.nn.layers import Layer


@contextmanager
def unchanged(layer: Layer) -> Iterator[None]:
    """A block after which the layer must hold what it held before, to the last number."""
    before = copy.deepcopy(vars(layer))
    yield
    assert vars(layer).keys() == before.keys()
    for name, kept in before.items():
        now = getattr(layer, name)
        if hasattr(kept, "value"):  # a Parameter or a Statistic
            for part, numbers in vars(kept).items():
                assert np.array_equal(getattr(now, part), numbers), (name, part)
        else:
            assert np.array_equal(now, kept), name
