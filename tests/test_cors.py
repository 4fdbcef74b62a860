import pytest

from numdraw import Predictor
from numdraw.app import App, make_app
from tests.asking import SEVEN, Reply, ask, post

OURS, THEIRS = "https://example.org", "https://evil.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-evil"}


@pytest.fixture(scope="module")
def app(predictor: Predictor) -> App:
    return make_app(predictor, allow_origins=[OURS, "http://localhost:3000"])


def allowed(reply: Reply) -> dict[str, str]:
    return {
        name.removeprefix("Access-Control-"): value
        for name, value in reply.headers.items()
        if name.startswith("Access-Control-")
    }


def test_no_origin_is_allowed_unless_it_is_named(predictor: Predictor) -> None:
    app = make_app(predictor)
    for reply in (
        post(app, "/api/predict", SEVEN, headers={"Origin": OURS}),
        ask(app, "OPTIONS", "/api/predict", headers={"Origin": OURS, **PREFLIGHT}),
    ):
        assert allowed(reply) == {}
        assert "Vary" not in reply.headers


def test_a_page_of_a_named_origin_may_read_answers_and_errors(app: App) -> None:
    for body, status in ((SEVEN, 200), ({}, 422)):
        reply = post(app, "/api/predict", body, headers={"Origin": OURS})
        assert reply.status == status
        assert allowed(reply) == {
            "Allow-Origin": OURS,
            "Expose-Headers": "ETag, Retry-After, X-Request-Id",
        }
        assert reply.headers["Vary"] == "Origin"


def test_a_preflight_is_answered_without_a_word_of_the_request(app: App) -> None:
    reply = ask(app, "OPTIONS", "/api/predict", headers={"Origin": OURS, **PREFLIGHT})
    assert reply.status == 204
    assert allowed(reply) == {
        "Allow-Origin": OURS,
        "Allow-Methods": "GET, HEAD, POST",
        "Allow-Headers": "Content-Type, If-None-Match",
        "Max-Age": "7200",
    }


@pytest.mark.parametrize(
    "origin", [THEIRS, "null", OURS.upper(), f"{OURS}.evil", f"{OURS}, a", "*"]
)
def test_a_page_of_another_origin_may_read_nothing(app: App, origin: str) -> None:
    for method in ("GET", "OPTIONS"):
        reply = ask(app, method, "/api/model", headers={"Origin": origin, **PREFLIGHT})
        assert allowed(reply) == {}
        assert reply.headers["Vary"] == "Origin"


def test_a_request_without_origin_differs_for_caches_alone(app: App) -> None:
    reply = ask(app, "GET", "/api/model")
    assert allowed(reply) == {}
    assert reply.headers["Vary"] == "Origin"


def test_any_origin_may_be_allowed(predictor: Predictor) -> None:
    app = make_app(predictor, allow_origins=["*"])
    reply = post(app, "/api/predict", SEVEN, headers={"Origin": THEIRS})
    assert allowed(reply)["Allow-Origin"] == "*"
    assert "Vary" not in reply.headers
