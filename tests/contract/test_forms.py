"""Forms as browsers and programs write them, on every route that takes one: names in any script, fields left empty."""

import json

import pytest

from pipelines.store.ownership import Quota
from serving.gateway.services import Limits
from tests.support.ad_server import PROMPT
from tests.support.gateway_server import IMAGE, VIDEO, serve
from tests.support.tiny_models import png

PICTURE = png(1).data


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    quota = Quota(generations=10_000, stored_bytes=2**40)
    limits = Limits(waiting_generations=10_000)
    with serve(tmp_path_factory.mktemp("forms"), working=False, quota=quota, limits=limits) as server:
        yield server


def form(*parts):
    """A multipart body of parts, each the bytes of its Content-Disposition behind `form-data; `, and its content."""
    rows = []
    for disposition, content, *media_type in parts:
        rows += [b"--b", b"Content-Disposition: form-data; " + disposition]
        rows += [b"Content-Type: " + each for each in media_type] + [b"", content]
    return b"\r\n".join([*rows, b"--b--", b""])


def text(name, value):
    return f'name="{name}"'.encode(), value.encode()


def file(name, disposition, data=PICTURE):
    return f'name="{name}"; '.encode() + disposition, data, b"image/png"


def sent(server, path, *parts):
    headers = {"Content-Type": "multipart/form-data; boundary=b", "Prefer": "respond-async"}
    return server.http.post(path, content=form(*parts), headers=headers)


def a_session(server):
    return server.http.post("/api/v1/interactive/start", json={"prompt": PROMPT}).json()["session_id"]


ROUTES = {
    "/v1/videos": ([text("prompt", "x"), text("model", VIDEO.name)], "input_reference"),
    "/api/v1/generations": ([text("brief", json.dumps({"prompt": PROMPT}))], "references"),
    "/api/generations/generate": ([text("prompt", PROMPT)], "reference_images"),
    "/api/master-mode/generate-story": ([text("prompt", PROMPT)], "reference_images"),
    "/api/v1/interactive/{session}/reference-images/upload": ([], "images"),
}
"""Other fields that the route needs, and the name of its files."""
STORED = {
    "/api/v1/generations": lambda answer, server: answer,
    "/api/generations/generate": lambda answer, server: detail(server, answer["generation_id"]),
    "/api/master-mode/generate-story": lambda answer, server: detail(server, answer["generation_id"]),
}
"""Where the stored reference can be read."""


def detail(server, generation_id):
    return server.http.get(f"/api/v1/generations/{generation_id}").json()


NAMES = {
    "ASCII": (b'filename="bottle.png"', "bottle.png"),
    "Latin-1 letters in UTF-8": ('filename="Flasche für Öl.png"'.encode(), "Flasche für Öl.png"),
    "Latin-1": ('filename="Flasche für Öl.png"'.encode("latin-1"), "Flasche für Öl.png"),
    "Cyrillic": ('filename="бутылка.png"'.encode(), "бутылка.png"),
    "Chinese": ('filename="水瓶.png"'.encode(), "水瓶.png"),
    "Arabic": ('filename="زجاجة.png"'.encode(), "زجاجة.png"),
    "an emoji": ('filename="💧.png"'.encode(), "💧.png"),
    "curly quotes": ('filename="“x”.png"'.encode(), "“x”.png"),
    "RFC 5987 alone": (b"filename*=UTF-8''%E6%B0%B4%E7%93%B6.png", "水瓶.png"),
    "RFC 5987 in Latin-1": (b"filename*=iso-8859-1'de'%D6l.png", "Öl.png"),
    "RFC 2231 in pieces": (b"filename*0*=UTF-8''%E6%B0%B4; filename*1=\"-2.png\"", "水-2.png"),
    "both": (b"filename=\"plain.png\"; filename*=UTF-8''%E6%B0%B4.png", "plain.png"),
    "percent-encoded": (b'filename="%E6%B0%B4%E7%93%B6.png"', "水瓶.png"),
    "a per cent sign": (b'filename="100%25 off 50%.png"', "100%25 off 50%.png"),
    "quotes as browsers write them": (b'filename="a %22b%22.png"', 'a "b".png'),
    "quotes as curl writes them": (b'filename="a \\"b\\".png"', 'a "b".png'),
    "a backslash": (b'filename="a\\\\b.png"', "a\\b.png"),
    "a semicolon": (b'filename="a; b=c.png"', "a; b=c.png"),
    "a Windows path": (b'filename="C:\\fakepath\\b.png"', "b.png"),
    "folders": (b'filename="../../refs/b.png"', "b.png"),
    "without quotes": (b"filename=b.png", "b.png"),
    "control characters": (b'filename="a\x01\x7f%0D%0Ab.png"', "ab.png"),
    "a very long name": (b'filename="' + b"x" * 3000 + b'.png"', "x" * 200),
}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name_is_taken_and_the_name_is_kept(server, path, name):
    others, field = ROUTES[path]
    disposition, kept = NAMES[name]
    answer = sent(server, path.replace("{session}", a_session(server)), *others, file(field, disposition))
    assert answer.status_code < 300, answer.text
    if path in STORED:
        (reference,) = STORED[path](answer.json(), server)["references"]
        assert reference["filename"] == kept


