"""Brings a picture's ground to 0: dark ink on light paper, chalk on a board, uneven light.

A ground that is not empty is taken for a smooth surface, of second order in x and y. First a plane
is fitted with the least sum of absolute differences, the rim counting more: lines pull at it
little. Then the surface is fitted by least squares again and again, each time to the pixels that
lie near it, so that lines no longer count. Ink is what stands out from it to one side: to that with
the more. Where that finds nothing, because half of all is ink, the picture may have two levels.
"""

import numpy as np
from numpy.typing import NDArray

CLEAN = 16.0  # of 255, the most of a pixel of an empty ground
RIM, SHARE = 0.6, 0.4  # how much of the rim is clean where the ground is empty; half of that does
# where so much of the picture is
RIM_WEIGHT = 0.5  # what the rim, mostly ground, counts beyond its own pixels; a share of all
SIDE = 64  # the surface is fitted to about so many rows and columns
ROUNDS = 8
NEAR = 2.5  # standard deviations of the noise, within which a pixel counts as ground
LEAST_NOISE = 1.0  # of 255
TWO_LEVELS = 0.85  # the share of the variance that two levels have at least; of even noise 0.75


def on_empty_ground(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W) in [0, 255], 0 = ground: the pixels as they are where their ground is empty.

    Args:
        pixels: (H, W) in [0, 255], ink brighter or darker than its ground.
    """
    rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    if (rim <= CLEAN).mean() >= (RIM if (pixels <= CLEAN).mean() < SHARE else RIM / 2):
        return pixels
    ground, noise = _surface(pixels)
    above = pixels - ground
    stands_out = NEAR * noise
    lighter = np.maximum(above - stands_out, 0)
    darker = np.maximum(-above - stands_out, 0)
    ink = lighter if lighter.sum() > darker.sum() else darker
    peak = float(np.quantile(ink[ink > 0], 0.9)) if ink.any() else 0.0
    if peak < NEAR * noise:
        return _of_two_levels(pixels, rim)
    even: NDArray[np.float32] = np.minimum(ink * np.float32(255 / max(peak, 1.0)), 255)
    return even


def _of_two_levels(pixels: NDArray[np.float32], rim: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same where as much is ink as ground; nothing where there are no two levels: noise.

    Args:
        pixels: (H, W).
        rim: those at the edges, of which most are ground.

    Source: Otsu, "A Threshold Selection Method from Gray-Level Histograms", 1979.
    """
    values, counts = np.unique(np.rint(pixels), return_counts=True)
    if len(values) < 2:
        return np.zeros_like(pixels)
    below, sums = np.cumsum(counts)[:-1], np.cumsum(counts * values)
    above, total = pixels.size - below, sums[-1]
    means = sums[:-1] / below, (total - sums[:-1]) / above
    between = below * above * (means[1] - means[0]) ** 2 / pixels.size**2
    best = int(between.argmax())
    if between[best] < TWO_LEVELS * pixels.var():
        return np.zeros_like(pixels)
    ground, ink = means[0][best], means[1][best]
    if (rim > values[best]).mean() >= 0.5:  # dark on light
        ground, ink = ink, ground
    even: NDArray[np.float32] = np.clip(
        (pixels - np.float32(ground)) * np.float32(255 / (ink - ground)), 0, 255
    )
    return even


def _surface(pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """(H, W): the ground, and the standard deviation of the noise on it.

    Source: of the plane, Holland and Welsch, "Robust Regression Using Iteratively Reweighted
    Least-Squares", 1977.
    """
    height, width = pixels.shape
    y, x = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
    rows, columns = (slice(None, None, -(-size // SIDE)) for size in pixels.shape)
    basis = _basis(x[columns], y[rows])
    values = pixels[rows, columns].ravel().astype(np.float64)
    on_rim = np.ones((len(y[rows]), len(x[columns])), bool)
    on_rim[1:-1, 1:-1] = False
    weight = 1 + RIM_WEIGHT * on_rim.ravel() / on_rim.mean()
    away = np.ones(len(values))
    for _ in range(ROUNDS):  # a distance's square, weighed by 1 / distance, is the distance
        scale = np.sqrt(weight / np.maximum(away, LEAST_NOISE))
        plane = np.linalg.lstsq(basis[:, :3] * scale[:, None], values * scale)[0]
        away = np.abs(values - basis[:, :3] @ plane)
    for _ in range(ROUNDS):
        # the median of a normal law's absolute values is 0.6745 standard deviations
        noise = max(float(np.median(away)) / 0.6745, LEAST_NOISE)
        near = away < NEAR * noise
        surface = np.linalg.lstsq(basis[near], values[near])[0]
        away = np.abs(values - basis @ surface)
    ground = (_basis(x, y) @ surface).reshape(height, width).astype(np.float32)
    return ground, noise


def _basis(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """(H * W, 6): 1, x, y, x**2, xy, y**2 at each pixel."""
    yy, xx = np.meshgrid(y, x, indexing="ij")
    terms = [np.ones_like(xx), xx, yy, xx * xx, xx * yy, yy * yy]
    return np.stack([term.ravel() for term in terms], axis=1)
