"""No request costs more than its caller may spend: all that can be sent has a bound, and a refusal costs nothing.

The OpenAPI document is what is read here, so that a field without a bound fails the suite on whatever route it comes.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from serving.gateway.app import described
from serving.gateway.requests import TEXT_BODY_BYTES
from serving.gateway.services import MEGABYTE
from tests.support.gateway_process import start_gateway
from tests.support.gateway_users import bearer
from tests.support.waiting import PATIENCE_SECONDS

JSON = {"Content-Type": "application/json"}

# --- the document -----------------------------------------------------------------------------------------------------


def inputs(document):
    """Every schema of a parameter or a body, with the name of its place."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                yield f"{method.upper()} {path}: {parameter['name']}", parameter["schema"]
            for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
                yield f"{method.upper()} {path} ({media_type})", content["schema"]


def unbounded(place, schema, definitions, above=frozenset()):
    """Places of texts, lists and objects that could be of any size."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in above:
            yield from unbounded(place, definitions[name], definitions, above | {name})
        return
    missing = MISSING.get(schema.get("type"))
    if missing is not None and missing(schema):
        yield f"{place}: {schema['type']} without a bound"
    if not schema.keys() & {"type", "anyOf", "oneOf", "allOf", "enum", "const"} and schema:
        yield f"{place}: of no type"
    for name, each in parts(schema):
        yield from unbounded(place + name, each, definitions, above)


MISSING = {
    # a file is bounded while it arrives: tests/security/test_gateway_limits.py
    "string": lambda schema: schema.get("format") != "binary" and not schema.keys() & {"maxLength", "enum", "const"},
    "array": lambda schema: "maxItems" not in schema,
    "object": lambda schema: schema.get("additionalProperties", True) is not False and "maxProperties" not in schema,
}


def parts(schema):
    """The schemas that one is made of, with what their place is called."""
    for key in ("anyOf", "oneOf", "allOf"):
        yield from (("", each) for each in schema.get(key, ()))
    if "items" in schema:
        yield "[]", schema["items"]
    if isinstance(schema.get("additionalProperties"), dict):
        yield "{}", schema["additionalProperties"]
    yield from ((f".{name}", each) for name, each in schema.get("properties", {}).items())


def test_every_text_list_and_object_that_a_caller_can_send_has_a_bound():
    document = described().openapi()
    definitions = document["components"]["schemas"]
    places = [each for place, schema in inputs(document) for each in unbounded(place, schema, definitions)]
    assert not places, "\n".join(places)


def test_the_check_finds_what_has_no_bound():
    body = {"type": "object", "properties": {"a": {"type": "array", "items": {"$ref": "#/components/schemas/B"}}}}
    definitions = {"B": {"anyOf": [{"type": "string"}, {"type": "object"}, {"const": 1}]}}
    assert [*unbounded("x", body, definitions)] == [
        "x: object without a bound",
        "x.a: array without a bound",
        "x.a[]: string without a bound",
        "x.a[]: object without a bound",
    ]


# --- what the largest bodies cost -------------------------------------------------------------------------------------

SCENE = '{"scene_number":1,"entities":['
TEXT_BODIES = {
    "a list of numbers where texts belong": (
        "/api/v1/generations",
        '{"brief":{"prompt":"an ad for a bottle"},"storyboard":{"scenes":[' + SCENE + "%s]}]}}",
        "1",
    ),
    "messages that are none": ("/v1/chat/completions", '{"model":"talker","messages":[%s]}', "{}"),
    "unknown keys": ("/api/auth/keys", '{"name":"x",%s}', None),
    "unknown keys of a session": ("/api/v1/interactive/start", '{"prompt":"an ad for a bottle",%s}', None),
    "wishes": (
        "/api/v1/interactive/x/regenerate",
        '{"stage":"story","modifications":{"scene_number":1,%s}}',
        None,
    ),
    "a list of lists": ("/api/generations/generate/parallel", '{"variations":[%s]}', "[]"),
    "approvals": ("/api/v1/generations/x/approve", '{"stage":"story","selected_indices":[%s]}', '"a"'),
    "extra parameters": ("/v1/videos", '{"prompt":"x","extra_params":{%s}}', None),
    "pictures that are numbers": ("/v1/images/generations", '{"prompt":"x","ip_adapter":{"images":[%s]}}', "7"),
    "seeds": ("/v1/images/generations", '{"prompt":"x","seed":[%s]}', "-1"),
    "a schema": (
        "/v1/chat/completions",
        '{"model":"talker","messages":[{"role":"user","content":"x"}],"response_format":{"x":{%s}}}',
        None,
    ),
}


def of_size(frame, item, size):
    """`frame` filled with as many items, or keys of an object, as `size` bytes hold."""
    each = (lambda number: item) if item is not None else (lambda number: f'"k{number}":0')
    room, count = size - len(frame), size // (len(item or '"k123456":0') + 1)
    text = ",".join(each(number) for number in range(count))[:room]
    return (frame % text[: text.rindex(",")]).encode()


PROBE = """
import http.client, sys, time
line, longest = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60), 0.0
print("ready", flush=True)
until = time.monotonic() + 60
while time.monotonic() < until and not select.select([sys.stdin], [], [], 0.005)[0]:
    began = time.monotonic()
    line.request("GET", "/healthz")
    assert line.getresponse().read() and True
    longest = max(longest, time.monotonic() - began)
