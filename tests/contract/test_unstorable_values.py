"""What no database can hold is refused by all of them with the same typed error, and nothing of it is written."""

import math

import pytest
from sqlalchemy import select

from pipelines.brief import Brief
from pipelines.errors import Unstorable
from pipelines.records import NewEvent
from pipelines.steps import StepOutput
from pipelines.store.accounts import Accounts
from pipelines.store.generation_index import GenerationIndex
from pipelines.store.tables import currents
from pipelines.store.values import serialised
from tests.support.stored_generations import BRIEF, EVENT, RECIPE, step

NUL, HALF = "a\x00b", "a\ud83db"


@pytest.mark.parametrize("text", [NUL, HALF])
@pytest.mark.parametrize("where", ["message", "data", "key"])
async def test_an_event_with_a_character_that_cannot_be_stored_is_refused(store, generation_id, text, where):
    lease = await store.claim(generation_id, "one")
    data = {"deep": [{text: 1} if where == "key" else {"x": text}]} if where != "message" else {}
    event = NewEvent(kind="notice", message=text if where == "message" else "hello", data=data)
    with pytest.raises(Unstorable, match="cannot be stored"):
        await store.append(lease, EVENT, event)
    assert await store.events(generation_id) == ()


@pytest.mark.parametrize("text", [NUL, HALF])
async def test_asking_for_such_a_text_is_refused_too(store, database, text):
    for asked in (
        store.get("anna", text),
        Accounts(database).user(text),
        GenerationIndex(database).page("a", 1, 0, text=text),
    ):
        with pytest.raises(Unstorable):
            await asked


async def test_a_prompt_with_such_a_character_makes_no_generation(store):
    with pytest.raises(Unstorable, match="take it out of"):
        await store.create("anna", Brief(prompt=f"an ad {NUL}", seed=1), RECIPE, {}, {})
    assert await store.count_waiting() == 0


@pytest.mark.parametrize("number", [math.nan, math.inf])
async def test_a_number_that_is_none_is_refused_as_a_value_and_in_json(store, generation_id, number):
    lease = await store.claim(generation_id, "one")
    with pytest.raises(Unstorable):
        await store.commit_step(lease, step(), StepOutput(value={}), number, EVENT)
    with pytest.raises(Unstorable, match="number"):
        await store.commit_step(lease, step(), StepOutput(value={"score": number}), 1.0, EVENT)
    assert await store.checkpoints(generation_id) == ()


async def test_a_number_that_is_too_large_is_refused(store, database):
    with pytest.raises(Unstorable, match=r"below 2\*\*63"):
        await GenerationIndex(database).page("anna", 20, 10**30)
    with pytest.raises(Unstorable):
        await database.fetch(select(currents).where(currents.c.scene_number == 2**64))


async def test_a_text_that_postgres_finds_too_long_is_refused_there(postgres_database_url):
    from pipelines.store.database import Database

    database = Database(postgres_database_url)
    with pytest.raises(Unstorable, match="too long"):
        await Accounts(database).add_user("a" * 65, "hash")
    await database.close()


def test_whole_pairs_and_what_only_looks_like_an_escape_are_stored():
    assert serialised({"a": "\U0001f600 \\u0000 \\ud83d"}) == '{"a": "\\ud83d\\ude00 \\\\u0000 \\\\ud83d"}'


async def test_emoji_and_accents_read_back_as_they_were_written(store):
    prompt = "Ærø 😀 \\u0000"
    created = await store.create("anna", BRIEF.model_copy(update={"prompt": prompt}), RECIPE, {}, {})
    assert (await store.get("anna", created)).brief.prompt == prompt
