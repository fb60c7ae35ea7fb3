"""The planner of ads for the models of one profile. Reads recipes, descriptions and weights; decides nothing itself."""

from __future__ import annotations

from functools import cache

from configs.settings import Profile, load_model, load_recipe
from models.spec import ImageModelSpec
from serving.ad_order import AdPlanner
from serving.model_set import ModelSet, model_set


def profile_ad_planner(profile: Profile) -> AdPlanner:
    """Raises BadInput for a profile whose image model is unknown."""

    # Hashing weights takes seconds for large folders, which do not change while a server runs.
    @cache
    def described() -> ModelSet:
        return model_set(profile)

    return AdPlanner(
        recipe=load_recipe,
        image_model=load_model(profile.image, ImageModelSpec),
        fps=profile.fps,
        manifest=lambda: described().manifest,
    )
