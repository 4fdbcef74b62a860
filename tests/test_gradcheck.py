import numpy as np
import pytest

from numdraw.nn.gradcheck import check_gradients, numerical_gradient, relative_error
from numdraw.nn.layers import Array, Linear


class WrongLinear(Linear):
    """Forgets that its bias's gradient is a sum over the batch."""

    def parameter_gradients(self, dout: Array) -> None:
        super().parameter_gradients(dout)
        self.bias.grad /= dout.shape[1]


def test_slope_of_a_cube() -> None:
    p = np.array([1.0, -2.0])
    slope = numerical_gradient(lambda: float((p**3).sum()), p)
    assert slope == pytest.approx([3, 12], rel=1e-8)
    assert p.tolist() == [1, -2]


def test_relative_error_is_of_the_largest_element() -> None:
    assert relative_error(np.array([10.0, 1.0]), np.array([10.0, 2.0])) == pytest.approx(0.1)
    assert relative_error(np.zeros(2), np.zeros(2)) == 0


def test_a_wrong_gradient_is_found_and_named() -> None:
    rng = np.random.default_rng(0)
    layer = WrongLinear(4, 3, rng=rng, dtype=np.float64)
    errors = check_gradients(layer, rng.normal(size=(4, 5)), rng=rng)
    assert errors["bias"] > 0.1
    assert max(errors["x"], errors["weight"]) < 1e-6
