"""Schemathesis against a running server's own OpenAPI document: whatever is sent, every answer is one that it tells of.

Bounded and repeatable: a fixed seed, a few random cases per operation besides the systematic ones, nothing kept between
runs. The server has lived: a finished ad, a session that waits and a comparison are there for the ids to name.
"""

import sys
from pathlib import Path

import pytest

from tests.support import waiting
from tests.support.ad_server import BRIEF, PROMPT, SpeakingServer, until
from tests.support.gateway_users import log_in, new_user
from tests.support.program import run

CASES = 4
"""Random ones per operation."""
SEED = 20261125
CONFORMANCE = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "missing_required_header",
)
OF_A_PERSON = ("auth_create_key", "auth_revoke_key")
"""Only a login may do it; an API key is refused."""
ENDS_THE_LOGIN = "auth_logout"


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory):
    """A folder whose store holds one of everything, and the ids."""
    folder = tmp_path_factory.mktemp("schemathesis")
    with SpeakingServer(folder) as server:
        made = server.http.post("/api/v1/generations", json={"recipe": "express", "brief": BRIEF}).json()
        session = server.http.post("/api/v1/interactive/start", json={"prompt": PROMPT, "target_duration": 9}).json()
        body = {
            "base_prompt": PROMPT,
            "comparison_type": "prompt",
            "variations": [{"prompt": PROMPT}, {"prompt": PROMPT * 2}],
        }
        answer = server.http.post("/api/generations/generate/parallel", json=body)
        assert answer.status_code == 202, answer.text
        group = answer.json()
        for each in group["generation_ids"]:
            server.http.post(f"/api/v1/generations/{each}/cancel")
        detail = until(server.http, made["id"], "completed")
        until(server.http, session["session_id"], "awaiting_approval")
        clip = server.http.post("/v1/videos", json={"prompt": PROMPT, "model": "filmer"}).json()
        made_of = f"/v1/videos/{clip['id']}"
        waiting.until(lambda: server.http.get(made_of).json()["status"] == "completed", "a finished clip", pause=0)
        takes = server.http.get(f"/api/v1/generations/{made['id']}/takes").json()["items"]
    ids = {
        "generation_id": [made["id"], session["session_id"]],
        "session_id": [session["session_id"]],
        "group_id": [group["group_id"]],
        "client_generation_id": [made["id"]],
        "video_id": [clip["id"]],
        "sha256": [takes[-1]["artifact"], detail["video_url"].rpartition("/")[2]],
        "model_id": ["painter"],
        "take_id": [takes[0]["id"]],
    }
    return folder, ids


@pytest.fixture(scope="module")
def server(lived_in):
    """Nothing works there: what is created waits, and costs nothing."""
    with SpeakingServer(lived_in[0], working=False) as server:
        server.call(server.backend.warm_up())
        yield server


@pytest.fixture(scope="module")
def configuration(lived_in, tmp_path_factory):
    """Half of the ids are those of what is there."""
    lines = []
    for name, values in lived_in[1].items():
        listed = ", ".join(f'"{value}"' for value in values)
        lines += [f"[dictionaries.{name}]", f"values = [{listed}]"]
    lines.append("[parameters]")
    lines += [f'"path.{name}" = {{ dictionary = "{name}", probability = 0.5 }}' for name in lived_in[1]]
    lines += [
        "[phases.coverage]",
        'unexpected-methods = ["PUT"]',  # every method of them all is a quarter of the cases, and says the same
        "[[operations]]",
        'include-operation-id = "master_mode_generate_story"',
        'headers = { Prefer = "respond-async" }',  # nobody works here: whoever waits for the end, waits for ever
    ]
    path = tmp_path_factory.mktemp("configuration") / "schemathesis.toml"
    path.write_text("\n".join(lines))
    return path


def fuzz(server, configuration, *arguments):
    """Runs the command as a user would. Fails with its report."""
    program = Path(sys.executable).with_name("schemathesis")
    command = [
        str(program), "--config-file", str(configuration), "run", f"{server.url}/openapi.json", "--seed", str(SEED),
        "--max-examples", str(CASES), "--generation-database", "none", "--no-shrink", "--no-color", "--warnings", "off",
        "--continue-on-failure", "--request-timeout", "30", *arguments,
    ]  # fmt: skip
    done = run(command, seconds=900, cwd=configuration.parent)
    if done.returncode:
        pytest.fail(f"schemathesis ended with {done.returncode}:\n{done.stdout[-20_000:]}{done.stderr[-2_000:]}")


def test_a_program_gets_only_described_answers_and_no_server_error(server, configuration):
    skipped = [part for name in (*OF_A_PERSON, ENDS_THE_LOGIN) for part in ("--exclude-operation-id", name)]
    key = f"Authorization: Bearer {server.key}"
    fuzz(server, configuration, "--checks", ",".join(CONFORMANCE), "--header", key, *skipped)


def test_a_person_gets_only_described_answers_for_keys(server, configuration):
    server.call(new_user(server.services.auth, "anna"))
    token = f"Authorization: Bearer {log_in(server, 'anna').json()['access_token']}"
    chosen = [part for name in OF_A_PERSON for part in ("--include-operation-id", name)]
    fuzz(server, configuration, "--checks", ",".join(CONFORMANCE), "--header", token, *chosen)


def test_a_stranger_gets_only_described_answers_and_reaches_nothing(server, configuration):
    checks = ",".join((*CONFORMANCE[:5], "ignored_auth"))
    fuzz(server, configuration, "--checks", checks, "--phases", "fuzzing", "--max-examples", "2")
