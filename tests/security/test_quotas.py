"""What one user may have of a server, over HTTP: the answers, and that nothing is written beyond it."""

import pytest

from pipelines.store.ownership import Quota
from tests.support.gateway_server import IMAGE, VIDEO, serve
from tests.support.gateway_users import logged_in

CLIP = {"model": VIDEO.name, "prompt": "a bottle"}
PICTURE = {"model": IMAGE.name, "prompt": "a bottle", "size": "64x64", "response_format": "url"}


@pytest.fixture
def stored_bytes():
    return 100_000


@pytest.fixture
def server(tmp_path, stored_bytes):
    with serve(tmp_path, working=False, quota=Quota(generations=2, stored_bytes=stored_bytes)) as server:
        yield server


@pytest.fixture
def anna(server):
    with logged_in(server, "anna") as client:
        yield client


def refusal(answer):
    assert (answer.status_code, answer.headers["x-should-retry"]) == (429, "false"), answer.text
    assert answer.json()["error"]["code"] == "quota_exceeded"
    return answer.json()["error"]["details"]


def test_a_user_waits_for_or_cancels_a_generation_before_the_next(server, anna):
    first, second = (anna.post("/v1/videos", json=CLIP) for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert refusal(anna.post("/v1/videos", json=CLIP)) == {"quota": "generations", "used": 2, "limit": 2}
    with logged_in(server, "bruno") as bruno:
        assert bruno.post("/v1/videos", json=CLIP).status_code == 200
    anna.delete(f"/v1/videos/{first.json()['id']}")
    assert anna.post("/v1/videos", json=CLIP).status_code == 200


def test_cancelled_orders_fill_what_a_user_may_have(server, anna):
    """Each holds a text of its own, and cancelling it frees nothing: deleting it does."""
    made = []
    while (answer := anna.post("/v1/videos", json=CLIP | {"prompt": "a bottle " * 300})).status_code == 200:
        made.append(answer.json()["id"])
        anna.delete(f"/v1/videos/{made[-1]}")
        assert len(made) < 50
    assert refusal(answer)["quota"] == "bytes"
    assert len(made) > 3
    anna.delete(f"/v1/videos/{made[0]}")
    assert anna.post("/v1/videos", json=CLIP).status_code == 200


@pytest.mark.parametrize("stored_bytes", [600])
def test_a_full_user_stores_nothing_more_and_no_file_is_left_behind(server, anna):
    made = 0
    while (answer := anna.post("/v1/images/generations", json=PICTURE | {"seed": made})).status_code == 200:
        made += 1
        assert made < 20
    found = refusal(answer)
    assert made > 0
    assert found["quota"] == "bytes"
    assert found["used"] <= found["limit"] == 600
    files = [path for path in (server.folder / "artifacts").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) == found["used"]
