"""Behind a real nginx that serves the file of docs/proxy.md: TLS, a path before all addresses, streams, sockets."""

import json
import os
import re
import shutil
import ssl

import httpx
import pytest
from websockets.sync.client import connect

from pipelines.store.logins import AttemptLimits
from serving.gateway.proxies import Proxies
from tests.support.ad_server import BRIEF, SpeakingServer, frames, until
from tests.support.command import REPOSITORY
from tests.support.gateway_server import Web
from tests.support.gateway_users import PASSWORD, bearer, new_user
from tests.support.program import Program, free_port, run
from tests.support.waiting import until as wait_until

PAGE = REPOSITORY / "docs" / "proxy.md"
MAIN = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{site}
}}
"""


def documented_site(port, gateway, folder):
    """The file of the page, with this machine's addresses and certificate."""
    (site,) = re.findall(r"```nginx\n(.*?)```", PAGE.read_text(), re.S)
    changes = {
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "server 127.0.0.1:8000;": f"server {gateway};",
        "/etc/ssl/ads.example.org.pem": f"{folder}/site.pem",
        "/etc/ssl/ads.example.org.key": f"{folder}/site.key",
    }
    for old, new in changes.items():
        assert site.count(old) == 1, old
        site = site.replace(old, new)
    return site


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    limits = AttemptLimits(username_at_address=2)
    web = Web(proxies=Proxies(trusted=("127.0.0.1/32",)))
    with SpeakingServer(tmp_path_factory.mktemp("server"), web=web, login_limits=limits) as server:
        server.call(new_user(server.services.auth, "anna"))
        yield server


@pytest.fixture(scope="module")
def outside(server, tmp_path_factory):
    """The address at which nginx shows the server."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if nginx is None:
        assert not os.environ.get("CI"), "nginx is missing: make packages"
        pytest.skip("nginx is missing: make packages")
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    certificate = ("-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ads.example.org")
    run(["openssl", "req", *certificate, "-keyout", folder / "site.key", "-out", folder / "site.pem"])
    config = folder / "nginx.conf"
    site = documented_site(port, server.url.removeprefix("http://"), folder)
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers could not read this test's folder
    config.write_text(MAIN.format(user=user, folder=folder, site=site))
    with Program([nginx, "-c", config, "-p", folder]) as program:
        url = f"https://127.0.0.1:{port}/admint"

        def answers():
            assert program.running, program.said
            try:
                return httpx.get(f"{url}/healthz", verify=False).status_code == 200  # noqa: S501
            except httpx.TransportError:
                return False

        wait_until(answers, lambda: f"nginx to answer: {program.said}")
        yield url


@pytest.fixture(scope="module")
def http(server, outside):
    with httpx.Client(base_url=outside, headers=bearer(server.key), verify=False, timeout=60) as http:  # noqa: S501
        yield http


def from_address(outside, address, **options):
    """A client with another address than the others'."""
    transport = httpx.HTTPTransport(verify=False, local_address=address)
    return httpx.Client(base_url=outside, transport=transport, timeout=60, **options)


def origin(outside):
    return outside.removesuffix("/admint")


