"""What one model is: family, weights, licence and defaults, as its YAML file in `configs/models/` describes it.

Pure data. Knows neither where folders lie on this machine (`models.weights`) nor how to infer (the families).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from models.interfaces import Plain

AspectRatio = Literal["9:16", "16:9", "1:1"]
CameraMove = Literal["static", "push_in", "pull_back", "pan_left", "pan_right", "tilt_up", "tilt_down", "orbit"]
Size = tuple[int, int]
"""Width, height in pixels."""


class WeightSource(Plain):
    """One folder of weights, at a pinned revision."""

    repository: str
    """Hub repository `owner/name`, or `embedded:sketch/NAME` for weights that ship with the project."""
    revision: str
    """Commit hash of the repository; the project version for embedded weights."""
    allow_patterns: tuple[str, ...] = ("*.safetensors", "*.json", "*.txt", "*.model")


class SpecBase(Plain):
    name: str
    family: str
    """Key of `models.registry.FAMILIES`."""
    licence: str
    vram_gb: float
    """Published or measured need of device memory at the default size; 0 for CPU and remote models."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    weights: dict[str, WeightSource] = Field(default_factory=dict)
    """Folders by part name; each family says which parts it needs (`main`, `ip_adapter`, `motion_adapter` …)."""


class ChatModelSpec(SpecBase):
    kind: Literal["chat"]
    vision: bool
    """Whether messages may carry images."""
    base_url: str | None = None
    """Only for the `openai` family."""
    remote_model: str | None = None
    """Model name on the remote server; only for the `openai` family."""
    temperature: float = 0.7
    max_tokens: int = 1024
    timeout_seconds: float = 120.0


class PictureModelSpec(SpecBase):
    """What image and video models have in common."""

    sizes: dict[AspectRatio, Size]
    size_multiple: int = 8
    num_inference_steps: int
    guidance_scale: float
    references: Annotated[int, Field(ge=0, le=3)]
    """How many references the family takes with these weights; 0 without an adapter."""
    adapter_weight_name: str = "ip-adapter.safetensors"
    """File in the `ip_adapter` part."""
    image_encoder: str = "image_encoder"
    """Folder in the `ip_adapter` part."""
    scheduler: dict[str, Any] | None = None
    """`{class: DPMSolverMultistepScheduler, ...config}`; None keeps the scheduler of the folder."""


class ImageModelSpec(PictureModelSpec):
    kind: Literal["image"]


class VideoModelSpec(PictureModelSpec):
    kind: Literal["video"]
    native_fps: int
    max_frames: int
    frame_multiple: int = 1
    """Frame counts are `frame_multiple * k + 1` (Wan: 4), or any count when 1."""
    last_frame: bool = False
    """Whether the family can end on a given frame."""
    camera_moves: tuple[CameraMove, ...] = ("static",)
    """Moves that the weights understand; a text family lists all and folds the words into the prompt."""


ModelSpec = Annotated[ChatModelSpec | ImageModelSpec | VideoModelSpec, Field(discriminator="kind")]
