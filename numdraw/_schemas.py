"""The JSON schemas of what goes over HTTP, for the OpenAPI description."""

from typing import Any, TypeAlias

from numdraw._drawing import MAX_COORDINATE
from numdraw.corrections import MAX_LABEL
from numdraw.explain import PATCH
from numdraw.models import CLASSES
from numdraw.preprocess import CENTRE, MAX_POINTS, MAX_SIDE, SIDE

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
    probabilities = {
        "description": "Of the digits 0 to 9; what lacks to 1 is that of no digit.",
        "type": "array",
        "minItems": K,
        "maxItems": K,
        "items": probability,
    }
    box = {
        "description": "x0, y0, x1, y1 of its ink in the drawing's coordinates.",
        "type": "array",
        "minItems": 4,
        "maxItems": 4,
        "items": {"type": "number"},
    }
    ink = {"type": "integer", "minimum": 0, "maximum": 255}
    image = {
        **_square(ink),
        "description": "What the network saw, where it was asked for; 255 = ink.",
    }
    ways = [{"required": ["strokes"]}, {"required": ["pixels"]}]
    strokes = {
        "description": (
            f"Strokes of points [x, y] in canvas px, y down; at most {MAX_POINTS:,} points in all."
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
    }
    pixels = {
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
    }
    return {
        "Drawing": {
            "description": (
                "`strokes` or `pixels`, not both. A drawing that is empty, a single dot or, as "
                "pixels, all ink is answered with 422."
            ),
            "type": "object",
            "oneOf": ways,
            "properties": {
                "strokes": strokes,
                "pixels": pixels,
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
                "probabilities": probabilities,
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
                "image": image,
            },
            "additionalProperties": False,
        },
        "Correction": {
            "description": "What a drawing is that was misread; `strokes` or `pixels`, not both.",
            "type": "object",
            "required": ["label"],
            "oneOf": ways,
            "properties": {
                "strokes": strokes,
                "pixels": pixels,
                "label": {
                    "description": 'The digits that it shows, left to right, or "" for no digit.',
                    "type": "string",
                    "pattern": f"^[0-9]{{0,{MAX_LABEL}}}$",
                },
            },
            "additionalProperties": False,
        },
        "Corrections": {
            "type": "object",
            "required": ["enabled"],
            "properties": {"enabled": {"type": "boolean"}},
            "additionalProperties": False,
        },
        "Stored": {
            "type": "object",
            "required": ["stored"],
            "properties": {"stored": {"const": True}},
            "additionalProperties": False,
        },
        "Digit": {
            "type": "object",
            "required": ["digit", "confidence", "is_digit", "box"],
            "properties": {
                "digit": digit,
                "confidence": confidence,
                "is_digit": is_digit,
                "box": box,
                "image": image,
            },
            "additionalProperties": False,
        },
        "ExplainedDrawing": {
            "description": (
                "A drawing as for /api/predict, which is read as one digit, and perhaps which."
            ),
            "type": "object",
            "oneOf": ways,
            "properties": {
                "strokes": strokes,
                "pixels": pixels,
                "digit": {
                    **digit,
                    "description": "Which digit to speak for; the best guess where it is not told.",
                },
            },
            "additionalProperties": False,
        },
        "Explanation": {
            "type": "object",
            "required": [
                *("digit", "confidence", "probabilities", "no_digit"),
                *("steps", "importance", "layers", "model"),
            ],
            "properties": {
                "digit": {**digit, "description": "The one that is explained."},
                "confidence": confidence,
                "probabilities": probabilities,
                "no_digit": {**probability, "description": "That it is no digit."},
                "steps": {
                    "description": "From the drawing to what the network saw.",
                    "type": "object",
                    "required": ["box", "scale", "fitted", "centre", "image"],
                    "properties": {
                        "box": box,
                        "scale": {
                            "description": "px of the image to one of the drawing's coordinates.",
                            "type": "number",
                            "exclusiveMinimum": 0,
                        },
                        "fitted": {
                            **_square(ink),
                            "description": (
                                "The ink with the middle of its box in the middle; 255 = ink."
                            ),
                        },
                        "centre": {
                            "description": "x, y of the centre of mass of `fitted`, in its px.",
                            "type": "array",
                            "minItems": 2,
                            "maxItems": 2,
                            "items": {"type": "number"},
                        },
                        "image": {
                            **_square(ink),
                            "description": (
                                "What the network saw: `fitted` with its centre of mass moved to "
                                f"({CENTRE:g}, {CENTRE:g}), or as near as its box stays inside."
                            ),
                        },
                    },
                    "additionalProperties": False,
                },
                "importance": {
                    **_square({"type": "number"}),
                    "description": (
                        "How far the log odds of `digit` against all else fall, in nats, where the "
                        f"ink of the {PATCH} x {PATCH} px around a pixel is taken away: above 0 it "
                        "speaks for the digit, below 0 against it."
                    ),
                },
                "layers": {
                    "description": "What each layer gives, first to last; the last has `logits`.",
                    "type": "array",
                    "minItems": 1,
                    "items": {"$ref": "#/components/schemas/Layer"},
                },
                "model": {**version, "description": "As in /api/model."},
            },
            "additionalProperties": False,
        },
        "Layer": {
            "type": "object",
            "required": ["name", "kind"],
            "oneOf": [
                {"required": ["channels", "rows", "columns", "values", "most"]},
                {"required": ["logits"]},
            ],
            "properties": {
                "name": {"type": "string", "examples": ["conv2d1"]},
                "kind": {"enum": ["convolution", "pooling", "linear"]},
                "channels": {"type": "integer", "minimum": 1},
                "rows": {"type": "integer", "minimum": 1},
                "columns": {"type": "integer", "minimum": 1},
                "values": {
                    "description": (
                        "A byte each, channel by channel, row by row, as the ReLU behind the layer "
                        "leaves them: 0 is 0 and 255 is `most`."
                    ),
                    "type": "string",
                    "contentEncoding": "base64",
                },
                "most": {"type": "number", "minimum": 0},
                "field": {
                    "description": (
                        "Which pixels a unit depends on: `size` rows, and in row r of the layer "
                        "from offset + stride * r on; columns likewise. Not of linear layers, "
                        "whose units depend on all."
                    ),
                    "type": "object",
                    "required": ["size", "stride", "offset"],
                    "properties": {
                        "size": {"type": "integer", "minimum": 1},
                        "stride": {"type": "integer", "minimum": 1},
                        "offset": {"type": "integer", "maximum": 0},
                    },
                    "additionalProperties": False,
                },
                "filters": {
                    "description": "Of the first convolution: each channel's weights, as rows.",
                    "type": "array",
                    "items": {
                        "type": "array",
                        "items": {"type": "array", "items": {"type": "number"}},
                    },
                },
                "filter_size": {"type": "integer", "minimum": 1},
                "logits": {
                    "description": "Of the digits, and of no digit where there are 11.",
                    "type": "array",
                    "minItems": K,
                    "maxItems": K + 1,
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


def _square(item: Json) -> Json:
    """SIDE rows of SIDE items."""
    row = {"type": "array", "minItems": SIDE, "maxItems": SIDE, "items": item}
    return {**row, "items": row}
