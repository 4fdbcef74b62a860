import io
import re

import numpy as np
import pytest

REASON = "matplotlib is not installed: pip install 'numdraw[report]' to draw reports"
pytest.importorskip("matplotlib", reason=REASON)
from matplotlib.image import imread  # noqa: E402  # after the check that it is there

from numdraw import plots  # noqa: E402


def test_only_errors_are_coloured_in_the_confusion_matrix() -> None:
    matrix = np.diag([900] * 10)
    matrix[4, 9], matrix[9, 4] = 6, 1
    cells = re.findall(rf"fill: {plots.CELL}; opacity: ([\d.]+)", plots.confusion(matrix).decode())
    assert [float(opacity) for opacity in cells] == [pytest.approx(0.72), pytest.approx(0.22)]


@pytest.mark.parametrize("certain", [0.3, 1.0])
def test_calibration_plots_take_any_confidence(certain: float) -> None:
    for correct in (True, False):
        plots.reliability(np.array([certain]), np.array([correct]))
        plots.high_confidence(np.array([certain]), np.array([correct]))


def test_filters_are_those_with_the_largest_norms() -> None:
    weights = np.zeros((70, 28, 28), np.float32)
    weights[:, 3, 5] = np.arange(70) + 1
    weights[::2, 3, 5] *= -1
    weights[69, 3, 6] = -35  # half as strong as the strongest
    content, shown = plots.filters(weights)
    pixels = np.rint(255 * imread(io.BytesIO(content))).astype(int)
    step = 3 * 28 + plots.FILTER_GAP
    assert shown == 64
    assert pixels.shape == (8 * step - plots.FILTER_GAP, 8 * step - plots.FILTER_GAP, 4)
    for k in range(64):  # units 69, 68, ...: blue above 0, red below
        row, column = k // 8 * step + 3 * 3 + 1, k % 8 * step + 3 * 5 + 1
        above = (69 - k) % 2 == 1
        colour = plots.FILTER_BLUE if above else plots.FILTER_RED
        assert pixels[row, column].tolist() == [*bytes.fromhex(colour[1:]), 255]
    assert pixels[10, 19].tolist() == [*bytes.fromhex(plots.FILTER_RED[1:]), 128]
    assert pixels[0, 0, 3] == 0


def test_filters_that_are_all_zero_can_be_shown() -> None:
    assert plots.filters(np.zeros((3, 5, 5), np.float32))[1] == 3
