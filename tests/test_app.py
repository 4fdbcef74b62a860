import base64
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from wsgiref.validate import WSGIWarning

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numdraw import Predictor
from numdraw.app import App, make_app
from numdraw.calibrate import Calibration
from numdraw.explain import explain
from numdraw.models import build, convnet_architecture, lenet_architecture, mlp_architecture
from numdraw.wsgi import MAX_BODY, MAX_LEGACY_BODY, REASONS
from tests.asking import Reply, ask, post

SEVEN = [[[60, 40], [180, 42], [120, 200]]]
POSTS = ["/api/predict", "/api/explain", "/predict_number/"]
CONSTANT = ["/api/model", "/api/openapi.json", "/health/live", "/health/ready", "/hello/"]
GETS = [*CONSTANT, "/metrics"]


@pytest.fixture(scope="module")
def app(predictor: Predictor) -> App:
    return make_app(predictor, public=Path(__file__).parent.parent / "public")


class Records(logging.Handler):
    """Keeps what was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def facts(self) -> list[dict[str, Any]]:
        return [cast(Any, record).facts for record in self.records]


@pytest.fixture
def access() -> Iterator[Records]:
    yield from recorded("numdraw.access")


@pytest.fixture
def errors() -> Iterator[Records]:
    yield from recorded("numdraw.error")


def recorded(name: str) -> Iterator[Records]:
    logger, records = logging.getLogger(name), Records()
    level = logger.level
    logger.addHandler(records)
    logger.setLevel(logging.INFO)
    yield records
    logger.removeHandler(records)
    logger.setLevel(level)


def refused(reply: Reply) -> tuple[int, str]:
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.headers["Cache-Control"] == "no-store"
    problem = reply.json
    assert problem["type"] == "about:blank"
    assert problem["title"] == REASONS[reply.status]
    assert problem["status"] == reply.status
    return reply.status, problem["detail"]


def test_predict_answers_what_the_predictor_says(app: App, predictor: Predictor) -> None:
    reply = post(app, "/api/predict", {"strokes": SEVEN})
    expected = predictor.predict(SEVEN)
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Cache-Control"] == "no-store"
    assert expected.digit == 7
    read = {"digit": 7, "confidence": expected.confidence, "is_digit": True}
    assert reply.json == {
        **read,
        "probabilities": expected.probabilities.tolist(),
        "number": "7",
        "number_confidence": expected.confidence,
        "digits": [{**read, "box": [60, 40, 180, 200]}],
        "model": predictor.version,
    }


def test_predict_answers_with_each_digit_of_a_number(app: App, predictor: Predictor) -> None:
    beside = [[[x + 200, y] for x, y in stroke] for stroke in SEVEN]
    answer = post(app, "/api/predict", {"strokes": [*SEVEN, *beside]}).json
    assert answer["number"] == "77"
    assert [digit["box"] for digit in answer["digits"]] == [[60, 40, 180, 200], [260, 40, 380, 200]]
    assert answer["number_confidence"] <= min(digit["confidence"] for digit in answer["digits"])


def test_predict_sends_the_image_where_asked_for(app: App, predictor: Predictor) -> None:
    image = post(app, "/api/predict", {"strokes": SEVEN, "image": True}).json["image"]
    assert np.array_equal(image, np.rint(predictor.predict(SEVEN).image * 255))
    assert all(type(value) is int for row in image for value in row)
    assert max(map(max, image)) == 255
    beside = [[[x + 200, y] for x, y in stroke] for stroke in SEVEN]
    digits = post(app, "/api/predict", {"strokes": SEVEN + beside, "image": True}).json["digits"]
    expected = [
        np.rint(digit.image * 255) for digit in predictor.predict_number(SEVEN + beside).digits
    ]
    assert np.array_equal([digit["image"] for digit in digits], expected)
    assert "image" not in post(app, "/api/predict", {"strokes": SEVEN, "image": False}).json


def test_predict_reads_pixels(app: App, predictor: Predictor) -> None:
    pixels = np.zeros((30, 20), dtype=int)
    pixels[4:26, 9:12] = 255
    reply = post(app, "/api/predict", {"pixels": pixels.tolist()})
    assert reply.json["digit"] == predictor.predict(pixels).digit == 1
    assert reply.json["digits"][0]["box"] == list(predictor.predict(pixels).box)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, 'the body expected "strokes" or "pixels", got neither'),
        ({"image": True}, 'the body expected "strokes" or "pixels", got neither'),
        ({"strokes": SEVEN, "pixels": []}, 'the body expected "strokes" or "pixels", got both'),
        (
            {"strokes": SEVEN, "stroke\n": 1},
            'the body expected "strokes" or "pixels", got the unknown key \'stroke\\n\'',
        ),
        ({"strokes": SEVEN, "image": 1}, '"image" expected true or false, got a number'),
        ({"strokes": SEVEN, "image": None}, '"image" expected true or false, got null'),
        ({"strokes": []}, "strokes expected at least one stroke, got none"),
        ({"strokes": None}, "strokes expected a list of strokes, got None"),
        ({"strokes": [[[5, 5]]]}, "strokes expected a line, got a single dot"),
        ({"pixels": [[0, 0], [0, 0]]}, "pixels expected ink"),
        ({"pixels": [[0, 256]]}, "expected a number from 0 to 255, got 256"),
    ],
)
def test_predict_refuses_what_is_no_drawing_with_422(app: App, body: Any, detail: str) -> None:
    status, got = refused(post(app, "/api/predict", body))
    assert status == 422
    assert detail in got


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" + "0" * 400, "true", '"1"', "null"])
@pytest.mark.parametrize("key", ["strokes", "pixels"])
def test_predict_refuses_numbers_that_are_none_with_422(app: App, key: str, number: str) -> None:
    value = f"[[[1,2],[3,{number}]]]" if key == "strokes" else f"[[0,255],[0,{number}]]"
    reply = post(app, "/api/predict", f'{{"{key}":{value}}}'.encode())
    assert refused(reply)[0] == 422


def test_predict_takes_64_kib_and_no_more(app: App) -> None:
    points = [[i % 300, (7 * i) % 300] for i in range(6000)]
    body = json.dumps({"strokes": [points]}, separators=(",", ":")).encode().ljust(MAX_BODY)
    assert len(body) == MAX_BODY
    assert post(app, "/api/predict", body).status == 200
    assert refused(post(app, "/api/predict", body + b" ")) == (
        413,
        "the body expected at most 65,536 bytes, got 65,537",
    )


def test_explain_answers_what_the_library_says(app: App, predictor: Predictor) -> None:
    reply = post(app, "/api/explain", {"strokes": SEVEN})
    assert reply.status == 200
    assert reply.headers["Cache-Control"] == "no-store"
    assert len(reply.body) < 120_000
    answer, explained = reply.json, explain(predictor, SEVEN)
    expected = predictor.predict(SEVEN)
    assert answer["digit"] == 7
    assert answer["confidence"] == expected.confidence
    assert answer["probabilities"] == expected.probabilities.tolist()
    assert answer["no_digit"] == pytest.approx(1 - sum(answer["probabilities"]))
    assert answer["model"] == predictor.version
    rendered, steps = explained.rendered, answer["steps"]
    assert steps["box"] == [60, 40, 180, 200]
    assert (steps["scale"], tuple(steps["centre"])) == (rendered.scale, rendered.centre)
    assert np.array_equal(steps["fitted"], np.rint(rendered.fitted * 255))
    assert np.array_equal(steps["image"], np.rint(expected.image * 255))
    assert np.allclose(answer["importance"], explained.importance, atol=1e-4)
    for layer, output in zip(answer["layers"][:-1], explained.layers[:-1], strict=True):
        shape = (layer["channels"], layer["rows"], layer["columns"])
        raw = np.frombuffer(base64.b64decode(layer["values"]), np.uint8).reshape(shape)
        assert raw.max() == 255
        assert np.abs(raw / 255 * layer["most"] - output.values).max() <= layer["most"] / 509
    first, last = answer["layers"][0], answer["layers"][-1]
    assert first["name"] == "conv2d1"
    assert first["field"] == {"size": 5, "stride": 1, "offset": -2}
    assert np.shape(first["filters"]) == (24, first["filter_size"], first["filter_size"])
    assert [layer["name"] for layer in answer["layers"] if "filters" in layer] == ["conv2d1"]
    assert last.keys() == {"name", "kind", "logits"}
    assert np.allclose(last["logits"], explained.layers[-1].values[0, 0], atol=1e-4)


def test_explain_speaks_for_the_digit_that_is_asked_for(app: App, predictor: Predictor) -> None:
    answer = post(app, "/api/explain", {"strokes": SEVEN, "digit": 1}).json
    assert answer["digit"] == 1
    assert answer["confidence"] == answer["probabilities"][1] < 0.1
    assert np.allclose(answer["importance"], explain(predictor, SEVEN, 1).importance, atol=1e-4)


def test_explain_takes_pixels(app: App) -> None:
    pixels = np.zeros((30, 20), dtype=int)
    pixels[4:26, 9:12] = 255
    answer = post(app, "/api/explain", {"pixels": pixels.tolist()}).json
    assert answer["digit"] == 1
    assert answer["steps"]["box"] == [9, 4, 12, 26]


@pytest.mark.parametrize("outputs", [10, 11])
@pytest.mark.parametrize(
    "architecture",
    [mlp_architecture([20, 15], 0.1), lenet_architecture(), convnet_architecture([4, 5, 6, 7], 0)],
    ids=lambda architecture: architecture["name"],
)
def test_explain_answers_for_every_architecture(architecture: Any, outputs: int) -> None:
    network = build({**architecture, "outputs": outputs}, rng=np.random.default_rng(0))
    app = make_app(
        Predictor(network, calibration=Calibration(1.0, 0.0), meta={"version": "untrained-0"})
    )
    answer = post(app, "/api/explain", {"strokes": SEVEN}).json
    assert len(answer["layers"][-1]["logits"]) == outputs
    assert answer["no_digit"] == pytest.approx(1 - sum(answer["probabilities"]), abs=1e-12)
    if architecture["name"] == "mlp":
        shapes = [
            (each["channels"], each["rows"], each["columns"]) for each in answer["layers"][:-1]
        ]
        assert shapes == [(1, 1, 20), (1, 1, 15)]
        assert all("field" not in layer for layer in answer["layers"])


def test_explain_shows_a_layer_in_which_nothing_is_awake(predictor: Predictor) -> None:
    network = build(mlp_architecture([3], 0.0), rng=None)
    app = make_app(
        Predictor(network, calibration=Calibration(1.0, 0.0), meta={"version": "untrained-0"})
    )
    layer = post(app, "/api/explain", {"strokes": SEVEN}).json["layers"][0]
    assert (layer["values"], layer["most"]) == ("AAAA", 0)


WHOLE = '"digit" expected a whole number from 0 to 9, got '


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"strokes": SEVEN, "digit": 10}, WHOLE + "10"),
        ({"strokes": SEVEN, "digit": -1}, WHOLE + "-1"),
        ({"strokes": SEVEN, "digit": 10**400}, WHOLE + "1" + 19 * "0"),
        ({"strokes": SEVEN, "digit": 7.5}, WHOLE + "a number"),
        ({"strokes": SEVEN, "digit": "7"}, WHOLE + "a string"),
        ({"strokes": SEVEN, "digit": True}, WHOLE + "a boolean"),
        ({"strokes": SEVEN, "digit": None}, WHOLE + "null"),
        ({"digit": 7}, 'the body expected "strokes" or "pixels", got neither'),
        ({"strokes": SEVEN, "image": True}, "got the unknown key 'image'"),
        ({"strokes": [[[5, 5]]]}, "strokes expected a line, got a single dot"),
        ({"pixels": [[0, 0], [0, 0]]}, "pixels expected ink"),
    ],
)
def test_explain_refuses_what_is_no_drawing_or_digit_with_422(
    app: App, body: Any, detail: str
) -> None:
    status, got = refused(post(app, "/api/explain", body))
    assert status == 422
    assert detail in got


def canvas(side: int) -> list[float]:
    """A 1 as pynumdraw's page sends it."""
    picture = np.zeros((side, side))
    picture[side // 8 : 7 * side // 8, side // 2 : side // 2 + side // 16] = 254 / 255
    return cast("list[float]", picture.ravel().tolist())


@pytest.mark.parametrize("side", [28, 300, 500, 512])
def test_predict_number_keeps_pynumdraw_s_contract(
    app: App, predictor: Predictor, side: int
) -> None:
    reply = post(
        app,
        "/predict_number/",
        {"new_data": canvas(side)},
        headers={"Content-Type": "application/json;charset=UTF-8"},
    )
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    expected = predictor.predict(np.reshape(canvas(side), (side, side)) * 255)
    assert reply.json == {
        "predicted_number": 1,
        "confidence": str(int(100 * expected.confidence)),
        "model_version": predictor.version,
    }


def test_predict_number_has_room_for_512_by_512_long_numbers(app: App) -> None:
    data = [0.12345678901234567] * 512 * 512  # 19 characters each, and a comma
    body = json.dumps({"new_data": data}, separators=(",", ":")).encode()
    assert 5_000_000 < len(body) < MAX_LEGACY_BODY
    status, detail = refused(post(app, "/predict_number/", body))
    assert (status, detail[:6]) == (422, "pixels")  # read, and found to be all ink
    status, detail = refused(post(app, "/predict_number/", body.ljust(MAX_LEGACY_BODY + 1)))
    assert (status, detail) == (413, "the body expected at most 6,291,456 bytes, got 6,291,457")


FLAT = '"new_data" expected a flat list of n*n numbers, n from 1 to 512, got '
OUTSIDE = '"new_data" expected numbers from 0 to 1, got one outside'


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("{}", 'the body expected "new_data", got no such key'),
        ('{"new_data": [0], "more": 1}', "got the unknown key 'more'"),
        ('{"new_data": {}}', "expected one object with one flat list, got more of them"),
        ('{"new_data": [[0]]}', "expected one object with one flat list, got more of them"),
        ('{"new_data": null}', FLAT + "null"),
        ('{"new_data": "0"}', FLAT + "a string"),
        ('{"new_data": []}', FLAT + "0 values"),
        ('{"new_data": [0, 1]}', FLAT + "2 values"),
        ('{"new_data": [0, 1, true, 0]}', FLAT + "a boolean"),
        ('{"new_data": ["0"]}', FLAT + "a string"),
        ('{"new_data": [null]}', FLAT + "null"),
        ('{"new_data": [1.01]}', OUTSIDE),
        ('{"new_data": [-0.01]}', OUTSIDE),
        ('{"new_data": [1e400]}', OUTSIDE),
        ('{"new_data": [-1e400]}', OUTSIDE),
        ('{"new_data": [1' + "0" * 400 + "]}", OUTSIDE),
        ('{"new_data": [0, 0, 0, 0]}', "pixels expected ink"),
        ('{"new_data": [1]}', "pixels expected"),
    ],
)
def test_predict_number_refuses_what_is_no_picture_with_422(
    app: App, body: str, detail: str
) -> None:
    status, got = refused(post(app, "/predict_number/", body.encode()))
    assert status == 422
    assert detail in got


