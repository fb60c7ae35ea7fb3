"""What only the Qwen-Image families do: starts and masks as the stock pipelines, pictures that are read and edited."""

import inspect

import numpy as np
import pytest
import torch
from diffusers import QwenImageEditPlusPipeline, QwenImageImg2ImgPipeline, QwenImageInpaintPipeline

from models.diffusion.noise import draw
from models.interfaces import AdapterSettings, Inpaint, StartImage, Unwatched
from models.registry import load
from tests.support import tiny_models
from tests.support.engine_calls import NOISE, assert_all_differ, image_request, picture, reference

pytestmark = pytest.mark.usefixtures("small_references")

CALL = {
    "width": 64, "height": 64, "num_inference_steps": 4, "true_cfg_scale": 4.0, "guidance_scale": None,
    "output_type": "np",
}  # fmt: skip
INPAINT = Inpaint(image=tiny_models.png(5), mask=tiny_models.half_mask(), strength=0.75)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_models.save_qwen_image(tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def edit_folder(tmp_path_factory):
    return tiny_models.save_qwen_image_edit(tmp_path_factory.mktemp("qwen-edit"))


@pytest.fixture(scope="module")
def engine(folder):
    return load(tiny_models.image_spec("qwen-image", references=0), {"main": folder}, "cpu")


@pytest.fixture(scope="module")
def edit(edit_folder):
    return load(tiny_models.image_spec("qwen-image-edit"), {"main": edit_folder}, "cpu")


def quiet(kind, folder, **options):
    stock = kind.from_pretrained(folder, local_files_only=True, **options)
    stock.set_progress_bar_config(disable=True)
    return stock


def levels(image):
    return (image * 255).round().astype("uint8")


def notes(engine, **changes):
    return engine.generate(image_request(**changes), Unwatched()).notes


# --- from texts, images and masks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "asked", "given"), [
    (QwenImageImg2ImgPipeline, {"start": StartImage(image=INPAINT.image, strength=0.75)}, {}),
    (QwenImageInpaintPipeline, {"inpaint": INPAINT}, {"mask_image": tiny_models.opened(INPAINT.mask)}),
    (QwenImageInpaintPipeline, {"inpaint": INPAINT.model_copy(update={"strength": 1.0})},
     {"mask_image": tiny_models.opened(INPAINT.mask), "strength": 1.0}),
], ids=["from an image", "inside a mask", "inside a mask from noise"])  # fmt: skip
def test_starts_and_masks_equal_the_stock_pipelines(engine, folder, kind, asked, given, monkeypatch):
    stock, noise, module = quiet(kind, folder), draw(NOISE, 16, 8, 8)[None, None], inspect.getmodule(kind)
    # Given as `latents` it would not be mixed with the image. And the stock pipelines draw the image's latents, too.
    monkeypatch.setattr(module, "randn_tensor", lambda *args, **options: noise)
    monkeypatch.setattr(module, "retrieve_latents", lambda encoded, **options: encoded.latent_dist.mode())
    call = {"prompt": "a red bottle", "negative_prompt": "dark", "image": tiny_models.opened(INPAINT.image)}
    bare = stock(**CALL | call | {"strength": 0.75} | given).images[0]
    assert np.array_equal(picture(engine, negative_prompt="dark", **asked), levels(bare))


def test_what_had_no_effect_or_was_cut_is_said(engine):
    assert notes(engine) == notes(engine, guidance_scale=1.0) == ()
    (negative,) = notes(engine, guidance_scale=1.0, negative_prompt="dark")
    assert negative.startswith("the negative prompt 'dark' had no effect")
    (cut,) = notes(engine, prompt="bottle " * 160)
    assert "reads the first 1058" in cut


# --- editing pictures -------------------------------------------------------------------------------------------------


def test_pictures_are_edited_as_the_stock_pipeline_does_with_the_same_readings(edit, edit_folder):
    references = (reference(3), reference(4, 96, 64))
    images = [tiny_models.opened(each.image) for each in references]
    with torch.inference_mode():
        texts = [edit._read(text, images)[0] for text in ("a red bottle", "dark")]
    stock = quiet(QwenImageEditPlusPipeline, edit_folder, processor=None)
    noise = draw(NOISE, 16, 8, 8)[None]
    given = {
        "latents": stock._pack_latents(noise, *noise.shape),
        "prompt_embeds": texts[0], "prompt_embeds_mask": torch.ones(texts[0].shape[:2]),
        "negative_prompt_embeds": texts[1], "negative_prompt_embeds_mask": torch.ones(texts[1].shape[:2]),
    }  # fmt: skip
    bare = stock(images, **CALL | given).images[0]
    assert np.array_equal(picture(edit, references=references, negative_prompt="dark"), levels(bare))


def test_the_patches_of_a_picture_are_read_by_row_and_column(edit, monkeypatch):
    """Without their types, which diffusers does not give, transformers numbers them like words."""
    positions = []
    language = edit._pipeline.text_encoder.model.language_model
    hook = language.register_forward_pre_hook(
        lambda module, args, kwargs: positions.append(kwargs["position_ids"]), with_kwargs=True
    )
    with torch.inference_mode():
        edit._read("a bottle", [tiny_models.opened(tiny_models.png(3, 96, 64))])
    hook.remove()
    time, row, column = positions[0][-3:, 0]
    assert len({tuple(axis.tolist()) for axis in (time, row, column)}) == 3
    # 384 x 384 pixels in the shape of the picture, in patches of 28: 11 rows of 17.
    picture_begins = int((row != time).nonzero()[0]) - 17
    assert len(row[picture_begins:][: 11 * 17].unique()) == 11
    assert len(column[picture_begins:][: 11 * 17].unique()) == 17


def test_the_order_of_references_reaches_the_picture(edit):
    orders = ((reference(3), reference(4)), (reference(4), reference(3)))
    assert_all_differ([picture(edit, references=references) for references in orders])


def test_a_reference_of_no_strength_is_left_out(edit):
    without = picture(edit, references=(reference(4),))
    assert np.array_equal(picture(edit, references=(reference(3, weight=0.0), reference(4))), without)
    assert np.array_equal(picture(edit, references=(reference(3),), adapter=AdapterSettings(scale=0.0)), picture(edit))


def test_references_start_and_mask_work_together(edit):
    start, given = StartImage(image=tiny_models.png(5), strength=0.75), (reference(3), reference(4, 96, 64))
    for way in ({"start": start}, {"inpaint": INPAINT}):
        assert_all_differ([picture(edit, references=given[:count], **way) for count in range(3)])


def test_the_mark_of_a_picture_in_a_prompt_is_text(edit):
    marked = picture(edit, prompt="<|image_pad|> a bottle", references=(reference(3),))
    assert not np.array_equal(marked, picture(edit, prompt="a bottle", references=(reference(3),)))


def test_what_an_edit_cannot_do_is_said(edit):
    assert notes(edit, references=(reference(3),)) == notes(edit, inpaint=INPAINT) == ()
    assert "made from text alone: these weights were trained to edit" in notes(edit)[0]
    weighed, style = notes(edit, references=(reference(3, weight=0.5), reference(4, role="style")))
    assert weighed.startswith("reference 1 acts in full, not with weight 0.5")
    assert style.startswith("reference 2 is a style reference")
