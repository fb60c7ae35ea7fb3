"""What is written of the API is what the server does: the committed OpenAPI document, and docs/api.md run as it is."""

import json
import re

import pytest
from jsonschema import Draft202012Validator

from serving.gateway.app import described
from serving.gateway.openapi import ANSWERS, document_text
from serving.gateway.problems import CODES
from serving.gateway.requests import FORM_TYPE
from tests.support.ad_server import SpeakingServer
from tests.support.api_guide import GUIDE, JSON_TYPE, REPOSITORY, run_guide

DOCUMENT = REPOSITORY / "docs" / "openapi.json"
SAMPLE = re.compile(r'^admint_http_requests_total\{method="(\w+)",route="([^"]+)",status="2\d\d"\}', re.MULTILINE)
METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def document():
    return json.loads(document_text(described()))


@pytest.fixture(scope="module")
def operations(document):
    """By method and path."""
    return {
        (method.upper(), path): operation
        for path, each in document["paths"].items()
        for method, operation in each.items()
        if method in METHODS
    }


def test_the_committed_document_is_that_of_the_routes(document):
    committed = json.loads(DOCUMENT.read_text())
    if committed != document:
        changed = sorted(
            {path for path in committed["paths"] | document["paths"]
             if committed["paths"].get(path) != document["paths"].get(path)}
        )  # fmt: skip
        pytest.fail(
            f"docs/openapi.json is not what the routes describe (paths: {changed or 'none, but the schemas'}): "
            "run `make openapi`, look at the difference and commit it"
        )


def test_every_operation_has_a_readable_name_a_known_tag_and_words_of_its_own(document, operations):
    names = [operation["operationId"] for operation in operations.values()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)+", name) for name in names), names
    tags = {tag["name"] for tag in document["tags"]}
    assert {tag for operation in operations.values() for tag in operation["tags"]} == tags
    assert not [name for name, operation in operations.items() if not operation.get("description")]


def fields(node, place=""):
    """Every property of the schemas in a part of the document, with its place."""
    if isinstance(node, list):
        for each in node:
            yield from fields(each, place)
    if isinstance(node, dict):
        for name, each in node.items():
            if name == "properties":
                yield from ((f"{place}.{own}", schema) for own, schema in each.items())
            if name != "example":
                yield from fields(each, f"{place}.{name}")


def test_every_field_parameter_and_operation_says_what_it_is(document, operations):
    silent = [name for name, schema in document["components"]["schemas"].items() if not schema.get("description")]
    silent += [place for place, each in fields(document) if not each.get("description")]
    for (method, path), operation in operations.items():
        silent += [] if operation.get("description") else [f"{method} {path}"]
        silent += [
            f"{method} {path} {parameter['name']}"
            for parameter in operation.get("parameters", ())
            if not parameter.get("description")
        ]
    silent += [tag["name"] for tag in document["tags"] if not tag.get("description")]
    silent += [server["url"] for server in document["servers"] if not server.get("description")]
    assert document["info"]["description"]
    assert not silent, "say in a docstring below it what it is: unit, range, what the default means"


def test_every_body_is_a_schema_with_a_name_and_has_an_example(operations):
    for operation in operations.values():
        for media_type, media in operation.get("requestBody", {}).get("content", {}).items():
            assert media["schema"].keys() == {"$ref"}, (operation["operationId"], media_type)
            assert media.get("example"), (operation["operationId"], media_type)


def test_every_operation_that_answers_json_shows_an_answer(operations):
    for operation in operations.values():
        contents = [
            answer["content"][JSON_TYPE]
            for status, answer in operation["responses"].items()
            if status[0] == "2" and JSON_TYPE in answer.get("content", {})
        ]
        shown = [content for content in contents if "example" in content]
        assert shown or not contents, f"{operation['operationId']}: run `make examples`, then `make openapi`"


