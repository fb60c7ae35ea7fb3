"""What a stranger sends to the gateway: bounded while it arrives, decoded with suspicion, answered in the one shape."""

import base64
import io
import json
import socket

import pytest
from PIL import Image

from serving.gateway.forms import MAX_FIELD_BYTES, MAX_FIELDS
from serving.gateway.services import Limits
from tests.support.gateway_server import IMAGE, VIDEO, serve
from tests.support.tiny_models import png

UPLOAD = 100_000
LIMITS = Limits(upload_bytes=UPLOAD, json_bytes=600_000, video_bytes=300_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("limits"), limits=LIMITS, working=False) as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_reaches_a_model(server):
    server.studio.requests.clear()
    yield
    assert not server.studio.requests


def edit(server, *pictures, **fields):
    files = [("image[]", (f"{index}.png", data, "image/png")) for index, data in enumerate(pictures)]
    return server.http.post("/v1/images/edits", data={"prompt": "x", **fields}, files=files)


def error(answer, status, code):
    assert answer.status_code == status, answer.text
    body = answer.json()["error"]
    assert body["code"] == code, body
    return body


def test_a_file_above_the_limit_is_refused_while_it_arrives(server):
    body = error(edit(server, b"\x89PNG\r\n\x1a\n" + bytes(UPLOAD)), 413, "payload_too_large")
    assert body["details"] == {"limit_bytes": UPLOAD}
    assert body["param"] == "image[]"


def test_a_file_at_the_limit_is_looked_at(server):
    assert "damaged" in error(edit(server, b"\x89PNG\r\n\x1a\n" + bytes(UPLOAD - 8)), 422, "invalid_request")["message"]


def credentials(server):
    return f"Authorization: Bearer {server.key}\r\n".encode()


def test_a_body_without_an_end_is_cut_off_by_its_size_and_not_stored(server):
    """The caller sends chunks for ever; the server answers long before it has them."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as line:
        line.sendall(
            b"POST /v1/images/edits HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n" + credentials(server) + b"\r\n"
        )
        head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        line.sendall(b"%x\r\n%b\r\n" % (len(head), head))
        chunk = bytes(50_000)
        for _ in range(3):
            line.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        assert b"413" in line.recv(4096).split(b"\r\n")[0]


def test_an_announced_body_above_the_limit_is_refused_unread(server):
    """Only the header is sent."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as line:
        line.sendall(
            b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 99000000\r\n" + credentials(server) + b"\r\n"
        )
        answer = line.recv(4096)
    assert b"413" in answer.split(b"\r\n")[0]
    assert b"x-request-id" in answer


def test_json_above_the_limit_is_refused_whatever_it_announces(server):
    def chunks():
        yield b'{"prompt": "'
        for _ in range(20):
            yield b"x" * 50_000

    answer = server.http.post("/v1/images/generations", content=chunks(), headers={"Content-Type": "application/json"})
    error(answer, 413, "payload_too_large")


def test_base64_has_the_same_limit_as_a_file(server):
    large = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(UPLOAD)).decode()
    answer = server.http.post("/v1/images/generations", json={"prompt": "x", "ip_adapter": {"images": [large]}})
    assert error(answer, 413, "payload_too_large")["param"] == "ip_adapter.images.0"


def test_too_many_files_are_refused(server):
    pictures = [png(1, 16, 16).data] * 8
    assert error(edit(server, *pictures), 422, "limit_exceeded")["details"] == {"max_files": 7}
    assert "at most 3" in error(edit(server, *pictures[:4]), 422, "invalid_request")["message"]


def test_more_references_than_the_model_takes_are_refused_with_the_limit(server):
    picture = base64.b64encode(png(1, 16, 16).data).decode()
    fields = {"ip_adapter[images][]": [picture, picture]}
    body = error(edit(server, *[png(1, 16, 16).data] * 3, **fields), 422, "limit_exceeded")
    assert body["details"] == {"max_references": 3}


def test_a_flood_of_fields_is_refused(server):
    files = [(f"field{index}", (None, "x")) for index in range(MAX_FIELDS + 1)]
    error(server.http.post("/v1/videos", files=files), 422, "limit_exceeded")


