"""Size and length of a picture or clip: as asked, or the nearest that its models can make.

Clients written for OpenAI's own models ask for `1024x1024` and for `"4"` seconds whatever the model behind the address.
They get what this model can make, and the answer's `notes` say so; with `strict` they are refused instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, StringConstraints

from models.errors import InvalidRequest
from models.spec import PictureModelSpec, Size, VideoModelSpec
from serving.gateway.problems import refuse

_SIZE = re.compile(r"\s*(\d{1,5})\s*[xX×*]\s*(\d{1,5})\s*")
_SIZE_HELP = "write it as WIDTHxHEIGHT in pixels, such as 1024x1024, or auto"


def _normal_size(value: Any) -> Any:
    """`1024X1024` and `1024 × 1024` as `1024x1024`. Raises ValueError for what is no size."""
    if value in (None, ""):
        return "auto"
    if not isinstance(value, str) or value.strip().lower() == "auto":
        return value.strip().lower() if isinstance(value, str) else value
    sides = _SIZE.fullmatch(value)
    if sides is None or not (int(sides[1]) and int(sides[2])):
        raise ValueError(f"{value[:40]!r} is no size: {_SIZE_HELP}")
    return f"{int(sides[1])}x{int(sides[2])}"


SizeText = Annotated[
    str,
    StringConstraints(pattern=r"^(auto|[1-9]\d{0,4}x[1-9]\d{0,4})$", max_length=11),
    BeforeValidator(_normal_size),
]
"""`WIDTHxHEIGHT` in pixels, or `auto`. What the model cannot make becomes the nearest that it can, said in `notes`."""


def fitting_size(
    specs: Sequence[tuple[PictureModelSpec, int]], text: str, strict: bool, like: Size | None = None
) -> tuple[Size, tuple[str, ...]]:
    """Width and height that all of `specs`, each with its number of frames, can make, and a note when not as asked.

    `auto` is the first model's own size, the nearest in shape to `like` if that is given. Else, in this order: the size
    itself, its sides rounded to the model's multiple, the model's own size that is nearest in shape. Raises Problem 422
    with the limit: under `strict`, and when nothing fits.
    """
    main = specs[0][0]
    if text == "auto":
        own = list(main.sizes.values())
        size = own[0] if like is None else _by_shape(own, like)[0]
        _check_all(specs, size)
        return size, ()
    width, height = (int(side) for side in text.split("x"))
    asked = (width, height)
    if strict:
        _check_all(specs, asked)
    for size in (asked, _rounded(asked, _step(specs)), *_by_shape(main.sizes.values(), asked)):
        if all(_problem(spec, size, frames) is None for spec, frames in specs):
            break
    else:
        size = asked
        _check_all(specs, asked)
    note = f"model {main.name!r} cannot make size {text}: {size[0]}x{size[1]} is made, the nearest that it can"
    return size, () if size == asked else (note,)


def check_fills(picture: Size, size: Size, param: str, strict: bool) -> None:
    """Raises Problem 422 under `strict` for a picture of another shape than `size`.

    Otherwise the model is shown all of it with a blurred copy around, and its result notes that.
    """
    from models.diffusion.inputs import place_of

    if strict and place_of(picture, size) != (0, 0, *size):
        text = f"{param}: it is {picture[0]}x{picture[1]} and does not fill {size[0]}x{size[1]}: give one of that shape"
        refuse(param, text, size=f"{size[0]}x{size[1]}")


def fitting_frames(
    spec: VideoModelSpec, seconds: float | None, num_frames: int | None, strict: bool
) -> tuple[int, tuple[str, ...]]:
    """Frames at the native rate, and a note when the clip is shorter than asked.

    Seconds become the nearest frame count that the model can do, at most its longest clip; `num_frames` is exact.
    Raises Problem 422 with the limit: under `strict`, and for a `num_frames` that the model cannot make.
    """
    if num_frames is None and seconds is None:
        return _longest(spec), ()
    if seconds is None:
        return _checked(spec, num_frames or 1), ()
    frames = _nearest(spec, seconds)
    notes: tuple[str, ...] = ()
    if frames > spec.max_frames:
        longest = _longest(spec) / spec.native_fps
        text = f"seconds: model {spec.name!r} makes at most {longest:g} s at {spec.native_fps} fps"
        if strict:
            refuse("seconds", text, max_seconds=longest)
        frames = _longest(spec)
        notes = (f"model {spec.name!r} cannot make {seconds:g} seconds: {longest:g} are made, its longest clip",)
    if num_frames is not None and num_frames != frames:
        text = f"num_frames {num_frames} is not what {seconds:g} s are ({frames} frames): give one of them"
        refuse("num_frames", text)
    return _checked(spec, frames), notes


def _check_all(specs: Iterable[tuple[PictureModelSpec, int]], size: Size) -> None:
    """Raises Problem 422 that names the multiple or the pixel budget that `size` breaks."""
    for spec, frames in specs:
        problem = _problem(spec, size, frames)
        if problem is not None:
            text, details = problem
            refuse("size", text, **details)


def _problem(spec: PictureModelSpec, size: Size, frames: int) -> tuple[str, dict[str, int]] | None:
    """Why `spec` cannot make `frames` pictures of `size`, with the limit; None: it can."""
    width, height = size
    step = _step([(spec, frames)])
    if width % step or height % step:
        near_width, near_height = _rounded(size, step)
        text = f"size {width}x{height}: both sides must be multiples of {step} for model {spec.name!r}"
        return f"{text}; near is {near_width}x{near_height}", {"size_multiple": step}
    try:
        spec.check_pixels(width, height, frames)
    except InvalidRequest as error:
        return f"size: {error}", {"max_pixels": spec.pixel_budget()}
    return None


def _step(specs: Sequence[tuple[PictureModelSpec, int]]) -> int:
    """What both sides must be a multiple of for every model; H.264 needs even sides."""
    evens = [2 for spec, _ in specs if isinstance(spec, VideoModelSpec)]
    return math.lcm(*(spec.size_multiple for spec, _ in specs), *evens)


def _rounded(size: Size, step: int) -> Size:
    width, height = (max(step, int(side / step + 0.5) * step) for side in size)
    return width, height


def _by_shape(sizes: Iterable[Size], like: Size) -> list[Size]:
    """`sizes`, the nearest in shape to `like` first."""
    return sorted(sizes, key=lambda size: abs(math.log(size[0] / size[1]) - math.log(like[0] / like[1])))


def _longest(spec: VideoModelSpec) -> int:
    return (spec.max_frames - 1) // spec.frame_multiple * spec.frame_multiple + 1


def _nearest(spec: VideoModelSpec, seconds: float) -> int:
    frames = max(1, round(seconds * spec.native_fps))
    if spec.frame_multiple == 1:
        return frames
    return spec.frame_multiple * round((frames - 1) / spec.frame_multiple) + 1


def _checked(spec: VideoModelSpec, frames: int) -> int:
    if frames > spec.max_frames:
        text = f"num_frames {frames}: model {spec.name!r} makes at most {spec.max_frames}"
        refuse("num_frames", text, max_frames=spec.max_frames)
    if spec.frame_multiple > 1 and frames % spec.frame_multiple != 1:
        text = f"num_frames {frames}: model {spec.name!r} makes {spec.frame_multiple} x k + 1 frames"
        refuse("num_frames", text, frame_multiple=spec.frame_multiple)
    return frames
