import io
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numdraw.wsgi import (
    REASONS,
    Environ,
    HTTPError,
    Request,
    Response,
    StartResponse,
    cached,
    json_response,
    kind,
    problem,
    read_body,
    read_json_object,
    shown,
)
from tests.asking import Reply, ask, post

LIMIT = 100  # bytes


def echo(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answers with the JSON object that it was sent."""
    try:
        response = json_response(read_json_object(Request(environ), LIMIT))
    except HTTPError as error:
        response = problem(error.status, error.detail, error.headers)
    start_response(f"{response.status} {REASONS[response.status]}", list(response.headers))
    return [response.body]


def refused(reply: Reply) -> tuple[int, str]:
    """The status and the detail of a problem, the rest of which is right."""
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.headers["Cache-Control"] == "no-store"
    body = reply.json
    assert list(body) == ["type", "title", "status", "detail"]
    assert body["type"] == "about:blank"
    assert body["title"] == REASONS[reply.status]
    assert body["status"] == reply.status
    return reply.status, body["detail"]


def request(**environ: Any) -> Request:
    return Request({"REQUEST_METHOD": "GET", "PATH_INFO": "/", **environ})


def test_a_json_object_is_read() -> None:
    reply = post(echo, "/", {"strokes": [[[1, 2.5]]], "image": True})
    assert reply.status == 200
    assert reply.json == {"strokes": [[[1, 2.5]]], "image": True}


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json;charset=UTF-8",
        'Application/JSON ; charset="utf-8"',
        "application/json;",
    ],
)
def test_json_is_taken_by_any_spelling_of_its_type(content_type: str) -> None:
    assert post(echo, "/", {}, headers={"Content-Type": content_type}).status == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "application/json; charset=latin-1",
        "application/json, text/plain",
        "application/jsonapplication/json",  # bjoern's way to join two header lines
    ],
)
def test_another_content_type_is_415(content_type: str) -> None:
    reply = post(echo, "/", {}, headers={"Content-Type": content_type})
    expected = f"Content-Type expected application/json in UTF-8, got {content_type!r}"
    assert refused(reply) == (415, expected)


def test_no_content_type_is_415() -> None:
    reply = ask(echo, "POST", "/", b"{}", environ={"CONTENT_TYPE": ""})
    assert refused(reply) == (
        415,
        "Content-Type expected application/json in UTF-8, got none",
    )


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (b"", 400, "the body expected a JSON object, got nothing"),
        (b" \r\n", 400, "the body expected a JSON object, got nothing"),
        (b"{", 400, "the body expected JSON, got a fault at character 1: Expecting property name"),
        (b"{} {}", 400, "the body expected JSON, got a fault at character 3: Extra data"),
        (b"{'a': 1}", 400, "the body expected JSON, got a fault at character 1"),
        (b"\xff{}", 400, "the body expected UTF-8, got the byte 0xff at 0"),
        (b'{"a": "\xed\xa0\x80"}', 400, "the body expected UTF-8, got the byte 0xed at 7"),
        ("{}".encode("utf-16"), 400, "the body expected UTF-8, got the byte 0xff at 0"),
        (b"\xef\xbb\xbf{}", 400, "the body expected JSON, got a byte order mark before it"),
        (b'{"a": NaN}', 400, "the body expected JSON, which has no NaN; got one"),
        (b'{"a": Infinity}', 400, "the body expected JSON, which has no Infinity; got one"),
        (b'{"a": -Infinity}', 400, "the body expected JSON, which has no -Infinity; got one"),
        (b'{"a": 1, "a": 1}', 400, "the body expected each key once, got 'a' twice"),
        (b'{"b": {"\\ud800": 1, "\\ud800": 1}}', 400, "got '\\ud800' twice"),
        (b"[]", 422, "the body expected a JSON object, got a list"),
        (b"1", 422, "the body expected a JSON object, got a number"),
        (b"1e400", 422, "the body expected a JSON object, got a number"),
        (b'"\\ud800"', 422, "the body expected a JSON object, got a string"),
        (b"true", 422, "the body expected a JSON object, got a boolean"),
        (b"null", 422, "the body expected a JSON object, got null"),
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes, status: int, detail: str) -> None:
    got_status, got = refused(post(echo, "/", body))
    assert got_status == status
    assert detail in got


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_nesting_is_400(opening: bytes) -> None:
    body = opening * 500_000
    with pytest.raises(HTTPError, match="the body expected flat JSON, got lists too deep") as info:
        read_json_object(
            request(
                CONTENT_TYPE="application/json",
                CONTENT_LENGTH=str(len(body)),
                **{"wsgi.input": io.BytesIO(body)},
            ),
            10**7,
        )
    assert info.value.status == 400


def test_a_number_of_10000_digits_is_400() -> None:
    body = b'{"a": ' + b"9" * 10_000 + b"}"
    environ = {"wsgi.input": io.BytesIO(body), "CONTENT_TYPE": "application/json"}
    with pytest.raises(HTTPError, match="expected numbers of usual length, got a longer") as info:
        read_json_object(request(CONTENT_LENGTH=str(len(body)), **environ), 20_000)
    assert info.value.status == 400


def test_one_key_twice_among_many_is_found() -> None:
    body = json.dumps({f"k{i}": i for i in range(100_000)}).encode()[:-1] + b',"k0":0}'
    environ = {"wsgi.input": io.BytesIO(body), "CONTENT_TYPE": "application/json"}
    with pytest.raises(HTTPError, match="'k0' twice"):
        read_json_object(request(CONTENT_LENGTH=str(len(body)), **environ), 10**7)


@pytest.mark.parametrize("body", [b'{"a": [[1]]}', b'{"a": [{}]}', b'{"a": [], "b": []}'])
def test_a_flat_body_refuses_more_lists_before_it_is_parsed(body: bytes) -> None:
    environ = {"wsgi.input": io.BytesIO(body), "CONTENT_TYPE": "application/json"}
    with pytest.raises(HTTPError, match="expected one object with one flat list, got more of them"):
        read_json_object(request(CONTENT_LENGTH=str(len(body)), **environ), LIMIT, flat=True)


@given(st.binary(max_size=LIMIT))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    assert post(echo, "/", body).status in (200, 400, 422)


def test_a_body_of_the_limit_is_read_and_one_byte_more_is_413() -> None:
    body = b"{" + b" " * (LIMIT - 2) + b"}"
    assert post(echo, "/", body).status == 200
    assert refused(post(echo, "/", body + b" ")) == (
        413,
        "the body expected at most 100 bytes, got 101",
    )


@pytest.mark.parametrize("text", ["-1", "+2", "2.0", "0x2", "two", "2,2", " ", "1" * 19, "\u0662"])
def test_a_content_length_that_is_no_whole_number_is_400(text: str) -> None:
    with pytest.raises(HTTPError, match="Content-Length expected a whole number, got") as info:
        read_body(request(CONTENT_LENGTH=text, **{"wsgi.input": io.BytesIO(b"{}")}), LIMIT)
    assert info.value.status == 400


@pytest.mark.parametrize("length", [None, ""])
def test_no_content_length_is_411(length: str | None) -> None:
    reply = post(echo, "/", {}, environ={"CONTENT_LENGTH": length})
    assert refused(reply) == (411, "the request expected a Content-Length, got none")


def test_transfer_encoding_is_411_and_400_beside_a_content_length() -> None:
    chunked = {"Transfer-Encoding": "chunked"}
    reply = post(echo, "/", {}, headers=chunked, environ={"CONTENT_LENGTH": None})
    assert refused(reply) == (411, "the request expected a Content-Length, got Transfer-Encoding")
    assert refused(post(echo, "/", {}, headers=chunked)) == (
        400,
        "the request expected Content-Length or Transfer-Encoding, got both",
    )


def test_a_body_shorter_than_its_content_length_is_400() -> None:
    reply = post(echo, "/", b"{}", environ={"CONTENT_LENGTH": "7"})
    expected = "the body expected 7 bytes, as Content-Length says, got 2"
    assert refused(reply) == (400, expected)


def test_a_body_that_breaks_off_is_400() -> None:
    class Torn(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise ConnectionResetError

    reply = post(echo, "/", b"{}", environ={"wsgi.input": Torn()})
    expected = "the body expected 2 bytes, as Content-Length says, got 0"
    assert refused(reply) == (400, expected)


def test_a_body_longer_than_its_content_length_is_cut() -> None:
    assert post(echo, "/", b"{}garbage", environ={"CONTENT_LENGTH": "2"}).status == 200


def test_path_is_empty_where_bjoern_gives_none() -> None:
    assert Request({"REQUEST_METHOD": "CONNECT"}).path == ""


@pytest.mark.parametrize("token", ["a", "0123456789abcdef" * 4, "Az09._-"])
def test_request_id_is_the_given_plain_token(token: str) -> None:
    assert request(HTTP_X_REQUEST_ID=token).id == token


@pytest.mark.parametrize("given_id", ["", "a" * 65, "a b", "a\n", "a\r\nX: y", "é", "<b>", "a/b"])
def test_request_id_is_made_where_none_or_no_plain_one_is_given(given_id: str) -> None:
    made = request(HTTP_X_REQUEST_ID=given_id).id
    assert len(made) == 32
    assert int(made, 16) >= 0
    assert made != request(HTTP_X_REQUEST_ID=given_id).id


@pytest.mark.parametrize(
    ("condition", "known"),
    [
        ('"abc"', True),
        ('W/"abc"', True),  # gzip makes nginx weaken it
        ('"x", W/"abc"', True),
        ('"x""abc"', True),  # bjoern's way to join two header lines
        ("*", True),
        (" * ", True),
        ('"ab"', False),
        ('"abcd"', False),
        ("abc", False),
        ("", False),
    ],
)
def test_if_none_match_is_compared_weakly(condition: str, known: bool) -> None:
    assert request(HTTP_IF_NONE_MATCH=condition).has('"abc"') is known


def test_cached_answers_304_without_body_and_type_to_who_has_it() -> None:
    headers = [("Content-Type", "text/css"), ("X-Other", "1")]
    shared = [("ETag", '"e"'), ("Cache-Control", "no-cache"), ("X-Other", "1")]
    full = cached(request(), b"body", '"e"', headers)
    assert full == Response(200, b"body", [("Content-Type", "text/css"), *shared])
    again = cached(request(HTTP_IF_NONE_MATCH='"e"'), b"body", '"e"', headers)
    assert again == Response(304, b"", shared)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_response_never_sends_nan(value: float) -> None:
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        json_response({"confidence": value})


def test_json_response_is_ascii() -> None:
    assert json_response({"a": "é\ud800\x1b"}).body == b'{"a":"\\u00e9\\ud800\\u001b"}'


def test_kind_tells_json_types() -> None:
    values = [True, 1, 1.5, "a", [], {}, None]
    kinds = "a boolean, a number, a number, a string, a list, an object, null"
    assert ", ".join(map(kind, values)) == kinds


def test_shown_quotes_escapes_and_cuts() -> None:
    assert shown("a\x1b\ud800") == "'a\\x1b\\ud800'"
    assert shown("x" * 60) == repr("x" * 60)
    assert shown("x" * 61) == repr("x" * 57 + "...")
