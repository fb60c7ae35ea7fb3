import pytest

from pipelines.agents.cohesor import OverviewAnswer, PairAnswer, assemble
from pipelines.agents.conversation import CritiqueAnswer
from pipelines.agents.facts import (
    calls_to_action,
    names_product,
    overview_facts,
    pair_facts,
    scene_facts,
    story_facts,
    stray_beats,
)
from pipelines.agents.prompting import MAX_IMAGE_WORDS, image_prompt, video_prompt
from pipelines.agents.scene import SceneAnswer, check_scene, scene_question
from pipelines.agents.story import StoryAnswer, check_story, story_question
from pipelines.brief import Brief
from pipelines.facts import BriefFacts
from pipelines.reading.brief_rules import read_brief
from pipelines.screenplay import Beat, Entity, Premise, SceneDraft, Story
from pipelines.timing import plan_slots

BRIEF = Brief(prompt="an ad for a steel water bottle on the beach", brand_name="Nordal", seed=0)
BOTTLE = Entity(
    handle="product", role="product", name="steel water bottle", description="red steel bottle", reference_index=0
)
HIKER = Entity(handle="character-1", role="character", name="hiker", description="hiker in a red coat")
STYLE = Entity(handle="style-1", role="style", name="style", description="warm light, film grain")
STORY = Story(
    title="Dry",
    beats=(
        Beat(purpose="Before", setting="on the beach", event="The steel water bottle waits"),
        Beat(purpose="Action", setting="on the beach", event="The bottle shines: Get yours today"),
    ),
    call_to_action="Get yours today",
)

PREMISE = Premise(
    entities=(BOTTLE,),
    facts=read_brief(Brief(prompt="an ad for a steel water bottle in the kitchen at noon and on the beach", seed=0)),
)


def draft(**changes):
    given = {"setting": "on the beach", "action": "The bottle turns.", "camera": "static", "entities": ("product",)}
    return SceneDraft(**(given | changes))


def critique(score):
    return CritiqueAnswer(strengths=(), improvements=(), priority_fixes=(), critique="all is well", overall_score=score)


@pytest.mark.parametrize(
    "text",
    ["Get yours today", "The bottle fills the frame: Order now.", "The words 'Try it' appear", "Cold. Buy it."],
)
def test_a_call_to_action_is_recognised(text):
    assert calls_to_action(text)


@pytest.mark.parametrize("text", ["They get wet", "The bottle can take a fall", "A shop at night"])
def test_an_ordinary_sentence_is_no_call_to_action(text):
    assert not calls_to_action(text)


def test_the_product_is_named_by_its_noun_but_not_by_a_longer_word():
    assert names_product("Two bottles in the sand", BOTTLE)
    assert not names_product("A bottleneck", BOTTLE)


def test_facts_say_which_beats_lack_the_product():
    beats = (STORY.beats[0].model_copy(update={"event": "Nothing happens"}), STORY.beats[1])
    facts = story_facts(STORY.model_copy(update={"beats": beats}), BOTTLE, BRIEF)
    assert facts == (
        "Facts: product not named in beat 1; setting kept; no event repeated; call to action in the last beat: yes"
    )


def test_facts_say_which_beats_leave_the_place_and_repeat_an_event():
    beats = tuple(
        Beat(purpose="Desire", setting=setting, event="The bottle turns.")
        for setting in ("on a sunny beach", "in a forest at noon", "on the beach at night")
    )
    facts = story_facts(STORY.model_copy(update={"beats": beats}), BOTTLE, BRIEF)
    assert "another setting in beat 2; event repeated in beat 2, 3;" in facts
    assert stray_beats(["in a gym", "in a gym", "on a boat"], BRIEF) == (3,)


def test_facts_say_whether_a_scene_keeps_its_beat():
    kept = scene_facts(draft(action="The steel water bottle waits in the sand."), BOTTLE, STORY.beats[0], last=False)
    assert kept == "Facts: product named: yes; beat's setting: yes; beat's event: yes; call to action: not needed"
    lost = scene_facts(draft(setting="in a gym"), BOTTLE, STORY.beats[1], last=True)
    assert lost == "Facts: product named: yes; beat's setting: no; beat's event: no; call to action: no"


def test_facts_say_how_one_scene_leads_to_the_next():
    before, after = draft(camera="pan_left"), draft(setting="in a gym", camera="pan_right", action="Waves")
    facts = pair_facts(before, after, BOTTLE, BRIEF)
    assert facts.startswith("Facts: one setting: no; both settings in the brief: no; product named in the second: no;")
    assert facts.endswith("camera turns back: yes")
    assert overview_facts((before, after), BOTTLE, BRIEF) == (
        "Facts: product not named in scene 2; another setting in scene 2"
    )


def test_the_score_decides_on_approval():
    assert critique(85).judged(85).approval_status == "approved"
    assert critique(84).judged(85).approval_status == "needs_revision"


