import hashlib

import numpy as np

from models.interfaces import ImageRequest, ImageResult
from pipelines.brief import Brief, BriefReference
from pipelines.media import decode_image
from pipelines.recipe import Recipe
from pipelines.screenplay import Entity, Story, StoryResult
from pipelines.stages.reference_image import draw_references
from pipelines.steps import StoredArtifact
from tests.support.scripted_desk import IMAGE, MemoryArtifacts, ScriptedDesk, context_for

BRIEF = Brief(prompt="an ad for a steel water bottle on the beach", seed=7)
RECIPE = Recipe(name="test", description="", stages=("story", "reference_image"))
BOTTLE = Entity(handle="product", role="product", name="steel water bottle", description="red steel bottle")
HIKER = Entity(handle="character-1", role="character", name="hiker", description="hiker in a red coat")
STORY = StoryResult(
    story=Story(title="t", beats=(), call_to_action="c"),
    entities=(BOTTLE, HIKER),
    rounds=(),
    chosen_iteration=1,
    approved=True,
    text="t",
)


class KeepingArtifacts(MemoryArtifacts):
    def put(self, data, media_type):
        sha256 = hashlib.sha256(data).hexdigest()
        self.files[sha256] = data
        return StoredArtifact(sha256=sha256, media_type=media_type, size=len(data))


class PaintingDesk(ScriptedDesk):
    """Paints one colour, chosen by the seed."""

    def __init__(self):
        super().__init__()
        self.artifacts = KeepingArtifacts({})
        self.pictures: list[ImageRequest] = []

    async def image(self, request):
        self.pictures.append(request)
        shade = request.noise.seed % 256
        pixels = np.full((request.height, request.width, 3), shade, np.uint8)
        return ImageResult(image=pixels, noise_sha256="0" * 64, seconds=0.0)


async def test_the_product_is_drawn_once_from_its_description():
    desk = PaintingDesk()
    references = await draw_references(context_for(desk, BRIEF, RECIPE), STORY)
    assert [(one.role, one.filename) for one in references] == [("product", "product.png")]
    assert desk.pictures[0].prompt.startswith("a photo of a red steel bottle in a photo studio")
    assert decode_image(desk.artifacts.read(references[0].artifact)).shape == (64, 64, 3)
    output = desk.done["reference_image/product"][1]
    assert [take.kind for take in output.takes] == ["reference"]
    assert output.takes[0].provenance["request"]["num_inference_steps"] == IMAGE.num_inference_steps


async def test_references_of_the_brief_are_kept_and_nothing_is_drawn():
    desk = PaintingDesk()
    own = (BriefReference(artifact="aa", role="product", filename="mine.png"),)
    context = context_for(desk, BRIEF.model_copy(update={"references": own}), RECIPE)
    assert await draw_references(context, STORY) == own
    assert not desk.pictures
