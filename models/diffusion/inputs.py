"""What a request brings: its size checked, its images decoded to that size, and a prompt that is too long noted."""

from __future__ import annotations

import io
from math import lcm, sqrt
from typing import Any

import numpy as np
from PIL import Image, ImageFilter, ImageOps, UnidentifiedImageError

from models.errors import InvalidRequest
from models.interfaces import EncodedImage, Inpaint
from models.spec import Size

NEARLY = 1.05
"""A picture is stretched by so much to fill a size: hardly more than an eye sees, and what sizes are rounded by."""
BLUR = 24
"""Radius of the blurred copy around a picture: this share of the longer side."""
FAINT = 16
"""Level of a mask from which a cell is repainted; what is kept is laid over the result by its exact level."""


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


def decode_whole(image: EncodedImage, name: str, width: int, height: int) -> Image.Image:
    """RGB pixels at `width` x `height` with all of the picture in them: nothing of it is cut off.

    A picture of another shape lies in the middle (`place_of`), and a blurred copy of it fills the rest (`fit_note`).
    """
    picture = decode(image, name)
    left, top, right, bottom = place_of(picture.size, (width, height))
    whole = picture.resize((right - left, bottom - top), Image.Resampling.LANCZOS)
    if whole.size == (width, height):
        return whole
    canvas = ImageOps.fit(picture, (width, height)).filter(ImageFilter.GaussianBlur(max(width, height) / BLUR))
    canvas.paste(whole, (left, top))
    return canvas


def decode_mask(image: EncodedImage, name: str, width: int, height: int) -> Image.Image:
    """Grey pixels at `width` x `height`, placed as `decode_whole` places a picture of the same shape, black around."""
    mask = _open(image, name).convert("L")
    left, top, right, bottom = place_of(mask.size, (width, height))
    canvas = Image.new("L", (width, height))
    canvas.paste(mask.resize((right - left, bottom - top), Image.Resampling.BOX), (left, top))
    return canvas


def check_mask_shape(inpaint: Inpaint) -> None:
    """Raises InvalidRequest for a mask of another shape than its picture: it would lie beside what it is meant for."""
    picture, mask = (_open(inpaint.image, "the image to inpaint").size, _open(inpaint.mask, "the mask").size)
    if place_of(mask, picture) != (0, 0, *picture):
        raise InvalidRequest(
            f"the mask is {mask[0]}x{mask[1]} and the image to inpaint {picture[0]}x{picture[1]}: give a mask of the"
            " shape of its image"
        )


def whole_cells(mask: Image.Image, side: int) -> Image.Image:
    """The latent cells of `side` pixels that `mask` touches, in white: a denoiser repaints whole ones or none.

    Taken by their corner pixel, as pipelines do, a stroke thinner than a cell would be lost.
    """
    touched = np.asarray(mask) >= FAINT
    rows, columns = mask.height // side, mask.width // side
    cells = touched.reshape(rows, side, columns, side).any(axis=(1, 3))
    return Image.fromarray(np.kron(cells, np.ones((side, side), np.uint8)).astype(np.uint8) * 255)


def place_of(picture: Size, size: Size) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the whole `picture` inside of `size`: all of it for shapes that are nearly one."""
    (width, height), (across, down) = picture, size
    stretch = width * down / (height * across)
    if 1 / NEARLY <= stretch <= NEARLY:
        return 0, 0, across, down
    scale = min(across / width, down / height)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (across - inner[0]) // 2, (down - inner[1]) // 2
    return left, top, left + inner[0], top + inner[1]


def fit_note(image: EncodedImage, name: str, width: int, height: int, step: int) -> tuple[str, ...]:
    """One note when a picture does not fill `width` x `height`, with a size that it would fill; else none.

    `step`: what the sides of a size are multiples of.
    """
    picture = _open(image, name).size
    if place_of(picture, (width, height)) == (0, 0, width, height):
        return ()
    scale = sqrt(width * height / (picture[0] * picture[1]))
    near = "x".join(str(max(step, round(side * scale / step) * step)) for side in picture)
    other = "" if near == f"{width}x{height}" else f"ask for a size of its shape, such as {near}, or "
    return (
        f"{lies_whole(name, picture)} in the middle of {width}x{height}, a blurred copy of it fills the rest:"
        f" {other}give one of the shape {width}x{height}",
    )


def lies_whole(name: str, picture: Size) -> str:
    """What a `fit_note` on a picture begins with."""
    return f"{name} is {picture[0]}x{picture[1]} and lies whole"


def count_tokens(tokenizer: Any, text: str) -> int:
    """Tokens of `text`, with the marks of its begin and end."""
    return len(tokenizer(text, truncation=False, verbose=False).input_ids)


def cut_prompt_note(tokenizer: Any, text: str, limit: int | None = None, called: str = "the prompt") -> tuple[str, ...]:
    """One note when `text` is longer than the text encoder reads (`limit`, or what its tokenizer says), else none."""
    count, limit = count_tokens(tokenizer, text), limit or int(tokenizer.model_max_length)
    if count <= limit:
        return ()
    return (f"{called} has {count} tokens, of which the text encoder reads the first {limit}: shorten {text[:40]!r}…",)


def _open(image: EncodedImage, name: str) -> Image.Image:
    try:
        opened = Image.open(io.BytesIO(image.data))
        opened.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow would name the buffer's address in memory.
        reason = "no known image format" if isinstance(error, UnidentifiedImageError) else error
        raise InvalidRequest(f"{name} cannot be decoded ({reason}); give a whole PNG, JPEG or WebP file") from error
    return opened