def test_text_fields_have_a_limit_together(server):
    files = [(f"field{index}", (None, "x" * (MAX_FIELD_BYTES // 2))) for index in range(3)]
    assert server.http.post("/v1/videos", files=files).status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b\r\n",
        b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nx',
        b'--b\r\nContent-Disposition: form-data; filename="a"\r\n\r\nx\r\n--b--\r\n',
        b"--c\r\n\r\nx\r\n--c--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n\xff\xfe\r\n--b--\r\n',
        b"--b\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
    ],
)
def test_a_malformed_form_is_a_bad_request(server, body):
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    error(server.http.post("/v1/videos", content=body, headers=headers), 400, "bad_request")
    no_boundary = {"Content-Type": "multipart/form-data"}
    error(server.http.post("/v1/videos", content=body, headers=no_boundary), 400, "bad_request")


def bomb():
    """A PNG header that promises 20000 x 20000 pixels."""
    buffer = io.BytesIO()
    Image.new("1", (20000, 20000)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a JPEG, PNG or WebP"),
        (b"GIF89a" + bytes(100), "not a JPEG, PNG or WebP"),
        (bomb(), "megapixels"),
        (png(1).data[:200], "damaged"),
        (b"", "not a JPEG, PNG or WebP"),
    ],
)
def test_a_hostile_picture_is_refused_by_name(server, data, says):
    body = error(edit(server, data), 422, "invalid_request")
    assert body["param"] == "image.0"
    assert says in body["message"]
    answer = server.http.post("/v1/videos", data={"prompt": "x"}, files={"input_reference": ("../../x", data)})
    assert error(answer, 422, "invalid_request")["param"] == "input_reference"


def test_metadata_and_trailing_bytes_of_an_upload_are_not_kept(server):
    picture = Image.open(io.BytesIO(png(3).data))
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif)
    files = {"input_reference": ("a.jpg", buffer.getvalue() + b"<?php evil")}
    made = server.http.post("/v1/videos", data={"prompt": "x"}, files=files).json()
    kept = server.http.get(f"/v1/artifacts/{made['first_frame']}")
    assert kept.headers["content-type"] == "image/png"
    assert kept.headers["x-content-type-options"] == "nosniff"
    assert b"where I live" not in kept.content
    assert b"evil" not in kept.content
    server.http.delete(f"/v1/videos/{made['id']}")


@pytest.mark.parametrize("name", ["../../etc/passwd", "..%2f..%2fstore.sqlite", "A" * 64, "0" * 63, "0" * 64 + "/x"])
def test_an_artifact_is_named_by_a_hash_and_nothing_else(server, name):
    assert server.http.get(f"/v1/artifacts/{name}").status_code in (404, 422)


def test_someone_elses_artifact_answers_exactly_like_an_unknown_one(server):
    async def foreign():
        stored = server.services.artifacts.put(png(9).data, "image/png")
        await server.services.owners.record("somebody", stored)
        return stored.sha256

    theirs = server.call(foreign())
    unknown = "1" * 64
    answers = [server.http.get(f"/v1/artifacts/{each}") for each in (theirs, unknown)]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].text.replace(theirs, unknown) == answers[1].text
    body = {"prompt": "x", "coherence": {"start": {"artifact": theirs}}}
    error(server.http.post("/v1/images/generations", json=body), 404, "not_found")


@pytest.mark.parametrize(
    "body",
    ['{"prompt": "\\ud800"}', '{"prompt": 1e999}', '{"guidance_scale": NaN, "prompt": "x"}', "[" * 100_000, "null"],
)
def test_hostile_json_is_an_ordinary_refusal(server, body):
    for path in ("/v1/images/generations", "/v1/videos"):
        answer = server.http.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), answer.text
        json.loads(answer.text)


def test_a_message_shows_only_the_beginning_of_what_was_sent(server):
    answer = server.http.post("/v1/images/generations", json={"prompt": "x", "size": "9" * 50_000})
    assert len(answer.text) < 2_000


def test_an_internal_error_tells_nothing_of_the_machine(server, monkeypatch):
    monkeypatch.setattr(type(server.services.owners), "find", _broken)
    answer = server.http.get(f"/v1/artifacts/{'2' * 64}")
    body = error(answer, 500, "internal_error")
    assert "/secret/path" not in answer.text
    assert body["type"] == "server_error"
    assert answer.headers["x-request-id"]


async def _broken(*_):
    raise RuntimeError("/secret/path")


def test_models_are_named_in_refusals_but_paths_never(server):
    answer = server.http.post("/v1/images/generations", json={"prompt": "x", "model": VIDEO.name})
    assert IMAGE.name in error(answer, 422, "invalid_request")["message"]
    assert str(server.folder) not in answer.text
