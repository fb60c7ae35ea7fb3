"""What rules read in a brief, what the judge finds in a draft, and which texts nobody is shown."""

import pytest

from benchmarks.agents.briefs import BY_HAND, NAMELESS, OUT_OF_DOMAIN, in_domain
from configs.settings import load_model, load_recipe
from models.spec import ImageModelSpec, VideoModelSpec
from pipelines.agents.judge import changed_plan, judge_scene, judge_story, judged, look_of
from pipelines.brief import Brief
from pipelines.errors import OutOfDomain
from pipelines.facts import FactEdits, PlaceEdit
from pipelines.orders.ad import AdPlanner, AdRequest
from pipelines.reading.brief_rules import edited, read_brief
from pipelines.reading.domain import drawable
from pipelines.reading.sanity import Broken, Odd, check_text
from pipelines.screenplay import Beat, Critique, Entity, Premise, SceneDraft, Story

DEW = Brief(prompt=BY_HAND[0].prompt, seed=0)
FACTS = read_brief(DEW)
BOTTLE = Entity(handle="product", role="product", name="teal steel water bottle", description="teal steel water bottle")
PREMISE = Premise(entities=(BOTTLE,), facts=FACTS)
SECONDS = (3.0, 4.0, 5.0, 3.0)
IMAGE = load_model("sketch-image", ImageModelSpec)
VIDEO = load_model("sketch-video", VideoModelSpec)
GOOD = Story(
    title="Meet Dew",
    beats=(
        Beat(purpose="Attention", setting="on the kitchen counter in the morning", event="Light finds the bottle"),
        Beat(
            purpose="Interest",
            setting="on the kitchen counter in the morning",
            event="The teal steel water bottle keeps drinks cold all day",
        ),
        Beat(purpose="Desire", setting="in the forest at noon", event="Leaves stir around the bottle"),
        Beat(
            purpose="Action", setting="on the beach in the evening", event="One last look at the bottle: Get Dew today"
        ),
    ),
    call_to_action="Get Dew today",
)


def said(fact):
    """The value of a fact that may be absent."""
    return None if fact is None else fact.value


def story(number=1, **changes):
    beats = list(GOOD.beats)
    beats[number - 1] = beats[number - 1].model_copy(update=changes)
    return GOOD.model_copy(update={"beats": tuple(beats)})


def broken(draft, premise=PREMISE, **more):
    return [one.fact for one in judge_story(draft, premise, DEW, SECONDS, **more)]


def test_every_fact_of_a_brief_holds_the_characters_that_say_it():
    facts = [FACTS.brand, FACTS.product.name, *FACTS.claims]
    facts += [fact for place in FACTS.places for fact in (place.place, place.time)]
    for fact in filter(None, facts):
        assert DEW.prompt[fact.source.start : fact.source.end] == fact.value
    assert (said(FACTS.product.colour), said(FACTS.product.material)) == ("teal", "steel")
    assert FACTS.offer is None
    assert FACTS.audience is None


@pytest.mark.parametrize("known", [*BY_HAND, *in_domain(60, 3)], ids=lambda known: known.prompt[:40])
def test_the_rules_read_what_the_brief_says_and_nothing_else(known):
    facts = read_brief(Brief(prompt=known.prompt, seed=0))
    assert said(facts.product.name).lower().endswith(known.noun)
    assert said(facts.product.colour) == known.colour
    assert said(facts.brand) == known.brand
    assert [claim.value for claim in facts.claims] == ([known.claim] if known.claim else [])
    assert (known.offer or "").lower() in (facts.offer.text.value.lower() if facts.offer else "")
    assert len(facts.places) == len(known.places)
    for place, (word, hour) in zip(facts.places, known.places, strict=True):
        assert word in place.setting
        assert (hour or "") in place.setting
    assert not drawable(facts, known.prompt, IMAGE.domain).missing


@pytest.mark.parametrize(
    "phrase",
    [
        "a mug in white", "a mug, white, for the office", "a mug, white. It is on a table", "a mug (white) for work",
        "a mug, in white", "a mug, matte white, for work", "a mug — white — for work",
    ],
)  # fmt: skip
def test_a_colour_behind_its_product_is_the_products(phrase):
    facts = read_brief(Brief(prompt=f"An ad for {phrase}.", seed=0))
    assert (said(facts.product.colour), said(facts.product.noun)) == ("white", "mug")


def test_a_colour_behind_a_comma_that_belongs_to_something_else_is_not_the_products():
    assert read_brief(Brief(prompt="An ad for a mug, white tables and flowers.", seed=0)).product.colour is None


