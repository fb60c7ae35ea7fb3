"""Files of single calls: listed, deleted, expiring, and refused before a model runs for what has no room."""

from datetime import UTC, datetime, timedelta

import pytest

from pipelines.store.ownership import Quota
from tests.support.gateway_server import IMAGE, VIDEO, serve
from tests.support.gateway_users import logged_in

PICTURE = {"model": IMAGE.name, "prompt": "a bottle", "size": "64x64", "response_format": "url"}
LATENTS = PICTURE | {"coherence": {"keep_latents": True}}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("files"), working=False) as server:
        yield server


@pytest.fixture
def anna(server):
    with logged_in(server, "anna") as client:
        yield client
        for each in listed(client):
            client.delete(f"/v1/artifacts/{each}")


def listed(client, **query):
    return [each["id"] for each in client.get("/v1/artifacts", params=query).json()["data"]]


def make(client, body=PICTURE, **changes):
    answer = client.post("/v1/images/generations", json=body | changes)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"][0]


def files(server):
    return {path.parent.name + path.name for path in (server.folder / "artifacts").rglob("*") if path.is_file()}


def test_pictures_and_latents_are_listed_newest_first_page_by_page(anna):
    first, second = make(anna, seed=1), make(anna, LATENTS, seed=2)
    expected = [second["latents_artifact"], second["artifact"], first["artifact"]]
    assert sorted(listed(anna)) == sorted(expected)
    assert listed(anna)[-1] == first["artifact"]
    page = anna.get("/v1/artifacts", params={"limit": 2}).json()
    assert page["has_more"]
    rest = anna.get("/v1/artifacts", params={"after": page["last_id"]}).json()
    assert [each["id"] for each in rest["data"]] == [first["artifact"]]
    assert not rest["has_more"]
    (picture,) = rest["data"]
    assert picture["media_type"] == "image/png"
    assert picture["bytes"] == len(anna.get(f"/v1/artifacts/{first['artifact']}").content)


@pytest.mark.parametrize("part", ["artifact", "latents_artifact"])
def test_a_deleted_file_is_gone_with_its_bytes(server, anna, part):
    sha256 = make(anna, LATENTS, seed=3)[part]
    answer = anna.delete(f"/v1/artifacts/{sha256}")
    assert answer.json() == {"id": sha256, "object": "artifact.deleted", "deleted": True}
    for gone in (anna.get(f"/v1/artifacts/{sha256}"), anna.delete(f"/v1/artifacts/{sha256}")):
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "not_found")
    assert sha256 not in files(server)


def test_a_file_that_another_user_has_too_stays_for_them(server, anna):
    sha256 = make(anna, seed=4)["artifact"]
    with logged_in(server, "bruno") as bruno:
        assert bruno.delete(f"/v1/artifacts/{sha256}").status_code == 404
        assert make(bruno, seed=4)["artifact"] == sha256
        assert anna.delete(f"/v1/artifacts/{sha256}").status_code == 200
        assert bruno.get(f"/v1/artifacts/{sha256}").status_code == 200
        assert bruno.delete(f"/v1/artifacts/{sha256}").status_code == 200
    assert sha256 not in files(server)


def test_the_pictures_of_a_clip_live_as_long_as_the_clip(server, anna):
    picture = make(anna, seed=5)["artifact"]
    body = {"model": VIDEO.name, "prompt": "a bottle", "size": "64x64", "input_reference": picture}
    clip = anna.post("/v1/videos", json=body)
    assert clip.status_code == 200, clip.text
    assert anna.delete(f"/v1/artifacts/{picture}").status_code == 200
    assert anna.get(f"/v1/artifacts/{picture}").status_code == 200
    answer = anna.delete(f"/v1/artifacts/{picture}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
    assert clip.json()["id"] in answer.json()["error"]["message"]
    for _ in range(2):  # cancel, then delete
        anna.delete(f"/v1/videos/{clip.json()['id']}")
    assert anna.get(f"/v1/artifacts/{picture}").status_code == 404
    assert picture not in files(server)


def test_a_picture_sent_for_a_clip_goes_with_the_clip(server, anna):
    picture = anna.get(f"/v1/artifacts/{make(anna, seed=6)['artifact']}").content
    for each in listed(anna):
        anna.delete(f"/v1/artifacts/{each}")
    before = files(server)
    sent = {"model": VIDEO.name, "prompt": "a bottle", "size": "64x64"}
    clip = anna.post("/v1/videos", data=sent, files={"input_reference": ("a.png", picture)})
    assert clip.status_code == 200, clip.text
    assert len(files(server) - before) == 1
    assert listed(anna) == []
    for _ in range(2):
        anna.delete(f"/v1/videos/{clip.json()['id']}")
    assert files(server) == before


def test_files_of_single_calls_expire_unless_they_are_made_again(server, anna):
    old, young = make(anna, seed=7)["artifact"], make(anna, seed=8)["artifact"]
    disposal = server.services.ads.disposal
    assert server.call(disposal.single_files_before(datetime.now(UTC) - timedelta(hours=1))) == ()
    between = datetime.now(UTC)
    make(anna, seed=8)
    ((user, expired),) = server.call(disposal.single_files_before(between))
    assert expired == old
    server.call(disposal.forget_file(user, expired))
    assert listed(anna) == [young]
    assert anna.get(f"/v1/artifacts/{old}").status_code == 404


@pytest.mark.parametrize("body", [PICTURE, LATENTS | {"n": 2}], ids=["one", "several with latents"])
def test_a_model_does_not_run_for_what_has_no_room(tmp_path, body):
    small = Quota(generations=2, stored_bytes=4000)
    with serve(tmp_path, working=False, quota=small) as server, logged_in(server, "anna") as anna:
        seed = 0
        while anna.post("/v1/images/generations", json=body | {"seed": seed}).status_code == 200:
            seed += 10
            assert seed < 1000
        ran, kept = len(server.studio.requests), listed(anna, limit=100)
        for again in range(3):
            refused = anna.post("/v1/images/generations", json=body | {"seed": seed + again})
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "quota_exceeded")
            assert "DELETE /v1/artifacts/ID deletes one" in refused.json()["error"]["message"]
        assert len(server.studio.requests) == ran == seed // 10 * body.get("n", 1)
        assert listed(anna, limit=100) == kept
        for each in kept:
            anna.delete(f"/v1/artifacts/{each}")
        assert anna.post("/v1/images/generations", json=body | {"seed": seed}).status_code == 200


def test_a_damaged_file_says_what_it_is_and_is_repaired_by_making_it_again(server, anna):
    sha256 = make(anna, seed=9)["artifact"]
    path = server.folder / "artifacts" / sha256[:2] / sha256[2:]
    whole = path.read_bytes()
    for damaged in (whole[:20], b"", whole[:-1] + b"x", whole + b"x"):
        path.write_bytes(damaged)
        answer = anna.get(f"/v1/artifacts/{sha256}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "artifact_damaged")
        assert answer.headers["x-should-retry"] == "false"
        assert "altered on disk: make it again" in answer.json()["error"]["message"]
        assert make(anna, seed=9)["artifact"] == sha256
        assert anna.get(f"/v1/artifacts/{sha256}").content == whole
