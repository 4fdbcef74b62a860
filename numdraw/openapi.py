"""The OpenAPI 3.1 description of the application's routes, served at /api/openapi.json.

The tests hold the running server to it: each route stands here and each answer keeps its schema.
"""

from typing import Any

from numdraw._schemas import Json, schemas
from numdraw._version import __version__
from numdraw.wsgi import MAX_BODY, MAX_LEGACY_BODY, REASONS

_SEVEN = [[[60, 40], [180, 42], [120, 200]]]


def document() -> Json:
    """The whole description; each call makes a new one."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "numdraw",
            "summary": "Reads hand-drawn digits.",
            "description": (
                "Send a drawing, get the digit and how sure the network is. Errors are "
                "`application/problem+json` (RFC 9457); their `detail` says what was expected. "
                "Every answer carries an X-Request-Id. HEAD and OPTIONS work on every path as "
                "RFC 9110 has them. Behind nginx a client that asks too often gets 429."
            ),
            "version": __version__,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "predict", "description": "Drawings and answers"},
            {"name": "about", "description": "The model and this description"},
            {"name": "health", "description": "For whoever watches the server"},
            {"name": "pynumdraw", "description": "What pynumdraw's page asks for"},
        ],
        "paths": _paths(),
        "components": {"schemas": schemas(), "responses": _problems(), "headers": _headers()},
    }


def _paths() -> Json:
    return {
        "/api/predict": {
            "post": {
                "tags": ["predict"],
                "operationId": "predict",
                "summary": "Read one drawing",
                "description": f"The body holds at most {MAX_BODY:,} bytes.",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": _ref("Drawing"),
                            "examples": {
                                "strokes": {"value": {"strokes": _SEVEN}},
                                "image": {
                                    "summary": "with the image that the network saw",
                                    "value": {"strokes": _SEVEN, "image": True},
                                },
                                "pixels": {"value": {"pixels": _bar()}},
                            },
                        }
                    },
                },
                "responses": {
                    "200": _json("The answer", "Answer", example=_answer_example()),
                    **_errors(400, 411, 413, 415, 422, 429, 503),
                },
            }
        },
        "/api/explain": {
            "post": {
                "tags": ["predict"],
                "operationId": "explain",
                "summary": "Tell why a drawing is read as a digit",
                "description": (
                    "The drawing is read as one digit. The answer has each step to the image, what "
                    "of its ink speaks for the digit and what against it, and what each layer of "
                    f"the network gives. The body holds at most {MAX_BODY:,} bytes."
                ),
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": _ref("ExplainedDrawing"),
                            "examples": {
                                "strokes": {"value": {"strokes": _SEVEN}},
                                "digit": {
                                    "summary": "what of it speaks for a 1",
                                    "value": {"strokes": _SEVEN, "digit": 1},
                                },
                                "pixels": {"value": {"pixels": _bar()}},
                            },
                        }
                    },
                },
                "responses": {
                    "200": _json("The explanation", "Explanation"),
                    **_errors(400, 411, 413, 415, 422, 429, 503),
                },
            }
        },
        "/api/corrections": {
            "get": {
                "tags": ["predict"],
                "operationId": "takes_corrections",
                "summary": "Whether the server keeps corrections",
                "responses": {
                    "200": _json("It does, or not", "Corrections", example={"enabled": True}),
                    **_errors(429, 503),
                },
            },
            "post": {
                "tags": ["predict"],
                "operationId": "correct",
                "summary": "Tell what a misread drawing is",
                "description": (
                    "Keeps the drawing, the label, what it had been read as and the day, where the "
                    f"server runs with --corrections. The body holds at most {MAX_BODY:,} bytes."
                ),
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": _ref("Correction"),
                            "examples": {
                                "digit": {"value": {"strokes": _SEVEN, "label": "7"}},
                                "no digit": {"value": {"pixels": _bar(), "label": ""}},
                            },
                        }
                    },
                },
                "responses": {
                    "201": _json("It is kept", "Stored", example={"stored": True}),
                    **_errors(400, 403, 411, 413, 415, 422, 429, 503, 507),
                },
            },
        },
        "/api/model": {
            "get": {
                "tags": ["about"],
                "operationId": "model",
                "summary": "The model card",
                "parameters": [_if_none_match()],
                "responses": {
                    "200": _json("Where the weights come from", "ModelCard", etag=True),
                    "304": _not_modified(),
                    **_errors(429, 503),
                },
            }
        },
        "/api/openapi.json": {
            "get": {
                "tags": ["about"],
                "operationId": "openapi",
                "summary": "This description",
                "parameters": [_if_none_match()],
                "responses": {
                    "200": _json("An OpenAPI 3.1 document", "OpenApi", etag=True),
                    "304": _not_modified(),
                    **_errors(429, 503),
                },
            }
        },
        "/health/live": {
            "get": {
                "tags": ["health"],
                "operationId": "live",
                "summary": "Whether the process answers",
                "responses": {
                    "200": _json("It does", "Live"),
                    **_errors(429, 503),
                },
            }
        },
        "/health/ready": {
            "get": {
                "tags": ["health"],
                "operationId": "ready",
                "summary": "Whether to send requests here",
                "responses": {
                    "200": _json("The weights are in", "Ready"),
                    **_errors(429, 503),
                },
            }
        },
        "/metrics": {
            "get": {
                "tags": ["health"],
                "operationId": "metrics",
                "summary": "What was answered since the server started",
                "description": "nginx keeps it, and the health of the server, from strangers.",
                "responses": {
                    "200": {
                        "description": "Prometheus' text format, summed over the workers",
                        "headers": _shared_headers(),
                        "content": {"text/plain": {"schema": {"type": "string"}}},
                    },
                    **_errors(429, 503),
                },
            }
        },
        "/predict_number/": {
            "post": {
                "tags": ["pynumdraw"],
                "operationId": "predict_number",
                "summary": "Read a square picture as pynumdraw's page sends it",
                "description": f"The body holds at most {MAX_LEGACY_BODY:,} bytes.",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": _ref("LegacyDrawing"),
                            "examples": {
                                "bar": {
                                    "value": {"new_data": [v / 255 for row in _bar() for v in row]}
                                },
                            },
                        }
                    },
                },
                "responses": {
                    "200": _json(
                        "The answer",
                        "LegacyAnswer",
                        example={
                            "predicted_number": 1,
                            "confidence": "99",
                            "model_version": "mlp-1f3a9c20",
                        },
                    ),
                    **_errors(400, 411, 413, 415, 422, 429, 503),
                },
            }
        },
        "/hello/": {
            "get": {
                "tags": ["pynumdraw"],
                "operationId": "hello",
                "summary": "A sign of life",
                "responses": {
                    "200": {
                        "description": "Always the same text",
                        "headers": _shared_headers(),
                        "content": {
                            "text/plain": {"schema": {"type": "string", "const": "hello_world"}}
                        },
                    },
                    **_errors(429, 503),
                },
            }
        },
    }


# What each error means here, and an example of its detail.
_MEANINGS = {
    400: ("The body is no JSON, or not the one announced", "the body expected UTF-8"),
    403: (
        "The server keeps no corrections",
        "the server expected to be started with --corrections FOLDER to keep drawings, "
        "got no folder; ask whoever runs it",
    ),
    411: (
        "The body's length is not told",
        "the request expected a Content-Length, got none",
    ),
    413: ("The body is too long", f"the body expected at most {MAX_BODY:,} bytes, got 70,000"),
    415: (
        "The body is not sent as JSON",
        "Content-Type expected application/json in UTF-8, got 'text/plain'",
    ),
    422: (
        "JSON, but no drawing that can be read",
        "strokes expected at least one stroke, got none",
    ),
    429: (
        "Too many requests from one address, as nginx says, or too many corrections from all",
        "the server expected fewer requests from one address, got too many; "
        "wait as long as Retry-After says",
    ),
    503: (
        "No answer just now",
        "the server expected to be ready, got told to stop; ask another one",
    ),
    507: (
        "No room for more corrections",
        "the corrections expected a disk to write to, got: No space left on device",
    ),
}
_WITH_RETRY_AFTER = (429, 503)


def _problems() -> Json:
    result = {}
    for status, (meaning, detail) in _MEANINGS.items():
        title = REASONS[status]
        headers = _shared_headers()
        if status in _WITH_RETRY_AFTER:
            headers["Retry-After"] = _ref("RetryAfter", "headers")
        result[_problem_name(status)] = {
            "description": meaning,
            "headers": headers,
            "content": {
                "application/problem+json": {
                    "schema": _ref("Problem"),
                    "example": {
                        "type": "about:blank",
                        "title": title,
                        "status": status,
                        "detail": detail,
                    },
                }
            },
        }
    return result


def _headers() -> Json:
    return {
        "RequestId": {
            "description": "The request's own where it sent a plain one, else a new one.",
            "required": True,
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        },
        "ETag": {
            "description": "Strong; for If-None-Match.",
            "required": True,
            "schema": {"type": "string", "pattern": '^"[0-9a-f]{32}"$'},
        },
        "RetryAfter": {
            "description": "Seconds.",
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
        },
    }


def _json(description: str, schema: str, *, etag: bool = False, example: Any = None) -> Json:
    content: Json = {"schema": _ref(schema)}
    if example is not None:
        content["example"] = example
    headers = _shared_headers()
    if etag:
        headers["ETag"] = _ref("ETag", "headers")
    return {
        "description": description,
        "headers": headers,
        "content": {"application/json": content},
    }


def _not_modified() -> Json:
    headers = {**_shared_headers(), "ETag": _ref("ETag", "headers")}
    return {"description": "The client has it already", "headers": headers}


def _if_none_match() -> Json:
    return {
        "name": "If-None-Match",
        "in": "header",
        "description": "An ETag of an earlier answer.",
        "schema": {"type": "string"},
        "example": '"0123456789abcdef0123456789abcdef"',
    }


def _errors(*statuses: int) -> Json:
    return {str(status): _ref(_problem_name(status), "responses") for status in statuses}


def _problem_name(status: int) -> str:
    return f"Problem{status}"


def _shared_headers() -> Json:
    return {"X-Request-Id": _ref("RequestId", "headers")}


def _ref(name: str, section: str = "schemas") -> Json:
    return {"$ref": f"#/components/{section}/{name}"}


def _bar() -> list[list[int]]:
    """A 1 in 8x8 pixels."""
    return [
        [255 if 1 <= row <= 6 and column == 4 else 0 for column in range(8)] for row in range(8)
    ]


def _answer_example() -> Json:
    read = {"digit": 7, "confidence": 0.991, "is_digit": True}
    return {
        **read,
        "probabilities": [0.001] * 7 + [0.991] + [0.001] * 2,
        "number": "7",
        "number_confidence": read["confidence"],
        "digits": [{**read, "box": [60, 40, 180, 200]}],
        "model": "mlp-1f3a9c20",
    }
