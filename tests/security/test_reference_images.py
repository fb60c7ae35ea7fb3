"""Hostile and unlucky reference images, each made here."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import BadInput
from pipelines.media import decode_image
from pipelines.uploads import read_reference


def picture(width=64, height=48, mode="RGB"):
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 3 % 256, y * 5 % 256, (x + y) % 256], axis=-1).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width, height):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


def refusal(data, name="shoe.png"):
    with pytest.raises(BadInput) as caught:
        read_reference(data, name)
    message = str(caught.value)
    assert repr(name) in message and "\n" not in message
    return message


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_each_supported_kind_becomes_a_png_whatever_its_name_says(kind):
    result = read_reference(encoded(picture(), kind), "misnamed.txt")
    with Image.open(io.BytesIO(result)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (64, 48))


def test_a_png_keeps_its_pixels():
    assert np.array_equal(decode_image(read_reference(encoded(picture()), "a.png")), np.asarray(picture()))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"just words",
        b"GIF89a" + bytes(100),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        b"\0\0\0\x1cftypavif" + bytes(64),
        b"RIFF\0\0\0\0WAVE",
        b"MZ" + bytes(64),
    ],
)
def test_other_kinds_are_refused_by_content(data):
    assert "not a JPEG, PNG or WebP" in refusal(data)


def test_a_file_over_ten_megabytes_is_refused():
    assert "at most 10 MB" in refusal(encoded(picture()) + bytes(10 * 1024 * 1024))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("kept", [0.15, 0.5, 0.9])
def test_a_truncated_file_is_refused_with_its_name(kind, kept):
    data = encoded(Image.effect_noise((200, 200), 80).convert("RGB"), kind)
    assert "damaged or cut off" in refusal(data[: int(len(data) * kept)])


@pytest.mark.parametrize("size", [(50_000, 50_000), (8_000, 5_001), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(size, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", never)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "megapixels" in refusal(png_claiming(*size))


def test_a_header_that_promises_more_pixels_than_the_file_holds_is_refused():
    assert "damaged or cut off" in refusal(png_claiming(500, 500))


def test_a_compressed_text_bomb_in_a_png_is_refused():
    whole = encoded(picture())
    bomb = chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(80 * 1024 * 1024)))
    assert "damaged or cut off" in refusal(whole[:33] + bomb + whole[33:])


@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
def test_an_animation_is_refused_because_nobody_chose_a_frame(kind):
    frames = [picture(), picture(mode="L").convert("RGB")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    assert "animation" in refusal(data)


def test_a_photo_with_an_embedded_preview_is_read_as_the_photo():
    data = encoded(picture(), "MPO", save_all=True, append_images=[picture(32, 24)])
    assert decode_image(read_reference(data, "phone.jpg")).shape == (48, 64, 3)


@pytest.mark.parametrize("size", [(15, 200), (200, 15), (1, 1)])
def test_a_picture_too_small_to_show_anything_is_refused(size):
    assert "at least 16" in refusal(encoded(picture(*size)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_metadata_and_tails_are_stripped(kind):
    exif = Image.Exif()
    exif[0x010E] = "SECRET-PLACE"
    exif.get_ifd(0x8825)[1] = "N"
    data = encoded(picture(), kind, exif=exif, icc_profile=b"SECRET-PROFILE" * 20)
    result = read_reference(data + b"<script>SECRET-TAIL</script>", "gps.jpg")
    assert b"SECRET" not in result and b"<script>" not in result
    with Image.open(io.BytesIO(result)) as image:
        assert not image.getexif() and "icc_profile" not in image.info


def test_the_orientation_of_a_phone_photo_is_applied():
    upright = picture(64, 48)
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = upright.transpose(Image.Transpose.ROTATE_90)
    result = decode_image(read_reference(encoded(sideways, "PNG", exif=exif), "phone.png"))
    assert np.array_equal(result, np.asarray(upright))


def test_transparent_parts_become_white():
    cut_out = picture(mode="RGBA")
    cut_out.putalpha(Image.new("L", cut_out.size, 0))
    for image in (cut_out, cut_out.convert("LA")):
        assert decode_image(read_reference(encoded(image), "cut-out.png")).min() == 255


def test_palette_transparency_becomes_white():
    image = picture(mode="P")
    data = encoded(image, transparency=image.getpixel((0, 0)))
    assert decode_image(read_reference(data, "p.png"))[0, 0].tolist() == [255, 255, 255]


def test_sixteen_bit_grey_keeps_its_tones():
    ramp = np.repeat(np.linspace(0, 65535, 64).astype(np.uint16)[None], 32, axis=0)
    result = decode_image(read_reference(encoded(Image.fromarray(ramp)), "scan.png"))
    assert result[0, ::21, 0].tolist() == [value >> 8 for value in ramp[0, ::21].tolist()]


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGBA", "LA"])
def test_every_colour_mode_becomes_rgb(mode):
    data = encoded(picture(mode=mode), "JPEG" if mode == "CMYK" else "PNG")
    assert decode_image(read_reference(data, "any")).shape == (48, 64, 3)


def test_a_very_large_picture_is_scaled_down():
    data = encoded(Image.new("RGB", (5000, 2500), "red"))
    assert decode_image(read_reference(data, "poster.png")).shape == (1024, 2048, 3)


@pytest.mark.parametrize("seed", range(40))
def test_a_file_with_flipped_bytes_is_read_or_refused_in_one_line(seed):
    rng = np.random.default_rng(seed)
    kind = ("PNG", "JPEG", "WEBP")[seed % 3]
    data = bytearray(encoded(picture(), kind))
    for place in rng.integers(12, len(data), 6):
        data[place] = rng.integers(0, 256)
    try:
        result = read_reference(bytes(data), "flipped")
    except BadInput as error:
        assert "'flipped'" in str(error) and "\n" not in str(error)
    else:
        assert min(decode_image(result).shape[:2]) >= 1
