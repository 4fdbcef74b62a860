"""scripts/bench request: it runs, and its parts are there. What the figures are is not tested."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
LATE = 300  # seconds, on a very busy machine


def test_request_names_every_part_of_each_drawing(tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "bench", "request", "--quick", "--json", tmp_path / "request.json"],
        env={**os.environ, "NUMDRAW_VENV": sys.prefix},
        capture_output=True, text=True, timeout=LATE,
    )  # fmt: skip  # shorter so
    assert (done.returncode, done.stderr) == (0, "")
    drawings = json.loads((tmp_path / "request.json").read_text())["drawings"]
    assert [drawing["number"] for drawing in drawings.values()] == ["3", "4", "33"]
    for drawing in drawings.values():
        us = drawing["us"]
        assert list(us["parts"]) == [
            "shell", "JSON read", "checks", "rendering, distances", "rendering, samples",
            "rendering, the rest", "segmentation", "network, convolution 1",
            "network, convolution 2", "network, convolution 3", "network, convolution 4",
            "network, the rest", "calibration", "answer", "JSON write",
        ]  # fmt: skip  # reads easier in few lines
        assert all(math.isfinite(part) for part in us["parts"].values())
        assert us["whole"]["median"] > 0
        assert us["whole"]["rounds"] == 2
        assert math.isfinite(us["left over"])
    assert "left over" in done.stdout
