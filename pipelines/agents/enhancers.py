"""The prompt enhancers: one turns a simple prompt into a richer one for an image model, the other for a video model."""

from __future__ import annotations

from typing import Literal

from pipelines.agents.conversation import Answer, Line, Question, schema_of

Enhancer = Literal["image_enhancer", "video_enhancer"]
SYSTEMS: dict[Enhancer, str] = {
    "image_enhancer": (
        "You improve prompts for an image model. Keep the subject, its colour and the place, and put them "
        "first. Add light, framing and style in a few words. Answer in JSON."
    ),
    "video_enhancer": (
        "You improve prompts for a video model. Keep the subject, its colour, the place and the camera move, "
        "and put them first. Add what moves, how fast, and the light in a few words. Answer in JSON."
    ),
}


class PromptAnswer(Answer):
    """A prompt, ready to use."""

    prompt: Line

    def text(self) -> str:
        return self.prompt


def enhancement_question(agent: Enhancer, prompt: str, seed: int, scene_number: int | None = None) -> Question:
    """Question for a richer version of `prompt`; the answer is a `PromptAnswer`."""
    return Question(
        agent=agent,
        system=SYSTEMS[agent],
        user=f"Prompt: {prompt}",
        json_schema=schema_of(PromptAnswer),
        seed=seed,
        scene_number=scene_number,
        creative=True,
    )
