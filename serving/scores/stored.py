"""The files of a generation of this machine's server, each with what the generation asked of it."""

from __future__ import annotations

from pipelines.agents.prompting import style_words
from pipelines.records import Generation, Take
from pipelines.stages.pictures import read_references
from pipelines.stages.registry import STAGES
from pipelines.stages.state import RunState, scene_references
from pipelines.store.artifacts import LocalArtifacts
from pipelines.store.generations import GenerationStore
from serving.scores.work import Asked, Found


async def files_of_generation(store: GenerationStore, artifacts: LocalArtifacts, generation_id: str) -> list[Found]:
    """Its stills, its clips and its finished video as they are now, whoever owns it; none of an unknown one.

    Each with the prompt that it was made by and the references and the ratio of its generation; a clip with the picture
    that it started from and the style of its scene, as far as it has them; the finished video with the length.
    """
    generation = await store.of_anybody(generation_id)
    if generation is None:
        return []
    made = {STAGES[stage].makes: value for stage, value in (await store.outputs(generation_id)).items()}
    state = RunState.model_validate({**generation.given, **made})
    bound = read_references(artifacts, scene_references(generation.brief, state))
    styles = _styles(state)
    files = []
    for take in await store.takes(generation_id):
        if not take.current or take.kind not in ("keyframe", "clip", "video"):
            continue
        is_still = take.kind == "keyframe"
        where = "final" if take.scene_number is None else f"scene-{take.scene_number:03d}"
        files.append(
            Found(
                path=artifacts.whole_file(take.artifact),
                name=f"{generation_id}/{where}{'.png' if is_still else '.mp4'}",
                media="image" if is_still else "video",
                named=False,
                asked=_asked(generation, take, artifacts, styles.get(take.scene_number)),
                references=bound,
            )
        )
    return files


def _styles(state: RunState) -> dict[int | None, str | None]:
    """The look of each scene, in words, by its number."""
    if state.story is None or state.scenes is None:
        return {}
    return {scene.scene_number: style_words(scene.draft, state.story.entities) for scene in state.scenes.scenes}


def _asked(generation: Generation, take: Take, artifacts: LocalArtifacts, style: str | None) -> Asked:
    duration = float(generation.brief.duration) if take.kind == "video" else None
    asked = Asked(duration=duration, aspect_ratio=_ratio(generation, take))
    prompt = take.provenance.get("request", {}).get("prompt")
    if prompt is None:  # it was not made by one
        return asked
    first = take.provenance.get("first_frame")
    start = None if first is None else str(artifacts.whole_file(first))
    return Asked(prompt=prompt, start=start, style=style if take.kind == "clip" else None).over(asked)


def _ratio(generation: Generation, take: Take) -> str:
    """The brief's; of a still or a clip whose recipe says its size, that."""
    recipe = generation.recipe
    size = {"keyframe": recipe.image.size, "clip": recipe.video.size}.get(take.kind)
    return generation.brief.aspect_ratio if size is None else f"{size[0]}:{size[1]}"
