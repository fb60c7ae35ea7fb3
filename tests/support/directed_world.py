"""An interactive generation over a real SQLite store and real artifacts; agents and models answer at once."""

import shutil

import numpy as np
import pytest

from models.spec import AspectRatio, Size
from pipelines.brief import Brief, BriefReference
from pipelines.decisions.service import Directions
from pipelines.media import encode_png
from pipelines.recipe import Recipe, SceneAgents, StoryAgents
from pipelines.records import NewGeneration
from pipelines.runtime.engine import Engine
from pipelines.store.artifacts import LocalArtifacts
from pipelines.store.database import Database, sqlite_url
from pipelines.store.decisions import DirectionStore
from pipelines.store.generations import GenerationStore
from pipelines.store.intake import GroupStore, Intake
from tests.support.drawing_models import SpeakingModels

FPS = 8
APPROVALS = ("story", "reference_image", "storyboard", "video")
RECIPE = Recipe(
    name="interactive",
    description="",
    stages=("story", "scenes", "reference_image", "storyboard", "video", "stitch", "quality"),
    approvals=APPROVALS,
    story=StoryAgents(critic=False),
    scenes=SceneAgents(critic=False, cohesor=False),
    quality_dimensions=(),
)
BRIEF = Brief(prompt="an ad for a steel water bottle", duration=9, num_scenes=2, seed=1)


class DirectedWorld:
    """One store, its artifacts and models, and Anna, who directs."""

    def __init__(self, folder, database):
        self.store = GenerationStore(database)
        self.groups = GroupStore(database)
        self._intake = Intake(database)
        self.artifacts = LocalArtifacts(folder / "artifacts")
        self.models = SpeakingModels()
        self.anna = Directions(DirectionStore(database), self.artifacts)

    async def create(self, recipe=RECIPE, brief=BRIEF):
        return await self.store.create("anna", brief, recipe, {}, {})

    async def compare(self, comparison_type, briefs):
        orders = tuple(NewGeneration(brief, RECIPE, {}, {}) for brief in briefs)
        made = await self._intake.group("anna", comparison_type, orders)
        return await self.groups.get("anna", made.id)

    async def run(self, generation_id, take_over=False, store=None):
        """Run it as far as it goes; the row as it is then. `store` is the worker's, when it differs from ours."""
        fingerprints = {"chat": "c", "image": "i", "video": "v"}
        sizes: dict[AspectRatio, Size] = {"9:16": (48, 80)}
        engine = Engine(store or self.store, self.artifacts, self.models, fingerprints, FPS, sizes, "worker")
        await engine.run("anna", generation_id, take_over)
        return await self.store.get("anna", generation_id)

    async def reach(self, stage, recipe=RECIPE):
        """A generation that waits with `stage`, or that has ended (`stage` None)."""
        generation_id = await self.create(recipe)
        generation = await self.run(generation_id)
        while generation.status == "awaiting_approval" and generation.current_stage != stage:
            await self.anna.approve("anna", generation_id, generation.current_stage)
            generation = await self.run(generation_id)
        assert stage is None or generation.current_stage == stage
        return generation_id

    async def get(self, generation_id):
        return await self.store.get("anna", generation_id)

    async def take(self, generation_id, kind, scene_number):
        """The current take."""
        takes = [take for take in await self.store.takes(generation_id) if take.current]
        return next(take for take in takes if (take.kind, take.scene_number) == (kind, scene_number))

    async def log(self, generation_id):
        return await self.store.events(generation_id)

    async def steps(self, generation_id, kind="step_completed", after=0):
        return [event.step for event in await self.store.events(generation_id, after) if event.kind == kind]

    def picture(self, shade):
        """A stored reference image of one grey."""
        return self.artifacts.put(encode_png(np.full((32, 32, 3), shade, np.uint8)), "image/png")


def reference(stored, role="product"):
    return BriefReference(artifact=stored.sha256, role=role, filename=f"{role}.png")


@pytest.fixture
async def world(tmp_path, migrated):
    shutil.copy(migrated, tmp_path / "store.sqlite")
    database = Database(sqlite_url(tmp_path / "store.sqlite"))
    yield DirectedWorld(tmp_path, database)
    await database.close()
