"""What an answer says of a mistake: the field as the caller wrote it, a sentence and a remedy, nothing of libraries."""

import pytest

from tests.support.ad_server import PROMPT
from tests.support.gateway_server import serve

INTERNALS = ("Input should", "Value error", "constrained", "pydantic", "JSON decode", "Extra inputs", "Field required",
             "function-", "is-instance", "String should", "not permitted", "\\x21")  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("mistakes"), working=False) as server:
        yield server


IMAGES, VIDEOS, ADS = "/v1/images/generations", "/v1/videos", "/api/v1/generations"
STORY, GENERATE, START = "/api/master-mode/generate-story", "/api/generations/generate", "/api/v1/interactive/start"
CASES = [
    (IMAGES, {"prompt": "x", "seed": -1}, "seed", "leave it out for a random one"),
    (IMAGES, {"prompt": "x", "seed": ""}, "seed", "whole number or a list"),
    (IMAGES, {"prompt": "x", "seed": 1.5}, "seed", "whole number"),
    (IMAGES, {"prompt": "x", "seed": [1, -2]}, "seed.1", "leave it out for a random one"),
    (IMAGES, {"prompt": "x", "seed": 2**63}, "seed", "less than"),
    (IMAGES, {"prompt": "x", "ip_adapter": {"weight": 2}}, "ip_adapter.weight", "less than or equal to 1 (got 2)"),
    (IMAGES, {"prompt": "x", "ip_adapter": {"images": [7]}}, "ip_adapter.images.0", "must be text"),
    (IMAGES, {"prompt": "x", "ip_adapter": {"weigth": 1}}, "ip_adapter.weigth", "did you mean 'weight'?"),
    (IMAGES, {"promt": "x"}, "promt", "unknown field 'promt': did you mean 'prompt'?"),
    (IMAGES, {"prompt": "x", "zzz": 1}, "zzz", "known here are prompt"),
    (IMAGES, {}, "prompt", "is missing"),
    (IMAGES, [], "body", "must be an object"),
    (IMAGES, {"prompt": "x" * 6000}, "prompt", "at most 5000 characters"),
    (IMAGES, {"prompt": "x", "lora": {"name": "toon", "scale": "big"}}, "lora.scale", "must be a number"),
    (VIDEOS, {"prompt": "x", "seed": "-1"}, "seed", "leave it out for a random one"),
    (VIDEOS, {"prompt": "x", "camera": "spin"}, "camera", "must be 'static'"),
    (VIDEOS, {"prompt": "x", "coherence": {"shared_sed": 1}}, "coherence.shared_sed", "did you mean 'shared_seed'?"),
    (ADS, {"brief": {"prompt": PROMPT, "seed": -1}}, "brief.seed", "leave it out for a random one"),
    (ADS, {"brief": {"prompt": PROMPT, "durration": 9}}, "brief.durration", "did you mean 'duration'?"),
    (ADS, {"brief": {"prompt": PROMPT}, "references": 5}, "references", "must be"),
    (
        ADS,
        {"brief": {"prompt": PROMPT}, "references": [{"image": "x", "role": "hero"}]},
        "references.0.role",
        "'product'",
    ),
    (ADS, {"breif": {}}, "breif", "did you mean 'brief'?"),
    (STORY, {"prompt": PROMPT, "seed": -1}, "seed", "leave it out for a random one"),
    (STORY, {"prompt": PROMPT, "client_generation_id": "a b"}, "client_generation_id", "form"),
    (STORY, {"prompt": PROMPT, "reference_images": 5}, "reference_images", "must be text"),
    (STORY, {"prompt": PROMPT, "reference_images": [5]}, "reference_images.0", "must be text"),
    (GENERATE, {"prompt": PROMPT, "duration": 8}, "duration", "greater than or equal to 9 (got 8)"),
    (START, {"prompt": "short"}, "prompt", "at least 10 characters (got 'short')"),
    (START, {"prompt": PROMPT, "seed": -1}, "seed", "leave it out for a random one"),
    ("/api/auth/login", {"username": "x", "password": ""}, "password", "must have at least 1 character"),
    ("/api/auth/keys", {"name": "x", "scopes": ["all"]}, "scopes.0", "must be 'read' or 'write'"),
    (
        "/v1/chat/completions",
        {"model": "talker", "messages": [{"role": "user", "content": 5}]},
        "messages.0.content",
        "",
    ),
]


@pytest.mark.parametrize(
    ("path", "body", "param", "says"), CASES, ids=[f"{path} {param}" for path, _, param, _ in CASES]
)
def test_a_mistake_is_named_where_the_caller_made_it(server, path, body, param, says):
    answer = server.http.post(path, json=body)
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert error["param"] == param, error
    assert says in error["message"], error
    assert not [word for word in INTERNALS if word in answer.text], answer.text


def test_several_unknown_fields_are_one_sentence(server):
    error = server.http.post(VIDEOS, json={"prompt": "x", "sise": "auto", "fsp": 8}).json()["error"]
    assert error["message"] == "sise: unknown fields 'sise', 'fsp': did you mean 'size' and 'fps'?"
    assert len(error["details"]["problems"]) == 1


def test_a_form_names_its_fields_as_json_does(server):
    answer = server.http.post(VIDEOS, files={"prompt": (None, "x"), "coherence[shared_seed]": (None, "-1")})
    assert answer.json()["error"]["param"] == "coherence.shared_seed"


def test_secrets_are_not_repeated(server):
    answer = server.http.post("/api/auth/login", json={"username": ["my-secret"], "passwort": "my-secret"})
    assert answer.status_code == 422
    assert "my-secret" not in answer.text


def test_a_parameter_of_the_address_is_named(server):
    error = server.http.get("/api/v1/generations?limit=-1").json()["error"]
    assert error["param"] == "limit"
    assert "greater than or equal to 1 (got '-1')" in error["message"]