def test_what_is_shown_is_what_its_schema_allows(document, operations):
    """Bodies as they are sent, and answers as a server gave them: renamed and missing fields are seen here."""
    for operation in operations.values():
        shown = [operation.get("requestBody", {}).get("content", {}).get(JSON_TYPE, {})]
        shown += [answer.get("content", {}).get(JSON_TYPE, {}) for answer in operation["responses"].values()]
        for media in shown:
            if "example" in media:
                schema = {**media["schema"], "components": document["components"]}
                mistakes = Draft202012Validator(schema).iter_errors(media["example"])
                found = [f"{'.'.join(map(str, each.absolute_path))}: {each.message[:200]}" for each in mistakes]
                assert not found, f"{operation['operationId']}: run `make examples`, then `make openapi`"
        form = operation.get("requestBody", {}).get("content", {}).get(FORM_TYPE)
        if form is not None:
            fields = document["components"]["schemas"][form["schema"]["$ref"].rpartition("/")[2]]["properties"]
            assert form["example"].keys() <= fields.keys(), operation["operationId"]


def test_no_secret_of_a_server_is_in_the_examples():
    text = ANSWERS.read_text()
    assert not re.findall(r"eyJ[\w-]{12,}\.|admint_[\w-]{12,}", text)


def test_what_streams_and_sockets_carry_is_told_apart_by_its_type(document):
    schemas = document["components"]["schemas"]
    kinds = schemas["SessionMessage"]["discriminator"]["mapping"]
    assert {"stage_progress", "stage_complete", "stage_error", "conversation_update", "heartbeat", "error"} <= set(
        kinds
    )
    for name, reference in kinds.items():
        assert schemas[reference.rpartition("/")[2]]["properties"]["type"]["const"] == name
    assert set(schemas["SessionCommand"]["discriminator"]["mapping"]) == {"chat", "ping"}
    streams = {
        content["text/event-stream"]["itemSchema"]["properties"]["data"]["contentSchema"]["$ref"].rpartition("/")[2]
        for path in document["paths"].values()
        for operation in path.values()
        for content in [operation["responses"].get("200", {}).get("content", {})]
        if "text/event-stream" in content
    }
    assert streams == {"GenerationStreamItem", "ProgressStreamItem", "ChatStreamItem", "ImageStreamItem"}


def test_the_codes_of_errors_are_a_closed_list(document):
    schemas = document["components"]["schemas"]
    assert schemas["ErrorCode"]["enum"] == list(CODES)
    assert schemas["ErrorBody"]["properties"]["code"]["$ref"].endswith("/ErrorCode")


def test_every_answer_has_the_request_id_and_every_error_the_one_shape(document, operations):
    parts = document["components"]
    for operation in operations.values():
        for status, answer in operation["responses"].items():
            whole = parts["responses"][answer["$ref"].rpartition("/")[2]] if "$ref" in answer else answer
            assert "x-request-id" in whole["headers"], (operation["operationId"], status)
            if status == "default" or status[0] in "45":
                schema = whole["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorResponse"}, (operation["operationId"], status)


def test_the_guide_lists_every_error_code_with_its_status():
    rows = re.findall(r"^\| `(\w+)` \| (\d{3}) \|", GUIDE.read_text(), re.MULTILINE)
    assert {code: int(status) for code, status in rows} == dict(CODES)


def test_the_guides_commands_run_and_leave_no_operation_out(operations, tmp_path, tmp_path_factory):
    with SpeakingServer(tmp_path_factory.mktemp("server")) as server:
        server.call(server.backend.warm_up())
        ran = run_guide(server, tmp_path)
        assert ran.returncode == 0, f"{ran.stderr[-2000:]}\n{ran.stdout[-2000:]}"
        served = set(SAMPLE.findall(server.http.get("/metrics").text))
    missing = sorted(set(operations) - served)
    assert not missing, "docs/api.md has no command that does these: add one where it belongs"
