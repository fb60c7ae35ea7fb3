"""Masks as tools make them, and what each route reads in them: white parts, or what is transparent."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from pipelines.errors import BadInput
from pipelines.media import decode_image
from pipelines.uploads import is_empty, read_mask

SIZE = (64, 48)
LEFT = (0, 0, 31, 47)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def levels(data, clear):
    """Of the left half, of the right half."""
    mask = decode_image(read_mask(data, "mask.png", clear=clear))[..., 0]
    assert np.ptp(mask[:, :31]) <= 1 and np.ptp(mask[:, 33:]) <= 1
    return int(mask[20, 5]), int(mask[20, 60])


def half(mode, left, right):
    image = Image.new(mode, SIZE, right)
    ImageDraw.Draw(image).rectangle(LEFT, fill=left)
    return image


WHITE_LEFT = half("L", 255, 0)
KEPT_AND_REPAINTED = {
    "white on black": (WHITE_LEFT, (255, 0), (255, 0)),
    "black on white": (half("L", 0, 255), (0, 255), (0, 255)),
    "grey": (half("L", 150, 0), (150, 0), (150, 0)),
    "RGB": (WHITE_LEFT.convert("RGB"), (255, 0), (255, 0)),
    "one bit": (WHITE_LEFT.convert("1"), (255, 0), (255, 0)),
    "palette": (WHITE_LEFT.convert("P"), (255, 0), (255, 0)),
    "opaque RGBA": (WHITE_LEFT.convert("RGBA"), (255, 0), (255, 0)),
    "opaque grey with alpha": (WHITE_LEFT.convert("LA"), (255, 0), (255, 0)),
    "strokes on a clear canvas": (half("RGBA", (255, 255, 255, 255), (0, 0, 0, 0)), (255, 0), (0, 255)),
    "strokes on clear white": (half("RGBA", (255, 255, 255, 255), (255, 255, 255, 0)), (255, 0), (0, 255)),
    "red strokes": (half("RGBA", (255, 0, 0, 255), (0, 0, 0, 0)), (255, 0), (0, 255)),
    "half opaque strokes": (half("RGBA", (255, 255, 255, 120), (0, 0, 0, 0)), (255, 0), (135, 255)),
    "grey strokes with alpha": (half("LA", (255, 255), (0, 0)), (255, 0), (0, 255)),
    "holes in black": (half("RGBA", (0, 0, 0, 0), (0, 0, 0, 255)), (0, 0), (255, 0)),
    "holes in white": (half("RGBA", (0, 0, 0, 0), (255, 255, 255, 255)), (0, 255), (255, 0)),
    "white holes": (half("RGBA", (255, 255, 255, 0), (255, 255, 255, 255)), (0, 255), (255, 0)),
}


@pytest.mark.parametrize("name", sorted(KEPT_AND_REPAINTED))
def test_every_kind_of_mask_is_read_by_the_rule_of_its_route(name):
    image, kept, repainted = KEPT_AND_REPAINTED[name]
    assert levels(encoded(image), "kept") == kept
    assert levels(encoded(image), "repainted") == repainted


def test_sixteen_bit_masks_keep_their_levels():
    deep = np.zeros((48, 64), np.uint16)
    deep[:, :32] = 40_000
    assert levels(encoded(Image.fromarray(deep)), "kept") == (156, 0)


def test_a_clear_colour_of_a_palette_is_a_hole():
    image = half("P", 1, 0)
    image.putpalette([0, 0, 0, 255, 255, 255])
    assert levels(encoded(image, transparency=1), "repainted") == (255, 0)


def test_a_soft_brush_stays_soft_and_its_surroundings_stay_black():
    soft = Image.new("RGBA", SIZE, (255, 255, 255, 0))
    alpha = WHITE_LEFT.filter(ImageFilter.GaussianBlur(4))
    soft.putalpha(alpha)
    mask = decode_image(read_mask(encoded(soft), "soft.png"))[20, :, 0]
    assert mask[0] == 255 and mask[-1] == 0
    assert len(np.unique(mask)) > 6
    assert np.all(np.diff(mask.astype(int)) <= 0)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_the_noise_of_a_lossy_file_repaints_nothing(kind):
    rng = np.random.default_rng(1)
    noisy = np.clip(np.asarray(WHITE_LEFT, int) + rng.integers(-6, 7, (48, 64)), 0, 255).astype(np.uint8)
    mask = decode_image(read_mask(encoded(Image.fromarray(noisy), kind, quality=95), "mask"))[..., 0]
    assert set(np.unique(mask[:, :24])) == {255} and set(np.unique(mask[:, 40:])) == {0}


@pytest.mark.parametrize(
    ("image", "clear", "empty"),
    [
        (Image.new("L", SIZE, 0), "kept", True),
        (Image.new("L", SIZE, 100), "kept", True),
        (Image.new("RGBA", SIZE, (0, 0, 0, 0)), "kept", True),
        (Image.new("RGBA", SIZE, (0, 0, 0, 0)), "repainted", False),
        (Image.new("RGBA", SIZE, (0, 0, 0, 255)), "repainted", True),
        (half("RGBA", (0, 0, 0, 0), (0, 0, 0, 255)), "kept", True),
        (half("RGBA", (255, 255, 255, 255), (0, 0, 0, 0)), "kept", False),
    ],
)
def test_a_mask_that_repaints_nothing_is_empty(image, clear, empty):
    assert is_empty(read_mask(encoded(image), "mask.png", clear=clear)) is empty


def test_a_mask_that_cannot_be_read_is_called_a_mask():
    with pytest.raises(BadInput, match=r"^mask 'm\.png' is not a JPEG, PNG or WebP"):
        read_mask(b"GIF89a" + bytes(99), "m.png")
