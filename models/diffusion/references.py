"""IP-Adapter: up to three reference images condition a UNet, each with its own weight, role and place.

Formula (IP-Adapter, arXiv 2308.06721, for several images):

    h = Attn(Q, K_text, V_text) + sum_j s_j * Attn(Q, K_j, V_j)

diffusers gives one adapter one scale, and joins all its images in a single softmax, where no image has a weight of its
own; masks of ones would separate them, but are resized in every layer of every step and round wrongly at some aspect
ratios. So the adapter is loaded once and its layers are listed once per reference ("slot"): the same modules, no
further memory, one scale per slot and layer. A slot of scale 0 is skipped by the attention processor, so that a
reference of weight 0 equals no reference and scale 0 equals no adapter, to the bit. A slot in use costs one attention
over its few tokens (four in the plain adapter).

Serves every UNet pipeline of diffusers with `load_ip_adapter` (images and AnimateDiff-type video).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor, IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import ImageProjection, MultiIPAdapterImageProjection
from PIL import Image
from torch import nn
from transformers import CLIPImageProcessorPil

from models.diffusion.calls import LruCache
from models.diffusion.inputs import decode, decode_mask
from models.diffusion.loading import LOCAL, part
from models.errors import InvalidRequest
from models.interfaces import AdapterBlocks, AdapterSettings, EncodedImage, ImageRequest, Reference, VideoRequest
from models.spec import PictureModelSpec


class Region:
    """Keeps the references to a part of the picture during one call, by masks for the adapter's attention layers."""

    def __init__(self, layers: Sequence[nn.Module], slots: int) -> None:
        """`layers`: the cross-attentions that have the adapter; `slots`: how many times it is listed in each."""
        self._slots = slots
        self._masks: dict[int, torch.Tensor] = {}
        for layer in layers:
            layer.register_forward_pre_hook(self._with_mask, with_kwargs=True)

    def keep_to(self, mask: EncodedImage, width: int, height: int, factor: int) -> None:
        """Keep the references to the white of `mask`, in a picture whose latents are `factor` times smaller than it.

        A UNet halves the latents again and again, and a rest counts as one. Raises InvalidRequest for a mask that
        cannot be decoded, before any change.
        """
        whole = decode_mask(mask, "the mask of the references", width, height)
        columns, rows = width // factor, height // factor
        masks = {columns * rows: _row(whole, columns, rows)}
        while columns * rows > 1:
            columns, rows = (columns + 1) // 2, (rows + 1) // 2
            masks[columns * rows] = _row(whole, columns, rows)
        self._masks = masks

    def forget(self) -> None:
        """The references act everywhere again."""
        self._masks = {}

    def _with_mask(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self._masks:
            return None
        queries: torch.Tensor = args[0] if args else kwargs["hidden_states"]
        if queries.shape[1] not in self._masks:
            raise InvalidRequest(
                f"the mask of the references cannot be kept to: a layer looks at {queries.shape[1]} places, and halving"
                f" this picture gives {', '.join(map(str, self._masks))}; leave out the mask, or ask for another size"
            )
        mask = self._masks[queries.shape[1]].to(queries)
        return args, {**kwargs, "ip_adapter_masks": [mask] * self._slots}


def _row(mask: Image.Image, columns: int, rows: int) -> torch.Tensor:
    """(1, 1, 1, rows * columns) in 0..1: each value the mean of what it covers."""
    small = np.asarray(mask.resize((columns, rows), Image.Resampling.BOX), dtype=np.float32)
    return torch.from_numpy(small / 255).reshape(1, 1, 1, rows * columns)


CACHED_IMAGES = 32
PREPROCESSOR = "preprocessor_config.json"


def whole_picture_processor(image_encoder: Path, side: int) -> CLIPImageProcessorPil:
    """What makes pixels of `side` x `side` for an image encoder from the whole of a picture, squeezed to that square.

    CLIP's usual processor cuts out the central square: of a bottle on a portrait it keeps neither cap nor foot. The
    authors of IP-Adapter squeeze pictures that are not square, too. Colours are normalised as the folder of the encoder
    says, and as CLIP's where it says nothing.
    """
    whole = {"size": {"height": side, "width": side}, "do_center_crop": False}
    if (image_encoder / PREPROCESSOR).exists():
        return CLIPImageProcessorPil.from_pretrained(image_encoder, local_files_only=LOCAL["local_files_only"], **whole)
    return CLIPImageProcessorPil(**whole)


@dataclass(frozen=True)
class Layer:
    """One cross-attention layer of the UNet: `down`, `mid` or `up`, block index, layer index within the block."""

    side: Literal["down", "mid", "up"]
    block: int
    index: int


class PreparedReferences:
    """Pipeline mixin: takes `ip_adapter_image_embeds` as `begin_batch` gives them.

    The stock method repeats one item's references for the whole batch; here every item brings its own.
    """

    def prepare_ip_adapter_image_embeds(
        self, image: None, embeddings: list[torch.Tensor], device: torch.device, *args: Any
    ) -> list[torch.Tensor]:
        """The given `embeddings`, on `device`."""
        return [embedding.to(device) for embedding in embeddings]


class ReferenceAdapter:
    """The IP-Adapter of one pipeline. Not for concurrent calls: `begin`, then `before_step`, then `release`."""

    def __init__(self, pipeline: Any, folder: Path, weight_name: str, image_encoder: str, slots: int) -> None:
        """Load the adapter into `pipeline` with room for `slots` references."""
        pipeline.load_ip_adapter(
            str(folder),
            subfolder="",
            weight_name=weight_name,
            image_encoder_folder=image_encoder,
            local_files_only=LOCAL["local_files_only"],
        )
        self._pipeline = pipeline
        self._image_processor = whole_picture_processor(
            folder / image_encoder, pipeline.image_encoder.config.image_size
        )
        self._slots = slots
        places = _share_layers(pipeline.unet, slots)
        self._processors = [(layer, processor) for layer, processor, _ in places]
        self._presets = block_presets([layer for layer, _ in self._processors], pipeline.unet.config)
        self._cache: LruCache[tuple[torch.Tensor, torch.Tensor]] = LruCache(CACHED_IMAGES)
        self._blank: torch.Tensor | None = None
        self._scales: dict[Layer, list[float]] = {}
        self._window = (0.0, 1.0)
        self._region = Region([attention for _, _, attention in places], slots)
        self.release()

    @classmethod
    def of(cls, spec: PictureModelSpec, folders: Mapping[str, Path], pipeline: Any) -> ReferenceAdapter:
        """The adapter in the part `ip_adapter`, with room for as many references as `spec` says."""
        folder = part(spec, folders, "ip_adapter")
        return cls(pipeline, folder, spec.adapter_weight_name, spec.image_encoder, spec.references)

    def begin(self, references: Sequence[Reference], settings: AdapterSettings, guided: bool) -> list[torch.Tensor]:
        """Set the scales for step 0; gives `ip_adapter_image_embeds`, one tensor (2 if guided else 1, 1, ...) per slot.

        The negative half is what diffusers takes for "no image": zeros, or the encoded black image for adapters that
        read the encoder's hidden states. Raises InvalidRequest for an image that cannot be decoded, before any change.
        """
        return self.begin_batch([references], settings, guided)

    def begin_batch(
        self, items: Sequence[Sequence[Reference]], settings: AdapterSettings, guided: bool
    ) -> list[torch.Tensor]:
        """As `begin` for items whose references agree in number, roles and weights, which set the scales for all.

        Each tensor has the negative halves of all items before the positive ones, as a pipeline with
        `PreparedReferences` takes them; for one item that is the stock order too.
        """
        slots = zip(*(self._embeddings(references) for references in items), strict=True)
        self._scales = self._scales_of(items[0], settings)
        self._window = (settings.begin_step_percent, settings.end_step_percent)
        self.before_step(0, 1)
        return [
            torch.stack([*([negative for _, negative in slot] if guided else []), *(positive for positive, _ in slot)])
            for slot in slots
        ]

    def keep_to(self, mask: EncodedImage, width: int, height: int) -> None:
        """Until `release` the references act under `mask` only, in a picture of `width` x `height`.

        Raises InvalidRequest for a mask that cannot be decoded.
        """
        self._region.keep_to(mask, width, height, self._pipeline.vae_scale_factor)

    def check(self, references: Sequence[Reference]) -> None:
        """Raises InvalidRequest for an image that cannot be decoded, without the device."""
        for number, reference in enumerate(references, 1):
            decode(reference.image, f"reference {number}")

    def forget(self) -> None:
        """Drop the cached embeddings of images."""
        self._cache.clear()

    def stats(self) -> dict[str, int]:
        """Hits, misses and entries of the cached embeddings of images."""
        return self._cache.stats()

    def before_step(self, done: int, total: int) -> None:
        """Switch on when step `done` of `total` lies in [begin, end) of the steps that this call runs, else off."""
        begin, end = self._window
        on = begin <= done / total < end
        for layer, processor in self._processors:
            processor.scale = list(self._scales[layer]) if on and self._scales else [0.0] * self._slots

    def release(self) -> None:
        """Forget the call: every scale 0, and no region."""
        self._scales = {}
        self._region.forget()
        self.before_step(0, 1)

    def _scales_of(self, references: Sequence[Reference], settings: AdapterSettings) -> dict[Layer, list[float]]:
        # `scale` is the strength of all references together: three of weight 1 share it, or they would drown the text.
        total = max(1.0, sum(reference.weight for reference in references))
        strengths = [settings.scale * reference.weight / total for reference in references]
        places = [self._presets[_blocks(reference, settings)] for reference in references]
        spare = [0.0] * (self._slots - len(references))
        return {
            layer: [s if layer in place else 0.0 for s, place in zip(strengths, places, strict=True)] + spare
            for layer, _ in self._processors
        }

    def _embeddings(self, references: Sequence[Reference]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Positive and negative embedding of each slot."""
        pairs = [self._embedding(reference.image, f"reference {n}") for n, reference in enumerate(references, 1)]
        if self._blank is None:
            # Only now: a pipeline comes to its device after its adapter is loaded.
            self._blank = torch.zeros_like(self._encode(Image.new("RGB", (8, 8)))[0])
        return pairs + [(self._blank, self._blank)] * (self._slots - len(pairs))

    def _embedding(self, image: EncodedImage, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return self._cache.get(image.sha256, lambda: self._encode(decode(image, name)))

    def _encode(self, image: Image.Image) -> tuple[torch.Tensor, torch.Tensor]:
        projection = self._pipeline.unet.encoder_hid_proj.image_projection_layers[0]
        hidden_states = not isinstance(projection, ImageProjection)
        pixels = self._image_processor(image, return_tensors="pt")["pixel_values"]
        positive, negative = self._pipeline.encode_image(pixels, self._pipeline._execution_device, 1, hidden_states)
        return positive, negative


def check_references(spec: PictureModelSpec, request: ImageRequest | VideoRequest) -> None:
    """Raises InvalidRequest when the model takes fewer references, or cannot keep them to a region."""
    count, limit = len(request.references), spec.references
    if count > limit:
        takes = f"{limit} reference images" if limit else "no reference images"
        given = f"{count} were" if count > 1 else "1 was"
        raise InvalidRequest(
            f"model {spec.name!r} takes {takes}, but {given} given; leave {'some' if limit else 'them'} out, or"
            f" choose a model that takes {'more' if limit else 'references'}"
        )
    if request.adapter.mask is not None and not spec.reference_mask:
        raise InvalidRequest(f"model {spec.name!r} cannot keep its references to a region; leave out the mask")


def block_presets(layers: Sequence[Layer], config: Any) -> dict[AdapterBlocks, frozenset[Layer]]:
    """Layers of each block preset, from the UNet's own structure.

    InstantStyle (arXiv 2404.02733) found SDXL's style in the middle layer of its deepest up block with attention
    (`up block_0 [0, 1, 0]` in diffusers' words) and its layout in the last layer of the deepest such down block
    (`down block_2 [0, 1]`). Other UNets have fewer layers at that depth: all layers of the same blocks are taken.
    """
    ups = sorted(layer.block for layer in layers if layer.side == "up")
    downs = sorted(layer.block for layer in layers if layer.side == "down")
    style = [layer for layer in layers if layer.side == "up" and layer.block == ups[0]]
    layout = [layer for layer in layers if layer.side == "down" and layer.block == downs[-1]]
    if config.get("addition_embed_type") == "text_time":
        style = [layer for layer in style if layer.index == len({s.index for s in style}) // 2]
        layout = [layer for layer in layout if layer.index == max(other.index for other in layout)]
    return {"all": frozenset(layers), "style": frozenset(style), "layout": frozenset(layout)}


def _blocks(reference: Reference, settings: AdapterSettings) -> AdapterBlocks:
    # A style reference in all blocks would bring its objects along; in the style block it brings its look.
    return "style" if reference.role == "style" and settings.blocks == "all" else settings.blocks


def _share_layers(unet: Any, slots: int) -> list[tuple[Layer, Any, nn.Module]]:
    """List the adapter's layers once per slot; gives their places, attention processors and attentions."""
    places = []
    for name, processor in unet.attn_processors.items():
        if isinstance(processor, IPAdapterAttnProcessor | IPAdapterAttnProcessor2_0):
            places.append((_layer(name), processor, unet.get_submodule(name.removesuffix(".processor"))))
            processor.num_tokens = list(processor.num_tokens) * slots
            processor.to_k_ip = nn.ModuleList([processor.to_k_ip[0]] * slots)
            processor.to_v_ip = nn.ModuleList([processor.to_v_ip[0]] * slots)
    projection = unet.encoder_hid_proj.image_projection_layers[0]
    unet.encoder_hid_proj = MultiIPAdapterImageProjection([projection] * slots)
    return places


def _layer(name: str) -> Layer:
    """Place of `down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor` and its like."""
    if name.startswith("mid_block"):
        return Layer("mid", 0, 0)
    match = re.match(r"(down|up)_blocks\.(\d+)\.attentions\.(\d+)\.", name)
    if match is None:
        raise ValueError(f"cross-attention {name!r} lies in no known block")
    return Layer("down" if match[1] == "down" else "up", int(match[2]), int(match[3]))


def used_references(references: Sequence[Reference], settings: AdapterSettings) -> list[tuple[int, Reference]]:
    """The references that act at all, with their numbers from 1."""
    return [(n, reference) for n, reference in enumerate(references, 1) if settings.scale * reference.weight > 0]


def reference_images(references: Sequence[Reference], settings: AdapterSettings) -> dict[int, Image.Image]:
    """RGB pixels, in their own sizes, of the references that act, by their numbers from 1.

    Raises InvalidRequest for one that cannot be decoded.
    """
    return {n: decode(reference.image, f"reference {n}") for n, reference in used_references(references, settings)}


def reference_notes(references: Sequence[Reference], settings: AdapterSettings) -> tuple[str, ...]:
    """What the request asks of its references and the model cannot do."""
    used = used_references(references, settings)
    notes = [
        f"reference {n} acts in full, not with weight {reference.weight:g}: this model looks at references as images"
        " and cannot weigh them; weight 0 leaves one out"
        for n, reference in used
        if reference.weight < 1
    ]
    notes += [
        f"reference {n} is a style reference, which this model sees like any other image: say in the prompt what to"
        " take from it"
        for n, reference in used
        if reference.role == "style"
    ]
    if used and settings != AdapterSettings():
        given = {name: value for name, value in settings if value != getattr(AdapterSettings(), name)}
        words = ", ".join(f"{name} {value}" for name, value in given.items())
        notes.append(f"the adapter settings ({words}) had no effect: this model takes references without an adapter")
    return tuple(notes)
