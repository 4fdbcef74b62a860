"""The WSGI application: a predictor's answers over HTTP, and the page's files.

    POST /api/predict       {"strokes": [[[x, y], ...], ...]} or {"pixels": [[0..255, ...], ...]},
                            optional "image": true
                            {"digit", "confidence", "is_digit", "probabilities", of the drawing
                             as one digit; "number", "number_confidence",
                             "digits": [{"digit", "confidence", "is_digit", "box"}], "model"},
                            and "image", of all and of each digit, where asked for
    POST /api/explain       the same, optional "digit": which one to speak for
                            why the drawing is read as that digit: see numdraw._answers
    POST /api/corrections   {"strokes" or "pixels", "label": "7", "" for no digit}: what a drawing
                            is that was misread; {"stored": true}, where the server keeps them
    GET  /api/corrections   {"enabled": whether it does}
    GET  /api/model         the model card
    GET  /api/openapi.json  all of this for programs
    GET  /health/live       200 while the process answers
    GET  /health/ready      200, or 503 while it is stopping
    GET  /metrics           what was answered, in Prometheus' text format
    POST /predict_number/   {"new_data": [n*n numbers 0..1]}, the contract of pynumdraw's page
                            {"predicted_number", "confidence", "model_version"}
    GET  /hello/            hello_world

HEAD stands beside every GET, OPTIONS everywhere. Errors are problem+json. Pages of other origins
may read the answers only where they are named.
"""

import logging
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias, TypeVar

import numpy as np

from numdraw import _answers, _storing, cors, monitor, static
from numdraw._log import ACCESS, log, log_exception
from numdraw.corrections import Corrections
from numdraw.explain import explain
from numdraw.models import CLASSES
from numdraw.openapi import document
from numdraw.predictor import Predictor
from numdraw.preprocess import MAX_SIDE, DrawingError
from numdraw.wsgi import (
    MAX_BODY,
    MAX_LEGACY_BODY,
    NO_STORE,
    REASONS,
    Environ,
    HTTPError,
    Request,
    Response,
    StartResponse,
    cached,
    encode_json,
    json_response,
    kind,
    problem,
    read_json_object,
    shown,
)

Handler: TypeAlias = Callable[[Request], Response]

_T = TypeVar("_T")

MAX_LOGGED_PATH = 200  # characters

_STATUS_LINES = {status: f"{status} {reason}" for status, reason in REASONS.items()}
_NO_SNIFF = ("X-Content-Type-Options", "nosniff")
_JSON = ("Content-Type", "application/json")
_NO_CONTENT = (204, 304)  # they have neither a body nor its headers


def make_app(
    predictor: Predictor,
    *,
    public: Path | None = None,
    allow_origins: Sequence[str] = (),
    corrections: Corrections | None = None,
) -> "App":
    """The application of a predictor.

    Args:
        public: the page's folder, read now; None leaves the page to nginx.
        allow_origins: of other pages that may use it, as "https://example.org"; "*" for any.
        corrections: where to keep what people say of misread drawings; None keeps nothing.

    Raises:
        OSError, ValueError: the folder can't be read or is no page.
    """
    files = None if public is None else static.Static(public)
    return App(predictor, files, allow_origins, corrections)


