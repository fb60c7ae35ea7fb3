"""What a request says of where it comes from counts from named proxies only; and no log line is a caller's."""

import logging

import httpx
import pytest

from configs.settings import Settings
from pipelines.errors import BadInput
from pipelines.store.logins import AttemptLimits
from serving.gateway.proxies import Proxies
from tests.support.gateway_server import Web, serve
from tests.support.gateway_users import PASSWORD, bearer, new_user
from tests.support.waiting import until

NAMED = Web(proxies=Proxies(trusted=("127.0.0.1/32", "10.0.0.0/8")))
FORWARDED = {
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "ads.example.org",
    "X-Forwarded-Prefix": "/admint",
}
PICTURE = {"prompt": "a bottle", "response_format": "url"}


@pytest.fixture(scope="module")
def proxied(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("proxied"), web=NAMED, login_limits=AttemptLimits(username_at_address=1)) as one:
        one.call(new_user(one.services.auth, "anna"))
        yield one


@pytest.fixture(scope="module")
def direct(tmp_path_factory):
    limits = AttemptLimits(username_at_address=1)
    with serve(tmp_path_factory.mktemp("direct"), login_limits=limits) as server:
        server.call(new_user(server.services.auth, "anna"))
        yield server


def picture_address(server, headers):
    return server.http.post("/v1/images/generations", json=PICTURE, headers=headers).json()["data"][0]["url"]


def log_in(server, password, headers):
    body = {"username": "anna", "password": password}
    return httpx.post(f"{server.url}/api/auth/login", json=body, headers=headers, timeout=60).status_code


def test_a_named_proxy_says_where_the_caller_is_and_how_the_server_is_reached(proxied):
    assert picture_address(proxied, FORWARDED).startswith("https://ads.example.org/admint/v1/artifacts/")
    described = proxied.http.get("/openapi.json", headers=FORWARDED).json()
    assert described["servers"] == [{"url": "/admint"}]


def test_nobody_else_does(direct):
    assert picture_address(direct, FORWARDED).startswith(f"{direct.url}/v1/artifacts/")
    assert direct.http.get("/openapi.json", headers=FORWARDED).json()["servers"][0]["url"] == "/"


def test_callers_behind_a_named_proxy_are_told_apart(proxied):
    here, there = ({"X-Forwarded-For": address} for address in ("203.0.113.1", "203.0.113.2"))
    assert [log_in(proxied, "wrong", here) for _ in range(2)] == [401, 429]
    assert log_in(proxied, PASSWORD, there) == 200
    forged = {"X-Forwarded-For": "203.0.113.9, 203.0.113.1, 10.1.1.1"}  # the nearest that is no proxy of ours counts
    assert log_in(proxied, PASSWORD, forged) == 429
    two_lines = [("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-For", "203.0.113.1")]
    assert log_in(proxied, PASSWORD, two_lines) == 429


@pytest.mark.parametrize("headers", [{"X-Forwarded-For": "203.0.113.5"}, {"X-Real-IP": "203.0.113.5"},
                                     {"Forwarded": "for=203.0.113.5"}])  # fmt: skip
def test_a_caller_cannot_say_that_it_is_another(direct, headers):
    log_in(direct, "wrong", {})
    assert log_in(direct, PASSWORD, headers) == 429


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-Forwarded-Prefix", "//evil.example"),
        ("X-Forwarded-Prefix", "/a/../b"),
        ("X-Forwarded-Prefix", '/a"onload=x'),
        ("X-Forwarded-Prefix", "/api"),
        ("X-Forwarded-Prefix", "/v1/x"),
        ("X-Forwarded-Prefix", "/" + "a" * 5000),
        ("X-Forwarded-Host", "evil.example/path"),
        ("X-Forwarded-Host", "a b"),
        ("X-Forwarded-Host", "evil.example@x"),
        ("X-Forwarded-Proto", "javascript"),
        ("X-Forwarded-For", "x" * 5000),
        ("X-Forwarded-For", "1.2.3.4:" + "9" * 5000),
    ],
)
def test_what_a_proxy_passes_on_and_is_no_address_is_ignored(proxied, header, value):
    answer = proxied.http.get("/", headers={header: value})
    assert answer.status_code == 200
    assert answer.json()["docs"] == "/docs"
    assert picture_address(proxied, {header: value}).startswith(f"{proxied.url}/v1/artifacts/")


