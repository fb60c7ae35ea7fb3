"""Who may ask: login, tokens, keys and tickets, over a real server."""

import base64
import hashlib
import json
import time
from dataclasses import replace

import httpx
import jwt
import openai
import pytest

from pipelines.store.logins import AttemptLimits
from serving.gateway.app import create_app
from serving.gateway.auth.tokens import ISSUER, LIFE_SECONDS, hashed, new_token
from tests.support.gateway_server import serve
from tests.support.gateway_users import PASSWORD, SIGNING_KEY, bearer, log_in, logged_in, new_user

SOMEWHERE = "/v1/models"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("identity"), working=False) as server:
        server.call(new_user(server.services.auth, "anna"))
        yield server


def ask(server, token, path=SOMEWHERE, method="GET"):
    return httpx.request(method, f"{server.url}{path}", headers=bearer(token))


def refresh(server, token):
    return httpx.post(f"{server.url}/api/auth/refresh", json={"refresh_token": token})


def signed(key=SIGNING_KEY, algorithm="HS256", **changes):
    now = int(time.time())
    claims = {"sub": "u", "sid": "s", "iss": ISSUER, "iat": now, "exp": now + 60, "jti": "j"} | changes
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm)


# --- login ---


def test_a_login_answers_as_the_contract_says(server):
    answer = log_in(server, "anna")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["token_type"] == "bearer"  # noqa: S105
    assert body["user"]["username"] == "anna"
    assert ask(server, body["access_token"]).status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    claims = jwt.decode(body["access_token"], SIGNING_KEY, algorithms=["HS256"], issuer=ISSUER)
    assert claims["sub"] == body["user"]["id"]
    assert claims["exp"] - claims["iat"] == LIFE_SECONDS == body["expires_in"] == 900
    assert claims["jti"]


def test_names_do_not_depend_on_capitals(server):
    assert log_in(server, "Anna").json()["user"]["username"] == "anna"


def test_unknown_disabled_and_mistaken_get_the_same_answer_for_the_same_work(server, monkeypatch):
    accounts, passwords = server.services.auth.accounts, server.services.auth.passwords
    server.call(new_user(server.services.auth, "gone"))
    server.call(accounts.set_disabled("gone", True))
    verified = []
    verify = passwords.verify

    async def counted(password, known_hash):
        verified.append(known_hash is not None)
        return await verify(password, known_hash)

    monkeypatch.setattr(passwords, "verify", counted)
    hashed = []
    real = passwords._hash.verify_and_update

    def noted(*pair):
        hashed.append(pair)
        return real(*pair)

    monkeypatch.setattr(passwords._hash, "verify_and_update", noted)
    answers = [log_in(server, "nobody"), log_in(server, "anna", "not her password"), log_in(server, "gone")]
    bodies = [answer.json() for answer in answers]
    assert [answer.status_code for answer in answers] == [401] * 3
    assert bodies[0] == bodies[1] == bodies[2]
    assert verified == [False, True, True]
    assert len(hashed) == 3
    parameters = {stored.rsplit("$", 2)[0] for _, stored in hashed}
    assert len(parameters) == 1  # argon2id with the same costs for the user that does not exist
    assert next(iter(parameters)).startswith("$argon2id$")


def test_passwords_are_stored_as_argon2id_and_never_shown(server):
    _, stored = server.call(server.services.auth.accounts.password_of("anna"))
    assert stored.startswith("$argon2id$")
    everything = (server.folder / "store.sqlite").read_bytes() + (server.folder / "store.sqlite-wal").read_bytes()
    assert PASSWORD.encode() not in everything


@pytest.mark.parametrize(
    "body",
    [
        {"username": "anna", "password": "hunter2" * 800},
        {"password": "hunter2"},
        {"username": "anna", "password": ["hunter2"]},
        {"username": "anna", "passwort": "hunter2"},
        "hunter2",
    ],
    ids=["long", "nobody", "list", "typo", "text"],
)
def test_a_mistake_in_a_login_body_is_422_and_does_not_repeat_the_password(server, body):
    answer = httpx.post(f"{server.url}/api/auth/login", json=body)
    assert answer.status_code == 422
    assert "hunter2" not in answer.text


