"""Families `qwen-image` and `qwen-image-edit`: one transformer over packed latents, texts read by Qwen2.5-VL.

Guidance is a second pass with the negative prompt (diffusers' `true_cfg_scale`), above 1. Latents are drawn, encoded
and handed on unpacked and normalised, (16, height / 8, width / 8). The edit weights look at pictures twice: Qwen2.5-VL
reads them beside the prompt, as `Picture 1`, `Picture 2` …, and the VAE's latents of them join the tokens. Inside a
mask the picture to repaint is `Picture 1`, before the references.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import QwenImageEditPlusPipeline, QwenImagePipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage import calculate_shift
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import CONDITION_IMAGE_SIZE, calculate_dimensions
from PIL import Image
from transformers import Qwen2VLImageProcessorPil

from models.diffusion.engine import LatentGrid, TextEmbedding
from models.diffusion.latents import execution_device
from models.diffusion.loading import LOCAL, load_pipeline, part
from models.diffusion.references import reference_images, reference_notes, used_references
from models.errors import InvalidRequest
from models.image.engine import negative_prompt_note
from models.image.flow_matching import FlowMatchingEngine, canvas
from models.interfaces import ImageRequest

PATCH = 2
"""Latent cells per side that one token of the transformer holds."""
PROMPT_TOKENS = 1024
"""Tokens of a prompt that the transformer was made for; the stock call would take 512 of them."""
NO_NEGATIVE = " "
"""What the authors give where nothing is to be avoided."""
PATCH_MARK = "<|image_pad|>"
"""Stands in the text for one patch of a picture."""
WIDEST_ASPECT = 200
"""What the vision encoder's preprocessing takes at most."""


class QwenImage(FlowMatchingEngine):
    """ImageModel over Qwen-Image weights in the part `main`."""

    prompt_tokens = PROMPT_TOKENS + 34
    """With the template's words before the prompt, which the stock pipeline drops after reading."""
    text_inputs = ("prompt_embeds", "prompt_embeds_mask")

    def _load(self, folders: Mapping[str, Path], dtype: torch.dtype) -> Any:
        return load_pipeline(QwenImagePipeline, self._spec, folders, dtype)

    def _latent_grid(self) -> LatentGrid:
        side: int = self._pipeline.vae_scale_factor
        return LatentGrid(self._pipeline.vae.config.z_dim, side, side * PATCH)

    def _encode_text(self, text: str) -> TextEmbedding:
        """Shapes (1, tokens, width) and (1, tokens): the mask of tokens, which are all there."""
        embedding, _ = self._pipeline.encode_prompt(text, max_sequence_length=PROMPT_TOKENS)
        return embedding, _all_tokens(embedding)

    def _negative_embedding(self, request: ImageRequest, positive: TextEmbedding) -> TextEmbedding:
        return self._embedding(request.negative_prompt or NO_NEGATIVE)

    def _condition(self, request: ImageRequest) -> dict[str, Any]:
        # The pipeline's `guidance_scale` is for weights that guidance is distilled into; none are published.
        return {"true_cfg_scale": request.guidance_scale, "guidance_scale": None}

    def _shift(self, tokens: int, steps: int) -> float:
        config = self._pipeline.scheduler.config
        between = config.base_image_seq_len, config.max_image_seq_len, config.base_shift, config.max_shift
        shift: float = calculate_shift(tokens, *between)
        return shift

    def _clean(self, image: Any) -> torch.Tensor:
        vae = self._pipeline.vae
        # A VAE for clips: one frame.
        pixels = self._pipeline.image_processor.preprocess(image)[:, :, None]
        mode = vae.encode(pixels.to(execution_device(vae), vae.dtype)).latent_dist.mode()[:, :, 0]
        mean, std = (
            torch.tensor(values, device=mode.device, dtype=mode.dtype).view(1, -1, 1, 1)
            for values in (vae.config.latents_mean, vae.config.latents_std)
        )
        clean: torch.Tensor = (mode - mean) / std
        return clean

    def _packed(self, latents: torch.Tensor) -> torch.Tensor:
        packed: torch.Tensor = self._pipeline._pack_latents(latents, *latents.shape)
        return packed

    def _unpacked(self, latents: torch.Tensor, request: ImageRequest) -> torch.Tensor:
        size = request.height, request.width, self._grid.side
        unpacked: torch.Tensor = self._pipeline._unpack_latents(latents, *size)
        return unpacked[:, :, 0]

    def _as_read(self, text: str) -> str:
        read: str = self._pipeline.prompt_template_encode.format(text)
        return read

    def _notes(self, request: ImageRequest) -> tuple[str, ...]:
        notes = super()._notes(request)
        if request.negative_prompt and not self._guided(request):
            return (*notes, negative_prompt_note(request))
        return notes


