"""Encoded images to pixels of the wanted size. Knows no model; files were checked for safety before they came here."""

from __future__ import annotations

import io
from math import lcm

from PIL import Image, ImageOps

from models.errors import InvalidRequest
from models.interfaces import EncodedImage


def decode(image: EncodedImage, name: str) -> Image.Image:
    """RGB pixels of `image`. Raises InvalidRequest that calls it `name`."""
    return _open(image, name).convert("RGB")


def decode_covering(image: EncodedImage, name: str, width: int, height: int) -> Image.Image:
    """RGB pixels at `width` x `height`: scaled to cover that size, centred, overhang cut off."""
    return ImageOps.fit(decode(image, name), (width, height), Image.Resampling.LANCZOS)


def decode_mask(image: EncodedImage, name: str, width: int, height: int) -> Image.Image:
    """Grey pixels at `width` x `height`, placed as `decode_covering` places an image of the same aspect."""
    return ImageOps.fit(_open(image, name).convert("L"), (width, height), Image.Resampling.NEAREST)


def check_size(model: str, width: int, height: int, *multiples: int) -> None:
    """Raises InvalidRequest unless both sides are multiples of all `multiples`."""
    step = lcm(*multiples)
    if width % step or height % step:
        near = f"{max(step, round(width / step) * step)}x{max(step, round(height / step) * step)}"
        raise InvalidRequest(
            f"size {width}x{height} does not suit model {model!r}: both sides must be multiples of {step};"
            f" the nearest such size is {near}"
        )


def _open(image: EncodedImage, name: str) -> Image.Image:
    try:
        opened = Image.open(io.BytesIO(image.data))
        opened.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidRequest(f"{name} cannot be decoded ({error}); give a whole PNG, JPEG or WebP file") from error
    return opened
