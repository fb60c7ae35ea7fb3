"""Pictures of strangers: checked before they are decoded, turned upright, converted to sRGB and written again.

Nothing of a received picture's bytes is kept: no EXIF or GPS, no colour profile, no tail after the picture. A bug in
the decoders themselves is not guarded against here: the HTTP gateway decodes in a limited child process for that.
Videos: `pipelines.uploaded_videos`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from functools import partial, reduce
from typing import TYPE_CHECKING, Literal

from pipelines.errors import BadInput

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageCms import ImageCmsTransform


MAX_BYTES = 10 * 1024 * 1024
MAX_PIXELS = 40_000_000
MIN_SIDE = 16
MAX_SIDE = 2048
"""Longer pictures are scaled down to it: every image encoder here looks at 224 to 1024 pixels."""
What = Literal["reference image", "image", "first frame", "mask"]
"""What a picture is to the caller; error texts call it so."""
ClearParts = Literal["kept", "repainted"]
"""What the transparent parts of a mask stand for."""
FAINT, FULL = 16, 239
"""Levels of a mask up to which it is black, and from which it is white: lossy files do not hold either exactly."""
ACTS_FROM = 128
"""Level of a mask from which a model repaints."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
KINDS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF")


def kind_of(data: bytes) -> str | None:
    """The kind of picture that begins with `data` (32 bytes are enough), one of KINDS; None: none that is read here."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(_PNG_SIGNATURE):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        brands = (data[8:12], *(data[start : start + 4] for start in range(16, len(data[:32]), 4)))
        if data[8:12] in (b"avif", b"avis") or (data[8:12] in (b"mif1", b"msf1") and b"avif" in brands):
            return "AVIF"
        if data[8:12] in _HEIC_BRANDS:
            return "HEIF"
    return None


def read_reference(data: bytes, name: str, what: What = "reference image") -> bytes:
    """A PNG of the picture in `data`: upright, sRGB on white, without metadata, at most 2048 long.

    JPEG, PNG, WebP, AVIF and, with the extra `heic`, HEIC are recognised by content; `name` and `what` only serve the
    message. Size and frame count are read from the header before anything is decoded. Orientation and colour profile
    are read as browsers do: the former from EXIF alone. An animation is refused rather than cut to a frame that the
    user did not choose. Raises BadInput, one line that names the file and the remedy.
    """
    return _encode(_decode(data, name, what, _on_white))


def read_mask(data: bytes, name: str, what: What = "mask", clear: ClearParts = "kept") -> bytes:
    """A grey PNG of the mask in `data`, white = repaint, under the same checks as a reference.

    A file without transparent parts is read by its lightness. In one that has them, `clear` kept: they count as black,
    and what was painted beside them, in any colour but black, is the mask (a canvas); `clear` repainted: they alone are
    the mask (OpenAI's clients). Soft edges stay soft. Raises BadInput.
    """
    return _encode(_decode(data, name, what, partial(_levels, clear)))


def is_empty(mask: bytes) -> bool:
    """Whether a mask that `read_mask` wrote repaints nothing."""
    from PIL import Image

    with Image.open(io.BytesIO(mask)) as image:
        levels = image.convert("L").tobytes()
    return max(levels) < ACTS_FROM


def _decode(data: bytes, name: str, what: What, convert: Callable[[Picture], Picture]) -> Picture:
    from PIL import Image

    called = f"{what} {name!r}"
    if len(data) > MAX_BYTES:
        raise BadInput(f"{called} is {len(data) / 2**20:.1f} MB: give one of at most 10 MB")
    kind = kind_of(data)
    if kind is None:
        raise BadInput(f"{called} is not a JPEG, PNG or WebP file, nor AVIF or HEIC: convert it to one of these")
    if kind == "HEIF" and not reads_heic():
        raise BadInput(
            f"{called} is a HEIC file, which needs the package pi-heif where it is read (pip install 'admint[heic]'):"
            " install it there, or convert the file to JPEG"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of damaged metadata, which is dropped anyway
            with Image.open(io.BytesIO(data), formats=[kind]) as image:
                _check_header(image, called)
                image.load()
                return convert(_upright(image))
    except (BadInput, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise BadInput(_too_many_pixels(called)) from None
    except Exception as error:
        # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more on hostile files; whatever
        # it is, the picture cannot be used, and nothing else happens in this block.
        raise BadInput(f"{called} is damaged or cut off: save it again as PNG or JPEG") from error


def reads_heic() -> bool:
    """Whether HEIC is read here.

    By pi-heif, an extra: its wheels hold libheif and libde265 (LGPL) and no encoder. Those of pillow-heif hold x265 and
    are under the GPL, which cannot go into a product that is sold.
    """
    try:
        from pi_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener(thumbnails=False)
    return True


def _check_header(image: Picture, called: str) -> None:
    """Refuse a picture by its size and frame count, before it is decoded: only the header has been read so far."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadInput(_too_many_pixels(called))
    shorter = round(min(width, height) * min(1.0, MAX_SIDE / max(width, height)))
    if min(width, height) < MIN_SIDE:
        raise BadInput(f"{called} is {width}x{height} pixels: each side must have at least {MIN_SIDE}")
    if shorter < MIN_SIDE:
        raise BadInput(
            f"{called} is {width}x{height} pixels: scaled down to the {MAX_SIDE} that are used, its shorter side has"
            f" {shorter}, and each must have at least {MIN_SIDE}: cut it to what it is to show"
        )
    # Only these can be animations. A JPEG with several pictures is a photo with its preview or depth map (MPO), a HEIC
    # one with its thumbnails or a burst: the first one is the photo.
    if image.format in ("PNG", "WEBP", "AVIF") and getattr(image, "n_frames", 1) > 1:
        raise BadInput(f"{called} is an animation: save the frame you want as a still PNG or JPEG")


def _too_many_pixels(called: str) -> str:
    return f"{called} has more than {MAX_PIXELS // 10**6} megapixels: scale it down first"


def _upright(image: Picture) -> Picture:
    """The picture as its EXIF block says that it is held; one that cannot be read says nothing."""
    from PIL.Image import Transpose

    # Pillow would take the orientation from XMP and from ImageMagick's text chunk too; no browser does.
    for other in ("XML:com.adobe.xmp", "xmp", "Raw profile type exif"):
        image.info.pop(other, None)
    try:
        orientation = image.getexif().get(0x0112)
    except Exception:  # a malformed block raises SyntaxError, struct.error, KeyError and more
        return image
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    turn = turns.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _on_white(image: Picture) -> Picture:
    """sRGB; transparent parts on white, as product cut-outs are meant to be seen."""
    from PIL import Image

    profile = image.info.get("icc_profile")
    colours, opacity = _parts(image)
    rgb = _srgb(colours, profile)
    if opacity is None:
        return rgb
    white = Image.new("RGB", rgb.size, "white")
    return Image.composite(rgb, white, opacity)


def _levels(clear: ClearParts, image: Picture) -> Picture:
    """Grey, white = repaint, with what is nearly black or white made so. A colour profile plays no part."""
    from PIL import Image, ImageChops

    colours, opacity = _parts(image)
    if opacity is None:
        grey = colours.convert("L")
    elif min(opacity.tobytes()) >= ACTS_FROM:
        grey = colours.convert("L")  # nothing is really transparent
    elif clear == "repainted":
        grey = ImageChops.invert(opacity)
    else:
        # A brush may be of any colour but black, and less than opaque; its strongest stroke is what it paints.
        bright = colours if colours.mode == "L" else reduce(ImageChops.lighter, colours.split())
        strokes = Image.composite(bright, Image.new("L", bright.size, 0), opacity)
        strongest = max(FAINT, max(strokes.tobytes()))
        grey = strokes.point(lambda level: level * 255 // strongest)
    return grey.point(lambda level: 0 if level < FAINT else 255 if level > FULL else level)


def _parts(image: Picture) -> tuple[Picture, Picture | None]:
    """Colours as `L`, `RGB` or `CMYK`, scaled to at most MAX_SIDE, and opacity as `L`; None: it has none."""
    if image.mode.startswith("I"):
        # convert("L") clips 16-bit grey to white; keep the upper eight bits instead.
        image = image.point(lambda value: value / 256).convert("L")
        image.info.pop("transparency", None)  # a 16-bit value, which nobody could read any more
    has_opacity = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    if has_opacity:
        image = image.convert("LA" if image.mode == "LA" else "RGBA")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    if not has_opacity:
        return image, None
    return image.convert("L" if image.mode == "LA" else "RGB"), image.getchannel("A")


def _srgb(colours: Picture, profile: bytes | None) -> Picture:
    """`colours` as sRGB: by their ICC profile where they have one that fits and can be read, as browsers do."""
    from PIL import ImageCms

    if profile:
        try:
            transform = _to_srgb(colours.mode, profile)
            if transform is not None:
                converted = ImageCms.applyTransform(colours, transform)
                if converted is not None:
                    return converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass  # a damaged profile, or one for other colours: no browser looks at it either
    return colours.convert("RGB")


def _to_srgb(mode: str, profile: bytes) -> ImageCmsTransform | None:
    """The way from `profile` to sRGB; None when it is sRGB itself, whose pixels stay as they are."""
    from PIL import Image, ImageCms

    read = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    transform = ImageCms.buildTransform(read, ImageCms.createProfile("sRGB"), mode, "RGB")
    if mode != "RGB":
        return transform
    steps = range(0, 256, 51)
    colours = bytes(value for red in steps for green in steps for blue in steps for value in (red, green, blue))
    probe = Image.frombytes("RGB", (len(colours) // 3, 1), colours)
    seen = ImageCms.applyTransform(probe, transform)
    largest = max(abs(one - other) for one, other in zip(colours, seen.tobytes(), strict=True)) if seen else 0
    return transform if largest > 2 else None


def _encode(image: Picture) -> bytes:
    import numpy as np

    from pipelines.media import encode_png

    return encode_png(np.asarray(image))
