"""Roles of references over HTTP, as on the command line: by a field, or by the files' names, in every API."""

import pytest

from tests.support.ad_server import PROMPT, SpeakingServer
from tests.support.session_client import Client
from tests.support.tiny_models import png

NAMES = ("character-anna.png", "style=gold.png", "bottle.png")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with SpeakingServer(tmp_path_factory.mktemp("roles"), working=False) as server:
        yield server


def files(field):
    return [(field, (name, png(number).data, "image/png")) for number, name in enumerate(NAMES)]


def roles(server, generation_id):
    detail = server.http.get(f"/api/v1/generations/{generation_id}").json()
    return [reference["role"] for reference in detail["references"]]


ROUTES = {
    "/api/master-mode/generate-story": ("reference_images", {"prompt": PROMPT}),
    "/api/generations/generate": ("reference_images", {"prompt": PROMPT}),
    "/api/v1/generations": ("references", {"brief[prompt]": PROMPT}),
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("said", "read"),
    [
        ({}, ["character", "style", "product"]),
        ({"reference_roles": "product,product,style"}, ["product", "product", "style"]),
        ({"reference_roles[]": ["style", "character", "product"]}, ["style", "character", "product"]),
    ],
    ids=["by name", "as one text", "as a list"],
)
def test_roles_come_from_the_field_or_from_the_names(server, route, said, read):
    field, body = ROUTES[route]
    headers = {"Prefer": "respond-async"}
    answer = server.http.post(route, data={**body, **said}, files=files(field), headers=headers)
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert roles(server, made.get("generation_id") or made["id"]) == read


@pytest.mark.parametrize("said", ["product", "product,product,hat"])
def test_roles_that_do_not_fit_are_refused(server, said):
    body = {"prompt": PROMPT, "reference_roles": said}
    answer = server.http.post("/api/master-mode/generate-story", data=body, files=files("reference_images"))
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["param"].startswith("reference_roles")


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ({}, ["character", "style", "product"]),
        ({"reference_roles": "style,style,product"}, ["style", "style", "product"]),
    ],
)
def test_a_sessions_own_pictures_have_roles(server, said, read):
    session_id = Client(server.http).start()["session_id"]
    route = f"/api/v1/interactive/{session_id}/reference-images/upload"
    assert server.http.post(route, data={"reference_roles": "product"}, files=files("images")).status_code == 422
    answer = server.http.post(route, data=said, files=files("images"))
    assert answer.status_code == 200, answer.text
    assert [image["role"] for image in answer.json()["images"]] == read
