"""What tests of the store write: a brief, a recipe, an event, and a step with its output."""

from pipelines.brief import Brief
from pipelines.recipe import Recipe
from pipelines.records import NewEvent
from pipelines.steps import Message, NewTake, Step, StepOutput, StoredArtifact

BRIEF = Brief(prompt="an ad for a steel water bottle", seed=3)
RECIPE = Recipe(name="test", description="", stages=("storyboard",))
EVENT = NewEvent(kind="notice", message="hello")


async def nothing(desk):
    return StepOutput(value={})


def step(name="storyboard/scene-001", **inputs):
    return Step(name=name, inputs=inputs, work=nothing, scene_number=1)


def output(sha="a" * 64, value=1):
    return StepOutput(
        value={"value": value},
        artifacts=(StoredArtifact(sha256=sha, media_type="image/png", size=3),),
        takes=(NewTake(kind="keyframe", scene_number=1, artifact=sha, provenance={"seed": 1}),),
        messages=(Message(role="director", iteration=1, content="hm", score=90.0),),
    )