def test_predict_number_refuses_a_picture_of_513_by_513(app: App) -> None:
    reply = post(app, "/predict_number/", {"new_data": [0] * 513 * 513})
    assert refused(reply) == (422, FLAT + "263,169 values")


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    ("body", "environ", "status"),
    [
        (b"{", {}, 400),
        (b"\xff", {}, 400),
        (b"{}", {"CONTENT_LENGTH": "1" * 20}, 400),
        (b"{}", {"CONTENT_LENGTH": "3"}, 400),
        (b"{}", {"CONTENT_LENGTH": None}, 411),
        (b"{}", {"CONTENT_LENGTH": "99999999"}, 413),
        (b"{}", {"CONTENT_TYPE": "text/plain"}, 415),
        (b"[]", {}, 422),
    ],
)
def test_a_bad_request_is_refused_by_each_route(
    app: App, path: str, body: bytes, environ: dict[str, Any], status: int
) -> None:
    assert refused(post(app, path, body, environ=environ))[0] == status


def test_deep_nesting_is_refused_by_each_route(app: App) -> None:
    body = b"[" * 60_000
    assert refused(post(app, "/api/predict", body))[0] == 400
    assert refused(post(app, "/api/explain", body))[0] == 400
    assert refused(post(app, "/predict_number/", body))[0] == 422


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(0, 300)
    | st.floats()
    | st.floats(0, 300)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=30,
)
points = st.lists(st.lists(st.floats(-500, 500) | st.integers(0, 300), min_size=2, max_size=2))
bodies = (
    json_values
    | st.fixed_dictionaries({}, optional={k: json_values for k in ("strokes", "pixels", "image")})
    | st.fixed_dictionaries({"strokes": st.lists(points)}, optional={"digit": json_values})
    | st.fixed_dictionaries({"new_data": json_values | st.lists(st.floats(0, 1), max_size=9)})
)


