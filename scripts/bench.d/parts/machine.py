"""A side: what the machine is, and how fast it multiplies matrices."""

import os
import platform
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from numdraw.nn.parallel import cores

CPUINFO = Path("/proc/cpuinfo")


def facts() -> dict[str, Any]:
    """The processor, Python, and NumPy with its BLAS."""
    library = _blas()
    return {
        "cpu": _cpu(),
        "cores": cores(),
        "load": os.getloadavg()[0],
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "blas": f"{library.get('internal_api', 'BLAS')} {library.get('version', '')}".strip(),
        "kernels": library.get("architecture", "an unknown processor (threadpoolctl tells)"),
    }


def products(*, size: int, threads: int, seconds: float) -> Callable[[], float]:
    """A round of float32 products (size, size) @ (size, size), as many threads at once.

    BLAS has one thread in each. The round returns the seconds in which each thread does one.
    """
    rng = np.random.default_rng(0)
    pairs = [rng.random((2, size, size), np.float32) for _ in range(threads)]
    outs = [np.empty((size, size), np.float32) for _ in range(threads)]
    executor = ThreadPoolExecutor(threads)

    def multiply(k: int, count: int) -> None:
        for _ in range(count):
            np.matmul(pairs[k][0], pairs[k][1], out=outs[k])

    def run(count: int) -> float:
        start = time.perf_counter()
        list(executor.map(multiply, range(threads), [count] * threads))
        return time.perf_counter() - start

    run(1)
    count = max(1, round(seconds / run(1)))
    return lambda: run(count) / count


def _blas() -> dict[str, Any]:
    """What threadpoolctl says of NumPy's BLAS."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return {}
    return next((library for library in threadpool_info() if library["user_api"] == "blas"), {})


def _cpu() -> str:
    """The processor's name."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
