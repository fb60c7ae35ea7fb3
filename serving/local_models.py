"""A profile's models in this process: engines loaded when first needed. Knows no generation."""

from __future__ import annotations

from dataclasses import dataclass

from configs.settings import Profile, library_root
from models.interfaces import ChatModel, ImageModel, VideoModel
from models.registry import load
from models.spec import ChatModelSpec, ImageModelSpec, ScorerModelSpec, VideoModelSpec
from models.weights import Library
from pipelines.lanes import LocalModels
from quality.encoder import Encoder
from serving.model_set import ModelSet, model_set


@dataclass(frozen=True)
class LibraryLoader:
    """Loads engines from the library's folders."""

    library: Library
    device: str

    def chat(self, spec: ChatModelSpec) -> ChatModel:
        return load(spec, self.library.folders(spec), self.device)

    def image(self, spec: ImageModelSpec) -> ImageModel:
        return load(spec, self.library.folders(spec), self.device)

    def video(self, spec: VideoModelSpec) -> VideoModel:
        return load(spec, self.library.folders(spec), self.device)

    def scorer(self, spec: ScorerModelSpec) -> Encoder:
        return load(spec, self.library.folders(spec), self.device)


@dataclass(frozen=True)
class LocalDeployment:
    """Models ready to be called, and what a manifest says of them."""

    models: LocalModels
    described: ModelSet


def deploy(
    profile: Profile, chat: str | None = None, image: str | None = None, video: str | None = None
) -> LocalDeployment:
    """Open the profile's models, or those named instead. Raises BadInput, WeightsError when a folder is not right."""
    described = model_set(profile, chat, image, video)
    lanes = (profile.lanes.chat, profile.lanes.image, profile.lanes.video)
    loader = LibraryLoader(Library(library_root()), profile.device)
    models = LocalModels(described.chat, described.image, described.video, loader, lanes, described.scorer)
    return LocalDeployment(models, described)