def test_every_address_in_an_answer_is_one_that_a_caller_can_open(server, outside, http):
    made = http.post("/api/v1/generations", json={"recipe": "express", "brief": BRIEF})
    assert made.headers["location"] == f"/admint/api/v1/generations/{made.json()['id']}"
    row = until(http, made.json()["id"], "completed")
    takes = http.get(f"/api/v1/generations/{row['id']}/takes").json()["items"]
    paths = [row["video_url"], row["thumbnail_url"], *row["temp_clip_paths"], *(take["url"] for take in takes)]
    for path in paths:
        assert path.startswith("/admint/")
        assert http.get(f"{origin(outside)}{path}").status_code == 200, path
    part = http.get(f"{origin(outside)}{row['video_url']}", headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")
    assert http.head(f"{origin(outside)}{row['video_url']}").headers["content-type"] == "video/mp4"


def test_a_signed_address_is_the_one_outside_and_opens_without_a_key(outside, http):
    asked = {"prompt": "a bottle", "response_format": "url"}
    url = http.post("/v1/images/generations", json=asked).json()["data"][0]["url"]
    assert url.startswith(f"{outside}/v1/artifacts/")
    assert httpx.get(url, verify=False).headers["content-type"] == "image/png"  # noqa: S501


def test_the_pages_and_the_description_know_their_path(outside, http):
    assert http.get("/openapi.json").json()["servers"] == [{"url": "/admint"}]
    for page in (http.get("/docs").text, http.get("/", headers={"Accept": "text/html"}).text):
        for path in re.findall(r'(?:src|href)="(/[^"]+)"', page):
            assert path.startswith("/admint/")
            assert http.get(f"{origin(outside)}{path}").status_code in (200, 503)


def test_the_cookie_is_for_tls_and_for_this_path_alone(outside):
    with httpx.Client(base_url=outside, verify=False, timeout=60) as browser:  # noqa: S501
        body = {"username": "anna", "password": PASSWORD, "session": "cookie"}
        answer = browser.post("/api/auth/login", json=body, headers={"Origin": origin(outside)})
        assert answer.status_code == 200, answer.text
        parts = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")}
        assert {"secure", "path=/admint", "httponly", "samesite=strict"} <= parts
        assert browser.get("/api/auth/me").json()["username"] == "anna"
        assert browser.post("/api/auth/ticket", headers={"Origin": origin(outside)}).status_code == 200
        assert browser.post("/api/auth/ticket", headers={"Origin": "https://evil.example"}).status_code == 403
        assert browser.post("/api/auth/logout", headers={"Origin": origin(outside)}).status_code == 204
        assert browser.get("/api/auth/me").status_code == 401


def test_events_pass_as_they_come(http):
    waits = {"recipe": "express", "brief": BRIEF, "approvals": ["story"]}
    made = http.post("/api/v1/generations", json=waits).json()
    path = f"/api/v1/generations/{made['id']}/events"
    with http.stream("GET", path, headers={"Accept": "text/event-stream"}) as answer:
        # The generation waits for its owner and the stream stays open: what is read here was not kept back.
        kinds = (json.loads(frame["data"])["kind"] for frame in frames(answer))
        assert next(kind for kind in kinds if kind == "approval_needed")
    http.post(f"/api/v1/generations/{made['id']}/cancel")


def test_a_websocket_passes_both_ways(server, outside, http):
    session = http.post("/api/v1/interactive/start", json={"prompt": BRIEF["prompt"], "target_duration": 9}).json()
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    address = f"{outside.replace('https', 'wss')}/ws/{session['session_id']}"
    with connect(address, ssl=trusting, additional_headers=bearer(server.key)) as socket:
        socket.send("ping")
        while json.loads(socket.recv(timeout=60))["type"] != "pong":
            pass
    http.post(f"/api/v1/generations/{session['session_id']}/cancel")


def test_callers_are_told_apart_and_none_can_say_that_it_is_another(outside):
    wrong, right = ({"username": "anna", "password": word} for word in ("not hers", PASSWORD))
    with from_address(outside, "127.0.0.2") as thief, from_address(outside, "127.0.0.3") as anna:
        assert [thief.post("/api/auth/login", json=wrong).status_code for _ in range(3)] == [401, 401, 429]
        forged = {"X-Forwarded-For": "127.0.0.9"}
        assert thief.post("/api/auth/login", json=wrong, headers=forged).status_code == 429
        assert anna.post("/api/auth/login", json=right).status_code == 200


def test_a_large_upload_passes(http):
    padded = b"\x89PNG\r\n\x1a\n" + bytes(5_000_000)
    answer = http.post("/v1/images/edits", data={"prompt": "x"}, files={"image": ("a.png", padded)})
    assert answer.status_code == 422  # the gateway has looked at it: it is no picture
