"""A side: requests that the WSGI application answers, in this process, with or without probes."""

import importlib
import io
import itertools
import json
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from benchmarks.parts.side import timed
from numdraw import Predictor
from numdraw.app import App, make_app
from numdraw.nn.tiled import TiledConv2d

REST = "shell"  # what of the application's time is none of the other parts'

# The functions that do each part, where they are called.
PROBES = {
    "JSON read": ["app.read_json_object"],
    "checks": ["app._expect_keys", "preprocess.kind_of", "preprocess.read_strokes"],
    "rendering, samples": ["preprocess._samples"],
    "rendering, distances": ["preprocess.nearest"],
    "rendering, the rest": ["preprocess._draw_strokes"],
    "segmentation": [
        "preprocess.parts",
        "preprocess.sampled",
        "segment.group",
        "segment.runs",
        "segment.choose",
    ],
    "network, the rest": ["predictor.Inference.__call__"],
    "calibration": ["predictor.temper", "predictor.digit_scores"],
    "answer": [
        "_answers.read_number",
        "predictor.Predictor.predict_number",
        "predictor.Predictor._read",
    ],
    "JSON write": ["app.json_response"],
}


class Probes:
    """How long each part takes, without the parts inside of it and without the probes.

    A probe costs time of its own: some between its two looks at the clock, which would be its
    part's, and some before and after, which would be the part's around it. Both are measured on a
    function that does nothing, and subtracted.
    """

    def __init__(self) -> None:
        """Measure what a probe costs."""
        self._between = self._around = 0.0
        self._open = [""]
        self._seconds: defaultdict[str, float] = defaultdict(float)
        nothing = self.probed("nothing", lambda: None)
        whole = min(timed(nothing, 1000)() for _ in range(30))
        self.take(1)
        for _ in range(1000):
            nothing()
        self._between = self.take(1000)["nothing"]
        self._around = max(0.0, whole - self._between)

    def probed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, whose time counts as that part's."""
        seconds, stack, clock = self._seconds, self._open, time.perf_counter

        def probe(*args: Any, **keywords: Any) -> Any:
            stack.append(part)
            start = clock()
            try:
                return function(*args, **keywords)
            finally:
                taken = clock() - start
                del stack[-1]
                seconds[part] += taken - self._between
                seconds[stack[-1]] -= taken + self._around

        return probe

    def take(self, calls: int) -> dict[str, float]:
        """Each part's seconds in one of so many calls, since the last time."""
        taken = {part: s / calls for part, s in self._seconds.items() if part}
        self._seconds.clear()
        return taken


def whole(*, strokes: Any, calls: int) -> Callable[[], float]:
    """A round of requests; it returns the seconds of one."""
    return timed(_asking(make_app(Predictor.load()), strokes), calls)


def parts(*, strokes: Any, calls: int) -> Callable[[], dict[str, float]]:
    """A round of requests; it returns the seconds of each part of one.

    The probes stay in this process, so no other drawing may follow.
    """
    probes = Probes()
    for part, names in PROBES.items():
        for name in names:
            module, *where, attribute = name.split(".")
            holder: Any = importlib.import_module(f"numdraw.{module}")
            for step in where:
                holder = getattr(holder, step)
            setattr(holder, attribute, probes.probed(part, getattr(holder, attribute)))
    make, count = TiledConv2d.step, itertools.count(1)
    TiledConv2d.step = lambda self: probes.probed(  # type: ignore[method-assign]  # as above
        f"network, convolution {next(count)}", make(self)
    )
    ask = _asking(make_app(Predictor.load()), strokes, probes)
    one = timed(ask, calls)

    def run() -> dict[str, float]:
        ask()
        probes.take(1)
        one()
        return probes.take(calls + max(1, calls // 10))  # and those that `timed` does not count

    return run


def _asking(app: App, strokes: Any, probes: Probes | None = None) -> Callable[[], object]:
    """What asks the application once, as a server would."""
    body = json.dumps({"strokes": strokes}, separators=(",", ":")).encode()
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/api/predict",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_X_REQUEST_ID": "benchmark",
        "wsgi.input": io.BytesIO(body),
    }
    stream = environ["wsgi.input"]
    answer: Any = probes.probed(REST, app) if probes else app
    statuses: set[str] = set()

    def start_response(status: str, headers: Any) -> None:
        statuses.add(status)

    def ask() -> object:
        stream.seek(0)  # type: ignore[attr-defined]  # it is the BytesIO
        return answer(environ, start_response)

    ask()
    if statuses != {"200 OK"}:
        raise ValueError(f"request expected 200 OK, got {', '.join(statuses)}")
    return ask


def number(*, strokes: Any) -> dict[str, Any]:
    """What a drawing is read as, in how many bytes of JSON it comes, and by which weights."""
    predictor = Predictor.load()
    return {
        "number": predictor.predict_number(strokes).number,
        "points": sum(map(len, strokes)),
        "bytes": len(json.dumps({"strokes": strokes}, separators=(",", ":"))),
        "model": predictor.version,
    }
