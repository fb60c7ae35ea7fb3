"""Model families by name, and how to load a model: `ModelSpec` and folders in, an engine out.

A new family is one engine file and one line here. Engines are imported only when they are loaded: this module stays
light, and a machine needs only the libraries of the families that it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from models.errors import InvalidRequest
from models.interfaces import ChatModel, ImageModel, VideoModel
from models.library_logs import quiet_libraries
from models.spec import ChatModelSpec, ImageModelSpec, ModelSpec, ScorerModelSpec, VideoModelSpec

if TYPE_CHECKING:
    from models.scorers.backbone import Scorer


AUTHOR_FAMILY = "sketch-author"
"""Chat models of rules: what they say has no probabilities."""
REMOTE_FAMILY = "openai"
"""Chat models on an OpenAI-compatible server somewhere else."""
FAMILIES: dict[str, str] = {
    "llava": "models.llm.transformers_chat:TransformersChat",
    REMOTE_FAMILY: "models.llm.openai_chat:OpenAIChat",
    AUTHOR_FAMILY: "models.sketch.author:SketchAuthor",
    "stable-diffusion": "models.image.stable_diffusion:StableDiffusion",
    "stable-diffusion-xl": "models.image.stable_diffusion:StableDiffusionXL",
    "flux": "models.image.flux:Flux",
    "flux2-klein": "models.image.flux2_klein:Flux2Klein",
    "qwen-image": "models.image.qwen_image:QwenImage",
    "qwen-image-edit": "models.image.qwen_image:QwenImageEdit",
    "z-image": "models.image.z_image:ZImage",
    "animatediff": "models.video.animatediff:AnimateDiff",
    "wan": "models.video.wan:Wan",
    "wan-text": "models.video.wan:WanText",
    "wan-vace": "models.video.wan:WanVACE",
    "ltx": "models.video.ltx:LTX",
    "ltx2": "models.video.ltx2:LTX2",
    "helios": "models.video.helios:Helios",
    "clip": "models.scorers.clip:ClipEncoder",
    "dino": "models.scorers.dino:Dino",
    "dinov2": "models.scorers.dino:Dinov2",
    "dover": "models.scorers.dover:DoverRating",
    "efficientnet-lite0": "models.scorers.efficientnet:EfficientNetEncoder",
    "laion-v1": "models.scorers.laion:LaionHead",
    "minilm": "models.scorers.minilm:MiniLmEncoder",
    "musiq": "models.scorers.musiq:MusiqRating",
    "raft": "models.scorers.raft:RaftFlow",
    "siglip": "models.scorers.siglip:SiglipEncoder",
    "silero-vad": "models.scorers.silero:SileroSpeech",
    "transnetv2": "models.scorers.transnetv2:TransNetCuts",
    "rapidocr": "models.scorers.rapidocr:RapidOcrReader",
    "viclip": "models.scorers.viclip:ViClipEncoder",
    "xfeat": "models.scorers.xfeat:XFeatPoints",
}
"""Family name to `module:Class`; every class is constructed as `Class(spec, folders, device)`."""

SERVED_FAMILY = "vllm"
"""Chat models that have no engine in this package: vLLM serves them from their folders."""


@overload
def load(spec: ChatModelSpec, folders: Mapping[str, Path], device: str) -> ChatModel: ...
@overload
def load(spec: ImageModelSpec, folders: Mapping[str, Path], device: str) -> ImageModel: ...
@overload
def load(spec: VideoModelSpec, folders: Mapping[str, Path], device: str) -> VideoModel: ...
@overload
def load(spec: ScorerModelSpec, folders: Mapping[str, Path], device: str) -> Scorer: ...


def load(spec: ModelSpec, folders: Mapping[str, Path], device: str) -> ChatModel | ImageModel | VideoModel | Scorer:
    """Load the model that `spec` describes.

    `folders` holds one folder per weight part of the spec (`main`, `ip_adapter`, `motion_adapter`); `device` is a torch
    device such as `cpu` or `cuda:0`. Raises InvalidRequest for an unknown family and WeightsError for a bad folder.
    """
    if (elsewhere := not_in_process(spec)) is not None:
        raise InvalidRequest(elsewhere)
    if spec.family not in FAMILIES:
        raise InvalidRequest(
            f"model {spec.name!r} has the unknown family {spec.family!r}; known families: {', '.join(sorted(FAMILIES))}"
        )
    if spec.kind == "scorer" and spec.device is not None:
        device = spec.device
    if spec.kind == "scorer" and device == "cpu" and spec.dtype != "float32":
        # Half precision is slower on a CPU, many times over: 86 minutes for the frames of a 15 s video. Scores say so.
        spec = spec.model_copy(update={"dtype": "float32"})
    quiet_libraries()
    module, _, name = FAMILIES[spec.family].partition(":")
    engine: Any = getattr(import_module(module), name)
    loaded: ChatModel | ImageModel | VideoModel | Scorer = engine(spec, folders, device)
    return loaded


def not_in_process(spec: ModelSpec) -> str | None:
    """Why no engine of this package runs the model; None: one does."""
    if spec.family != SERVED_FAMILY:
        return None
    return (
        f"model {spec.name!r} runs in vLLM only: serve a profile with it by `admint serve`, or set ADMINT_CHAT_URL"
        " to the address of an OpenAI-compatible server that runs it"
    )


def not_asked(spec: ChatModelSpec) -> str | None:
    """Why a chat model cannot be asked about pictures by the odds of its first word; None: it can."""
    remedy = "choose a profile with a vision chat model, or name one as `chat` under `scorers`"
    if spec.family == AUTHOR_FAMILY:
        return f"the chat model {spec.name!r} is a grammar: its words have no probabilities; {remedy}"
    return None if spec.vision else f"the chat model {spec.name!r} takes no pictures; {remedy}"
