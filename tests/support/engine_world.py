"""The engine over a real SQLite store and real artifacts; scenes are given and the models draw at once."""

import pytest

from pipelines.brief import Brief
from pipelines.coherence import CoherenceSettings
from pipelines.recipe import Recipe
from pipelines.runtime.engine import Engine
from pipelines.screenplay import Scene, SceneDraft, ScenesResult
from pipelines.store.artifacts import LocalArtifacts
from pipelines.store.database import Database, sqlite_url
from pipelines.store.generations import GenerationStore
from tests.support.drawing_models import DrawingModels

FPS = 24
STAGES = ("storyboard", "video", "stitch", "quality")


def scenes(count=3, seconds=3):
    draft = SceneDraft(setting="beach", action="it stands", camera="static", entities=())
    made = tuple(
        Scene(
            scene_number=number,
            purpose="Attention",
            frames=seconds * FPS,
            draft=draft,
            image_prompt=f"a red bottle, scene {number}",
            video_prompt=f"a red bottle, scene {number}, static",
            content="it stands",
            iterations=1,
            approved=True,
            critique=None,
        )
        for number in range(1, count + 1)
    )
    return ScenesResult(scenes=made, cohesion=None, cohesion_rounds=0)


class EngineWorld:
    """One store with its artifacts and models."""

    def __init__(self, folder, database):
        self.store = GenerationStore(database)
        self.artifacts = LocalArtifacts(folder / "artifacts")
        self.models = DrawingModels()

    async def create(self, stages=STAGES, **coherence):
        brief = Brief(
            prompt="an ad for a steel water bottle", duration=9, seed=1, coherence=CoherenceSettings(**coherence)
        )
        recipe = Recipe(name="test", description="", stages=stages)
        return await self.store.create("anna", brief, recipe, {"scenes": scenes().model_dump(mode="json")}, {})

    def engine(self):
        return Engine(
            self.store,
            self.artifacts,
            self.models,
            {"chat": "c", "image": "i", "video": "v"},
            FPS,
            {"9:16": (90, 160)},
            "worker",
        )

    async def kinds(self, generation_id):
        return [event.kind for event in await self.store.events(generation_id)]


@pytest.fixture
async def engine_world(tmp_path):
    database = Database(sqlite_url(tmp_path / "store.sqlite"))
    await database.migrate()
    yield EngineWorld(tmp_path, database)
    await database.close()
