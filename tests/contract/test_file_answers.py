"""Files as answers: one mechanism for all routes, with names, ranges and HEAD, sent from disk in pieces."""

import re
from pathlib import Path

import httpx
import pytest

from tests.support.ad_server import BRIEF, until

TITLES = {
    "Dew": 'filename="Dew.mp4"',
    'Dew & Co: 50% "off"\r\nX: y': 'filename="Dew-Co-50-off-X-y.mp4"',
    "../../etc/passwd": 'filename="etc-passwd.mp4"',
    "Größe zählt": "filename=\"Groe-zahlt.mp4\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe-z%C3%A4hlt.mp4",
    "水瓶": "filename=\"file.mp4\"; filename*=UTF-8''%E6%B0%B4%E7%93%B6.mp4",
    "💧": 'filename="ad.mp4"',
}


def finished(http, **brief):
    made = http.post("/api/v1/generations", json={"recipe": "express", "brief": {**BRIEF, **brief}}).json()
    return until(http, made["id"], "completed")


@pytest.fixture(scope="module")
def ad(http):
    return finished(http, title="Dew")


@pytest.mark.parametrize("title", TITLES)
def test_a_video_is_saved_under_its_title(http, title):
    row = finished(http, title=title)
    answer = http.head(row["video_url"])
    assert answer.headers["content-disposition"] == f"inline; {TITLES[title]}"
    assert http.head(row["video_url"], params={"download": "true"}).headers["content-disposition"].startswith("attach")


def test_every_file_of_an_ad_has_a_name_and_takes_ranges_and_head(http, ad):
    clip = f"/api/generations/{ad['id']}/clips/2"
    names = {ad["video_url"]: "Dew.mp4", ad["thumbnail_url"]: "Dew-thumbnail.jpg", clip: "Dew-scene-002.mp4"}
    for take in http.get(f"/api/v1/generations/{ad['id']}/takes").json()["items"]:
        names[take["url"]] = f"admint-{take['artifact'][:12]}." + ("png" if take["kind"] == "keyframe" else "mp4")
    for path, name in names.items():
        whole = http.get(path)
        assert (whole.status_code, whole.headers["accept-ranges"]) == (200, "bytes")
        assert whole.headers["content-disposition"] == f'inline; filename="{name}"'
        part = http.get(path, headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, whole.content[10:20])
        assert part.headers["content-length"] == "10"
        assert part.headers["content-range"] == f"bytes 10-19/{len(whole.content)}"
        head = http.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(whole.content))
        ranged = http.head(path, headers={"Range": "bytes=10-19"})
        assert (ranged.status_code, ranged.headers["content-length"]) == (206, "10")
        assert http.get(path, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
        assert http.get(path, headers={"Range": f"bytes={len(whole.content)}-"}).status_code == 416


@pytest.mark.parametrize("variant", ["video", "thumbnail", "spritesheet"])
def test_every_variant_of_a_clip_has_a_name_and_takes_ranges(http, variant):
    made = http.post("/v1/videos", json={"prompt": "a bottle"}).json()
    until(http, made["id"], "completed")
    path = f"/v1/videos/{made['id']}/content?variant={variant}"
    whole = http.get(path)
    assert re.fullmatch(
        rf'inline; filename="video-{made["id"][:8]}[a-z-]*\.(mp4|jpg)"', whole.headers["content-disposition"]
    )
    part = http.get(path, headers={"Range": "bytes=-5"})
    assert (part.status_code, part.content) == (206, whole.content[-5:])
    assert http.get(path, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304


def bytes_read():
    """By this process so far, from files: sockets are received from, not read."""
    return int(Path("/proc/self/io").read_text().split("\n")[0].removeprefix("rchar: "))


def test_a_range_of_a_large_file_costs_its_own_bytes(server, http):
    large = bytes(range(256)) * 256 * 1024  # 64 MB

    async def kept():
        stored = server.services.artifacts.put(large, "video/mp4")
        admin = await server.services.auth.accounts.user("admin")
        await server.services.owners.record(admin.id, stored)
        return stored.sha256

    path = f"/v1/artifacts/{server.call(kept())}"
    http.get(path, headers={"Range": "bytes=0-0"})  # its bytes are compared with its name, once
    before = bytes_read()
    for first in (0, 32 * 2**20, len(large) - 100):
        part = http.get(path, headers={"Range": f"bytes={first}-{first + 99}"})
        assert part.content == large[first : first + 100]
    assert bytes_read() - before < 4 * 2**20
    with http.stream("GET", path) as answer:
        assert next(answer.iter_bytes(1024)) == large[:1024]  # and hangs up
    assert http.get(path).content == large


@pytest.mark.parametrize("part", ["video", "thumbnail", "clips/1"])
def test_each_file_of_an_ad_has_an_address_that_opens_without_a_key(http, ad, part):
    path = f"/api/generations/{ad['id']}/{part}"
    told = http.get(f"{path}/address", params={"seconds": 60}).json()
    answer = httpx.get(told["url"], timeout=60)
    assert (answer.status_code, answer.content) == (200, http.get(path).content)
    assert answer.headers["content-type"] == told["media_type"]


def test_an_ad_without_a_video_has_no_address_of_one(http):
    waits = {"recipe": "express", "brief": BRIEF, "approvals": ["story"]}
    made = http.post("/api/v1/generations", json=waits).json()
    for part in ("video", "thumbnail", "clips/1"):
        assert http.get(f"/api/generations/{made['id']}/{part}/address").status_code == 409
    http.post(f"/api/v1/generations/{made['id']}/cancel")
