"""Reference folders as phones, Macs and Windows leave them, and what is said of the pictures that are not used."""

import io

import pytest
from PIL import Image

from pipelines.errors import BadInput
from serving.reference_files import read_references, skipped_pictures

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)
APPLE_DOUBLE = b"\0\5\x16\7\0\2\0\0Mac OS X        "


def encoded(kind="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(buffer, kind)
    return buffer.getvalue()


def folder_of(path, **files):
    path.mkdir(exist_ok=True)
    for name, data in files.items():
        (path / name.replace("__", ".")).write_bytes(data)
    return [str(path)]


def names(values):
    return [file.reference.filename for file in read_references(values)]


def test_what_a_system_leaves_in_a_folder_is_passed_over(tmp_path):
    named = folder_of(
        tmp_path / "mac", product__png=encoded(), Thumbs__db=b"\xd0\xcf", desktop__ini=b"[x]", notes__txt=b"hi"
    )
    for name in ("._product.png", ".DS_Store", ".hidden.jpg"):
        (tmp_path / "mac" / name).write_bytes(APPLE_DOUBLE)
    (tmp_path / "mac" / "__MACOSX").mkdir()
    (tmp_path / "mac" / "__MACOSX" / "._product.png").write_bytes(APPLE_DOUBLE)
    (tmp_path / "mac" / "IMG_1.AAE").write_bytes(b"<?xml")
    assert names(named) == ["product.png"]
    assert skipped_pictures(named) == ()


@pytest.mark.parametrize(("suffix", "kind"), [
    ("jfif", "JPEG"), ("JPE", "JPEG"), ("pjpeg", "JPEG"), ("avif", "AVIF"), ("WEBP", "WEBP"),
    ("heic", "JPEG"), ("", "PNG"),
])  # fmt: skip
def test_a_picture_counts_by_its_content_under_every_name_of_its_kind(tmp_path, suffix, kind):
    (tmp_path / f"product.{suffix}".rstrip(".")).write_bytes(encoded(kind))
    assert names([str(tmp_path)]) == [f"product.{suffix}".rstrip(".")]


def test_names_in_any_script_are_kept(tmp_path):
    for name in ("бутылка.png", "水瓶.png", "💧.png"):
        (tmp_path / name).write_bytes(encoded())
    assert sorted(names([str(tmp_path)])) == sorted(["бутылка.png", "水瓶.png", "💧.png"])


def test_pictures_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("serving.reference_files.reads_heic", lambda: False)
    named = folder_of(
        tmp_path / "phone", product__png=encoded(), IMG_2__HEIC=HEIC, logo__gif=encoded("GIF"), scan__tiff=b"II*\0",
    )  # fmt: skip
    assert names(named) == ["product.png"]
    (note,) = skipped_pictures(named)
    assert "'IMG_2.HEIC' (HEIC: pip install 'admint[heic]'" in note
    assert "'logo.gif'" in note and "'scan.tiff'" in note


def test_a_folder_with_nothing_but_unreadable_pictures_says_which(tmp_path, monkeypatch):
    monkeypatch.setattr("serving.reference_files.reads_heic", lambda: False)
    with pytest.raises(BadInput, match=r"holds no JPEG.*only 'IMG_2\.HEIC' \(HEIC: pip install"):
        read_references(folder_of(tmp_path / "phone", IMG_2__HEIC=HEIC))


def test_a_file_with_a_pictures_name_that_is_none_is_refused_by_its_name(tmp_path):
    with pytest.raises(BadInput, match=r"product\.jpg.* is not a JPEG"):
        read_references(folder_of(tmp_path, product__jpg=b""))