def test_a_stranger_cannot_send_a_long_body_announced_or_not(server):
    long = json.dumps({"username": "anna", "password": "x" * 20_000}).encode()
    for content in (long, iter([long[:10_000], long[10_000:]])):
        answer = httpx.post(
            f"{server.url}/api/auth/login", content=content, headers={"Content-Type": "application/json"}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")


def test_too_many_wrong_passwords_refuse_that_name_at_that_address_also_after_a_restart(tmp_path):
    limits = AttemptLimits(username_at_address=2)
    with serve(tmp_path, working=False, login_limits=limits) as server:
        server.call(new_user(server.services.auth, "anna"))
        assert [log_in(server, "anna", "wrong").status_code for _ in range(2)] == [401, 401]
        refused = log_in(server, "anna")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_attempts")
        assert 890 <= int(refused.headers["retry-after"]) <= 901
    with serve(tmp_path, working=False, login_limits=limits) as server:
        assert log_in(server, "anna").status_code == 429


def test_no_wrong_passwords_of_others_refuse_the_right_one(tmp_path):
    with serve(tmp_path, working=False, login_limits=AttemptLimits()) as server:
        server.call(new_user(server.services.auth, "bruno"))
        statuses = [log_in(server, f"name{n}", "wrong").status_code for n in range(24)]
        assert statuses == [401] * 24
        assert log_in(server, "bruno").status_code == 200


def test_a_flood_of_wrong_passwords_keeps_nobody_out_who_logged_in_there_before(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with serve(tmp_path, working=False, login_limits=AttemptLimits(address=1)) as server:
        server.call(new_user(server.services.auth, "bruno"))
        assert log_in(server, "bruno").status_code == 200
        with ThreadPoolExecutor(40) as pool:
            flood = [pool.submit(log_in, server, f"name{n}", "wrong") for n in range(40)]
            assert log_in(server, "bruno").status_code == 200
            statuses = {each.result().status_code for each in flood}
        assert statuses == {401, 429}  # those beyond the queue of their address are refused unread


def test_a_flood_of_refused_logins_writes_nothing(tmp_path):
    with serve(tmp_path, working=False, login_limits=AttemptLimits(username_at_address=1)) as server:
        assert log_in(server, "nobody").status_code == 401
        counter = server.services.auth.attempts._database.change_counter
        before = server.call(counter())
        assert {log_in(server, "nobody").status_code for _ in range(20)} == {429}
        assert server.call(counter()) == before


# --- access tokens ---


@pytest.mark.parametrize(
    "forged",
    [
        lambda: signed(key=b"another key of thirty-two bytes!!"),
        lambda: signed(exp=None),
        lambda: signed(jti=None),
        lambda: signed(sid=None),
        lambda: signed(sid=7),
        lambda: signed(iss="someone else"),
        lambda: signed(iat=int(time.time()) + 90),
        lambda: signed(aud="session"),
        lambda: signed(aud="file", file="0" * 64),
        lambda: signed(algorithm="HS512", key=SIGNING_KEY * 2),
        lambda: signed(algorithm="none", key=""),
        lambda: signed(),
        lambda: "not.a.token",
        lambda: "\u00e4".encode("latin-1").decode("latin-1"),
    ],
    ids=["key", "no exp", "no jti", "no login", "odd login", "issuer", "future", "cookie", "address", "HS512", "none",
         "no such login", "garbage", "latin-1"],
)  # fmt: skip
def test_a_token_that_is_not_wholly_right_is_refused(server, forged):
    answer = httpx.get(
        f"{server.url}{SOMEWHERE}", headers=[(b"authorization", b"Bearer " + forged().encode("latin-1"))]
    )
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthorized"
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_an_expired_token_says_so_and_only_one_that_was_ours(server):
    claims = jwt.decode(log_in(server, "anna").json()["access_token"], SIGNING_KEY, algorithms=["HS256"], issuer=ISSUER)
    now = int(time.time())
    old = ask(server, signed(sub=claims["sub"], sid=claims["sid"], exp=now - 40))
    assert (old.status_code, old.json()["error"]["code"]) == (401, "token_expired")
    assert 'error="invalid_token"' in old.headers["www-authenticate"]
    foreign = ask(server, signed(key=b"another key of thirty-two bytes!!", exp=now - 40))
    assert foreign.json()["error"]["code"] == "unauthorized"


@pytest.mark.parametrize("change", [{"exp": -20}, {"iat": 20}], ids=["just expired", "just issued elsewhere"])
def test_clocks_that_differ_by_half_a_minute_refuse_no_token(server, change):
    claims = jwt.decode(log_in(server, "anna").json()["access_token"], SIGNING_KEY, algorithms=["HS256"], issuer=ISSUER)
    times = {name: int(time.time()) + seconds for name, seconds in change.items()}
    assert ask(server, signed(sub=claims["sub"], sid=claims["sid"], **times)).status_code == 200


def test_a_token_cannot_name_another_user_than_its_login(server):
    token = log_in(server, "anna").json()["access_token"]
    claims = jwt.decode(token, SIGNING_KEY, algorithms=["HS256"], issuer=ISSUER)
    assert ask(server, signed(sid=claims["sid"], sub=claims["sub"])).status_code == 200
    assert ask(server, signed(sid=claims["sid"], sub="someone else")).status_code == 401


def test_a_changed_payload_is_refused(server):
    head, payload, signature = log_in(server, "anna").json()["access_token"].split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["exp"] += 10_000
    changed = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    assert ask(server, f"{head}.{changed}.{signature}").status_code == 401


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Token abc", ""])
def test_other_schemes_are_no_credentials(server, header):
    assert httpx.get(f"{server.url}{SOMEWHERE}", headers={"Authorization": header}).status_code == 401


# --- refresh and logout ---


def test_a_refresh_token_is_good_once_and_gives_the_next(server):
    first = log_in(server, "anna").json()
    second = refresh(server, first["refresh_token"]).json()
    assert second["user"] == first["user"]
    assert ask(server, second["access_token"]).status_code == 200
    third = refresh(server, second["refresh_token"])
    assert third.status_code == 200
    assert len({first["refresh_token"], second["refresh_token"], third.json()["refresh_token"]}) == 3


def test_a_login_ends_for_good_however_often_it_was_refreshed(server):
    auth = server.services.auth
    user, token = server.call(auth.accounts.user("anna")), new_token()
    login_id = server.call(auth.logins.open(user.id, hashed(token), days=-1.0))
    assert refresh(server, token).status_code == 401
    assert ask(server, auth.tokens.issue(user.id, login_id)).status_code == 401


def test_a_spent_refresh_token_ends_its_login_and_no_other(server):
    other = log_in(server, "anna").json()
    first = log_in(server, "anna").json()
    second = refresh(server, first["refresh_token"]).json()
    assert refresh(server, first["refresh_token"]).status_code == 401
    assert refresh(server, second["refresh_token"]).status_code == 401
    assert ask(server, second["access_token"]).status_code == 401
    assert ask(server, first["access_token"]).status_code == 401
    assert ask(server, other["access_token"]).status_code == 200
    assert refresh(server, other["refresh_token"]).status_code == 200


def test_of_many_refreshes_at_once_at_most_one_is_served(server):
    from concurrent.futures import ThreadPoolExecutor

    token = log_in(server, "anna").json()["refresh_token"]
    with ThreadPoolExecutor(8) as pool:
        statuses = [answer.status_code for answer in pool.map(lambda _: refresh(server, token), range(8))]
    assert sorted(statuses) == [200] + [401] * 7


def test_an_unknown_refresh_token_is_refused(server):
    assert refresh(server, "made up").status_code == 401


def test_an_access_token_is_no_refresh_token_and_the_other_way_round(server):
    tokens = log_in(server, "anna").json()
    assert refresh(server, tokens["access_token"]).status_code == 401
    assert ask(server, tokens["refresh_token"]).status_code == 401


def test_logging_out_ends_both_tokens(server):
    tokens = log_in(server, "anna").json()
    assert ask(server, tokens["access_token"], "/api/auth/logout", "POST").status_code == 204
    assert ask(server, tokens["access_token"]).status_code == 401
    assert refresh(server, tokens["refresh_token"]).status_code == 401


@pytest.mark.parametrize("change", ["disable", "password"])
def test_disabling_a_user_or_setting_a_password_ends_every_login(server, change):
    auth = server.services.auth
    name = f"carl-{change}"
    key = server.call(new_user(auth, name))
    tokens = log_in(server, name).json()
    if change == "disable":
        server.call(auth.accounts.set_disabled(name, True))
        assert log_in(server, name).status_code == 401
    else:
        server.call(auth.accounts.set_password(name, auth.passwords.hash("another long one")))
    assert ask(server, tokens["access_token"]).status_code == 401
    assert refresh(server, tokens["refresh_token"]).status_code == 401
    assert ask(server, key).status_code == (401 if change == "disable" else 200)


# --- API keys ---


def test_a_key_serves_as_the_key_of_the_official_client(server, anna):
    made = anna.post("/api/auth/keys", json={"name": "laptop"})
    assert made.status_code == 201, made.text
    assert made.json()["key"].startswith(f"admint_{made.json()['id']}_")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=made.json()["key"], max_retries=0) as client:
        assert [model.id for model in client.models.list()]
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


def test_keys_are_listed_without_their_secret_and_stored_as_hashes(server, anna):
    made = anna.post("/api/auth/keys", json={"name": "listed", "scopes": ["read", "read"]}).json()
    (listed,) = [key for key in anna.get("/api/auth/keys").json()["items"] if key["id"] == made["id"]]
    assert listed == {name: made[name] for name in ("id", "name", "scopes", "created_at")}
    assert listed["scopes"] == ["read"]
    secret = made["key"].rsplit("_", 1)[1]
    everything = b"".join(path.read_bytes() for path in server.folder.glob("store.sqlite*"))
    assert secret.encode() not in everything
    assert hashlib.sha256(secret.encode()).hexdigest().encode() in everything


def test_a_revoked_key_is_refused_at_once_and_only_its_owner_revokes_it(server, anna):
    made = anna.post("/api/auth/keys", json={"name": "short"}).json()
    with logged_in(server, "bruno") as bruno:
        assert bruno.delete(f"/api/auth/keys/{made['id']}").status_code == 404
    assert ask(server, made["key"]).status_code == 200
    assert anna.delete(f"/api/auth/keys/{made['id']}").status_code == 204
    assert ask(server, made["key"]).status_code == 401
    assert anna.delete(f"/api/auth/keys/{made['id']}").status_code == 404


def test_a_key_with_another_secret_is_refused(server, anna):
    made = anna.post("/api/auth/keys", json={"name": "guessed"}).json()
    assert ask(server, made["key"][:-1] + ("0" if made["key"][-1] != "0" else "1")).status_code == 401
    assert ask(server, f"admint_{'0' * 12}_{made['key'].rsplit('_', 1)[1]}").status_code == 401
    assert ask(server, "admint_").status_code == 401


def test_a_key_that_may_read_changes_nothing(server, anna):
    key = anna.post("/api/auth/keys", json={"name": "reader", "scopes": ["read"]}).json()["key"]
    assert ask(server, key).status_code == 200
    for method, path in (("POST", "/v1/videos"), ("DELETE", "/v1/videos/x"), ("POST", "/v1/images/generations")):
        answer = ask(server, key, path, method)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


def test_a_key_that_may_only_write_reads_nothing(server, anna):
    key = anna.post("/api/auth/keys", json={"name": "writer", "scopes": ["write"]}).json()["key"]
    assert ask(server, key).status_code == 403


def test_a_key_makes_and_revokes_no_keys_and_ends_no_login(server, anna):
    made = anna.post("/api/auth/keys", json={"name": "ambitious"}).json()
    with httpx.Client(base_url=server.url, headers=bearer(made["key"])) as program:
        assert program.post("/api/auth/keys", json={"name": "child"}).status_code == 403
        assert program.delete(f"/api/auth/keys/{made['id']}").status_code == 403
        assert program.post("/api/auth/logout").status_code == 403


def test_a_scope_that_does_not_exist_is_named(anna):
    answer = anna.post("/api/auth/keys", json={"name": "x", "scopes": ["everything"]})
    assert answer.status_code == 422
    assert "scopes" in answer.json()["error"]["param"]


def test_a_user_has_a_bounded_number_of_keys(server):
    with logged_in(server, "hoarder") as hoarder:
        statuses = [hoarder.post("/api/auth/keys", json={"name": "k"}).status_code for _ in range(50)]
    assert statuses == [201] * 49 + [422]  # `logged_in` made the first


# --- what is open, and to whom ---


def test_health_and_the_description_are_open(server):
    for path in ("/healthz", "/docs", "/openapi.json"):
        assert httpx.get(f"{server.url}{path}").status_code == 200, path
    assert httpx.get(f"{server.url}/readyz").status_code in (200, 503)


def test_metrics_are_for_admins(server, anna):
    assert httpx.get(f"{server.url}/metrics").status_code == 401
    assert anna.get("/metrics").status_code == 403
    assert server.http.get("/metrics").status_code == 200


def test_metrics_are_open_where_the_operator_says_so(server):
    opened = replace(server.services.auth, metrics_public=True)
    app = create_app(replace(server.services, auth=opened))

    async def look(path):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            return (await client.get(path)).status_code

    assert server.call(look("/metrics")) == 200
    assert server.call(look(SOMEWHERE)) == 401


def test_an_address_that_does_not_exist_tells_a_stranger_nothing(server, anna):
    assert httpx.get(f"{server.url}/api/nothing").status_code == 401
    assert anna.get("/api/nothing").status_code == 404


@pytest.mark.parametrize("path", ["//healthz/../v1/models", "/healthz/", "/HEALTHZ", "/healthz%2f..%2fv1/models"])
def test_an_address_that_looks_open_is_not(server, path):
    assert httpx.get(f"{server.url}{path}").status_code == 401


def test_the_description_names_the_scheme_and_the_open_addresses(server):
    described = httpx.get(f"{server.url}/openapi.json").json()
    assert described["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert described["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
    assert {"bearer": []} in described["security"] and {"apiKey": []} in described["security"]
    assert {} not in described["security"]
    assert described["paths"]["/api/auth/login"]["post"]["security"] == []
    assert "security" not in described["paths"]["/v1/videos"]["post"]
