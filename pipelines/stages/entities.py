"""Entities: who and what must look the same in every scene, described once, before the story; and where it plays.

The product's name comes from the brief; its look from the first product reference when there is one. Without a
chat model that reads images the looks come from the brief alone, and the event log says so.
"""

from __future__ import annotations

from models.interfaces import ReferenceRole
from pipelines.agents.product_namer import Named, product_question
from pipelines.agents.vision import Seen, look_question
from pipelines.brief import BriefReference
from pipelines.coherence import derived_seed
from pipelines.stages.consult import consult
from pipelines.stages.context import StageContext
from pipelines.story import Entity, Premise


async def meet_entities(context: StageContext) -> Premise:
    """The product first, then one entity per character and style reference; the places. Raises AgentFailed.

    An ad has one product: further product references are other views of it, which condition the pictures and are not
    described again.
    """
    references = context.brief.references
    blind = bool(references) and not context.chat_model.vision
    named = await consult(
        context,
        "story/product-1",
        product_question(context.brief, derived_seed(context.seed, "story", "product")),
        Named,
        warning=_blindness(context) if blind else None,
    )
    others: list[Entity] = []
    product: Entity | None = None
    for index, reference in enumerate(references):
        if reference.role == "product" and product is not None:
            continue
        seen = None if blind else await _look(context, index, reference)
        if reference.role == "product":
            look = named.description if seen is None else seen.description
            product = Entity(handle="product", role="product", name=named.name, description=look, reference_index=index)
        else:
            others.append(_entity(_handle(reference.role, others), reference.role, index, seen))
    if product is None:
        product = Entity(handle="product", role="product", name=named.name, description=named.description)
    return Premise(entities=(product, *others), places=named.places)


async def _look(context: StageContext, index: int, reference: BriefReference) -> Seen:
    seed = derived_seed(context.seed, "story", "vision", index)
    return await consult(context, f"story/reference-{index + 1}", look_question(reference, seed), Seen)


def _entity(handle: str, role: ReferenceRole, index: int, seen: Seen | None) -> Entity:
    name = handle.split("-")[0] if seen is None else seen.name
    description = f"the {role} of reference {index + 1}" if seen is None else seen.description
    return Entity(handle=handle, role=role, name=name, description=description, reference_index=index)


def _handle(role: ReferenceRole, others: list[Entity]) -> str:
    """`character-1`, `style-1`."""
    return f"{role}-{1 + sum(entity.role == role for entity in others)}"


def _blindness(context: StageContext) -> tuple[str, str]:
    return (
        "references_not_read",
        f"chat model {context.chat_model.name!r} cannot read images: the references still condition the pictures, "
        "but the story knows the product from the brief's words only",
    )
