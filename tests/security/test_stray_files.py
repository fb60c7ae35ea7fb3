"""A request that is refused leaves no file behind, however late it is refused; a deleted one takes its own along."""

import base64

import pytest

from pipelines.store.ownership import Quota
from tests.support.ad_server import PROMPT
from tests.support.gateway_server import VIDEO, serve
from tests.support.tiny_models import png

PICTURE = png(1, 64, 64).data
OTHER = png(2, 64, 64).data
PART = ("a.png", PICTURE, "image/png")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    quota = Quota(generations=2, stored_bytes=10**9)
    with serve(tmp_path_factory.mktemp("stray"), working=False, quota=quota) as server:
        yield server


@pytest.fixture(scope="module")
def session(server):
    """It waits for a worker in its story: nothing of it can be approved or painted."""
    return server.http.post("/api/v1/interactive/start", json={"prompt": PROMPT}).json()["session_id"]


def files(server):
    return {path for path in (server.folder / "artifacts").rglob("*") if path.is_file()}


def order(**fields):
    return {"brief": '{"prompt": "an ad for a steel bottle"}', **fields}


@pytest.mark.parametrize(
    ("path", "request_of", "statuses"),
    [
        ("/api/v1/generations", {"data": order(parent_generation_id="nobody"), "files": {"references": PART}}, {404}),
        ("/api/v1/generations", {"data": order(recipe="nothing"), "files": {"references": PART}}, {422}),
        (
            "/api/v1/generations",
            {"data": order(), "files": [("references", PART), ("references", ("b.png", b"\x89PNG\r\n\x1a\nx"))]},
            {422},
        ),
        (
            "/v1/videos",
            {"data": {"prompt": "x", "ip_adapter[images][]": "bm8gcGljdHVyZQ=="}, "files": {"input_reference": PART}},
            {422},
        ),
        (
            "/api/v1/interactive/{session}/inpaint",
            {"json": {"image_id": 0, "mask_data": base64.b64encode(OTHER).decode(), "prompt": "x"}},
            {400, 409},
        ),
        (
            "/api/v1/interactive/{session}/inpaint",
            {"json": {"image_id": 0, "mask_data": base64.b64encode(b"no mask").decode(), "prompt": "x"}},
            {400, 409, 422},
        ),
    ],
    ids=["parent", "recipe", "second picture", "adapter picture", "no image yet", "no mask"],
)
def test_a_refused_upload_leaves_nothing(server, session, path, request_of, statuses):
    before = files(server)
    answer = server.http.post(path.format(session=session), **request_of)
    assert answer.status_code in statuses, answer.text
    assert files(server) == before


def test_an_upload_above_the_quota_leaves_nothing(server, session):
    fill = server.http.post("/api/v1/generations", json={"brief": {"prompt": PROMPT}})
    before = files(server)
    answer = server.http.post("/api/v1/generations", data=order(), files={"references": PART})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "quota_exceeded")
    assert files(server) == before
    assert server.http.delete(f"/api/v1/generations/{fill.json()['id']}").status_code == 200


def test_references_of_which_one_is_refused_leave_nothing(server, session):
    before = files(server)
    pictures = [("images", PART), ("images", ("b.png", b"\x89PNG\r\n\x1a\nx", "image/png"))]
    answer = server.http.post(f"/api/v1/interactive/{session}/reference-images/upload", files=pictures)
    assert answer.status_code == 422, answer.text
    assert files(server) == before


def test_a_deleted_order_takes_its_upload_along(server):
    before = files(server)
    made = server.http.post("/api/v1/generations", data=order(), files={"references": PART}).json()["id"]
    assert len(files(server) - before) == 1
    server.http.delete(f"/api/v1/generations/{made}")
    assert files(server) == before


def test_a_deleted_clip_takes_its_file_along(tmp_path):
    with serve(tmp_path) as server:
        clip = server.http.post("/v1/videos", json={"model": VIDEO.name, "prompt": "a bottle"}).json()
        while clip["status"] != "completed":
            clip = server.http.get(f"/v1/videos/{clip['id']}").json()
            assert clip["error"] is None
        assert files(server)
        assert server.http.delete(f"/v1/videos/{clip['id']}").json()["deleted"] is True
        assert not files(server)
