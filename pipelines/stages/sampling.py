"""How pictures and clips are sampled: what the recipe sets, else what the model's description says."""

from __future__ import annotations

from models.spec import PictureModelSpec
from pipelines.recipe import SampleSettings
from pipelines.steps import Json


def sampling(spec: PictureModelSpec, sample: SampleSettings) -> Json:
    """Request fields that the recipe may set and the model's description sets otherwise."""
    steps, guidance = sample.num_inference_steps, sample.guidance_scale
    return {
        "num_inference_steps": spec.num_inference_steps if steps is None else steps,
        "guidance_scale": spec.guidance_scale if guidance is None else guidance,
        "loras": [lora.model_dump() for lora in sample.loras],
        "deterministic": sample.deterministic,
    }
