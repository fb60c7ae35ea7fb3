"""A procedural world of product scenes: one `SceneSpec` in; picture, clip, caption, mask and exact flow out.

Knows nothing of models or training.
"""

from models.sketch.training.world.captions import caption, describe, plain_caption
from models.sketch.training.world.flow import clip_flow
from models.sketch.training.world.reference import reference_array, render_reference
from models.sketch.training.world.render import product_mask, render, render_array, render_clip, render_layers
from models.sketch.training.world.spec import (
    ASPECTS,
    CAMERAS,
    COLOURS,
    MATERIALS,
    SETTINGS,
    SHAPES,
    TIMES,
    SceneSpec,
    frame_size,
    is_held_out,
    sample_spec,
)

__all__ = [
    "ASPECTS",
    "CAMERAS",
    "COLOURS",
    "MATERIALS",
    "SETTINGS",
    "SHAPES",
    "TIMES",
    "SceneSpec",
    "caption",
    "clip_flow",
    "describe",
    "frame_size",
    "is_held_out",
    "plain_caption",
    "product_mask",
    "reference_array",
    "render",
    "render_array",
    "render_clip",
    "render_layers",
    "render_reference",
    "sample_spec",
]
