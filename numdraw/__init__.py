"""Reads handwritten digits: `Predictor.load().predict(drawing)` says which digit, and how surely.

Names are imported when they are first used, so `import numdraw` alone costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from numdraw._version import __version__

if TYPE_CHECKING:
    from numdraw.nn.checkpoint import CheckpointError
    from numdraw.predictor import Prediction, Predictions, Predictor
    from numdraw.preprocess import DrawingError

__all__ = [
    "CheckpointError",
    "DrawingError",
    "Prediction",
    "Predictions",
    "Predictor",
    "__version__",
]

_HOMES = {
    "CheckpointError": "numdraw.nn.checkpoint",
    "DrawingError": "numdraw.preprocess",
    "Prediction": "numdraw.predictor",
    "Predictions": "numdraw.predictor",
    "Predictor": "numdraw.predictor",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'numdraw' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
