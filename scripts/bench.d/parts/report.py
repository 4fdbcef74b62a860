"""What a comparison prints and writes: the machine, tables, medians and ratios, JSON."""

import importlib.util
import json
import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.parts.side import Side

SETTINGS = ("OPENBLAS_", "MKL_", "OMP_", "GOMP_", "KMP_")  # prefixes of variables that matter
RATIOS = "ratios are of medians, above 1 numdraw is faster"
OTHERS = {  # by the name to import: that of the distribution, and its own
    "torch": ("torch", "PyTorch"),
    "sklearn": ("scikit-learn", "scikit-learn"),
    "onnx": ("onnx", "onnx"),
    "onnxruntime": ("onnxruntime", "onnxruntime"),
    "matplotlib": ("matplotlib", "matplotlib"),
    "bjoern": ("bjoern", "bjoern"),
    "fastapi": ("fastapi", "FastAPI"),
    "uvicorn": ("uvicorn", "uvicorn"),
    "flask": ("flask", "Flask"),
    "gunicorn": ("gunicorn", "gunicorn"),
}


class Report:
    """Lines on the screen, and figures for a file.

    Attributes:
        figures: what the file will hold.
    """

    def __init__(self, name: str) -> None:
        """Start with nothing measured."""
        self.figures: dict[str, Any] = {"bench": name, "left_out": []}

    def say(self, text: str = "") -> None:
        """Print a line, or several."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def leave_out(self, what: str, why: str) -> None:
        """Say that something is not measured."""
        self.figures["left_out"].append({"what": what, "why": why})
        self.say(f"left out: {what}: {why}")

    def has(self, module: str) -> bool:
        """Whether another library is installed; where it is not, say that it is left out."""
        if importlib.util.find_spec(module) is not None:
            return True
        _, name = OTHERS[module]
        self.leave_out(name, f"not installed; {sys.executable} -m pip install '.[bench]' brings it")
        return False

    def machine(self, threads: int | None) -> int:
        """Say what is measured on, and return how many threads each side may use.

        Args:
            threads: as asked for; None is one a core.
        """
        with Side("machine", **blas(1)) as side:
            facts = side.call("facts")
        threads = threads or facts["cores"]
        settings = {n: v for n, v in sorted(os.environ.items()) if n.startswith(SETTINGS)}
        versions = {
            name: version(distribution)
            for module, (distribution, name) in OTHERS.items()
            if importlib.util.find_spec(module) is not None
        }
        self.figures["machine"] = {
            **facts, "threads": threads, "settings": settings, "versions": versions
        }  # fmt: skip  # shorter so
        self.say(
            f"processor  {facts['cpu']}, {facts['cores']} cores, load {facts['load']:.2f}; "
            f"{threads} threads a side\n"
            f"NumPy      {facts['numpy']}, {facts['blas']}, kernels for {facts['kernels']}\n"
            f"others     {', '.join(f'{n} {v}' for n, v in versions.items()) or 'none'}\n"
            f"settings   {' '.join(f'{n}={v}' for n, v in settings.items()) or 'none'}"
        )
        if kernels := settings.get("OPENBLAS_CORETYPE"):
            self.say(
                f"OPENBLAS_CORETYPE is set: NumPy's products use OpenBLAS's kernels for {kernels}, "
                "whatever the processor is; unset it for those of this one"
            )
        return threads

    def write(self, path: Path | None) -> None:
        """Write the figures as JSON, if there is a path."""
        if path is not None:
            path.write_text(json.dumps(_rounded(self.figures), indent=2) + "\n")


def blas(threads: int) -> dict[str, str]:
    """What holds NumPy's BLAS to so many threads, if it is set before NumPy is imported."""
    return {"OPENBLAS_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def median_and_best(seconds: Sequence[float], figure: Callable[[float], float]) -> dict[str, float]:
    """The figures of the median round and of the best one, and how many rounds there were.

    Args:
        seconds: a round's each.
        figure: what is reported, of seconds.
    """
    return {
        "median": figure(statistics.median(seconds)),
        "best": figure(min(seconds)),
        "rounds": len(seconds),
    }


def cell(figure: Mapping[str, float] | None, scale: float = 1.0) -> str:
    """A table's cell: the median, and the best in brackets."""
    if figure is None:
        return "-"
    return f"{figure['median'] * scale:,.0f} ({figure['best'] * scale:,.0f})"


def ratio_cell(ratio: float | None) -> str:
    """A table's cell."""
    return "-" if ratio is None else f"{ratio:.2f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under a header, the first column flush left and the others right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            f"{cell:<{width}}" if place == 0 else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    )


def _rounded(value: Any) -> Any:
    """The same with every float at four digits: no round holds still to more."""
    if isinstance(value, Mapping):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