class QwenImageEdit(QwenImage):
    """ImageModel over Qwen-Image-Edit-2509 or -2511 weights in the part `main`: edits and joins pictures."""

    cached_texts = 16
    prompt_tokens = PROMPT_TOKENS + 64
    """As in QwenImage; the marks of pictures are not counted."""

    def _load(self, folders: Mapping[str, Path], dtype: torch.dtype) -> Any:
        # The stock processor needs torchvision, for clips; the part of it that prepares pictures does not.
        folder = part(self._spec, folders, "main") / "processor"
        self._image_processor = Qwen2VLImageProcessorPil.from_pretrained(
            folder, local_files_only=LOCAL["local_files_only"]
        )
        return load_pipeline(QwenImageEditPlusPipeline, self._spec, folders, dtype, processor=None)

    def _variants(self) -> tuple[Any, ...]:
        components = {name: module for name, module in self._pipeline.components.items() if name != "processor"}
        return (QwenImagePipeline(**components),)

    def _pipeline_for(self, request: ImageRequest) -> Any:
        edit, from_text = self._pipelines
        return edit if self._looks(request) else from_text

    def _looks(self, request: ImageRequest) -> bool:
        """Whether there is a picture to look at."""
        return bool(request.inpaint or used_references(request.references, request.adapter))

    def _pictures(self, request: ImageRequest) -> list[Image.Image]:
        """What the weights look at, in order, each whole. Raises InvalidRequest for one that they cannot."""
        images = {f"reference {n}": image for n, image in reference_images(request.references, request.adapter).items()}
        if request.inpaint:
            images = {"the image to inpaint": canvas(request.inpaint, request.width, request.height), **images}
        for name, image in images.items():
            if max(image.size) >= WIDEST_ASPECT * min(image.size):
                raise InvalidRequest(
                    f"{name} is {image.width}x{image.height}; model {self._spec.name!r} takes pictures of which one"
                    f" side is less than {WIDEST_ASPECT} times the other: crop it"
                )
        return list(images.values())

    def _condition(self, request: ImageRequest) -> dict[str, Any]:
        pictures = self._pictures(request)
        return super()._condition(request) | ({"image": pictures} if pictures else {})

    def _text_inputs(self, request: ImageRequest) -> dict[str, Any]:
        pictures = self._pictures(request)
        seen = [hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest() for image in pictures]
        texts = {"": self._prompt(request)}
        if self._guided(request):
            texts["negative_"] = request.negative_prompt or NO_NEGATIVE
        inputs: dict[str, Any] = {}
        for prefix, text in texts.items():
            key = "\n".join([self._loras.key, *seen, text])
            tensors = self._texts.get(key, lambda text=text: self._read(text, pictures))  # type: ignore[misc]
            inputs |= {f"{prefix}{name}": tensor for name, tensor in zip(self.text_inputs, tensors, strict=True)}
        return inputs

    def _read(self, text: str, pictures: Sequence[Image.Image]) -> TextEmbedding:
        """As `_encode_text`, of `text` beside `pictures`."""
        pipeline = self._pipeline
        marks, vision = self._seen(pictures)
        # A mark of a picture in the prompt itself would be taken for a picture.
        whole = pipeline.prompt_template_encode.format(marks + text.replace("<|", "< |"))
        limit = self.prompt_tokens + len(pipeline.tokenizer(marks).input_ids)
        ids = pipeline.tokenizer(whole, return_tensors="pt").input_ids[:, :limit].to(pipeline._execution_device)
        hidden = pipeline.text_encoder(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            # diffusers 0.42.1 leaves them out, and transformers 5 then numbers the patches of a picture like words.
            mm_token_type_ids=(ids == pipeline.text_encoder.config.image_token_id).int(),
            output_hidden_states=True,
            **vision,
        ).hidden_states[-1]
        embedding = hidden[:, pipeline.prompt_template_encode_start_idx :]
        return embedding, _all_tokens(embedding)

    def _seen(self, pictures: Sequence[Image.Image]) -> tuple[str, dict[str, torch.Tensor]]:
        """What stands for `pictures` in the text, and their patches for the vision encoder, in the size it expects."""
        if not pictures:
            return "", {}
        small = []
        for picture in pictures:
            width, height = calculate_dimensions(CONDITION_IMAGE_SIZE, picture.width / picture.height)
            small.append(self._pipeline.image_processor.resize(picture, height, width))
        vision = self._image_processor(images=small, return_tensors="pt").to(self._pipeline._execution_device)
        merged = self._image_processor.merge_size**2
        patches = [int(grid.prod()) // merged for grid in vision["image_grid_thw"]]
        marks = (
            f"Picture {n}: <|vision_start|>{PATCH_MARK * count}<|vision_end|>" for n, count in enumerate(patches, 1)
        )
        return "".join(marks), dict(vision)

    def _notes(self, request: ImageRequest) -> tuple[str, ...]:
        notes = (*super()._notes(request), *reference_notes(request.references, request.adapter))
        if self._looks(request):
            return notes
        return (
            *notes,
            "the picture was made from text alone: these weights were trained to edit pictures; give a reference, or"
            " choose a model of the family qwen-image",
        )


def _all_tokens(embedding: torch.Tensor) -> torch.Tensor:
    return torch.ones(embedding.shape[:2], dtype=torch.long, device=embedding.device)
