"""What a request brings: its size checked, its images decoded to that size, and a prompt that is too long noted."""

from __future__ import annotations

import io
from math import lcm
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from models.errors import InvalidRequest
from models.interfaces import EncodedImage


def check_size(model: str, width: int, height: int, *multiples: int) -> None:
    """Raises InvalidRequest, with the nearest size that fits, unless both sides are multiples of all `multiples`."""
    step = lcm(*multiples)
    if width % step or height % step:
        near = f"{max(step, round(width / step) * step)}x{max(step, round(height / step) * step)}"
        raise InvalidRequest(
            f"size {width}x{height} does not suit model {model!r}: both sides must be multiples of {step};"
            f" the nearest such size is {near}"
        )


def decode(image: EncodedImage, name: str) -> Image.Image:
    """RGB pixels of `image`, in its own size. Raises InvalidRequest that calls it `name`."""
    return _open(image, name).convert("RGB")


def decode_covering(image: EncodedImage, name: str, width: int, height: int) -> Image.Image:
    """RGB pixels at `width` x `height`: scaled to cover that size, centred, overhang cut off."""
    return ImageOps.fit(decode(image, name), (width, height), Image.Resampling.LANCZOS)


def decode_mask(image: EncodedImage, name: str, width: int, height: int) -> Image.Image:
    """Grey pixels at `width` x `height`, placed as `decode_covering` places an image of the same aspect."""
    return ImageOps.fit(_open(image, name).convert("L"), (width, height), Image.Resampling.NEAREST)


def count_tokens(tokenizer: Any, text: str) -> int:
    """Tokens of `text`, with the marks of its begin and end."""
    return len(tokenizer(text, truncation=False, verbose=False).input_ids)


def cut_prompt_note(tokenizer: Any, text: str, limit: int | None = None) -> tuple[str, ...]:
    """One note when `text` is longer than the text encoder reads (`limit`, or what its tokenizer says), else none."""
    count, limit = count_tokens(tokenizer, text), limit or int(tokenizer.model_max_length)
    if count <= limit:
        return ()
    return (
        f"the prompt has {count} tokens, of which the text encoder reads the first {limit}: shorten {text[:40]!r}…",
    )


def _open(image: EncodedImage, name: str) -> Image.Image:
    try:
        opened = Image.open(io.BytesIO(image.data))
        opened.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow would name the buffer's address in memory.
        reason = "no known image format" if isinstance(error, UnidentifiedImageError) else error
        raise InvalidRequest(f"{name} cannot be decoded ({reason}); give a whole PNG, JPEG or WebP file") from error
    return opened
