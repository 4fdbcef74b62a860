import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from numdraw import Predictor
from numdraw.app import App, make_app
from numdraw.corrections import Corrections
from numdraw.openapi import document
from numdraw.wsgi import MAX_BODY, REASONS
from tests.asking import SEVEN, Reply, ask, post
from tests.running import running

DOCUMENT = document()
OPERATIONS = [(path, method.upper()) for path, item in DOCUMENT["paths"].items() for method in item]
POSTS = ["/api/predict", "/api/explain", "/api/corrections", "/predict_number/"]
EXAMPLES = 30  # a route and way of making them

SCHEMATHESIS = """
[checks]
# A drawing may keep the schema and hold nothing; If-None-Match may name what the client has.
positive_data_acceptance.expected-statuses = ["2xx", 304, 422]
negative_data_rejection.expected-statuses = [400, 405, 413, 415, 422]
[phases.coverage]
# Not QUERY and the like: bjoern's parser knows them not and says a bare 400; nginx says 405.
unexpected-methods = ["PUT", "PATCH", "DELETE", "TRACE"]
"""


# A minute's corrections are fewer than what it asks.
UNLIMITED = "from numdraw import corrections; corrections.A_MINUTE = 10**6"


@pytest.fixture(scope="module")
def app(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> App:
    folder = tmp_path_factory.mktemp("corrections")
    return make_app(predictor, corrections=Corrections(folder))


def answers(path: str, method: str, status: str) -> Any:
    """What the description says of an answer, its reference followed."""
    response = DOCUMENT["paths"][path][method.lower()]["responses"][status]
    return resolved(response)


def resolved(part: Any) -> Any:
    if "$ref" in part:
        _, _, section, name = part["$ref"].split("/")
        return DOCUMENT["components"][section][name]
    return part


def valid(value: Any, schema: Any) -> None:
    jsonschema_rs = pytest.importorskip("jsonschema_rs", reason="pip install schemathesis")
    # The references in the schema start at the document's root.
    root = {**schema, "components": DOCUMENT["components"]}
    jsonschema_rs.Draft202012Validator(root).validate(value)


def as_described(reply: Reply, path: str, method: str) -> None:
    """The reply has a status, type, body and headers that the description names."""
    described = answers(path, method, str(reply.status))
    for name, header in described["headers"].items():
        schema = resolved(header)["schema"]
        value = reply.headers[name]
        valid(int(value) if schema["type"] == "integer" else value, schema)
    if "content" not in described:
        assert reply.body == b""
        return
    content_type = reply.headers["Content-Type"].partition(";")[0]
    schema = described["content"][content_type]["schema"]
    valid(reply.json if content_type.endswith("json") else reply.body.decode(), schema)


def test_every_route_is_described_and_every_description_is_a_route(app: App) -> None:
    described = {path: {method.upper() for method in i} for path, i in DOCUMENT["paths"].items()}
    assert described == {path: set(methods) for path, methods in app.routes.items()}


def test_the_description_is_openapi_3_1() -> None:
    validator = pytest.importorskip(
        "openapi_spec_validator", reason="pip install openapi-spec-validator"
    )
    validator.validate(copy.deepcopy(DOCUMENT), cls=validator.OpenAPIV31SpecValidator)


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    text = json.dumps(DOCUMENT)
    for section, components in DOCUMENT["components"].items():
        for name in components:
            assert f'"#/components/{section}/{name}"' in text, name
    for part in text.split('"$ref": "')[1:]:
        _, _, section, name = part.partition('"')[0].split("/")
        assert name in DOCUMENT["components"][section]


def test_every_example_keeps_its_schema() -> None:
    seen = 0
    for path, method in OPERATIONS:
        operation = DOCUMENT["paths"][path][method.lower()]
        contents = list(operation.get("requestBody", {}).get("content", {}).values())
        for response in operation["responses"].values():
            contents += resolved(response).get("content", {}).values()
        for content in contents:
            examples = [example["value"] for example in content.get("examples", {}).values()]
            for example in [*examples, *([content["example"]] if "example" in content else [])]:
                valid(example, content["schema"])
                seen += 1
    assert seen > 20


@pytest.mark.parametrize("path", POSTS)
def test_every_example_of_a_request_is_answered_as_described(app: App, path: str) -> None:
    content = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        reply = post(app, path, example["value"])
        assert reply.status == (201 if path == "/api/corrections" else 200)
        as_described(reply, path, "POST")


@pytest.mark.parametrize(("path", "method"), [o for o in OPERATIONS if o[1] == "GET"])
def test_every_get_is_answered_as_described(app: App, path: str, method: str) -> None:
    reply = ask(app, "GET", path)
    assert reply.status == 200
    as_described(reply, path, method)
    if "304" in DOCUMENT["paths"][path]["get"]["responses"]:
        again = ask(app, "GET", path, headers={"If-None-Match": reply.headers["ETag"]})
        assert again.status == 304
        as_described(again, path, method)


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    ("body", "environ", "status"),
    [
        (b"{", {}, 400),
        (b"{}", {"CONTENT_LENGTH": None}, 411),
        (b"{}", {"CONTENT_LENGTH": "9999999"}, 413),
        (b"{}", {"CONTENT_TYPE": "text/plain"}, 415),
        (b"{}", {}, 422),
    ],
)
def test_every_error_is_answered_as_described(
    app: App, path: str, body: bytes, environ: dict[str, Any], status: int
) -> None:
    reply = post(app, path, body, environ=environ)
    assert reply.status == status
    as_described(reply, path, "POST")


