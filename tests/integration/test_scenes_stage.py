import json

from pipelines.brief import Brief
from pipelines.recipe import Recipe, SceneAgents
from pipelines.screenplay import Beat, Entity, Story, StoryResult
from pipelines.stages.scenes import write_scenes
from tests.support.scripted_desk import ScriptedDesk, agent_of, context_for

BRIEF = Brief(prompt="an ad for a steel water bottle on the beach", seed=7)
BOTTLE = Entity(handle="product", role="product", name="steel water bottle", description="red steel bottle")
PURPOSES = ("Attention", "Interest", "Desire", "Action")
TOLD = Story(
    title="Dry",
    beats=tuple(Beat(purpose=one, setting="on the beach", event=f"The bottle, {one}") for one in PURPOSES),
    call_to_action="Get yours",
)
STORY = StoryResult(story=TOLD, entities=(BOTTLE,), rounds=(), chosen_iteration=1, approved=True, text="the story")


def recipe(**scenes):
    return Recipe(name="test", description="", stages=("story", "scenes"), scenes=SceneAgents(**scenes), facts=())


def critique(score, fix="Show the bottle."):
    verdict = {"strengths": [], "improvements": [], "priority_fixes": [fix], "critique": "so so"}
    return json.dumps({**verdict, "overall_score": score})


def pair(score):
    return json.dumps({"issues": ["It jumps."], "recommendations": ["Stay."], "transition_score": score})


async def test_scenes_take_number_purpose_and_frames_from_the_slots():
    desk = ScriptedDesk()
    context = context_for(desk, BRIEF, recipe(critic=False, cohesor=False))
    result = await write_scenes(context, STORY)
    assert [(one.scene_number, one.purpose, one.frames) for one in result.scenes] == [
        (slot.scene_number, slot.purpose, slot.frames) for slot in context.slots
    ]
    assert result.cohesion is None
    assert all(one.approved and one.critique is None for one in result.scenes)
    assert all(one.image_prompt.startswith("a photo of a red steel bottle") for one in result.scenes)
    assert desk.steps() == [f"scenes/scene-00{n}/writer-1" for n in (1, 2, 3, 4)]


async def test_each_scene_keeps_its_best_draft_and_stops_when_approved():
    scores = {1: [90], 2: [70, 60, 50], 3: [50, 95], 4: [85]}

    def script(request):
        if agent_of(request) != "scene_critic":
            return None
        number = int(request.messages[1].content.split("Scene ")[1].split(" of")[0])
        return critique(scores[number].pop(0))

    desk = ScriptedDesk(script)
    result = await write_scenes(context_for(desk, BRIEF, recipe(max_rounds=3, cohesor=False)), STORY)
    assert [one.iterations for one in result.scenes] == [1, 3, 2, 1]
    assert [one.critique and one.critique.overall_score for one in result.scenes] == [90, 70, 95, 85]
    assert [one.approved for one in result.scenes] == [True, False, True, True]
    first = desk.done["scenes/scene-002/writer-1"][1].value
    assert result.scenes[1].draft.action == first["action"]
    assert "scenes/scene-002/critic-3" in desk.done


async def test_only_the_scenes_that_the_cohesor_flags_are_rewritten():
    rounds: list[int] = []

    def staged(request):
        if agent_of(request) != "pair":
            return None
        content = request.messages[1].content
        first = int(content.split("\nScene ")[1].split(":")[0])
        rounds.append(first)
        again = rounds.count(first) > 1
        return pair(95 if again or first != 2 else 20)

    desk = ScriptedDesk(staged)
    result = await write_scenes(context_for(desk, BRIEF, recipe(critic=False, cohesion_at=80)), STORY)
    assert desk.steps("scenes/scene-") == [
        *(f"scenes/scene-00{n}/writer-1" for n in (1, 2, 3, 4)),
        "scenes/scene-003/rewrite-1",
    ]
    assert "Feedback: It jumps. Stay." in next(
        request.messages[1].content for request in desk.requests if "Earlier draft" in request.messages[1].content
    )
    assert result.cohesion
    assert result.cohesion.overall_cohesion_score == 95
    assert result.cohesion_rounds == 2
    assert [one.iterations for one in result.scenes] == [1, 1, 2, 1]


async def test_scenes_that_fit_at_once_are_judged_once():
    desk = ScriptedDesk(lambda request: pair(80) if agent_of(request) == "pair" else None)
    result = await write_scenes(context_for(desk, BRIEF, recipe(critic=False, cohesion_at=80)), STORY)
    assert result.cohesion_rounds == 1
    assert desk.steps("scenes/cohesor") == [
        "scenes/cohesor-1/pair-1-2",
        "scenes/cohesor-1/pair-2-3",
        "scenes/cohesor-1/pair-3-4",
        "scenes/cohesor-1/overview",
    ]


async def test_a_rewrite_that_makes_it_worse_is_not_taken():
    asked = []

    def script(request):
        if agent_of(request) != "pair":
            return None
        asked.append(request)
        return pair(60 if len(asked) <= 3 else 10)

    desk = ScriptedDesk(script)
    result = await write_scenes(context_for(desk, BRIEF, recipe(critic=False, cohesion_rounds=2)), STORY)
    assert result.cohesion
    assert result.cohesion.overall_cohesion_score == 60
    assert result.scenes[1].draft.action == desk.done["scenes/scene-002/writer-1"][1].value["action"]
    assert "scenes/scene-002/rewrite-1" in desk.done


async def test_enhancers_replace_the_prompts_only_where_the_recipe_asks():
    def script(request):
        if agent_of(request) != "image":
            return None
        plain = request.messages[1].content.removeprefix("Prompt: ")
        return json.dumps({"prompt": f"{plain}, soft light"})

    desk = ScriptedDesk(script)
    agents = recipe(critic=False, cohesor=False, enhance_image_prompt=True)
    result = await write_scenes(context_for(desk, BRIEF, agents), STORY)
    assert all(one.image_prompt.endswith(", soft light") for one in result.scenes)
    assert all(one.video_prompt.startswith("a photo of") for one in result.scenes)
    assert "scenes/scene-003/enhance-image" in desk.done


async def test_a_finished_run_asks_nothing_again():
    desk = ScriptedDesk()
    context = context_for(desk, BRIEF, recipe())
    first = await write_scenes(context, STORY)
    asked = len(desk.requests)
    assert await write_scenes(context, STORY) == first
    assert len(desk.requests) == asked


async def test_messages_of_a_scene_carry_its_number():
    desk = ScriptedDesk()
    await write_scenes(context_for(desk, BRIEF, recipe(max_rounds=1, cohesor=False)), STORY)
    step, output = desk.done["scenes/scene-003/critic-1"]
    assert step.scene_number == 3
    assert [(one.role, one.scene_number) for one in output.messages] == [("scene_critic", 3)]
