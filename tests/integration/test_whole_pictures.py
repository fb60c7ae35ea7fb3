"""What a user gives reaches the model whole, or a note says what does not: references, images, frames, prompts."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.diffusion.inputs import decode_mask, decode_whole, fit_note, place_of, whole_cells
from models.interfaces import Inpaint, StartImage, Unwatched
from models.registry import load
from tests.support import tiny_clips, tiny_models
from tests.support.engine_calls import image_request, reference, video_request

VIDEOS: dict[str, dict[str, Any]] = {
    "animatediff": {"num_frames": 4},
    "ltx": {"num_frames": 9},
    "wan": {},
    "wan-vace": {},
}
SPECS: dict[str, dict[str, Any]] = {
    "animatediff": {"references": 3},
    "ltx": {"size_multiple": 32, "frame_multiple": 8, "max_frames": 33, "first_frame": "optional"},
    "wan": {"size_multiple": 16, "frame_multiple": 4},
    "wan-vace": {"size_multiple": 16, "frame_multiple": 4, "references": 3, "first_frame": "optional"},
}
LONG = "bottle " * 600
RED, BLUE = (220, 20, 20), (20, 20, 220)


pytestmark = pytest.mark.usefixtures("small_references")


@pytest.fixture(scope="module")
def image_engine(tmp_path_factory):
    return cache(
        lambda family: load(
            tiny_models.image_spec(family), tiny_models.image_folders(family, tmp_path_factory.mktemp(family)), "cpu"
        )
    )


@pytest.fixture(scope="module")
def video_engine(tmp_path_factory):
    return cache(
        lambda family: load(
            tiny_clips.video_spec(family, **SPECS[family]),
            tiny_clips.video_folders(family, tmp_path_factory.mktemp(family)),
            "cpu",
        )
    )


def wide(ends, width=320, height=100):
    """Green, with its first and last fifth, from left to right, of another colour."""
    picture = np.full((height, width, 3), (20, 160, 20), np.uint8)
    picture[:, : width // 5] = picture[:, -(width // 5) :] = ends
    return tiny_models.encoded(Image.fromarray(picture))


# --- pictures ---


@pytest.mark.parametrize("size", [(80, 48), (48, 80), (64, 64), (320, 96)])
def test_all_of_a_picture_is_in_every_size(size):
    pixels = np.asarray(decode_whole(wide(BLUE), "the image", *size)).astype(int)
    assert pixels.shape == (size[1], size[0], 3)
    left, top, right, bottom = place_of((320, 100), size)
    blue = (np.abs(pixels[top:bottom, left:right] - BLUE).max(axis=2) < 40).mean()
    assert blue == pytest.approx(0.4, abs=0.06)


def test_shapes_that_are_nearly_one_are_filled_and_all_others_lie_in_the_middle():
    assert place_of((1000, 562), (832, 480)) == (0, 0, 832, 480)
    assert place_of((320, 100), (80, 48)) == (0, 11, 80, 36)
    assert place_of((100, 320), (80, 48)) == (32, 0, 47, 48)
    assert fit_note(wide(BLUE), "the image", 320, 96, 16) == fit_note(wide(BLUE), "the image", 320, 100, 4) == ()


def test_the_note_names_a_size_that_fits():
    (note,) = fit_note(wide(BLUE), "the image", 80, 48, 16)
    assert "the image is 320x100 and lies whole in the middle of 80x48" in note
    assert "such as 112x32" in note


def test_a_mask_lies_where_its_picture_lies():
    white = tiny_models.encoded(Image.new("L", (320, 100), 255))
    mask = np.asarray(decode_mask(white, "the mask", 80, 48))
    assert np.flatnonzero(mask.any(axis=1)).tolist() == list(range(11, 36))


def test_the_thinnest_stroke_repaints_the_cells_that_it_touches():
    stroke = Image.new("L", (64, 64))
    stroke.putpixel((13, 30), 255)
    cells = np.asarray(whole_cells(stroke, 8))
    assert np.argwhere(cells).min(axis=0).tolist() == [24, 8]
    assert np.argwhere(cells).max(axis=0).tolist() == [31, 15]


@pytest.mark.parametrize(
    "family",
    ["stable-diffusion", "stable-diffusion-xl", "flux", "flux2-klein", "z-image", "qwen-image", "qwen-image-edit"],
)
@pytest.mark.parametrize("way", ["start", "inpaint"])
def test_a_start_image_of_another_shape_is_noted(image_engine, family, way):
    def notes(image):
        mask = tiny_models.encoded(Image.new("L", tiny_models.opened(image).size, 255))
        ways: dict[str, dict[str, Any]] = {
            "start": {"start": StartImage(image=image, strength=0.5)},
            "inpaint": {"inpaint": Inpaint(image=image, mask=mask)},
        }
        given = ways[way]
        made = image_engine(family).generate(
            image_request(width=96, height=64, guidance_scale=0.0, **given), Unwatched()
        )
        return [note for note in made.notes if "text alone" not in note]

    assert notes(tiny_models.png(1, 96, 64)) == []
    (note,) = notes(wide(BLUE))
    assert "the image is 320x100 and lies whole in the middle of 96x64" in note


@pytest.mark.parametrize("family", sorted(VIDEOS))
def test_a_first_frame_of_another_shape_is_noted(video_engine, family):
    def notes(frame):
        request = video_request(first_frame=frame, guidance_scale=1.0, **VIDEOS[family])
        return video_engine(family).generate(request, Unwatched()).notes

    assert notes(tiny_models.png(1)) == ()
    assert "the first frame is 320x100 and lies whole in the middle of 64x64" in notes(wide(BLUE))[0]


# --- references ---


@pytest.mark.parametrize("family", ["flux2-klein", "qwen-image-edit"])
def test_a_reference_that_is_read_as_an_image_loses_no_row(image_engine, family):
    """Flux.2's stock pipeline cuts references to multiples of a patch."""
    pixels = np.asarray(tiny_models.opened(tiny_models.png(1, 96, 79))).copy()
    other = pixels.copy()
    other[:6] = other[-6:] = 255 - other[:6]
    pictures = []
    for one in (pixels, other):
        image = tiny_models.encoded(Image.fromarray(one))
        asked = image_request(references=(reference(1).model_copy(update={"image": image}),))
        pictures.append(image_engine(family).generate(asked, Unwatched()).image)
    assert not np.array_equal(*pictures)


