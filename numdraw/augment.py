"""Random warps of digit images: turned, slanted, stretched, moved and bent as other hands would.

Every pixel of the result looks up a point of the original: where that point lies is

    point = sum over k of coefficient[k] * basis[k](pixel)

with a basis of x, y and 1, whose coefficients make the affine map, and of smooth bumps on a
coarse grid, whose random coefficients bend it. So the points of a whole batch are one matrix
product, and the bilinear look-up is four `take`s.

Source: Simard, Steinkraus and Platt, "Best Practices for Convolutional Neural Networks", 2003,
section 2: affine and elastic distortions. There a random field is smoothed by a Gaussian; here
the same kind of field is drawn on a coarse grid of Gaussians at once.
"""

from dataclasses import dataclass

import numpy as np

from numdraw.models import INPUT
from numdraw.nn.layers import Array

SIDE = INPUT[0]  # px
GRID = 7  # bumps a side, 4.5 px apart
BUMP = 4.0  # px, the Gaussian's standard deviation; Simard et al. smooth by 4 too
CENTRE = (SIDE - 1) / 2  # px, of the pixel centres 0..27


@dataclass(frozen=True)
class Augmentation:
    """How far warps go: each is drawn evenly from -limit to limit, bends from a normal law.

    Attributes:
        rotation: degrees.
        shear: px of slant a px of height.
        scale: as a share of the size, for width and height apart.
        translation: px.
        elastic: px, the standard deviation of the displacement that bends add.
    """

    rotation: float = 10.0
    shear: float = 0.2
    scale: float = 0.12
    translation: float = 1.5
    elastic: float = 0.8


def augment(images: Array, how: Augmentation, *, rng: np.random.Generator) -> Array:
    """Each image, warped by a random map of its own.

    Args:
        images: (N, 28, 28) uint8, 255 = ink.
        how: the limits.
        rng: draws the maps.

    Returns:
        (N, 28, 28) float32 in [0, 1]; what lay outside the frame is paper.
    """
    points = _coefficients(len(images), how, rng) @ _BASIS  # (2N, 3 + GRID**2) @ (3 + GRID**2, 784)
    return _look_up(images, points.reshape(len(images), 2, SIDE * SIDE))


def _coefficients(n: int, how: Augmentation, rng: np.random.Generator) -> Array:
    """(2N, 3 + GRID**2) float32: a row for each image's x, then one for its y."""

    def even(limit: float) -> Array:
        return rng.uniform(-limit, limit, n)

    angle = np.radians(even(how.rotation))
    shear, scale_x, scale_y = even(how.shear), 1 + even(how.scale), 1 + even(how.scale)
    cos, sin = np.cos(angle), np.sin(angle)
    rows = np.empty((n, 2, 3 + GRID * GRID), np.float32)
    # rotation @ shear @ scale
    rows[:, 0, 0], rows[:, 0, 1] = cos * scale_x, (cos * shear - sin) * scale_y
    rows[:, 1, 0], rows[:, 1, 1] = sin * scale_x, (sin * shear + cos) * scale_y
    rows[:, 0, 2], rows[:, 1, 2] = even(how.translation), even(how.translation)
    rows[:, :, 3:] = rng.standard_normal((n, 2, GRID * GRID), dtype=np.float32)
    rows[:, :, 3:] *= how.elastic
    return rows.reshape(2 * n, 3 + GRID * GRID)


def _look_up(images: Array, points: Array) -> Array:
    """The images at points (N, 2, 784), x and y from the frame's centre in px: bilinear."""
    n = len(images)
    side = SIDE + 2  # a rim of paper, so that a point just outside fades into it
    framed = np.zeros((n, side, side), np.float32)
    np.multiply(images, np.float32(1 / 255), out=framed[:, 1:-1, 1:-1])
    points += np.float32(CENTRE + 1)
    np.clip(points, 0, np.float32(side - 1.001), out=points)
    corner = points.astype(np.int32)  # the pixel up and left: points are not negative
    points -= corner
    x, y = points[:, 0], points[:, 1]
    flat = framed.ravel()
    index = corner[:, 1] * side + corner[:, 0]
    index += (np.arange(n, dtype=np.int32) * (side * side))[:, None]
    top_left, top_right = flat.take(index), flat.take(index + 1)
    low_left, low_right = flat.take(index + side), flat.take(index + (side + 1))
    top_right -= top_left
    top_right *= x
    top_left += top_right  # the upper row's value at x
    low_right -= low_left
    low_right *= x
    low_left += low_right  # the lower row's
    low_left -= top_left
    low_left *= y
    top_left += low_left
    return top_left.reshape(n, SIDE, SIDE)


def _basis() -> Array:
    """(3 + GRID**2, 784) float32: x, y, 1, and the bumps, at every pixel.

    The bumps are scaled so that normal coefficients of deviation 1 make a displacement of mean
    square 1 over the frame.
    """
    pixels = np.arange(SIDE) - CENTRE
    nodes = np.linspace(-CENTRE, CENTRE, GRID)
    bump = np.exp(-0.5 * ((nodes[:, None] - pixels) / BUMP) ** 2)  # (GRID, 28)
    bumps = np.einsum("iy,jx->ijyx", bump, bump).reshape(GRID * GRID, SIDE * SIDE)
    bumps /= np.sqrt((bumps**2).sum(axis=0).mean())
    y, x = np.meshgrid(pixels, pixels, indexing="ij")
    return np.vstack([x.ravel(), y.ravel(), np.ones(SIDE * SIDE), bumps]).astype(np.float32)


_BASIS = _basis()