def test_an_unbound_handle_is_refused_by_name_wherever_it_stands():
    def answer(**changes):
        given = {"setting": "x", "action": "y", "camera": "static", "entities": ("product",)}
        return SceneAnswer(**(given | changes))

    check_scene(answer(action="product and reference-1 meet"), (BOTTLE, HIKER))
    with pytest.raises(ValueError, match="'character-2' is not bound, use only character-1, product"):
        check_scene(answer(entities=("character-2",)), (BOTTLE, HIKER))
    with pytest.raises(ValueError, match="'reference-2' is not bound"):
        check_scene(answer(action="reference-2 falls"), (BOTTLE,))


def test_the_writer_may_only_choose_bound_handles_and_moves_that_the_video_model_knows():
    schema = scene_question(BRIEF, STORY, (BOTTLE, HIKER), 1, ("static", "orbit"), 0).json_schema
    assert schema["properties"]["camera"]["enum"] == ["static", "orbit"]
    assert schema["properties"]["entities"]["items"]["enum"] == ["product", "character-1"]


def test_a_rewrite_shows_the_earlier_draft_and_the_feedback():
    user = scene_question(BRIEF, STORY, (BOTTLE,), 2, ("static",), 0, 2, "Show the bottle.", draft()).user
    assert "Scene 2 of 2, purpose: Action" in user
    assert "Earlier draft:\nSetting: on the beach" in user
    assert user.endswith("Feedback: Show the bottle.")
    again = story_question(BRIEF, PREMISE, plan_slots("BAB", 15, 8), 0, 2, "Name the bottle.", STORY).user
    assert "Brand: Nordal" in again
    assert "Call to action: Get yours today" in again
    assert again.endswith("Feedback: Name the bottle.")


def test_the_places_of_the_brief_are_spread_over_the_scenes_in_their_order():
    slots = plan_slots("AIDA", 15, 8)
    asked = story_question(BRIEF, PREMISE, slots, 0).user.splitlines()
    places = [line.split(", ")[1] for line in asked[asked.index("Scenes:") + 1 :]]
    assert places == ["in the kitchen at noon", "in the kitchen at noon", "on the beach", "on the beach"]
    left_open = story_question(BRIEF, PREMISE.model_copy(update={"facts": BriefFacts()}), slots, 0).user
    assert "1 Attention\n2 Interest\n" in left_open


def test_a_story_with_the_wrong_number_of_beats_is_refused():
    answer = StoryAnswer(title="t", beats=({"setting": "s", "event": "e"},), call_to_action="c")
    with pytest.raises(ValueError, match="1 given, exactly 4 wanted"):
        check_story(answer, plan_slots("AIDA", 15, 8))


def test_cohesion_is_the_mean_of_the_transitions_and_flags_the_later_scene():
    pairs = (
        PairAnswer(issues=(), recommendations=(), transition_score=92),
        PairAnswer(issues=("The setting changes.",), recommendations=("Go back.",), transition_score=60),
        PairAnswer(issues=(), recommendations=(), transition_score=79),
    )
    overview = OverviewAnswer(global_issues=("g",), consistency_issues=(), overall_recommendations=())
    cohesion = assemble(pairs, overview, 80)
    assert cohesion.overall_cohesion_score == 77.0
    assert [(pair.from_scene, pair.to_scene) for pair in cohesion.pair_wise_analysis] == [(1, 2), (2, 3), (3, 4)]
    assert cohesion.scene_specific_feedback == {
        3: "The setting changes. Go back.",
        4: "The transition from scene 3 does not flow.",
    }
    assert cohesion.global_issues == ("g",)


def test_the_look_leads_the_prompt_and_the_camera_ends_the_clips():
    scene = draft(action="The steel water bottle turns.", camera="push_in")
    assert image_prompt(scene, (BOTTLE,)) == "a photo of a red steel bottle on the beach, the bottle turns"
    assert video_prompt(scene, (BOTTLE,)).endswith("the bottle turns")


def test_a_look_that_does_not_say_what_it_is_is_led_by_the_name():
    vague = BOTTLE.model_copy(update={"description": "red and shiny"})
    assert image_prompt(draft(), (vague,)).startswith("a photo of a steel water bottle, red and shiny on the beach")


def test_an_image_prompt_keeps_subject_and_setting_when_the_action_is_too_long():
    scene = draft(action=" ".join(["word"] * 30), setting="kitchen", entities=("product", "character-1", "style-1"))
    prompt = image_prompt(scene, (BOTTLE, HIKER, STYLE))
    expected = "a photo of a red steel bottle and a hiker in a red coat, kitchen, warm light, film grain"
    assert prompt == expected
    assert len(prompt.split()) <= MAX_IMAGE_WORDS
    assert "word word" in video_prompt(scene, (BOTTLE, HIKER, STYLE))