@pytest.mark.parametrize(
    "call",
    ["Order before Sunday", "Try it tonight", "Buy yours by Friday", "Order while stocks last", "Shop at dew.com"],
)
def test_what_a_brief_asks_people_to_do_is_kept_in_its_own_words(call):
    facts = read_brief(Brief(prompt=f"A teal bottle called Dew, in the kitchen at noon. {call}.", seed=0))
    assert said(facts.call_to_action) == call


@pytest.mark.parametrize("prompt", OUT_OF_DOMAIN)
def test_what_the_models_were_never_shown_is_refused_unless_asked_for(prompt):
    planner = AdPlanner(recipe=load_recipe, image_model=IMAGE, video_model=VIDEO, fps=24, scorers={"clip"})
    with pytest.raises(OutOfDomain, match="can be drawn") as refused:
        planner.plan(AdRequest(recipe="master", brief={"prompt": prompt}))
    assert refused.value.field == "brief.prompt"
    order = planner.plan(AdRequest(recipe="master", brief={"prompt": prompt}, accept_out_of_domain=True))
    assert any("is shown instead" in warning for warning in order.warnings)


@pytest.mark.parametrize("prompt", NAMELESS)
def test_a_brief_without_a_product_runs_with_a_warning(prompt):
    planner = AdPlanner(recipe=load_recipe, image_model=IMAGE, video_model=VIDEO, fps=24, scorers={"clip"})
    order = planner.plan(AdRequest(recipe="master", brief={"prompt": prompt}))
    assert "names no product" in order.warnings[0]


def test_an_open_model_refuses_nothing():
    found = drawable(FACTS, DEW.prompt, None)
    assert (found.facts, found.missing, found.warnings) == (FACTS, (), ())


def test_a_story_of_the_facts_breaks_none():
    assert broken(GOOD) == []


@pytest.mark.parametrize(
    ("draft", "fact"),
    [
        (story(1, event="Light finds the purple bottle"), "colour"),
        (story(1, event="Light finds the leather bottle"), "colour"),
        (story(1, event="A pink mug rolls into view beside the bottle"), "other_product"),
        (story(1, event="Light finds the counter"), "product"),
        (story(1, event="Light finds the bottle on the beach"), "place"),
        (story(1, event="Light finds the bottle at sunset"), "place"),
        (story(1, setting="in the forest at noon"), "place"),
        (story(2, event="The teal steel water bottle stands still"), "claim"),
        (story(4, event="One last look at the bottle"), "call_to_action"),
        (story(4, event="One last look at the bottle: Get Acme today"), "brand"),
        (story(4, event="One last look at the bottle: Get Dew today, only $5"), "offer"),
        (story(3, event="Light finds the bottle"), "repetition"),
        (story(3, event="The bottle " + "turns and turns and shines and shines " * 6), "length"),
    ],
)
def test_the_judge_finds_what_a_draft_breaks(draft, fact):
    found = broken(draft)
    assert fact in found


def test_a_draft_in_another_language_is_no_draft_of_this_brief():
    german = [f"Die Flasche steht auf dem Tisch und das Licht fällt auf sie, Nummer {n}" for n in range(4)]
    beats = tuple(beat.model_copy(update={"event": text}) for beat, text in zip(GOOD.beats, german, strict=True))
    assert "language" in broken(GOOD.model_copy(update={"beats": beats}))


def test_a_wish_that_a_revision_ignored_is_a_broken_fact():
    assert broken(GOOD, wish="shorter please", previous=GOOD) == ["feedback"]
    longer = story(1, event="Light finds the bottle while steam curls through the air")
    assert broken(GOOD, wish="shorter please", previous=longer) == []
    assert "feedback" in broken(longer, wish="shorter please", previous=GOOD)


def test_the_offer_must_be_exact():
    brief = Brief(prompt="An ad for a red mug. Only $19.99 this week.", seed=0)
    mug = Entity(handle="product", role="product", name="red mug", description="red mug")
    premise = Premise(entities=(mug,), facts=read_brief(brief))

    def found(call):
        beats = (
            Beat(purpose="Attention", setting="s", event="Light finds the red mug"),
            Beat(purpose="Action", setting="s", event=f"The red mug stands there: {call}"),
        )
        told = Story(title="The red mug", beats=beats, call_to_action=call)
        return [one.fact for one in judge_story(told, premise, brief, (4.0, 4.0))]

    assert found("Get the red mug today, only $19.99 this week") == []
    assert "offer" in found("Get the red mug today, only $19.90 this week")
    assert "offer" in found("Get the red mug today")