@pytest.mark.parametrize("name", NAMES)
def test_names_are_of_no_matter_to_an_edit(server, name):
    fields = [text("prompt", "x"), text("model", IMAGE.name), text("num_inference_steps", "2")]
    answer = sent(server, "/v1/images/edits", *fields, file("image", NAMES[name][0]))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("disposition", [b'filename=""', b""])
def test_a_picture_without_a_name_is_a_file_all_the_same(server, disposition):
    others, field = ROUTES["/api/v1/generations"]
    answer = sent(server, "/api/v1/generations", *others, file(field, disposition))
    assert len(answer.json()["references"]) == 1, answer.text


@pytest.mark.parametrize("disposition", [b"", b'filename="a.png"', b"name="])
def test_a_part_without_a_field_is_a_bad_request(server, disposition):
    answer = sent(server, "/v1/videos", (disposition, PICTURE, b"image/png"))
    assert answer.status_code == 400
    assert "no name" in answer.json()["error"]["message"]


EMPTY_FILE = b'filename=""'
EMPTY = {
    "/v1/videos": ("seed", "size", "negative_prompt", "seconds", "camera", "user"),
    "/v1/images/edits": ("seed", "n", "quality", "style", "strength", "ip_adapter[weight]", "lora"),
    "/api/v1/generations": (
        "approvals",
        "coherence",
        "parent_generation_id",
        "reference_roles",
        "recipe",
        "storyboard",
    ),
    "/api/generations/generate": ("title", "framework", "duration", "num_scenes", "coherence_settings"),
    "/api/master-mode/generate-story": ("client_generation_id", "max_iterations", "seed", "title", "generate_scenes"),
    "/api/v1/interactive/{session}/reference-images/upload": ("reference_roles", "reference_roles[]"),
}
"""Fields that a page leaves empty."""


@pytest.mark.parametrize("path", EMPTY)
def test_fields_and_files_that_were_left_empty_count_as_left_out(server, path):
    others, field = ROUTES.get(path, ([text("prompt", "x"), text("model", IMAGE.name)], "image"))
    parts = [*others, *(text(name, "") for name in EMPTY[path])]
    address = path.replace("{session}", a_session(server))
    with_a_file = sent(
        server, address, *parts, file(field, b'filename="a.png"'), *[file(field, EMPTY_FILE, b"") for _ in range(9)]
    )
    assert with_a_file.status_code < 300, with_a_file.text
    without = sent(server, address, *parts, file(field, EMPTY_FILE, b""))
    assert without.status_code < 300 or without.json()["error"]["param"] == field, without.text


def test_a_field_that_is_needed_and_was_left_empty_is_missing(server):
    answer = sent(server, "/v1/videos", text("prompt", ""))
    assert answer.status_code == 422
    assert answer.json()["error"]["message"] == "prompt: is missing"


@pytest.mark.parametrize("path", [path for path in EMPTY if "{" not in path])
def test_a_form_without_a_file_is_read_as_browsers_send_it(server, path):
    fields = {"prompt": PROMPT, "seed": "", "title": ""} if path != "/api/v1/generations" else {"brief[prompt]": PROMPT}
    fields = {name: value for name, value in fields.items() if path.startswith("/api") or name != "title"}
    answer = server.http.post(path, data=fields, headers={"Prefer": "respond-async"})
    assert "urlencoded" in answer.request.headers["content-type"]
    assert answer.status_code < 300 or answer.json()["error"]["message"] == "image: is missing", answer.text