def test_corrections_that_are_not_taken_are_answered_as_described(
    app: App, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {**SEVEN, "label": "7"}
    statuses = [post(make_app(predictor), "/api/corrections", body).status]
    for name in ("MAX_DRAWINGS", "A_MINUTE"):
        monkeypatch.setattr(f"numdraw.corrections.{name}", 0)
        reply = post(app, "/api/corrections", body)
        as_described(reply, "/api/corrections", "POST")
        statuses.append(reply.status)
    assert statuses == [403, 507, 429]


def test_not_ready_is_answered_as_described(predictor: Predictor) -> None:
    app = make_app(predictor)
    app.ready = False
    reply = ask(app, "GET", "/health/ready")
    assert reply.status == 503
    as_described(reply, "/health/ready", "GET")


def test_titles_and_limits_are_those_of_the_code() -> None:
    for name, response in DOCUMENT["components"]["responses"].items():
        example = response["content"]["application/problem+json"]["example"]
        assert name == f"Problem{example['status']}"
        assert example["title"] == REASONS[example["status"]]
    for path in ("/api/predict", "/api/explain"):
        assert f"{MAX_BODY:,} bytes" in DOCUMENT["paths"][path]["post"]["description"]


def test_the_document_is_made_anew_each_time() -> None:
    document()["paths"].clear()
    assert document() == DOCUMENT


def test_the_running_server_keeps_to_its_description(tmp_path: Path) -> None:
    pytest.importorskip("schemathesis", reason="pip install schemathesis")
    (tmp_path / "schemathesis.toml").write_text(SCHEMATHESIS)
    folder = tmp_path / "corrections"
    with running("--public", "public", "--corrections", folder, before=UNLIMITED) as server:
        # As a program of its own: its pytest plugin depends on pytest's inner parts.
        result = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli"),
                *("--config-file", "schemathesis.toml"),
                *("run", f"{server.address}api/openapi.json"),
                *("--max-examples", str(EXAMPLES), "--generation-deterministic"),
                *("--phases", "examples,coverage,fuzzing"),
                *("--wait-for-schema", "10", "--no-color"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, "\n".join(x[:200] for x in result.stdout.splitlines()[-80:])
        statuses = [line["status"] for line in server.requests()]
        assert len(statuses) > 60
        assert {200, 201, 405, 422} <= set(statuses)
        assert max(statuses) < 500
        assert not server.errors("unexpected error")
        assert not server.errors("worker ended")
