"""Hostile and unlucky reference images, each made here."""

from __future__ import annotations

import base64
import io
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from pipelines.errors import BadInput
from pipelines.media import decode_image
from pipelines.uploads import read_mask, read_reference


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


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF"])
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
        b"\0\0\0\x1cftypcrx " + bytes(64),
        b"RIFF\0\0\0\0WAVE",
        b"MZ" + bytes(64),
    ],
)
def test_other_kinds_are_refused_by_content(data):
    assert "not a JPEG, PNG or WebP" in refusal(data)


def test_a_heic_file_says_what_reads_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    phone = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)
    assert "admint[heic]" in refusal(phone, "IMG_0001.HEIC")


HEIC = base64.b64decode(
    b"AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAchtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAADRpbG9jAA"
    b"AAAERAAAIAAQAAAAAB7AABAAAAAAAAAGkAAgAAAAACVQABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAAABVp"
    b"bmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABB2lwcnAAAADmaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGE"
    b"ABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkA"
    b"AAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEH"
    b"BpeGkAAAAAAwgICAAAAAlpcm90AwAAABlpcG1hAAAAAAAAAAEAAQaBAgMFhIYAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEAAQAAAJVtZGF0AAAA"
    b"ZSgBrwngOSMkv//w0v//55S5D9v7lwX/9gD339/Hn//wGX1EY1iyx/nbNH9W1ylirEY5YzNH1HabOSqzJNYCT2G5HF+Mk/RBjbCDVctrPYRAHE"
    b"fxIil+qBM7Jn79WjCUrbr7y2A4AAAABkV4aWYAAE1NACoAAAAIAAEBEgADAAAAAQAGAAAAAAAA"
)
"""64x48, red left and blue right, with EXIF that says to turn it: made by libheif and x265."""


def test_a_heic_file_is_read_where_the_extra_is_installed_and_turned():
    pytest.importorskip("pi_heif")
    pixels = decode_image(read_reference(HEIC, "IMG_0001.HEIC"))
    assert pixels.shape == (64, 48, 3)
    assert np.abs(pixels[5, 20].astype(int) - (230, 60, 40)).max() <= 8
    assert np.abs(pixels[60, 20].astype(int) - (30, 90, 200)).max() <= 8


def test_a_picture_is_called_what_it_is_to_its_sender():
    for what in ("image", "first frame", "mask"):
        with pytest.raises(BadInput, match=f"^{what} 'a.png' is damaged"):
            (read_mask if what == "mask" else read_reference)(encoded(picture())[:60], "a.png", what)


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


@pytest.mark.parametrize("size", [(40_000, 17), (17, 40_000), (4096, 20)])
def test_a_picture_that_is_a_line_once_it_is_scaled_down_is_refused(size):
    assert f"{size[0]}x{size[1]} pixels: scaled down" in refusal(encoded(Image.new("RGB", size)))


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


def sideways(number):
    exif = Image.Exif()
    exif[0x0112] = number
    return exif.tobytes()


BACK = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
"""By orientation: Pillow's transposition that lays the picture so that it must be turned back."""


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize("number", sorted(BACK))
def test_every_orientation_of_every_kind_is_turned_upright(kind, number):
    upright = picture(64, 48)
    options = {"PNG": {}, "WEBP": {"lossless": True}}.get(kind, {"quality": 100})
    held = upright.transpose(Image.Transpose(BACK[number]))
    result = decode_image(read_reference(encoded(held, kind, exif=sideways(number), **options), "a"))
    assert result.shape == (48, 64, 3)
    seen = result.astype(int)[..., 2] - np.asarray(upright.convert("RGB"), int)[..., 2]
    assert np.abs(seen).mean() < 6  # JPEG and AVIF share their colours among pixels


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_orientation_that_only_xmp_knows_is_not_applied_as_no_browser_does(kind):
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    if kind == "PNG":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp.decode())
        data = encoded(picture(), kind, pnginfo=text)
    else:
        data = encoded(picture(), kind, xmp=xmp)
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif().get(0x0112) == 6, "Pillow by itself would turn it"
    assert decode_image(read_reference(data, "a")).shape == (48, 64, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0junk",
        b"Exif\0\0II*\0\xff\xff\xff\x7f",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(9),
        sideways(6)[:-7],
        sideways(9),
        sideways(0),
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\x006\0\0\0\0\0\0\0",  # orientation as a letter
    ],
)
def test_a_malformed_exif_block_says_nothing_of_a_sound_picture(kind, block):
    assert decode_image(read_reference(encoded(picture(), kind, exif=block), "a")).shape == (48, 64, 3)