@settings(max_examples=200, deadline=None)
@given(path=st.sampled_from(POSTS), body=bodies)
def test_any_json_is_answered_or_refused(app: App, path: str, body: Any) -> None:
    reply = post(app, path, json.dumps(body).encode())
    assert reply.status in (200, 400, 422)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_drawing_is_answered_or_refused(app: App, data: st.DataObject) -> None:
    raw = bytearray(json.dumps({"strokes": SEVEN, "image": True}).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        raw = raw or bytearray(b" ")
    assert post(app, "/api/predict", bytes(raw)).status in (200, 400, 422)


def test_model_is_the_card(app: App, predictor: Predictor) -> None:
    reply = ask(app, "GET", "/api/model")
    assert reply.json == json.loads(json.dumps({**predictor.meta, "version": predictor.version}))
    assert {"version", "sha256", "architecture", "scores", "command"} <= reply.json.keys()


def test_health_tells_live_and_ready(app: App, predictor: Predictor) -> None:
    assert ask(app, "GET", "/health/live").json == {"status": "live"}
    ready = ask(app, "GET", "/health/ready")
    assert ready.json == {"status": "ready", "model": predictor.version}
    assert ready.headers["Cache-Control"] == "no-store"


def test_a_stopping_server_is_not_ready_but_live_and_answers(predictor: Predictor) -> None:
    app = make_app(predictor)
    app.ready = False
    reply = ask(app, "GET", "/health/ready")
    expected = "the server expected to be ready, got told to stop; ask another one"
    assert refused(reply) == (503, expected)
    assert reply.headers["Retry-After"] == "1"
    assert ask(app, "GET", "/health/live").status == 200
    assert post(app, "/api/predict", {"strokes": SEVEN}).status == 200


def test_hello_says_hello_world(app: App) -> None:
    reply = ask(app, "GET", "/hello/")
    assert reply.body == b"hello_world"
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("path", ["/api/model", "/api/openapi.json", "/", "/favicon.svg"])
def test_what_the_client_has_already_is_304(app: App, path: str) -> None:
    first = ask(app, "GET", path)
    etag = first.headers["ETag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', etag)
    assert first.headers["Cache-Control"] == "no-cache"
    for method in ("GET", "HEAD"):
        again = ask(app, method, path, headers={"If-None-Match": f"W/{etag}"})
        assert (again.status, again.body) == (304, b"")
        assert again.headers["ETag"] == etag
        assert not {"Content-Length", "Content-Type"} & again.headers.keys()


@pytest.mark.parametrize("path", [*CONSTANT, "/", "/nothing"])
def test_head_is_get_without_the_body(app: App, path: str) -> None:
    get, head = ask(app, "GET", path), ask(app, "HEAD", path)
    assert head.body == b""
    assert head.status == get.status
    for reply in (get, head):
        del reply.headers["X-Request-Id"]
    assert head.headers == get.headers
    assert head.headers["Content-Length"] == str(len(get.body)) != "0"


@pytest.mark.parametrize("path", [*GETS, *POSTS, "/"])
def test_options_lists_the_methods(app: App, path: str) -> None:
    reply = ask(app, "OPTIONS", path)
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["Allow"] == ("OPTIONS, POST" if path in POSTS else "GET, HEAD, OPTIONS")
    assert "Content-Length" not in reply.headers


def test_options_of_the_whole_server(predictor: Predictor) -> None:
    started: list[Any] = []
    environ = {"REQUEST_METHOD": "OPTIONS", "PATH_INFO": "*"}
    # The validator takes no "*", though RFC 9110 has it.
    assert make_app(predictor)(environ, lambda *args: started.append(args)) == [b""]
    [(status, headers)] = started
    assert status == "204 No Content"
    assert ("Allow", "GET, HEAD, OPTIONS, POST") in headers


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE"])
@pytest.mark.parametrize("path", [*GETS, "/", "/js/page.js"])
def test_other_methods_are_405_with_allow(app: App, path: str, method: str) -> None:
    reply = ask(app, method, path)
    expected = f"the method expected one of GET, HEAD, OPTIONS, got '{method}'"
    assert refused(reply) == (405, expected)
    assert reply.headers["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
@pytest.mark.parametrize("path", POSTS)
def test_other_methods_than_post_are_405_with_allow(app: App, path: str, method: str) -> None:
    reply = ask(app, method, path)
    assert reply.status == 405
    assert reply.headers["Allow"] == "OPTIONS, POST"


def test_an_unknown_method_is_405_and_quoted_short(app: App) -> None:
    with pytest.warns(WSGIWarning, match="Unknown REQUEST_METHOD"):
        _, detail = refused(ask(app, "X" * 1000, "/hello/"))
    assert detail.endswith("got '" + "X" * 57 + "...'")


NOWHERE = "the path expected a route of /api/openapi.json or a file of the page, got neither"


@pytest.mark.parametrize(
    "path",
    [
        *("/nothing", "/api", "/api/", "/metric", "/../etc/passwd", "/\0", "/css/", "/js"),
        *("/index.html/..", "/api/predict\0", "/API/predict", "/\xff\xfe", "//hello/"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_an_unknown_path_is_404(app: App, method: str, path: str) -> None:
    assert refused(ask(app, method, path)) == (404, NOWHERE)


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("/hello", "/hello/"),
        ("/predict_number", "/predict_number/"),
        ("/api/predict/", "/api/predict"),
        ("/health/live/", "/health/live"),
    ],
)
def test_a_missing_or_extra_slash_is_404_and_told(app: App, path: str, right: str) -> None:
    assert refused(ask(app, "GET", path)) == (404, f"{NOWHERE}; ask for {right}")


def test_environ_without_path_and_query_is_404(predictor: Predictor) -> None:
    started: list[Any] = []
    app = make_app(predictor)
    # What bjoern gives for CONNECT; the validator wants a path.
    chunks = app({"REQUEST_METHOD": "CONNECT"}, lambda *args: started.append(args))
    assert started[0][0] == "404 Not Found"
    assert json.loads(b"".join(chunks))["detail"] == NOWHERE


def test_without_a_public_folder_there_is_no_page(predictor: Predictor) -> None:
    assert refused(ask(make_app(predictor), "GET", "/")) == (404, NOWHERE)


def test_make_app_refuses_a_folder_without_a_page(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"got no index\.html among them"):
        make_app(predictor, public=tmp_path)


def test_every_answer_has_its_id_and_is_not_sniffed(app: App) -> None:
    replies = [ask(app, m, p) for m in ("GET", "PUT") for p in (*GETS, *POSTS, "/", "/nothing")]
    assert {reply.headers["X-Content-Type-Options"] for reply in replies} == {"nosniff"}
    assert len({reply.headers["X-Request-Id"] for reply in replies}) == len(replies)
    reply = ask(app, "GET", "/hello/", headers={"X-Request-Id": "from-nginx.1"})
    assert reply.headers["X-Request-Id"] == "from-nginx.1"


def test_no_text_of_the_request_gets_into_a_header(app: App) -> None:
    mark = "MARK-of-the-client"
    headers = {
        name: f"{mark} x"
        for name in ("X-Request-Id", "If-None-Match", "Origin", "Accept", "Host", "Content-Type")
    }
    for method in ("GET", "HEAD", "POST", "OPTIONS"):
        for path in (*GETS, *POSTS, "/", f"/{mark}"):
            reply = ask(
                app, method, path, mark.encode(), headers=headers, environ={"QUERY_STRING": mark}
            )
            assert mark not in str(reply.headers)
    with pytest.warns(WSGIWarning, match="Unknown REQUEST_METHOD"):
        assert mark not in str(ask(app, mark, "/hello/").headers)


def test_a_request_is_logged_without_its_drawing_and_query(app: App, access: Records) -> None:
    post(
        app,
        "/api/predict",
        {"strokes": SEVEN},
        headers={"X-Request-Id": "r1"},
        environ={"QUERY_STRING": "secret=1"},
    )
    [record], [facts] = access.records, access.facts
    assert record.getMessage() == "request"
    milliseconds = facts.pop("ms")
    assert 0 < milliseconds < 10_000
    size = facts.pop("bytes")
    assert 300 < size < 1000
    assert 0.5 < facts.pop("confidence") <= 1
    assert facts == {
        "request_id": "r1",
        "method": "POST",
        "path": "/api/predict",
        "status": 200,
        "number": "7",
    }


def test_an_explanation_is_logged_as_its_digit_alone(app: App, access: Records) -> None:
    post(app, "/api/explain", {"strokes": SEVEN, "digit": 1})
    [facts] = access.facts
    assert (facts["path"], facts["digit"]) == ("/api/explain", 1)
    assert 0 < facts["confidence"] < 0.1
    assert facts.keys() - {"ms", "bytes", "request_id", "method", "path", "status"} == {
        "digit",
        "confidence",
    }


def test_refused_requests_are_logged_with_a_short_path(app: App, access: Records) -> None:
    ask(app, "GET", "/" + "x" * 1000)
    post(app, "/api/predict", b"{")
    first, second = access.facts
    assert first["path"] == "/" + "x" * 199
    assert first["status"] == 404
    assert second["status"] == 400
    assert "digit" not in second


def test_head_is_logged_with_the_bytes_that_were_sent(app: App, access: Records) -> None:
    ask(app, "HEAD", "/hello/")
    assert access.facts[0]["bytes"] == 0


def test_nothing_is_logged_where_the_access_log_is_off(app: App, access: Records) -> None:
    logging.getLogger("numdraw.access").setLevel(logging.WARNING)
    ask(app, "GET", "/hello/")
    assert not access.records


class Exploding:
    """A predictor with an error in it."""

    version = "exploding-0"

    def __init__(self, error: BaseException) -> None:
        self.meta: dict[str, Any] = {"version": self.version}
        self.error = error

    def predict_number(self, drawing: Any) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("secret"), RecursionError("secret"), SystemExit(3)])
def test_an_error_of_our_own_is_500_without_details_and_logged(
    error: BaseException, errors: Records, access: Records
) -> None:
    app = make_app(cast(Predictor, Exploding(error)))
    reply = post(app, "/api/predict", {"strokes": SEVEN}, headers={"X-Request-Id": "r1"})
    assert refused(reply) == (
        500,
        "the server expected to answer, got an error of its own; its log tells more under r1",
    )
    assert b"secret" not in reply.body
    [facts] = errors.facts
    assert facts["request_id"] == "r1"
    assert "in predict_number\n    raise self.error" in facts["traceback"]
    assert f"{type(error).__name__}: {error}" in facts["traceback"]
    assert errors.records[0].levelno == logging.ERROR
    assert access.facts[0]["status"] == 500


def test_no_memory_is_503(errors: Records) -> None:
    app = make_app(cast(Predictor, Exploding(MemoryError())))
    reply = post(app, "/api/predict", {"strokes": SEVEN})
    expected = "the server expected memory for this request, got none; try again"
    assert refused(reply) == (503, expected)
    assert reply.headers["Retry-After"] == "1"
    assert errors.records[0].getMessage() == "out of memory"