@pytest.mark.parametrize("prefix", ["", "/admint"])
def test_a_proxy_may_take_the_root_path_away_or_leave_it(tmp_path, prefix):
    with serve(tmp_path, working=False, web=Web(proxies=Proxies(root_path="/admint"))) as server:
        assert httpx.get(f"{server.url}{prefix}/healthz").status_code == 200
        assert httpx.get(f"{server.url}{prefix}/v1/models").status_code == 401
        assert httpx.get(f"{server.url}{prefix}/v1/models", headers=bearer(server.key)).status_code == 200
        assert httpx.get(f"{server.url}{prefix}/", headers={"Accept": "text/html"}).text.count('href="/admint/') == 3


def test_someone_who_asks_for_another_path_is_not_let_in(tmp_path):
    with serve(tmp_path, working=False, web=Web(proxies=Proxies(root_path="/admint"))) as server:
        for path in ("/admint/admint/healthz", "/admintx/healthz", "/admint/healthz/../v1/models", "/ADMINT/v1/models"):
            assert httpx.get(f"{server.url}{path}").status_code == 401, path


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("CORS_ORIGINS", "*", "is no origin"),
        ("CORS_ORIGINS", "https://a.example/path", "is no origin"),
        ("CORS_ORIGINS", "a.example", "is no origin"),
        ("CORS_ORIGINS", "null", "is no origin"),
        ("TRUSTED_PROXIES", "proxy", "is no address or network"),
        ("TRUSTED_PROXIES", "*", "is no address or network"),
        ("ROOT_PATH", "admint", "is no root path"),
        ("ROOT_PATH", "/api", "is no root path"),
        ("ROOT_PATH", "/v1/admint", "is no root path"),
        ("ROOT_PATH", "/a//b", "is no root path"),
        ("ROOT_PATH", "/../a", "is no root path"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_by_its_name(monkeypatch, name, value, says):
    monkeypatch.setenv(f"ADMINT_{name}", value)
    with pytest.raises(BadInput, match=f"ADMINT_{name}.*{says}"):
        Settings()


def test_settings_are_lists_between_commas(monkeypatch):
    monkeypatch.setenv("ADMINT_CORS_ORIGINS", "https://a.example, http://localhost:5173,http://[::1]:8000")
    monkeypatch.setenv("ADMINT_TRUSTED_PROXIES", "127.0.0.1,172.16.5.4/12, ::1")
    monkeypatch.setenv("ADMINT_ROOT_PATH", "/tools/admint/")
    read = Settings()
    assert read.cors_origins == ("https://a.example", "http://localhost:5173", "http://[::1]:8000")
    assert read.trusted_proxies == ("127.0.0.1/32", "172.16.0.0/12", "::1/128")
    assert read.root_path == "/tools/admint"


def written(caplog):
    """The log's lines of requests."""
    return [record.getMessage() for record in caplog.records if record.name == "serving.gateway.middleware"]


@pytest.mark.parametrize(
    "path",
    ["/x%0A2026-11-26%20ERROR%20admin%20logged%20in%1B[31m", "/x%0d%0aforged", "/%E2%80%A8line", "/" + "a" * 5000],
    ids=["newline", "carriage return", "line separator", "long"],
)
def test_a_line_of_the_log_is_one_line_and_not_what_a_caller_wrote(direct, caplog, path):
    with caplog.at_level(logging.DEBUG, "serving.gateway.middleware"):
        assert httpx.get(f"{direct.url}{path}").status_code == 401
        (line,) = until(lambda: written(caplog), "the request to be logged")  # which it is after its answer
    assert line.isprintable()
    assert len(line) < 300
    assert line.startswith(f"GET {path[:200]}")