# --- colours ---


def fixed(*numbers):
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


def profile(space, tags, connection=b"XYZ "):
    """An ICC profile of version 2 with `tags`, by name."""
    tags = {"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78), **tags}
    table, body, begin = b"", b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += name.encode() + struct.pack(">II", begin + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(
        ">I4sI4s4s4s12s4s", begin + len(body), b"lcms", 0x02100000, b"mntr", space, connection, b"", b"acsp"
    )
    head = (head + bytes(28) + fixed(0.9642, 1, 0.8249)).ljust(128, b"\0")
    return head + struct.pack(">I", len(tags)) + table + body


def xyz(*numbers):
    return b"XYZ " + bytes(4) + fixed(*numbers)


def gamma(exponent):
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(exponent * 256))


def matrix(red, green, blue):
    curves = {name: gamma(2.2) for name in ("rTRC", "gTRC", "bTRC")}
    return profile(b"RGB ", {"rXYZ": xyz(*red), "gXYZ": xyz(*green), "bXYZ": xyz(*blue), **curves})


DISPLAY_P3 = matrix((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LINEAR_GREY = profile(b"GRAY", {"wtpt": xyz(0.9642, 1, 0.8249), "kTRC": gamma(1)})


def cmyk_profile():
    """A CMYK profile whose inks are grey: each takes a quarter of the lightness."""
    grid = [round(255 * (1 - sum(map(int, f"{place:04b}")) / 4)) for place in range(16)]
    straight = bytes(range(256))
    table = b"".join(bytes((lightness, 128, 128)) for lightness in grid)
    numbers = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    return profile(b"CMYK", {"A2B0": numbers + 4 * straight + table + 3 * straight}, connection=b"Lab ")


def colour(data):
    return decode_image(read_reference(data, "a"))[20, 20].astype(int)


@pytest.mark.parametrize(("kind", "options"), [
    ("PNG", {}), ("JPEG", {"quality": 100}), ("WEBP", {"lossless": True}), ("AVIF", {"quality": 100}),
])  # fmt: skip
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_the_colours_of_a_phone_become_srgb(kind, options, mode):
    if mode != "RGB" and kind != "PNG":
        return
    image = Image.new("RGB", (64, 48), (230, 60, 40)).convert(mode, palette=Image.Palette.ADAPTIVE)
    found = colour(encoded(image, kind, icc_profile=DISPLAY_P3, **options))
    assert np.abs(found - (251, 27, 5)).max() <= 6


def test_the_pixels_of_an_srgb_picture_stay_as_they_are():
    data = encoded(picture(), icc_profile=SRGB)
    assert np.array_equal(decode_image(read_reference(data, "a.png")), np.asarray(picture()))


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_a_grey_profile_is_converted_too(mode):
    data = encoded(Image.new("L", (64, 48), 64).convert(mode), icc_profile=LINEAR_GREY)
    assert np.abs(colour(data) - 137).max() <= 2


def test_a_cmyk_profile_says_how_its_inks_look():
    inks = Image.new("CMYK", (64, 48), (255, 255, 0, 0))
    plain, converted = (colour(encoded(inks, "JPEG", **icc)) for icc in ({}, {"icc_profile": cmyk_profile()}))
    assert plain.max() - plain.min() > 200, "by itself, a pure blue"
    assert np.abs(converted - 119).max() <= 4, "lightness 50 is a grey of 119"


@pytest.mark.parametrize(
    ("mode", "icc"), [("RGB", b"junk" * 50), ("RGB", LINEAR_GREY), ("L", DISPLAY_P3), ("RGB", DISPLAY_P3[:300])]
)
def test_a_profile_that_does_not_fit_or_is_damaged_is_ignored(mode, icc):
    assert np.abs(colour(encoded(Image.new(mode, (64, 48), "gray"), icc_profile=icc)) - 128).max() <= 1


def test_sixteen_bit_colours_are_converted_with_their_profile():
    raw = np.full((48, 64, 3), (230 * 257, 60 * 257, 40 * 257), ">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in raw)
    icc = chunk(b"iCCP", b"p3\0\0" + zlib.compress(DISPLAY_P3))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 48, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + icc + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert np.abs(colour(data) - (251, 27, 5)).max() <= 6


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
