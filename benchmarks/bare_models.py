"""The same requests as plain library calls: what a script with diffusers and transformers alone would run.

Stock pipelines loaded from the same folders, the same noise passed as `latents`, references through the stock
`ip_adapter_image` argument, text encoded anew for every call as the stock call does.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Sequence
from typing import Any

import torch
import xgrammar
from diffusers import MotionAdapter, PIAPipeline, StableDiffusionPipeline
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, LogitsProcessorList
from xgrammar.contrib.hf import LogitsProcessor

from configs.settings import library_root
from models.diffusion.noise import draw
from models.interfaces import ChatRequest, EncodedImage, ImageRequest, Reference, VideoRequest
from models.video.camera import camera_words
from models.weights import Library
from serving.backends.in_process import LocalModels


class BareModels:
    """Stock models of a sketch-type profile."""

    def __init__(self, models: LocalModels) -> None:
        library = Library(library_root())
        chat = library.folders(models.chat_model)
        image = library.folders(models.image_model)
        video = library.folders(models.video_model)
        self._video_spec = models.video_model
        self._processor = AutoProcessor.from_pretrained(chat["main"])
        self._chat = AutoModelForImageTextToText.from_pretrained(chat["main"]).eval()
        tokens = xgrammar.TokenizerInfo.from_huggingface(
            self._processor.tokenizer, vocab_size=self._chat.get_output_embeddings().weight.shape[0]
        )
        self._compiler = xgrammar.GrammarCompiler(tokens)
        self._image = StableDiffusionPipeline.from_pretrained(image["main"])
        self._load_adapter(self._image, image["ip_adapter"], models.image_model)
        motion = MotionAdapter.from_pretrained(video["motion_adapter"])
        base = StableDiffusionPipeline.from_pretrained(video["main"])
        parts = {
            name: value
            for name, value in base.components.items()
            if name in ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
        }
        self._video = PIAPipeline(**parts, motion_adapter=motion)
        self._load_adapter(self._video, video["ip_adapter"], models.video_model)
        for pipeline in (self._image, self._video):
            pipeline.set_progress_bar_config(disable=True)

    def warm(self, calls: Sequence[tuple[str, Any, float, int]]) -> None:
        """One call of each kind outside the measurement."""
        for kind in ("chat", "image", "video"):
            first = next(call for call in calls if call[0] == kind)
            self.seconds(kind, first[1], first[3])

    def seconds(self, kind: str, request: Any, tokens: int) -> float:
        """Wall time of one bare call; a chat call is scaled to `tokens` answer tokens."""
        started = time.perf_counter()
        with torch.inference_mode():
            if kind == "chat":
                made = self._answer(request)
                return (time.perf_counter() - started) * tokens / made
            if kind == "image":
                self._draw(request)
            else:
                self._film(request)
        return time.perf_counter() - started

    def _answer(self, request: ChatRequest) -> int:
        messages = [
            {
                "role": message.role,
                "content": [
                    *({"type": "image", "image": _open(image)} for image in message.images),
                    {"type": "text", "text": message.content},
                ],
            }
            for message in request.messages
        ]
        inputs = self._processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        schema = json.dumps(request.json_schema)
        grammar = self._compiler.compile_json_schema(schema, any_whitespace=False)
        output = self._chat.generate(
            **inputs,
            max_new_tokens=request.max_tokens,
            do_sample=request.temperature > 0,
            logits_processor=LogitsProcessorList([LogitsProcessor(grammar)]),
        )
        return int(output.shape[1] - inputs["input_ids"].shape[1])

    def _draw(self, request: ImageRequest) -> None:
        factor = self._image.vae_scale_factor
        latents = draw(request.noise, 4, request.height // factor, request.width // factor)
        self._image.set_ip_adapter_scale(request.adapter.scale if request.references else 0.0)
        self._image(
            prompt=request.prompt,
            width=request.width,
            height=request.height,
            latents=latents.reshape(1, 4, request.height // factor, request.width // factor),
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            ip_adapter_image=_reference_images(request.references),
            output_type="np",
        )

    def _film(self, request: VideoRequest) -> None:
        if request.first_frame is None:
            raise ValueError("the bare clip starts from a keyframe")
        self._video.set_ip_adapter_scale(request.adapter.scale if request.references else 0.0)
        self._video(
            prompt=f"{request.prompt}, {camera_words(self._video_spec, request.camera)}",
            image=_open(request.first_frame),
            width=request.width,
            height=request.height,
            num_frames=request.num_frames,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            ip_adapter_image=_reference_images(request.references),
            output_type="np",
        )

    def _load_adapter(self, pipeline: Any, folder: Any, spec: Any) -> None:
        pipeline.load_ip_adapter(
            str(folder), subfolder="", weight_name=spec.adapter_weight_name, image_encoder_folder=spec.image_encoder
        )


def _reference_images(references: Sequence[Reference]) -> list[Any]:
    """One list for the one adapter; a grey image where there is none, which the stock call demands."""
    return [[_open(reference.image) for reference in references] or [Image.new("RGB", (64, 64), "grey")]]


def _open(image: EncodedImage) -> Any:
    return Image.open(io.BytesIO(image.data)).convert("RGB")