print(longest)
"""


@contextmanager
def probed(process):
    """Asks `/healthz` again and again, from another process; afterwards the list holds the longest time it took."""
    with subprocess.Popen(
        [sys.executable, "-c", "import select" + PROBE, str(process.port)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as probe:  # fmt: skip
        assert probe.stdout is not None
        with ThreadPoolExecutor(1) as thread:
            assert thread.submit(probe.stdout.readline).result(PATIENCE_SECONDS) == "ready\n"
        longest: list[float] = []
        yield longest
        longest.append(float(probe.communicate("\n", timeout=60)[0]))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """A gateway in a process of its own: its CPU seconds and its memory are its own too."""
    process = start_gateway(tmp_path_factory.mktemp("bounds"))
    yield process
    process.stop()


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / 100


def peak_bytes(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(each for each in lines if each.startswith("VmHWM")).split()[1]) * 1024


@contextmanager
def cost(process, seconds=1.0, size=100 * MEGABYTE):
    """What the block asks may cost the gateway at most so much, while everybody else is answered."""
    pid = process.program.pid
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak counts from here
    cpu, memory = cpu_seconds(pid), peak_bytes(pid)
    with probed(process) as stall:
        yield
    spent, grown = cpu_seconds(pid) - cpu, peak_bytes(pid) - memory
    crowd = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # who shares a core with others waits for it
    assert spent <= seconds
    assert grown <= size
    assert stall[0] <= 0.2 * crowd


@pytest.mark.parametrize("name", TEXT_BODIES)
@pytest.mark.parametrize("size", [TEXT_BODY_BYTES - 100, 40 * MEGABYTE])
def test_the_largest_body_of_many_wrong_values_costs_next_to_nothing(gateway, name, size):
    path, frame, item = TEXT_BODIES[name]
    body = of_size(frame, item, size)
    with httpx.Client(base_url=gateway.url, headers=bearer(gateway.key) | JSON, timeout=60) as http, cost(gateway):
        answer = http.post(path, content=body)
    assert answer.status_code in (413, 422), answer.text[:300]
    assert len(answer.text) < 6_000


def test_the_largest_video_is_in_memory_once(gateway):
    """It is no video, and refused when all of it is there."""
    data = b"\0" * (100 * MEGABYTE - 1)
    with (
        httpx.Client(base_url=gateway.url, headers=bearer(gateway.key), timeout=60) as http,
        cost(gateway, size=110 * MEGABYTE),
    ):
        answer = http.post("/v1/scores", files={"file": ("a.mp4", data, "video/mp4")})
    assert answer.status_code == 422, answer.text[:300]


def test_three_pictures_of_the_largest_size_as_text_are_in_memory_once(gateway):
    picture = "A" * (13 * MEGABYTE)
    body = json.dumps({"prompt": "a bottle 💧", "ip_adapter": {"images": [picture] * 3}}, ensure_ascii=False).encode()
    del picture
    with httpx.Client(base_url=gateway.url, headers=bearer(gateway.key) | JSON, timeout=60) as http, cost(gateway):
        answer = http.post("/v1/images/generations", content=body)
    assert answer.status_code == 422, answer.text[:300]
