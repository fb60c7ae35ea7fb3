"""Every error has the one shape, those that the framework makes included, on every family of routes."""

import httpx
import pytest

from serving.gateway.problems import CODES
from serving.gateway.services import Limits
from tests.support.gateway_server import serve
from tests.support.gateway_users import bearer

JSON_ROUTES = ("/api/auth/keys", "/api/v1/interactive/start", "/v1/chat/completions")
FORM_ROUTES = (
    "/v1/images/edits",
    "/v1/videos",
    "/api/v1/generations",
    "/api/generations/generate",
    "/api/master-mode/generate-story",
)
BODY = 6000
TEXT = {"content": b"hello", "headers": {"Content-Type": "text/plain"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("errors"), working=False, limits=Limits(json_bytes=BODY)) as server:
        yield server


def error(answer, status, code):
    assert answer.status_code == status == CODES[code], answer.text
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "details", "type", "param"}
    assert body["error"]["code"] == code
    assert isinstance(body["error"]["details"], dict)
    assert body["error"]["message"]
    assert answer.headers["x-request-id"]
    return body["error"]


@pytest.mark.parametrize("path", ["/nowhere", "/v1/nowhere", "/api/nowhere", "/api/v1/generations/a/b/c"])
def test_an_address_that_is_not_there(server, path):
    assert path in error(server.http.get(path), 404, "not_found")["message"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/models", "GET, HEAD"),
        ("PATCH", "/v1/videos", "GET, HEAD, POST"),
        ("PUT", "/api/v1/generations/x", "DELETE, GET, HEAD, PATCH"),
        ("GET", "/api/auth/login", "POST"),
        ("OPTIONS", "/api/generations/generate", "POST"),
    ],
)
def test_a_method_that_the_address_does_not_take(server, method, path, allowed):
    answer = server.http.request(method, path)
    assert allowed in error(answer, 405, "method_not_allowed")["message"]
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("path", [*JSON_ROUTES, *FORM_ROUTES])
def test_a_body_of_another_type(server, path):
    assert "text/plain" in error(server.http.post(path, **TEXT), 415, "unsupported_media_type")["message"]


@pytest.mark.parametrize("path", [*JSON_ROUTES, *FORM_ROUTES])
def test_a_body_that_is_missing(server, path):
    assert error(server.http.post(path), 422, "invalid_request")["param"] == "body"


@pytest.mark.parametrize("path", [*JSON_ROUTES, *[path for path in FORM_ROUTES if path != "/v1/images/edits"]])
@pytest.mark.parametrize(
    "broken", [b'{"prompt": ', b"{'prompt': 1}", b"\xff", b"prompt=x", b"[" * 500, b"NaN", b"1" * 5000, b"{} {}"]
)
def test_a_body_that_cannot_be_read_is_a_bad_request_about_no_field(server, path, broken):
    refused = error(
        server.http.post(path, content=broken, headers={"Content-Type": "application/json"}), 400, "bad_request"
    )
    assert "cannot be read" in refused["message"]
    assert refused["param"] is None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_json_in_another_encoding_of_unicode_is_read(server, encoding):
    headers = {"Content-Type": "application/json; charset=" + encoding}
    answer = server.http.post("/api/auth/keys", content='{"nam": "x"}'.encode(encoding), headers=headers)
    assert "'nam'" in error(answer, 422, "invalid_request")["message"]


@pytest.mark.parametrize("path", [*JSON_ROUTES, *FORM_ROUTES])
def test_a_body_that_is_too_large(server, path):
    error(server.http.post(path, json={"prompt": "x" * BODY}), 413, "payload_too_large")


@pytest.mark.parametrize("path", ["/v1/models", "/api/generations", "/nowhere"])
def test_nobody(server, path):
    error(httpx.get(f"{server.url}{path}"), 401, "unauthorized")
    error(httpx.get(f"{server.url}{path}", headers=bearer("admint_nothing")), 401, "unauthorized")


@pytest.mark.parametrize("path", ["/v1/models", "/api/v1/generations", "/api/generations/x/quality"])
def test_what_nobody_expected(server, path, monkeypatch):
    async def broken(*_, **__):
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(type(server.services.auth.accounts), "key_holder", broken)
    answer = server.http.get(path)
    error(answer, 500, "internal_error")
    assert "secret" not in answer.text