def test_a_scene_is_judged_against_its_own_beat():
    beat = GOOD.beats[2]
    draft = SceneDraft(setting=beat.setting, action=beat.event, camera="static", entities=("product",))
    assert judge_scene(draft, beat, PREMISE, DEW, 5.0, None) == ()
    away = draft.model_copy(update={"setting": "on the beach in the evening"})
    assert [one.fact for one in judge_scene(away, beat, PREMISE, DEW, 5.0, None)] == ["place"]
    silent = draft.model_copy(update={"action": "One last look at the bottle"})
    ending = judge_scene(silent, GOOD.beats[3], PREMISE, DEW, 3.0, GOOD.call_to_action)
    assert {one.fact for one in ending} >= {"call_to_action", "brand"}


def test_facts_veto_a_critics_number_and_cap_it():
    praise = Critique(
        approval_status="approved",
        overall_score=98,
        critique="Perfect.",
        strengths=(),
        improvements=(),
        priority_fixes=(),
    )
    against = judge_story(story(1, event="Light finds the purple bottle"), PREMISE, DEW, SECONDS)
    vetoed = judged(praise, against, ("colour",), 85)
    assert (vetoed.approval_status, vetoed.overall_score) == ("needs_revision", 84)
    assert "teal steel water bottle" in vetoed.priority_fixes[0]
    assert judged(praise, against, ("place",), 85) == praise
    assert judged(praise, (), ("colour",), 85) == praise


@pytest.mark.parametrize(
    ("richer", "wrong"),
    [
        ("a photo of a teal steel water bottle in the forest at noon, soft light, 35 mm", None),
        ("a photo of a pink steel water bottle in the forest at noon", "teal"),
        ("a photo of a teal steel water bottle on the beach at noon", "beach"),
        ("a photo of a teal steel water bottle in the forest at noon, a red mug beside it", "mug"),
        ("a photo of a teal steel water bottle in the forest at night", "night"),
        ("a photo of a teal steel vase in the forest at noon", "bottle"),
    ],
)
def test_an_enhancer_may_add_light_and_cannot_change_the_plan(richer, wrong):
    reason = changed_plan("a photo of a teal steel water bottle in the forest at noon", richer, BOTTLE)
    assert reason is None if wrong is None else wrong in (reason or "")


def test_a_look_that_contradicts_the_brief_is_not_used():
    assert look_of("teal bottle", "teal glossy bottle with a cap") == "teal glossy bottle with a cap"
    assert look_of("teal bottle", "red glossy bottle") is None
    assert look_of("teal bottle", "black metallic lamp") is None
    assert look_of("steel bottle", "blue bottle") == "blue steel bottle"


def test_the_owner_corrects_what_was_read():
    edits = FactEdits(colour="red", offer="only $5", places=(PlaceEdit(place="beach", time="night"),), claims=())
    facts = edited(FACTS, edits)
    assert said(facts.product.name) == "red steel water bottle"
    assert facts.offer
    assert (said(facts.offer.price), facts.claims) == ("$5", ())
    assert [place.setting for place in facts.places] == ["on the beach at night"]
    assert facts.product.colour
    assert facts.product.colour.source.origin == "owner"


@pytest.mark.parametrize(
    "text",
    [
        "inerbinerbinerbinerbin", ": ]} into good one", ": [", "The Lusolum bottle Lusolum bottle Lusolum bottle ses",
        "a\x00b", "<script>alert(1)</script>",
        'x", "duration": 60', "takol nowol topsol", "The bottle The bottle The bottle",
        "I'm sorry, but I cannot help", "...",
    ],
)  # fmt: skip
def test_text_that_is_none_is_broken(text):
    with pytest.raises(Broken):
        check_text({"beats": [{"event": text}]}, "an ad for a bottle")


def test_an_unknown_word_is_odd_unless_the_brief_has_it():
    with pytest.raises(Odd, match="quitane"):
        check_text("Get the Quitane coffee today", "an ad for coffee")
    check_text("Get the Quitane coffee today", "an ad for Quitane coffee")
    check_text("Unhurried light slides over the leakproof lid of the tumbler, $19.99 this week.", "")
    check_text("Der Hund läuft am Strand und ist nicht müde", "Eine Anzeige für eine Flasche mit Wasser")


def test_text_cut_at_its_limit_is_broken():
    schema = {"properties": {"event": {"type": "string", "maxLength": 20}}}
    with pytest.raises(Broken, match="cut off"):
        check_text({"event": "The bottle stands on"}, "", schema)