class App:
    """A WSGI application (PEP 3333) that keeps nothing of a request but what it counts.

    Only what is posted as a correction is kept, where there is a place for it.

    Attributes:
        version: of the model.
        busy_since: what the clock said when the present request came, in s; 0.0 between requests.
        row: where it counts; its own, unless a master shares it.
    """

    def __init__(
        self,
        predictor: Predictor,
        files: static.Static | None = None,
        allow_origins: Sequence[str] = (),
        corrections: Corrections | None = None,
    ) -> None:
        """Write the documents that never change: the model card, the description."""
        self.version = predictor.version
        self.busy_since = 0.0
        self._predictor = predictor
        self._files = files
        self._origins = frozenset(allow_origins)
        self._corrections = corrections
        card = {**predictor.meta, "version": predictor.version}
        self._card = encode_json(card).encode("ascii")
        self._card_etag = static.etag_of(self._card)
        self._openapi = encode_json(document()).encode("ascii")
        self._openapi_etag = static.etag_of(self._openapi)
        self.routes: Mapping[str, Mapping[str, Handler]] = {
            "/api/predict": {"POST": self._predict},
            "/api/explain": {"POST": self._explain},
            "/api/corrections": {"GET": self._takes_corrections, "POST": self._correct},
            "/api/model": {"GET": self._model},
            "/api/openapi.json": {"GET": self._describe},
            "/health/live": {"GET": self._live},
            "/health/ready": {"GET": self._is_ready},
            "/metrics": {"GET": self._metrics},
            "/predict_number/": {"POST": self._predict_number},
            "/hello/": {"GET": self._hello},
        }
        self.count_in(monitor.Monitor(self.routes), 1)
        self.row.pid = os.getpid()
        self.ready = True

    def count_in(self, shared: monitor.Monitor, place: int) -> None:
        """Count in a row of a monitor, perhaps one that other processes share."""
        self._monitor = shared
        self.row = shared.rows[place]
        self.row.version = self.version

    @property
    def ready(self) -> bool:
        """What /health/ready answers; whoever stops the server sets it to False first."""
        return self.row.ready

    @ready.setter
    def ready(self, ready: bool) -> None:
        self.row.ready = ready

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request; whatever happens, with a response and a line in the log."""
        self.busy_since = perf_counter()
        try:
            return [self._reply(environ, start_response)]
        finally:
            self.busy_since = 0.0

    def _reply(self, environ: Environ, start_response: StartResponse) -> bytes:
        """Start the response; returns its body."""
        request = Request(environ)
        try:
            response = self._respond(request)
        except HTTPError as error:
            response = problem(error.status, error.detail, error.headers)
        except MemoryError as error:
            log_exception("out of memory", error, request_id=request.id)
            detail = "the server expected memory for this request, got none; try again"
            response = problem(503, detail, [("Retry-After", "1")])
        except (Exception, SystemExit) as error:  # SystemExit would end bjoern's worker
            log_exception("unexpected error", error, request_id=request.id)
            detail = (
                "the server expected to answer, got an error of its own; "
                f"its log tells more under {request.id}"
            )
            response = problem(500, detail)
        headers = [*response.headers, _NO_SNIFF, ("X-Request-Id", request.id)]
        if self._origins:
            headers += cors.headers(request, self._origins)
        if response.status not in _NO_CONTENT:
            headers.append(("Content-Length", str(len(response.body))))
        # bjoern would send a body to HEAD.
        body = b"" if request.method == "HEAD" else response.body
        start_response(_STATUS_LINES[response.status], headers)
        seconds = perf_counter() - self.busy_since
        self.row.count_request(self._route(request.path), response.status, seconds)
        if ACCESS.isEnabledFor(logging.INFO):
            log(
                ACCESS,
                logging.INFO,
                "request",
                request_id=request.id,
                method=request.method[:20],
                path=request.path[:MAX_LOGGED_PATH],
                status=response.status,
                bytes=len(body),
                ms=round(1000 * seconds, 3),
                **response.facts,
            )
        return body

    def _route(self, path: str) -> str:
        """What the path is counted as."""
        if path in self.routes:
            return path
        is_file = self._files is not None and self._files.get(path) is not None
        return monitor.FILE if is_file else monitor.OTHER

    def _respond(self, request: Request) -> Response:
        methods = self.routes.get(request.path)
        if methods is None:
            return self._respond_with_file(request)
        method = "GET" if request.method == "HEAD" else request.method
        handler = methods.get(method)
        return handler(request) if handler else _other_method(request, methods)

    def _respond_with_file(self, request: Request) -> Response:
        file = self._files.get(request.path) if self._files else None
        if file is not None:
            if request.method in ("GET", "HEAD"):
                return static.respond(file, request)
            return _other_method(request, ["GET"])
        if request.method == "OPTIONS" and request.path == "*":  # the server as a whole
            return _other_method(request, ["GET", "POST"])
        detail = "the path expected a route of /api/openapi.json or a file of the page, got neither"
        slashed = (
            request.path.removesuffix("/") if request.path.endswith("/") else request.path + "/"
        )
        if slashed in self.routes:
            detail += f"; ask for {slashed}"
        raise HTTPError(404, detail)

    def _predict(self, request: Request) -> Response:
        body = read_json_object(request, MAX_BODY)
        with_image = body.pop("image", False)
        if not isinstance(with_image, bool):
            raise HTTPError(422, f'"image" expected true or false, got {kind(with_image)}')
        _expect_keys(body, "strokes", "pixels")
        prediction = _drawn(self._predictor.predict_number, body)
        answer = _answers.read_number(prediction, with_images=with_image)
        answer["model"] = self._predictor.version
        self.row.count_answer(
            [digit.digit for digit in prediction.digits],
            prediction.confidence,
            is_digit=all(digit.is_digit for digit in prediction.digits),
        )
        facts = {"number": prediction.number, "confidence": round(prediction.confidence, 4)}
        return json_response(answer, facts=facts)

    def _explain(self, request: Request) -> Response:
        body = read_json_object(request, MAX_BODY)
        digit = _digit(body.pop("digit")) if "digit" in body else None
        _expect_keys(body, "strokes", "pixels")
        explained = _drawn(lambda drawing: explain(self._predictor, drawing, digit), body)
        answer = _answers.explanation(explained)
        answer["model"] = self._predictor.version
        # Not among the answers that are counted: the drawing was read, and counted, before.
        facts = {"digit": answer["digit"], "confidence": round(answer["confidence"], 4)}
        return json_response(answer, facts=facts)

    def _takes_corrections(self, _: Request) -> Response:
        return json_response({"enabled": self._corrections is not None})

    def _correct(self, request: Request) -> Response:
        corrections = _storing.enabled(self._corrections)
        body = read_json_object(request, MAX_BODY)
        label = _storing.label_in(body)
        _expect_keys(body, "strokes", "pixels")
        prediction = _drawn(self._predictor.predict_number, body)
        _storing.keep(corrections, body, label, prediction, self.version, request.id)
        self.row.count_correction()
        return json_response({"stored": True}, status=201)

    def _predict_number(self, request: Request) -> Response:
        body = read_json_object(request, MAX_LEGACY_BODY, flat=True)
        _expect_keys(body, "new_data")
        prediction = _drawn(self._predictor.predict, {"pixels": _square(body["new_data"])})
        answer = {
            "predicted_number": prediction.digit,
            "confidence": str(int(100 * prediction.confidence)),
            "model_version": self._predictor.version,
        }
        self.row.count_answer(
            [prediction.digit], prediction.confidence, is_digit=prediction.is_digit
        )
        facts = {"digit": prediction.digit, "confidence": round(prediction.confidence, 4)}
        return json_response(answer, facts=facts)

    def _model(self, request: Request) -> Response:
        return cached(request, self._card, self._card_etag, [_JSON])

    def _describe(self, request: Request) -> Response:
        return cached(request, self._openapi, self._openapi_etag, [_JSON])

    def _live(self, _: Request) -> Response:
        return json_response({"status": "live"})

    def _is_ready(self, _: Request) -> Response:
        if not self.ready:
            detail = "the server expected to be ready, got told to stop; ask another one"
            raise HTTPError(503, detail, [("Retry-After", "1")])
        return json_response({"status": "ready", "model": self._predictor.version})

    def _metrics(self, _: Request) -> Response:
        body = self._monitor.text().encode("ascii")
        return Response(200, body, [("Content-Type", monitor.CONTENT_TYPE), NO_STORE])

    def _hello(self, _: Request) -> Response:
        return Response(
            200, b"hello_world", [("Content-Type", "text/plain; charset=utf-8"), NO_STORE]
        )


def _other_method(request: Request, methods: Iterable[str]) -> Response:
    """The answer to OPTIONS, or the error for what the path doesn't do."""
    allowed = {*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    allow = ", ".join(sorted(allowed))
    if request.method == "OPTIONS":
        return Response(204, headers=[("Allow", allow)])
    detail = f"the method expected one of {allow}, got {shown(request.method)}"
    raise HTTPError(405, detail, [("Allow", allow)])


def _expect_keys(body: dict[str, Any], *names: str) -> None:
    """Check that the body holds exactly one of the keys and nothing else."""
    wanted = " or ".join(f'"{name}"' for name in names)
    unknown = next((key for key in body if key not in names), None)
    if unknown is not None:
        raise HTTPError(422, f"the body expected {wanted}, got the unknown key {shown(unknown)}")
    if len(body) != 1:
        got = "both" if body else "neither" if len(names) > 1 else "no such key"
        raise HTTPError(422, f"the body expected {wanted}, got {got}")


def _digit(value: Any) -> int:
    """The digit to speak for."""
    if type(value) is not int or value not in range(CLASSES):  # a bool is an int in Python
        got = str(value)[:20] if type(value) is int else kind(value)
        raise HTTPError(422, f'"digit" expected a whole number from 0 to {CLASSES - 1}, got {got}')
    return value


def _square(data: Any) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    """pynumdraw's picture as (n, n) numbers 0..255."""
    wanted = f'"new_data" expected a flat list of n*n numbers, n from 1 to {MAX_SIDE}'
    if not isinstance(data, list):
        raise HTTPError(422, f"{wanted}, got {kind(data)}")
    side = math.isqrt(len(data))
    if side * side != len(data) or not 1 <= side <= MAX_SIDE:
        raise HTTPError(422, f"{wanted}, got {len(data):,} values")
    strange = set(map(type, data)) - {int, float}
    if strange:
        raise HTTPError(422, f"{wanted}, got {kind(next(x for x in data if type(x) in strange))}")
    try:
        pixels = np.array(data, dtype=np.float64)
    except OverflowError:  # an int larger than any float64
        pixels = np.full(1, np.inf)
    if pixels.min() < 0 or pixels.max() > 1:
        raise HTTPError(422, '"new_data" expected numbers from 0 to 1, got one outside')
    return pixels.reshape(side, side) * 255


def _drawn(read: Callable[[dict[str, Any]], _T], drawing: dict[str, Any]) -> _T:
    """What `read` makes of a drawing; one that can't be read is a 422."""
    try:
        return read(drawing)
    except DrawingError as error:
        raise HTTPError(422, str(error)) from None