def test_wans_image_encoder_sees_the_whole_first_frame(video_engine):
    pipeline = video_engine("wan")._pipeline
    tall = [tiny_models.opened(wide(colour)).transpose(Image.Transpose.ROTATE_90) for colour in (RED, BLUE)]
    red, blue = (pipeline.image_processor(images=one, return_tensors="pt")["pixel_values"] for one in tall)
    assert (red[0, :, 0] != blue[0, :, 0]).any()


# --- texts ---


@pytest.mark.parametrize(
    "family", ["stable-diffusion", "stable-diffusion-xl", "flux2-klein", "z-image", "qwen-image", "qwen-image-edit"]
)
def test_a_negative_prompt_that_is_cut_is_noted_by_every_image_family(image_engine, family):
    engine = image_engine(family)
    engine._pipeline.register_to_config(**({"is_distilled": False} if family == "flux2-klein" else {}))
    notes = engine.generate(image_request(negative_prompt=LONG), Unwatched()).notes
    assert any(note.startswith("the negative prompt has ") for note in notes)
    assert not any(note.startswith("the prompt has ") for note in notes)
    unguided = engine.generate(image_request(negative_prompt=LONG, guidance_scale=0.0), Unwatched()).notes
    assert not any(note.startswith("the negative prompt has ") for note in unguided)


@pytest.mark.parametrize("family", sorted(VIDEOS))
def test_a_negative_prompt_that_is_cut_is_noted_by_every_video_family(video_engine, family):
    request = video_request(first_frame=tiny_models.png(1), negative_prompt=LONG, **VIDEOS[family])
    (note,) = video_engine(family).generate(request, Unwatched()).notes
    assert note.startswith("the negative prompt has ")
