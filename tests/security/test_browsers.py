"""What a browser's pages may do: the cookie of a login, pages of other origins, signed addresses, and what answers
tell a browser to refuse. Over a real server."""

import re
import time
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlsplit

import httpx
import jwt
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from serving.gateway.auth.tokens import ISSUER
from tests.support.gateway_server import VIDEO, Web, serve
from tests.support.gateway_users import PASSWORD, SIGNING_KEY, bearer, log_in, new_user
from tests.support.tiny_models import png

FRIEND = "https://studio.example.org"
STRANGER = "https://evil.example.org"
OURS = {"Sec-Fetch-Site": "same-origin"}
SOMEWHERE = "/v1/models"


class Sender:
    """`httpx` with patience: another test may have the cores."""

    def __getattr__(self, method):
        return partial(getattr(httpx, method), timeout=60)


SEND = Sender()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("browsers"), web=Web(origins=(FRIEND,))) as server:
        server.call(new_user(server.services.auth, "anna"))
        server.call(new_user(server.services.auth, "bruno"))
        yield server


@contextmanager
def browser(server, username="anna"):
    """A browser that has logged in: it keeps cookies."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        body = {"username": username, "password": PASSWORD, "session": "cookie"}
        answer = client.post("/api/auth/login", json=body, headers=OURS)
        assert answer.status_code == 200, answer.text
        yield client


@pytest.fixture
def anna(server):
    with browser(server) as client:
        yield client


def keep(server, username="anna", data=None, media_type="image/png"):
    """A file of a user; its sha256."""

    async def kept():
        stored = server.services.artifacts.put(data or png(3).data, media_type)
        user = await server.services.auth.accounts.user(username)
        await server.services.owners.record(user.id, stored)
        return stored.sha256

    return server.call(kept())


# --- the cookie ---


def test_a_cookie_login_gives_a_cookie_that_no_script_reads_and_no_token(server):
    body = {"username": "anna", "password": PASSWORD, "session": "cookie"}
    answer = SEND.post(f"{server.url}/api/auth/login", json=body, headers=OURS)
    (cookie,) = answer.headers.get_list("set-cookie")
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/", "max-age=2592000"} <= parts
    assert "secure" not in parts  # this server is reached by plain HTTP
    assert set(answer.json()) == {"session", "expires_in", "user"}
    assert answer.json()["user"]["username"] == "anna"
    assert answer.headers["cache-control"] == "no-store"


def test_the_cookie_opens_reading_routes_as_it_is(server, anna):
    sha256 = keep(server)
    assert anna.get("/api/auth/me").json()["username"] == "anna"
    assert anna.get(SOMEWHERE).status_code == 200
    assert anna.get(f"/v1/artifacts/{sha256}").content == png(3).data
    assert anna.head(f"/v1/artifacts/{sha256}").status_code == 200
    with browser(server, "bruno") as bruno:
        assert bruno.get(f"/v1/artifacts/{sha256}").status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (OURS, 200),
        ({"Origin": FRIEND}, 200),
        ({"Origin": FRIEND, "Sec-Fetch-Site": "cross-site"}, 200),
        ({"Origin": FRIEND, "Sec-Fetch-Site": "same-site"}, 200),
        ({"Origin": "OWN"}, 200),
        ({}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": STRANGER}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "OWN"}, 403),
        ({"Origin": STRANGER}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": f"{FRIEND}.evil.example"}, 403),
        ({"Origin": FRIEND.upper()}, 403),
        ({"Origin": ""}, 403),
    ],
)
def test_changing_something_with_a_cookie_needs_a_page_that_may(server, anna, headers, status):
    told = {name: server.url if value == "OWN" else value for name, value in headers.items()}
    answer = anna.post("/api/auth/ticket", headers=told)
    assert answer.status_code == status, answer.text
    if status == 403:
        assert answer.json()["error"]["code"] == "forbidden"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "QUERY"])
def test_no_method_that_changes_something_passes_with_a_cookie_alone(anna, method):
    assert anna.request(method, "/v1/videos/x").status_code == 403


def test_a_token_needs_no_page(server):
    token = log_in(server, "anna").json()["access_token"]
    hostile = {"Origin": STRANGER, "Sec-Fetch-Site": "cross-site"}
    assert SEND.post(f"{server.url}/api/auth/ticket", headers=bearer(token) | hostile).status_code == 200


def test_a_websocket_with_a_cookie_needs_a_page_that_may(server, anna):
    (pair,) = [f"{name}={value}" for name, value in anna.cookies.items()]
    address = f"ws{server.url.removeprefix('http')}/ws/nothing"

    def opened(origin):
        try:
            with connect(address, origin=origin, additional_headers={"Cookie": pair}) as socket:
                socket.recv(timeout=10)
        except InvalidStatus as refused:
            return refused.response.status_code
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 0
        return 0

    assert [opened(origin) for origin in (None, STRANGER, "null")] == [403] * 3
    assert [opened(origin) for origin in (server.url, FRIEND)] == [1008] * 2  # open: there is no such session


def test_two_tabs_share_a_login_and_neither_ends_it_for_the_other(server):
    with browser(server) as first, httpx.Client(base_url=server.url, cookies=first.cookies) as second:
        for _ in range(3):
            assert [tab.get(SOMEWHERE).status_code for tab in (first, second)] == [200, 200]
        with browser(server) as again:  # the same person logs in anew, in a third tab
            assert [tab.get(SOMEWHERE).status_code for tab in (first, second, again)] == [200] * 3


def test_logging_out_clears_the_cookie_and_ends_it_for_every_tab(server):
    with browser(server) as first, httpx.Client(base_url=server.url, cookies=first.cookies) as second:
        assert first.post("/api/auth/logout").status_code == 403  # not from any page
        answer = first.post("/api/auth/logout", headers=OURS)
        assert answer.status_code == 204
        assert "max-age=0" in answer.headers["set-cookie"].lower()
        assert not first.cookies
        assert second.get(SOMEWHERE).status_code == 401


def test_a_cookie_is_no_token_and_a_token_no_cookie(server, anna):
    ((name, cookie),) = anna.cookies.items()
    assert SEND.get(f"{server.url}{SOMEWHERE}", headers=bearer(cookie)).status_code == 401
    token = log_in(server, "anna").json()["access_token"]
    assert SEND.get(f"{server.url}{SOMEWHERE}", cookies={name: token}).status_code == 401
    for wrong in ("", "x", cookie[:-2], cookie.replace(".", "..")):
        assert SEND.get(f"{server.url}{SOMEWHERE}", cookies={name: wrong}).status_code == 401


def test_disabling_a_user_ends_their_cookie(server):
    server.call(new_user(server.services.auth, "carla"))
    with browser(server, "carla") as carla:
        assert carla.get(SOMEWHERE).status_code == 200
        server.call(server.services.auth.accounts.set_disabled("carla", True))
        assert carla.get(SOMEWHERE).status_code == 401


@pytest.mark.parametrize("headers", [{"Origin": STRANGER}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}])
def test_a_foreign_page_logs_nobody_in(server, headers):
    body = {"username": "anna", "password": PASSWORD, "session": "cookie"}
    answer = SEND.post(f"{server.url}/api/auth/login", json=body, headers=headers)
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


def test_basic_credentials_of_a_proxy_do_not_hide_the_cookie(anna):
    assert anna.get(SOMEWHERE, headers={"Authorization": "Basic YTpi"}).status_code == 200


# --- pages of other origins ---


def preflight(server, origin, method="POST", headers="authorization,content-type,idempotency-key", path="/v1/videos"):
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return SEND.options(f"{server.url}{path}", headers=asked)


@pytest.mark.parametrize("path", ["/v1/videos", "/api/v1/generations/x/select", "/nowhere"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH"])
def test_a_preflight_of_a_named_origin_is_answered_before_credentials(server, path, method):
    answer = preflight(server, FRIEND, method, path=path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["access-control-allow-origin"] == FRIEND
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert method in answer.headers["access-control-allow-methods"]
    assert answer.headers["x-request-id"]


def test_openai_s_client_for_browsers_passes_its_own_headers(server):
    answer = preflight(server, FRIEND, headers="authorization,x-stainless-os,x-stainless-lang,content-type")
    assert answer.status_code == 200
    assert "x-stainless-os" in answer.headers["access-control-allow-headers"]
    assert preflight(server, FRIEND, headers="x-stainless-os").status_code == 200
    assert preflight(server, FRIEND, headers="x-anything").status_code == 403


@pytest.mark.parametrize("origin", [STRANGER, "null", f"{FRIEND}:444", "http://studio.example.org"])
def test_another_origin_gets_no_leave(server, origin):
    refused = preflight(server, origin)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    answer = SEND.get(f"{server.url}{SOMEWHERE}", headers=bearer(server.key) | {"Origin": origin})
    assert answer.status_code == 200
    for one in (refused, answer):
        assert "access-control-allow-origin" not in one.headers
        assert "origin" in one.headers["vary"].lower()


@pytest.mark.parametrize("path", [SOMEWHERE, "/healthz", "/nowhere", "/v1/videos/unknown"])
@pytest.mark.parametrize("credentials", [True, False])
def test_a_named_origin_reads_every_answer_refusals_too(server, path, credentials):
    headers = bearer(server.key) if credentials else {}
    answer = SEND.get(f"{server.url}{path}", headers=headers | {"Origin": FRIEND})
    assert answer.headers["access-control-allow-origin"] == FRIEND
    assert "X-Request-ID" in answer.headers["access-control-expose-headers"]


def test_without_named_origins_there_are_no_headers_for_them(tmp_path):
    with serve(tmp_path, working=False) as server:
        assert preflight(server, FRIEND).status_code == 403
        answer = SEND.get(f"{server.url}/healthz", headers={"Origin": FRIEND})
        assert not [name for name in answer.headers if name.startswith("access-control-allow-origin")]


# --- signed addresses ---


def test_a_signed_address_opens_its_file_without_credentials(server):
    sha256 = keep(server)
    with browser(server) as anna:
        told = anna.get(f"/v1/artifacts/{sha256}/address").json()
    assert told["url"].startswith(f"{server.url}/v1/artifacts/{sha256}?signature=")
    assert (told["media_type"], told["size"]) == ("image/png", len(png(3).data))
    answer = SEND.get(told["url"])
    assert answer.content == png(3).data
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    part = SEND.get(told["url"], headers={"Range": "bytes=0-7"})
    assert (part.status_code, part.content) == (206, b"\x89PNG\r\n\x1a\n")
    head = SEND.head(told["url"])
    assert (head.status_code, head.headers["content-length"]) == (200, str(told["size"]))
    saved = SEND.get(f"{told['url']}&download=true")
    assert saved.headers["content-disposition"] == f'attachment; filename="admint-{sha256[:12]}.png"'


def test_a_signed_address_opens_nothing_else(server):
    mine, other = keep(server), keep(server, data=png(4).data)
    with browser(server) as anna:
        query = urlsplit(anna.get(f"/v1/artifacts/{mine}/address").json()["url"]).query
    for path in (
        f"/v1/artifacts/{other}",
        SOMEWHERE,
        f"/v1/artifacts/{mine}/address",
        "/api/auth/me",
        "/api/auth/ticket",
    ):
        assert SEND.get(f"{server.url}{path}?{query}").status_code == 401, path
    assert SEND.delete(f"{server.url}/v1/artifacts/{mine}?{query}").status_code == 403
    assert SEND.post(f"{server.url}/api/auth/ticket?{query}").status_code == 401
    signature = query.removeprefix("signature=")
    assert SEND.get(f"{server.url}{SOMEWHERE}", headers=bearer(signature)).status_code == 401


def signature(sha256, user_id, **changes):
    claims = {"iss": ISSUER, "sub": user_id, "file": sha256, "exp": int(time.time()) + 60, "aud": "file"} | changes
    return jwt.encode(claims, SIGNING_KEY, "HS256")


def test_a_signed_address_that_was_altered_or_is_too_old_is_refused(server):
    sha256 = keep(server)
    user = server.call(server.services.auth.accounts.user("anna"))
    stranger = server.call(server.services.auth.accounts.user("bruno"))
    address = f"{server.url}/v1/artifacts/{sha256}?signature="
    assert SEND.get(address + signature(sha256, user.id)).status_code == 200
    old = SEND.get(address + signature(sha256, user.id, exp=int(time.time()) - 60))
    assert (old.status_code, old.json()["error"]["code"]) == (401, "address_expired")
    assert SEND.get(address + signature(sha256, user.id, aud="session")).status_code == 401
    assert SEND.get(address + signature(sha256, user.id)[:-3]).status_code == 401
    assert SEND.get(address).status_code == 401
    assert SEND.get(address + signature(sha256, stranger.id)).status_code == 404  # it is not that one's file


def test_a_signed_address_ends_with_its_owner(server):
    server.call(new_user(server.services.auth, "dora"))
    sha256 = keep(server, "dora", png(11).data)
    with browser(server, "dora") as dora:
        url = dora.get(f"/v1/artifacts/{sha256}/address").json()["url"]
    assert SEND.get(url).status_code == 200
    server.call(server.services.auth.accounts.set_disabled("dora", True))
    assert SEND.get(url).status_code == 401


@pytest.mark.parametrize("seconds", ["0", "-1", "86401", "9" * 5000, "x"])
def test_how_long_an_address_lasts_is_bounded(server, anna, seconds):
    assert anna.get(f"/v1/artifacts/{keep(server)}/address", params={"seconds": seconds}).status_code == 422


def test_nobody_signs_an_address_of_someone_elses_file(server):
    with browser(server, "bruno") as bruno:
        assert bruno.get(f"/v1/artifacts/{keep(server)}/address").status_code == 404


def test_a_picture_by_url_opens_in_a_client_that_has_no_key(server):
    asked = {"prompt": "a bottle", "response_format": "url", "n": 2}
    made = server.http.post("/v1/images/generations", json=asked).json()["data"]
    for one in made:
        assert one["url"].startswith(f"{server.url}/v1/artifacts/{one['artifact']}?signature=")
        assert SEND.get(one["url"]).headers["content-type"] == "image/png"


# --- what every answer says ---


def test_every_answer_tells_a_browser_to_run_frame_and_keep_nothing(server, anna):
    answers = [
        anna.get(SOMEWHERE),
        anna.get("/nowhere"),
        SEND.get(f"{server.url}{SOMEWHERE}"),
        SEND.get(f"{server.url}/healthz"),
        SEND.post(f"{server.url}/api/auth/login", json={}),
        SEND.get(f"{server.url}/openapi.json"),
        anna.delete("/v1/models"),
    ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_a_kept_file_is_not_shown_to_the_next_user_of_the_browser(server, anna):
    answer = anna.get(f"/v1/artifacts/{keep(server)}")
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert {"Cookie", "Authorization"} <= set(re.split(r",\s*", answer.headers["vary"]))
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_the_pages_ask_no_other_host_and_run_no_text_of_their_own(server):
    home = SEND.get(f"{server.url}/", headers={"Accept": "text/html"})
    docs = SEND.get(f"{server.url}/docs")
    for page in (home, docs):
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert "unsafe-eval" not in page.headers["content-security-policy"]
        assert not re.search(r"script-src[^;]*unsafe-inline", page.headers["content-security-policy"])
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert not re.search(r"(?:https?:)?//", page.text)
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=", page.text)
    for path in re.findall(r'(?:src|href)="(/[^"]+)"', home.text + docs.text):
        assert SEND.get(f"{server.url}{path}").status_code in (200, 503), path


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_the_files_of_the_docs_come_as_the_client_can_read_them(server, encoding):
    answer = SEND.get(f"{server.url}/docs/swagger-ui-bundle.js", headers={"Accept-Encoding": encoding})
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "SwaggerUIBundle" in answer.text
    again = SEND.get(f"{server.url}/docs/start.js", headers={"If-None-Match": "x"})
    assert SEND.get(f"{server.url}/docs/start.js", headers={"If-None-Match": again.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("name", ["x.js", "../app.py", "..%2fapp.py", "LICENSE", "swagger-ui.css.gz"])
def test_no_other_file_lies_below_the_docs(server, name):
    assert SEND.get(f"{server.url}/docs/{name}").status_code == 401


def test_the_root_says_what_this_is(server):
    told = SEND.get(server.url).json()
    assert told["name"] == "AdMint"
    for name in ("docs", "openapi", "health"):
        assert SEND.get(f"{server.url}{told[name]}").status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/health", "/api/health"])
def test_health_has_the_names_that_load_balancers_ask_for(server, path):
    assert SEND.get(f"{server.url}{path}").json() == {"status": "ok"}
    head = SEND.head(f"{server.url}{path}")
    assert (head.status_code, head.content) == (200, b"")


# --- HEAD, slashes, odd numbers ---


def test_head_is_answered_wherever_get_is(server):
    document = SEND.get(f"{server.url}/openapi.json").json()
    streams = {"Accept": "text/event-stream"}
    for path, operations in document["paths"].items():
        if "get" not in operations:
            continue
        filled = re.sub(r"{\w+}", "1", path)
        got = server.http.get(filled)
        head = server.http.head(filled, headers=streams)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers["content-type"] == got.headers["content-type"], path


def test_head_of_an_event_stream_ends_at_once(server):
    made = server.http.post("/v1/videos", json={"prompt": "x", "model": VIDEO.name}).json()
    path = f"/api/v1/generations/{made['id']}/events"
    head = server.http.head(path, headers={"Accept": "text/event-stream"})
    assert head.status_code == 200
    assert head.headers["content-type"].startswith("text/event-stream")


def test_a_refused_method_names_head_too(server):
    assert server.http.delete(SOMEWHERE).headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/v1/models/", "//v1/models", "/docs/"])
def test_no_answer_sends_a_browser_to_the_host_of_the_request(server, path):
    answer = server.http.get(path, headers={"Host": "evil.example"})
    assert answer.status_code in (401, 404)
    assert "location" not in answer.headers
    assert "evil.example" not in answer.text


HUGE = "9" * 5000


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": f"bytes={HUGE}-"},
        {"Range": f"bytes=0-{HUGE}"},
        {"Range": f"bytes=-{HUGE}"},
        {"Range": f"bytes={HUGE}-{HUGE}"},
        {"Range": f"bytes={'0' * 5000}1-2"},
        {"Range": "bytes=\xb2-"},
        {"If-Range": HUGE, "Range": "bytes=0-1"},
        {"Last-Event-ID": HUGE, "Accept": "text/event-stream"},
        {"Last-Event-ID": "\xb2", "Accept": "text/event-stream"},
        {"Prefer": f"wait={HUGE}"},
        {"Retry-After": HUGE},
    ],
    ids=lambda value: next(f"{name} {text[:9]}" for name, text in value.items()),
)
def test_numbers_of_thousands_of_digits_are_no_server_error(server, headers):
    sha256 = keep(server, "admin")
    made = server.http.post("/v1/videos", json={"prompt": "x", "model": VIDEO.name}).json()
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    for path in (f"/v1/artifacts/{sha256}", f"/api/v1/generations/{made['id']}/events", SOMEWHERE):
        with server.http.stream("GET", path, headers=raw) as answer:
            assert answer.status_code < 500, path


@pytest.mark.parametrize(
    ("asked", "status", "bytes_"),
    [
        (f"bytes=0-{HUGE}", 206, slice(0, None)),
        (f"bytes=-{HUGE}", 206, slice(0, None)),
        (f"bytes={'0' * 5000}1-2", 206, slice(1, 3)),
        (f"bytes={HUGE}-", 416, None),
    ],
)
def test_a_range_is_read_as_the_number_that_it_is(server, asked, status, bytes_):
    sha256 = keep(server, "admin")
    answer = server.http.get(f"/v1/artifacts/{sha256}", headers={"Range": asked})
    assert answer.status_code == status
    if bytes_ is not None:
        assert answer.content == png(3).data[bytes_]
