"""Accounts, logins and attempts on the store's database."""

import asyncio

import pytest

from pipelines.errors import BadInput, NotFound, TooManyAttempts
from pipelines.store.account_tables import Credential
from pipelines.store.accounts import Accounts
from pipelines.store.logins import AttemptLimits, LoginAttempts, Logins
from serving.gateway.auth.tokens import hashed, read_key
from serving.server.first_start import create_first_admin
from tests.support.gateway_users import cheap_passwords


@pytest.fixture
def accounts(database):
    return Accounts(database)


@pytest.fixture
def logins(database):
    return Logins(database)


@pytest.fixture
async def anna(accounts):
    return await accounts.add_user("anna", "hash")


async def test_a_user_reads_back_and_a_name_is_taken_once(accounts, anna):
    assert await accounts.user("anna") == anna
    assert (anna.role, anna.disabled) == ("user", False)
    assert await accounts.password_of("anna") == (anna, "hash")
    with pytest.raises(BadInput, match="'anna' exists already"):
        await accounts.add_user("anna", "other")
    await accounts.add_user("aaron", "hash", "admin")
    assert [user.username for user in await accounts.users()] == ["aaron", "anna"]


@pytest.mark.parametrize("method", ["user", "set_disabled", "set_password"])
async def test_an_unknown_user_is_not_found(accounts, method):
    more = {"set_disabled": (True,), "set_password": ("hash",)}.get(method, ())
    with pytest.raises(NotFound, match="'bruno'"):
        await getattr(accounts, method)("bruno", *more)


async def test_of_many_rotations_of_one_token_at_once_one_succeeds_and_the_login_ends(logins, anna):
    login_id = await logins.open(anna.id, hashed("first"), 1.0)
    rotated = await asyncio.gather(*(logins.rotate(hashed("first"), hashed(f"next{n}")) for n in range(5)))
    assert [bool(each) for each in rotated].count(True) == 1
    assert await logins.holder(login_id) is None
    assert not any([await logins.rotate(hashed(f"next{n}"), hashed(f"then{n}")) for n in range(5)])


async def test_a_ticket_is_redeemed_once_by_many_at_once(logins, anna):
    credential = Credential(kind="login", id="a login")
    await logins.issue_ticket(anna.id, credential, ("read",), hashed("ticket"), 30)
    redeemed = await asyncio.gather(*(logins.redeem_ticket(hashed("ticket")) for _ in range(5)))
    assert [each for each in redeemed if each] == [(anna, credential, ("read",))]


async def test_keys_are_found_by_id_and_hash_together(accounts, anna):
    key = await accounts.add_key(anna.id, "0" * 12, hashed("secret"), "test", ("read",))
    assert await accounts.key_holder("0" * 12, hashed("secret")) == (anna, key)
    assert await accounts.key_holder("0" * 12, hashed("other")) is None
    assert await accounts.key_holder("1" * 12, hashed("secret")) is None
    with pytest.raises(NotFound):
        await accounts.revoke_key("someone else", key.id)
    assert await accounts.keys(anna.id) == (key,)
    await accounts.revoke_key(anna.id, key.id)
    assert await accounts.key_holder("0" * 12, hashed("secret")) is None
    assert await accounts.keys(anna.id) == ()


# --- attempts ---


async def test_failures_are_counted_per_name_and_address_and_forgotten_when_right(database):
    attempts = LoginAttempts(database, AttemptLimits(username_at_address=2, address=9))
    for _ in range(2):
        await attempts.check("anna", "a")
        assert not await attempts.failed("anna", "a")
    with pytest.raises(TooManyAttempts) as refused:
        await attempts.check("anna", "a")
    assert 890 <= refused.value.retry_after <= 901
    await attempts.check("anna", "b")
    await attempts.check("bruno", "a")
    await attempts.succeeded("anna", "a")
    await attempts.check("anna", "a")


async def test_no_number_of_failures_refuses_another_name_or_another_address(database):
    attempts = LoginAttempts(database, AttemptLimits(username_at_address=2, address=3))
    slow = [await attempts.failed(name, "here") for name in "abcde"]
    assert slow == [False, False, False, True, True]
    await attempts.check("bruno", "here")
    for address in range(30):
        await attempts.failed("anna", str(address))
        await attempts.failed("anna", str(address))
    await attempts.check("anna", "home")
    with pytest.raises(TooManyAttempts):
        await attempts.check("anna", "7")
    await attempts.forget("anna")
    await attempts.check("anna", "7")


async def test_an_attempt_that_is_refused_writes_nothing_and_does_not_make_the_wait_longer(database):
    attempts = LoginAttempts(database, AttemptLimits(username_at_address=1, address=50))
    await attempts.failed("anna", "a")
    before, waits = await database.change_counter(), []
    for _ in range(5):
        with pytest.raises(TooManyAttempts) as refused:
            await attempts.check("anna", "a")
        waits.append(refused.value.retry_after)
    assert waits == sorted(waits, reverse=True)
    assert await database.change_counter() == before


async def test_old_failures_are_forgotten(database):
    attempts = LoginAttempts(database, AttemptLimits(username_at_address=1, window_seconds=0.000001))
    for _ in range(5):
        await attempts.failed("anna", "a")
        await attempts.check("anna", "a")


# --- the first admin ---


async def test_an_empty_table_gets_one_admin_whose_password_and_key_work_once_told(accounts):
    passwords = cheap_passwords()
    first = await create_first_admin(accounts, passwords)
    assert first is not None
    user, stored = await accounts.password_of("admin")
    assert user.role == "admin"
    assert (await passwords.verify(first.password, stored))[0]
    assert (await accounts.key_holder(*(read_key(first.api_key) or ())))[0] == user
    assert first.password in "".join(first.lines())
    assert first.api_key in "".join(first.lines())
    assert await create_first_admin(accounts, passwords) is None
    assert len(await accounts.users()) == 1


async def test_a_table_with_any_user_gets_none(accounts, anna):
    assert await create_first_admin(accounts, cheap_passwords()) is None
    assert await accounts.users() == (anna,)


async def test_servers_that_start_together_make_one_admin(accounts):
    passwords = cheap_passwords()
    made = await asyncio.gather(*(create_first_admin(accounts, passwords) for _ in range(4)))
    assert len([each for each in made if each]) == 1
    assert len(await accounts.users()) == 1
