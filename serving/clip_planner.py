"""Turns a checked order for one clip into a generation of the recipe `clip`, with the manifest of its models."""

from __future__ import annotations

from functools import cache

from configs.settings import Profile, load_model, load_recipe
from models.spec import VideoModelSpec
from serving.gateway.services import NewGeneration
from serving.model_set import ModelSet, model_set
from serving.video_order import VideoOrder, clip_generation

CLIP_RECIPE = "clip"


class ProfileClipPlanner:
    """Plans clips for the models of one profile."""

    def __init__(self, profile: Profile) -> None:
        # Hashing weights takes seconds for large folders, which do not change while a server runs.
        self._described = cache(lambda video: model_set(profile, video=video))

    def __call__(self, order: VideoOrder) -> NewGeneration:
        """Raises BadInput, WeightsError."""
        described: ModelSet = self._described(order.model)
        spec = load_model(order.model, VideoModelSpec)
        brief, recipe, given = clip_generation(order, spec, load_recipe(CLIP_RECIPE))
        return NewGeneration(brief, recipe, given, described.manifest)
