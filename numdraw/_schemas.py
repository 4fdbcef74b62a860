"""The JSON schemas of what goes over HTTP, for the OpenAPI description."""

from typing import Any, TypeAlias

from numdraw._drawing import MAX_COORDINATE
from numdraw.models import CLASSES
from numdraw.preprocess import MAX_POINTS, MAX_SIDE, SIDE

Json: TypeAlias = dict[str, Any]

K = CLASSES


def schemas() -> Json:
    """JSON Schema 2020-12 of each body, by name."""
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    digit = {"type": "integer", "minimum": 0, "maximum": K - 1}
    confidence = {
        **probability,
        "description": "How likely `digit` is right; that it is no digit at all counts as wrong.",
    }
    is_digit = {
        "type": "boolean",
        "description": "Whether it is taken for a digit.",
    }
    version = {"type": "string", "minLength": 1, "examples": ["mlp-1f3a9c20"]}
    coordinate = {"type": "number", "minimum": -MAX_COORDINATE, "maximum": MAX_COORDINATE}
    return {
        "Drawing": {
            "description": (
                "`strokes` or `pixels`, not both. A drawing that is empty, a single dot or, as "
                "pixels, all ink is answered with 422."
            ),
            "type": "object",
            "oneOf": [{"required": ["strokes"]}, {"required": ["pixels"]}],
            "properties": {
                "strokes": {
                    "description": (
                        f"Strokes of points [x, y] in canvas px, y down; at most {MAX_POINTS:,} "
                        "points in all."
                    ),
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "array",
                            "prefixItems": [coordinate, coordinate],
                            "items": False,
                            "minItems": 2,
                        },
                    },
                },
                "pixels": {
                    "description": "Rows of equal length, top row first; 255 = ink.",
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_SIDE,
                    "items": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": MAX_SIDE,
                        "items": {"type": "number", "minimum": 0, "maximum": 255},
                    },
                },
                "image": {
                    "description": "Whether to send back the image that the network saw.",
                    "type": "boolean",
                    "default": False,
                },
            },
            "additionalProperties": False,
        },
        "Answer": {
            "type": "object",
            "required": [
                *("digit", "confidence", "is_digit", "probabilities"),
                *("number", "number_confidence", "digits", "model"),
            ],
            "properties": {
                "digit": {
                    **digit,
                    "description": "The best guess for the drawing as one digit, whatever it is.",
                },
                "confidence": confidence,
                "is_digit": is_digit,
                "probabilities": {
                    "description": ("Of the digits 0 to 9; what lacks to 1 is that of no digit."),
                    "type": "array",
                    "minItems": K,
                    "maxItems": K,
                    "items": probability,
                },
                "number": {
                    "description": "The best guess for all digits of the drawing, left to right.",
                    "type": "string",
                    "pattern": "^[0-9]+$",
                },
                "number_confidence": {
                    **probability,
                    "description": "How likely all of `number` is right, and nothing is missing.",
                },
                "digits": {
                    "description": "Each digit of `number`.",
                    "type": "array",
                    "minItems": 1,
                    "items": {"$ref": "#/components/schemas/Digit"},
                },
                "model": {**version, "description": "As in /api/model."},
                "image": {
                    "description": "What the network saw, where it was asked for; 255 = ink.",
                    "type": "array",
                    "minItems": SIDE,
                    "maxItems": SIDE,
                    "items": {
                        "type": "array",
                        "minItems": SIDE,
                        "maxItems": SIDE,
                        "items": {"type": "integer", "minimum": 0, "maximum": 255},
                    },
                },
            },
            "additionalProperties": False,
        },
        "Digit": {
            "type": "object",
            "required": ["digit", "confidence", "is_digit", "box"],
            "properties": {
                "digit": digit,
                "confidence": confidence,
                "is_digit": is_digit,
                "box": {
                    "description": "x0, y0, x1, y1 of its ink in the drawing's coordinates.",
                    "type": "array",
                    "minItems": 4,
                    "maxItems": 4,
                    "items": {"type": "number"},
                },
            },
            "additionalProperties": False,
        },
        "ModelCard": {
            "description": "More keys may stand in it: whatever the training wrote down.",
            "type": "object",
            "required": ["version", "sha256", "architecture", "scores", "command"],
            "properties": {
                "version": version,
                "sha256": {
                    "description": "Of the weights file.",
                    "type": "string",
                    "pattern": "^[0-9a-f]{64}$",
                },
                "architecture": {"type": "object"},
                "scores": {"description": "By data set.", "type": "object"},
                "command": {"description": "What it was trained with.", "type": "string"},
            },
        },
        "OpenApi": {
            "type": "object",
            "required": ["openapi", "info", "paths"],
            "properties": {"openapi": {"type": "string", "pattern": "^3\\.1\\."}},
        },
        "Live": {
            "type": "object",
            "required": ["status"],
            "properties": {"status": {"const": "live"}},
            "additionalProperties": False,
        },
        "Ready": {
            "type": "object",
            "required": ["status", "model"],
            "properties": {"status": {"const": "ready"}, "model": version},
            "additionalProperties": False,
        },
        "LegacyDrawing": {
            "type": "object",
            "required": ["new_data"],
            "properties": {
                "new_data": {
                    "description": (
                        f"n*n numbers, n up to {MAX_SIDE}, row by row from the top; 1 = ink. "
                        "Another count, or a picture without a line in it, is answered with 422."
                    ),
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_SIDE * MAX_SIDE,
                    "items": {"type": "number", "minimum": 0, "maximum": 1},
                }
            },
            "additionalProperties": False,
        },
        "LegacyAnswer": {
            "type": "object",
            "required": ["predicted_number", "confidence", "model_version"],
            "properties": {
                "predicted_number": digit,
                "confidence": {
                    "description": "In percent.",
                    "type": "string",
                    "pattern": "^(100|[1-9]?[0-9])$",
                },
                "model_version": version,
            },
            "additionalProperties": False,
        },
        "Problem": {
            "description": "RFC 9457.",
            "type": "object",
            "required": ["type", "title", "status", "detail"],
            "properties": {
                "type": {"const": "about:blank"},
                "title": {"type": "string"},
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
                "detail": {
                    "description": "What was expected, what came, and the fix where it is known.",
                    "type": "string",
                    "minLength": 1,
                },
            },
            "additionalProperties": False,
        },
    }
