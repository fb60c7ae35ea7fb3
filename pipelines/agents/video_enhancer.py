"""The video prompt enhancer: turns a simple prompt into a richer one for a video model."""

from __future__ import annotations

from pipelines.agents.conversation import Question, schema_of
from pipelines.agents.image_enhancer import PromptAnswer

SYSTEM = (
    "You improve prompts for a video model. Keep the subject, its colour, the place and the camera move, "
    "and put them first. Add what moves, how fast, and the light in a few words. Answer in JSON."
)


def video_enhancement_question(prompt: str, seed: int, scene_number: int | None = None) -> Question:
    """Question for a richer version of `prompt`; the answer is a `PromptAnswer`."""
    return Question(
        agent="video_enhancer",
        system=SYSTEM,
        user=f"Prompt: {prompt}",
        json_schema=schema_of(PromptAnswer),
        seed=seed,
        scene_number=scene_number,
        creative=True,
    )
