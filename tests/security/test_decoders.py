"""Uploads are decoded in a process of their own: what a file does there stays there."""

import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import BadInput
from pipelines.media import decode_image
from pipelines.uploads import read_mask, read_reference
from serving.errors import QueueFull, Undecodable
from serving.gateway.decoding import decoders as decoders_module
from serving.gateway.decoding.decoders import Decoders, send
from tests.security.test_reference_images import DISPLAY_P3
from tests.support.waiting import PATIENCE_SECONDS


@pytest.fixture
def decoders():
    made = Decoders()
    yield made
    made.close()


@pytest.fixture(scope="module")
def hostile():
    made = Decoders("tests.support.hostile_decoder")
    yield made
    made.close()


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pictures():
    """One of every kind that is read differently: what needs a library only here must be loaded there before."""
    rng = np.random.default_rng(3)
    rgb = Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))
    rgba = Image.fromarray(rng.integers(0, 255, (48, 64, 4), dtype=np.uint8))
    deep = Image.fromarray(rng.integers(0, 65535, (48, 64), dtype=np.uint16))
    sideways = Image.Exif()
    sideways[0x0112] = 6
    yield "jpeg", encoded(rgb, "JPEG", exif=sideways)
    yield "progressive", encoded(rgb, "JPEG", progressive=True)
    yield "cmyk", encoded(rgb.convert("CMYK"), "JPEG")
    yield "mpo", encoded(rgb, "MPO", save_all=True, append_images=[rgb])
    yield "png", encoded(rgb, exif=sideways)
    yield "alpha", encoded(rgba)
    yield "palette", encoded(rgb.convert("P"))
    yield "deep", encoded(deep)
    yield "bits", encoded(rgb.convert("1"))
    yield "webp", encoded(rgb, "WEBP", exif=sideways)
    yield "lossless", encoded(rgba, "WEBP", lossless=True)
    yield "avif", encoded(rgba, "AVIF")
    yield "profile", encoded(rgb, icc_profile=DISPLAY_P3)


async def test_every_kind_of_picture_is_read_there_as_here(decoders):
    for name, data in pictures():
        assert await decoders.read("reference", data, name) == read_reference(data, name), name
        assert await decoders.read("mask", data, name) == read_mask(data, name), name
        holes = await decoders.read("mask of holes", data, name)
        assert holes == read_mask(data, name, clear="repainted"), name


async def test_a_file_that_cannot_be_used_says_why_and_its_process_goes_on(decoders):
    with pytest.raises(BadInput, match=r"evil\.png.* is damaged"):
        await decoders.read("reference", encoded(Image.new("RGB", (64, 64)))[:60], "evil.png")
    with pytest.raises(BadInput, match=r"^first frame 'evil\.png' is damaged"):
        await decoders.read("reference", encoded(Image.new("RGB", (64, 64)))[:60], "evil.png", "first frame")
    for _ in range(3):
        assert await decoders.read("reference", encoded(Image.new("RGB", (64, 64))), "a.png")
    assert len(decoders._all) <= decoders_module.AT_ONCE


async def test_the_largest_picture_that_is_taken_has_room(decoders):
    widest = Image.new("RGBA", (8000, 5000), (10, 20, 30, 200))
    png = await decoders.read("reference", encoded(widest, compress_level=1), "wide.png")
    assert decode_image(png).shape == (1280, 2048, 3)


@pytest.mark.parametrize("what", ["crash", "eat", "spin", "sleep", "call out", "write", "shout"])
async def test_whatever_a_file_does_ends_in_a_refusal_and_the_next_file_is_read(hostile, what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Undecodable, match="could not be decoded"):
        await hostile.read("reference", what.encode(), "evil.png")
    assert await hostile.read("reference", b"good", "good.png") == b"read"
    assert not list(tmp_path.iterdir())


async def test_a_program_that_died_between_two_files_is_replaced(hostile):
    await hostile.read("reference", b"good", "good.png")
    for program in tuple(hostile._all):
        os.kill(program._process.pid, signal.SIGKILL)
        program._process.wait(PATIENCE_SECONDS)
    for _ in range(4):
        assert await hostile.read("reference", b"good", "good.png") == b"read"


async def test_the_program_knows_nothing_of_the_servers_environment(monkeypatch):
    monkeypatch.setenv("ADMINT_SECRET", "a secret of the server")
    decoders = Decoders("tests.support.hostile_decoder")
    try:
        await decoders.read("reference", b"good", "good.png")
        (program,) = decoders._all
        environment = await asyncio.to_thread(Path(f"/proc/{program._process.pid}/environ").read_bytes)
        assert b"PYTHONPATH" in environment
        assert b"a secret" not in environment
    finally:
        decoders.close()


async def test_more_files_than_may_wait_are_refused(hostile, monkeypatch):
    monkeypatch.setattr(decoders_module, "WAITING", 1)
    asked = [hostile.read("reference", b"good", "good.png") for _ in range(5)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers] == [bytes] * 3 + [QueueFull] * 2


def test_a_program_whose_server_was_killed_ends_in_silence():
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "serving.gateway.decoding.process"]
    program = subprocess.Popen(command, stdin=theirs.fileno(), stderr=subprocess.PIPE)
    theirs.close()
    with ours:
        send(ours, {"job": "reference", "name": "a.png", "what": "image"}, encoded(Image.new("RGB", (64, 64))))
        ours.shutdown(socket.SHUT_RD)
        errors = program.communicate(timeout=PATIENCE_SECONDS)[1]
        assert (program.returncode, errors) == (0, b"")
