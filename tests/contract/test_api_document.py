"""What is written of the API is what the server does: the committed OpenAPI document, and docs/api.md run as it is."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from serving.gateway.app import described
from serving.gateway.openapi import document_text
from serving.gateway.problems import CODES
from tests.support.ad_server import SpeakingServer
from tests.support.gateway_users import PASSWORD
from tests.support.program import run

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = REPOSITORY / "docs" / "openapi.json"
GUIDE = REPOSITORY / "docs" / "api.md"
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
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


def test_every_json_body_has_an_example(operations):
    without = [
        operation["operationId"]
        for operation in operations.values()
        if "example" not in operation.get("requestBody", {}).get("content", {}).get("application/json", {"example": 0})
    ]
    assert without == ["interactive_inpaint"], "a mask is no text: docs/api.md shows this one"


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
    script = ["set -euo pipefail"]
    for number, (language, code) in enumerate(BLOCK.findall(GUIDE.read_text()), start=1):
        script.append(f"echo; echo 'block {number}:' >&2")
        script.append(code if language == "bash" else f"export SESSION\npython3 - <<'END'\n{code}END")
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    with SpeakingServer(tmp_path_factory.mktemp("server")) as server:
        server.call(server.backend.warm_up())
        variables = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path),
            "ADMINT": server.url, "ADMINT_KEY": server.key, "ADMINT_USERNAME": "admin", "ADMINT_PASSWORD": PASSWORD,
        }  # fmt: skip
        ran = run(["bash", "-c", "\n".join(script)], cwd=tmp_path, env=variables)
        assert ran.returncode == 0, f"{ran.stderr[-2000:]}\n{ran.stdout[-2000:]}"
        served = set(SAMPLE.findall(server.http.get("/metrics").text))
    missing = sorted(set(operations) - served)
    assert not missing, "docs/api.md has no command that does these: add one where it belongs"
