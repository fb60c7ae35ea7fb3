"""The stages that make and join clips, on one tiny video model in this process and without a store."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from models.interfaces import Unwatched
from models.registry import load
from models.spec import ChatModelSpec, ImageModelSpec, VideoModelSpec
from pipelines.brief import Brief
from pipelines.recipe import Recipe
from pipelines.screenplay import Scene, SceneDraft
from pipelines.stages.context import StageContext
from pipelines.steps import NewTake
from pipelines.store.artifacts import LocalArtifacts
from pipelines.timing import SceneSlot
from tests.support import tiny_clips

FPS = 24


class ClipStage:
    """Artifacts, the context of a stage, and what its steps left behind."""

    def __init__(self, root: Path, spec: VideoModelSpec, slots: tuple[int, ...]) -> None:
        """`slots`: delivery frames of each scene."""
        self.artifacts = LocalArtifacts(root / "artifacts")
        self.engine: Any = load(spec, tiny_clips.video_folders(spec.family, root), "cpu")
        self.takes: list[NewTake] = []
        self.values: list[dict[str, Any]] = []
        common: dict[str, Any] = {"family": "test", "licence": "Apache-2.0", "vram_gb": 0}
        self.context = StageContext(
            brief=Brief(prompt="an ad for a steel water bottle", seed=0),
            recipe=Recipe(name="test", description="", stages=("video", "stitch")),
            slots=tuple(
                SceneSlot(scene_number=number, purpose="Attention", frames=frames)
                for number, frames in enumerate(slots, start=1)
            ),
            fps=FPS,
            delivery=(64, 64),
            fingerprints={"video": "tiny"},
            chat_model=ChatModelSpec(kind="chat", name="chat", vision=False, **common),
            image_model=ImageModelSpec(
                kind="image", name="image", sizes={"9:16": (64, 64)}, num_inference_steps=2, guidance_scale=1.0,
                references=0, **common,
            ),
            video_model=spec,
            finish=self._finish,
        )  # fmt: skip

    def scene(self, number: int, prompt: str) -> Scene:
        """Scene `number`, which shows `prompt`."""
        draft = SceneDraft(setting="a shore", action="it stands", camera="static", entities=())
        frames = self.context.slots[number - 1].frames
        return Scene(
            scene_number=number, purpose="Attention", frames=frames, draft=draft, image_prompt=prompt,
            video_prompt=prompt, content="c", iterations=1, approved=True, critique=None,
        )  # fmt: skip

    async def _finish(self, step: Any) -> dict[str, Any]:
        output = await step.work(SimpleNamespace(artifacts=self.artifacts, video=self._video, notice=self._notice))
        self.takes.extend(output.takes)
        self.values.append(output.value)
        return dict(output.value)

    async def _video(self, request: Any) -> Any:
        return self.engine.generate(request, Unwatched())

    async def _notice(self, *said: Any) -> None:
        raise AssertionError(said)
