"""Checks of gradients: each is compared with the slope of the loss itself.

The slope of a function f at p along one coordinate is (f(p + h) - f(p - h)) / 2h, up to an error
of order h**2. In float64 with h = 1e-6 a right gradient agrees to some nine digits.
"""

from collections.abc import Callable

import numpy as np

from numdraw.nn.layers import Array, Layer

STEP = 1e-6  # h: the slope's error is some h**2, and rounding adds 1e-16 / h


def numerical_gradient(f: Callable[[], float], p: Array) -> Array:
    """The slope of f by each element of p.

    Args:
        f: computes a number from p as it stands.
        p: float64; each element is moved by 1e-6 both ways and put back.

    Returns:
        An array of p's shape.
    """
    slope = np.zeros_like(p)
    for i in np.ndindex(p.shape):
        here = p[i]
        p[i] = here + STEP
        above = f()
        p[i] = here - STEP
        below = f()
        p[i] = here
        slope[i] = (above - below) / (2.0 * STEP)
    return slope


def relative_error(a: Array, b: Array) -> float:
    """The largest difference between a and b, as a share of the largest element of either."""
    scale = max(
        float(np.abs(a).max(initial=0.0)), float(np.abs(b).max(initial=0.0)), 1e-30
    )  # two zeros differ by 0
    return float(np.abs(a - b).max(initial=0.0)) / scale


def check_gradients(layer: Layer, x: Array, *, rng: np.random.Generator) -> dict[str, float]:
    """The relative error of every gradient of a layer.

    The loss is the sum of the layer's outputs, each times a fixed random number: its gradient at
    the output is those numbers.

    Args:
        layer: with float64 parameters.
        x: (..., N) float64, away from the layer's kinks.
        rng: draws those numbers, and the seed of the layer's own, which are the same each time.

    Returns:
        The relative error by name: "x", and each parameter's.
    """
    seed = int(rng.integers(2**32))

    def forward() -> Array:
        # Layers may work in place, so each call gets a copy.
        return layer.forward(x.copy(), train=True, rng=np.random.default_rng(seed))

    dout = rng.normal(size=forward().shape)

    def loss() -> float:
        return float((forward() * dout).sum())

    forward()
    dx = layer.backward(dout.copy())
    gradients = {name: p.grad.copy() for name, p in layer.parameters().items()}
    errors = {"x": relative_error(dx, numerical_gradient(loss, x))}
    for name, parameter in layer.parameters().items():
        errors[name] = relative_error(gradients[name], numerical_gradient(loss, parameter.value))
    return errors
