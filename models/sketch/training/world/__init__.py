"""A procedural world of product scenes: one `SceneSpec` in; picture, clip, caption, mask and exact flow out.

Knows nothing of models or training.
"""

from models.sketch.training.world.camera import clip_flow
from models.sketch.training.world.render import product_mask, render, render_clip
from models.sketch.training.world.spec import (
    CAMERAS,
    COLOURS,
    MATERIALS,
    SETTINGS,
    SHAPES,
    SceneSpec,
    caption,
    describe,
    frame_size,
    sample_spec,
)

__all__ = [
    "CAMERAS",
    "COLOURS",
    "MATERIALS",
    "SETTINGS",
    "SHAPES",
    "SceneSpec",
    "caption",
    "clip_flow",
    "describe",
    "frame_size",
    "product_mask",
    "render",
    "render_clip",
    "sample_spec",
]
