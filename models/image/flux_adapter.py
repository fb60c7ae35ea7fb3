"""IP-Adapter for Flux.1: reference images condition the transformer's double blocks, each with its own weight.

As in `reference_adapter`, the adapter is loaded once and its layers are listed once per reference: the same modules,
one strength per reference. The attention processor walks through its strengths, and a list of none switches it off: a
reference of weight 0 equals no reference, and scale 0 equals no adapter, to the bit.

The embeddings go to the transformer as attention arguments. The pipelines' own `ip_adapter_image` would also encode a
black image for a second guidance pass that this family does not run. Knows no scheduler.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.models.embeddings import MultiIPAdapterImageProjection
from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor
from PIL import Image
from torch import nn

from models.image.loading import LOCAL
from models.image.pixels import decode
from models.image.recent import Recent
from models.interfaces import AdapterSettings, EncodedImage, Reference

REMEMBERED_IMAGES = 32


class FluxReferenceAdapter:
    """The IP-Adapter of one pipeline. Not for concurrent calls: `begin`, then `before_step`, then `release`."""

    def __init__(self, pipeline: Any, folder: Path, weight_name: str, image_encoder: Path, slots: int) -> None:
        """Load the adapter and its image encoder, a CLIP vision folder, with room for `slots` references."""
        pipeline.load_ip_adapter(
            str(folder),
            weight_name=weight_name,
            image_encoder_pretrained_model_name_or_path=str(image_encoder),
            image_encoder_dtype=pipeline.transformer.dtype,
            local_files_only=LOCAL["local_files_only"],
        )
        self._pipeline = pipeline
        self._slots = slots
        self._processors = _share_layers(pipeline.transformer, slots)
        self._remembered: Recent[torch.Tensor] = Recent(REMEMBERED_IMAGES)
        self._strengths: list[float] = []
        self._window = (0.0, 1.0)
        self.release()

    def begin(self, references: Sequence[Reference], settings: AdapterSettings) -> dict[str, Any]:
        """Set the strengths for step 0; gives the pipeline's `joint_attention_kwargs`.

        `settings.scale` is the strength of all references together; `settings.blocks` is not read: which of Flux's
        layers carry style or layout is not known. Raises InvalidRequest for an image that cannot be decoded.
        """
        total = max(1.0, sum(reference.weight for reference in references))
        strengths = [settings.scale * reference.weight / total for reference in references]
        embeddings = [
            self._remember(reference.image, f"reference {n}")
            for n, (reference, strength) in enumerate(zip(references, strengths, strict=True), 1)
            if strength > 0
        ]
        self._strengths = [strength for strength in strengths if strength > 0]
        self._window = (settings.begin_step_percent, settings.end_step_percent)
        self.before_step(0, 1)
        if not embeddings:
            return {"ip_hidden_states": []}
        # The projection wants one image per slot; those beyond the strengths are not read.
        return {"ip_adapter_image_embeds": embeddings + embeddings[:1] * (self._slots - len(embeddings))}

    def before_step(self, done: int, total: int) -> None:
        """Switch on when step `done` of `total` lies in [begin, end) of the steps that this call runs, else off."""
        begin, end = self._window
        on = begin <= done / total < end
        for processor in self._processors:
            processor.scale = list(self._strengths) if on else []

    def release(self) -> None:
        """Forget the call: no strength."""
        self._strengths = []
        self.before_step(0, 1)

    def forget(self) -> None:
        """Drop the remembered embeddings."""
        self._remembered.clear()

    def stats(self) -> dict[str, int]:
        """How often an image was remembered, as `Recent.stats`."""
        return self._remembered.stats()

    def _remember(self, image: EncodedImage, name: str) -> torch.Tensor:
        return self._remembered.get(image.sha256, lambda: self._encode(decode(image, name)))

    def _encode(self, image: Image.Image) -> torch.Tensor:
        """Shape (1, 1, width of the image embedding)."""
        embedding: torch.Tensor = self._pipeline.encode_image(image, self._pipeline._execution_device, 1)
        return embedding[None]


def _share_layers(transformer: Any, slots: int) -> list[Any]:
    """List the adapter's layers once per slot; gives its attention processors."""
    processors = [p for p in transformer.attn_processors.values() if isinstance(p, FluxIPAdapterAttnProcessor)]
    for processor in processors:
        processor.to_k_ip = nn.ModuleList([processor.to_k_ip[0]] * slots)
        processor.to_v_ip = nn.ModuleList([processor.to_v_ip[0]] * slots)
    projection = transformer.encoder_hid_proj.image_projection_layers[0]
    transformer.encoder_hid_proj = MultiIPAdapterImageProjection([projection] * slots)
    return processors
