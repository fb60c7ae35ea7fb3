"""Lists of generations: one owner's, newest first, filtered alike on every database."""

import pytest

from pipelines.recipe import Recipe
from pipelines.store.generation_index import GenerationIndex
from tests.support.stored_generations import BRIEF, EVENT, RECIPE

OTHER = Recipe(name="other", description="", stages=("storyboard",))
PROMPTS = ("A bottle of Ærø water", "100% cotton", "100 percent cotton", "snake_case")


@pytest.fixture
async def made(store):
    recipes = (RECIPE, OTHER, RECIPE, OTHER)
    briefs = [BRIEF.model_copy(update={"prompt": prompt}) for prompt in PROMPTS]
    ids = [await store.create("anna", brief, recipe, {}, {}) for brief, recipe in zip(briefs, recipes, strict=True)]
    await store.create("ben", BRIEF, RECIPE, {}, {})
    return ids


@pytest.fixture
def index(database):
    return GenerationIndex(database)


async def found(index, **filters):
    page, total = await index.page("anna", 10, 0, **filters)
    assert len(page) == total
    return [one.brief.prompt for one in page]


async def test_pages_are_cut_from_the_newest_on_and_say_how_many_there_are(index, made):
    page, total = await index.page("anna", 2, 1)
    assert ([one.id for one in page], total) == ([made[2], made[1]], 4)
    assert await index.page("anna", 2, 4) == ((), 4)
    assert await index.page("carla", 2, 0) == ((), 0)


async def test_status_and_recipe_filter_together(index, store, made):
    await store.cancel("anna", made[1])
    assert await found(index, recipes=("other",)) == [PROMPTS[3], PROMPTS[1]]
    assert await found(index, statuses=("cancelled",)) == [PROMPTS[1]]
    assert await found(index, statuses=("pending",), recipes=("other",)) == [PROMPTS[3]]


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ("BOTTLE", PROMPTS[:1]),
        ("æRØ", PROMPTS[:1]),
        ("Ærø", PROMPTS[:1]),
        ("100%", PROMPTS[1:2]),
        ("e_c", PROMPTS[3:]),
        ("e-c", ()),
    ],
)
async def test_a_text_is_found_whatever_its_case_and_letters(index, made, text, prompts):
    assert await found(index, text=text) == list(prompts)


async def test_heads_and_the_log_follow_what_is_written(index, store, made):
    lease = await store.claim(made[0], "one")
    await store.append(lease, EVENT, EVENT, EVENT)
    assert await index.heads((made[0], made[1], "unknown")) == {made[0]: (3, "processing"), made[1]: (0, "pending")}
    assert [event.seq for event in await index.log(made[0], 1, 10)] == [2, 3]
    assert [event.seq for event in await index.log(made[0], 0, 2)] == [1, 2]
