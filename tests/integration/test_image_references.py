"""IP-Adapter on tiny real weights: weights per reference, scale, roles, block presets, begin and end."""

from functools import cache, partial

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from transformers import CLIPImageProcessorPil

from models.diffusion.noise import draw
from models.diffusion.references import Layer, block_presets, whole_picture_processor
from models.errors import InvalidRequest
from models.interfaces import AdapterSettings, EncodedImage, ImageRequest, NoiseSpec, Reference, Unwatched
from models.registry import load
from models.spec import Acceleration
from tests.support import tiny_models
from tests.support.engine_calls import assert_all_differ

NOISE = NoiseSpec(seed=1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tiny_models.image_folders("stable-diffusion", tmp_path_factory.mktemp("references"))


@pytest.fixture(scope="module")
def engine(folders):
    return load(tiny_models.image_spec("stable-diffusion"), folders, "cpu")


@pytest.fixture(scope="module")
def engine_of(engine, tmp_path_factory):
    @cache
    def loaded(family):
        if family == "stable-diffusion":
            return engine
        folders = tiny_models.image_folders(family, tmp_path_factory.mktemp(family))
        return load(tiny_models.image_spec(family), folders, "cpu")

    return loaded


@pytest.fixture
def xl_engine(engine_of):
    return engine_of("stable-diffusion-xl")


def reference(seed, weight=1.0, role="product"):
    return Reference(image=tiny_models.png(seed), role=role, weight=weight)


def generate(engine, *references, guidance_scale=4.0, steps=4, prompt="a bottle", size=(64, 64), **settings):
    request = ImageRequest(
        prompt=prompt, width=size[0], height=size[1], noise=NOISE, num_inference_steps=steps,
        guidance_scale=guidance_scale, references=references, adapter=AdapterSettings(**settings),
    )  # fmt: skip
    return engine.generate(request, Unwatched()).image


def same(one, other):
    return np.array_equal(one, other)


def test_one_reference_equals_the_stock_adapter_at_the_same_scale(engine, folders):
    stock = StableDiffusionPipeline.from_pretrained(folders["main"], local_files_only=True)
    stock.set_progress_bar_config(disable=True)
    stock.load_ip_adapter(
        str(folders["ip_adapter"]), subfolder="", weight_name="ip-adapter.safetensors", local_files_only=True
    )
    stock.set_ip_adapter_scale(0.6)
    bare = stock(
        "a bottle", negative_prompt="", width=64, height=64, num_inference_steps=4, guidance_scale=4.0,
        latents=draw(NOISE, 4, 8, 8)[None], output_type="np", ip_adapter_image=tiny_models.opened(tiny_models.png(1)),
    ).images[0]  # fmt: skip
    assert same(generate(engine, reference(1), scale=0.6), (bare * 255).round().astype("uint8"))


def test_compiled_blocks_survive_every_number_of_references_with_and_without_guidance(folders, monkeypatch):
    # Guards and graphs are torch's own; only the code that it would write for each graph, in minutes, is left out.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    plain = load(tiny_models.image_spec("stable-diffusion"), folders, "cpu")
    compiled_spec = tiny_models.image_spec("stable-diffusion")
    compiled_spec = compiled_spec.model_copy(update={"acceleration": Acceleration(compile="regional")})
    compiled = load(compiled_spec, folders, "cpu")
    for size in ((64, 64), (64, 96)):
        for guidance_scale in (1.0, 4.0):
            for count in range(4):
                references = [reference(seed) for seed in range(count)]
                asked = {"guidance_scale": guidance_scale, "steps": 2, "size": size}
                one, other = (generate(engine, *references, **asked) for engine in (compiled, plain))
                assert np.abs(one.astype(int) - other).max() <= 1, (size, guidance_scale, count)


@pytest.mark.parametrize("family", ["stable-diffusion", "stable-diffusion-xl", "flux"])
def test_a_denoiser_stored_in_eight_bits_still_looks_at_references(engine_of, family, tmp_path):
    spec = tiny_models.image_spec(family).model_copy(update={"acceleration": Acceleration(storage="float8_e4m3fn")})
    small = load(spec, tiny_models.image_folders(family, tmp_path), "cpu")
    seen, other = (generate(small, reference(seed), steps=2, scale=1.0) for seed in (1, 2))
    assert not same(seen, other)
    plain = generate(engine_of(family), reference(1), steps=2, scale=1.0)
    assert np.abs(seen.astype(int) - plain).mean() < 12


def striped(ends, width, height):
    """A grey picture whose first and last fifth, along its longer side, are of one colour."""
    picture = np.full((height, width, 3), 128, np.uint8)
    along = picture if height >= width else picture.transpose(1, 0, 2)
    along[: len(along) // 5] = along[-(len(along) // 5) :] = ends
    return Reference(image=tiny_models.encoded(Image.fromarray(picture)), role="product")


@pytest.mark.parametrize(("width", "height"), [(40, 160), (200, 50)])
@pytest.mark.parametrize("family", ["stable-diffusion", "stable-diffusion-xl", "flux"])
def test_the_whole_reference_conditions_and_not_its_central_square(engine_of, family, width, height):
    red, blue = (striped(colour, width, height) for colour in ((220, 20, 20), (20, 20, 220)))
    assert not same(generate(engine_of(family), red, scale=1.0), generate(engine_of(family), blue, scale=1.0))


def test_pixels_are_normalised_as_the_image_encoders_folder_says(folders, tmp_path):
    own = whole_picture_processor(folders["ip_adapter"] / "image_encoder", 32)
    CLIPImageProcessorPil(size=64, crop_size=64, image_mean=[0.5] * 3, image_std=[0.25] * 3).save_pretrained(tmp_path)
    told = whole_picture_processor(tmp_path, 32)
    white = Image.new("RGB", (20, 90), "white")
    pixels = [processor(white, return_tensors="pt")["pixel_values"] for processor in (own, told)]
    assert [tuple(one.shape) for one in pixels] == [(1, 3, 32, 32)] * 2
    assert float(pixels[1].mean()) == pytest.approx(2.0)
    assert float(pixels[0].mean()) != pytest.approx(2.0)


def test_every_reference_and_its_weight_reach_the_picture(engine):
    three = generate(engine, reference(1), reference(2, 0.5), reference(3, 0.25))
    assert not same(three, generate(engine))
    assert not same(three, generate(engine, reference(1), reference(2, 0.5)))
    assert not same(three, generate(engine, reference(1), reference(2, 0.7), reference(3, 0.25)))
    assert not same(three, generate(engine, reference(1), reference(2, 0.5), reference(4, 0.25)))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_reference_of_weight_zero_equals_leaving_it_out(engine, place):
    kept = [reference(1, 0.8), reference(2, 0.4)]
    with_zero = [*kept[:place], reference(9, 0.0), *kept[place:]]
    # Float addition does not associate: the slots must be added in the same order, which leaving one out keeps.
    assert same(generate(engine, *with_zero), generate(engine, *kept))


def test_no_reference_scale_zero_and_no_adapter_are_the_same_bits(engine, folders):
    plain = load(tiny_models.image_spec("stable-diffusion", references=0), {"main": folders["main"]}, "cpu")
    bare = generate(plain)
    assert same(generate(engine), bare)
    assert same(generate(engine, reference(1), reference(2), scale=0.0), bare)
    assert same(generate(engine, reference(1, 0.0)), bare)


def test_references_of_full_weight_share_the_scale(engine):
    """The same image three times equals the image once, up to rounding."""
    once = generate(engine, reference(1)).astype(int)
    thrice = generate(engine, reference(1), reference(1), reference(1)).astype(int)
    assert np.abs(once - thrice).max() <= 1


def test_scale_and_weight_multiply(engine):
    assert same(generate(engine, reference(1, 0.5), scale=0.8), generate(engine, reference(1, 1.0), scale=0.4))


def test_presets_differ_from_all_and_from_one_another(engine):
    pictures = [generate(engine, reference(1), blocks=blocks) for blocks in ("all", "style", "layout")]
    pictures.append(generate(engine))
    assert_all_differ(pictures)


def test_a_style_reference_acts_in_the_style_blocks_only(engine):
    assert same(generate(engine, reference(1, role="style")), generate(engine, reference(1), blocks="style"))
    assert not same(generate(engine, reference(1, role="style")), generate(engine, reference(1)))


def test_begin_and_end_choose_the_steps(engine):
    whole = generate(engine, reference(1))
    early = generate(engine, reference(1), end_step_percent=0.5)
    late = generate(engine, reference(1), begin_step_percent=0.5)
    never = generate(engine, reference(1), begin_step_percent=1.0)
    assert same(never, generate(engine))
    assert same(generate(engine, reference(1), end_step_percent=0.0), never)
    assert_all_differ([whole, early, late, never])


def test_begin_and_end_are_those_of_the_step_grid(engine):
    """Of four steps, [0, 0.5) is the first two: an end anywhere in (0.25, 0.5] is the same."""
    assert same(
        generate(engine, reference(1), end_step_percent=0.5), generate(engine, reference(1), end_step_percent=0.3)
    )
    assert not same(
        generate(engine, reference(1), end_step_percent=0.5), generate(engine, reference(1), end_step_percent=0.2)
    )


def test_references_work_without_guidance(engine):
    assert not same(
        generate(engine, reference(1), guidance_scale=1.0), generate(engine, reference(2), guidance_scale=1.0)
    )


def test_a_request_with_references_does_not_colour_the_next_one(engine):
    before = generate(engine)
    generate(engine, reference(1), blocks="style", begin_step_percent=0.5)
    assert same(generate(engine), before)


def test_xl_takes_three_references_and_its_presets_differ(xl_engine):
    three = [reference(1), reference(2, 0.5), reference(3, 0.2, role="style")]
    pictures = [generate(xl_engine, *three, blocks=blocks) for blocks in ("all", "style", "layout")]
    assert same(pictures[0], generate(xl_engine, *three))
    assert_all_differ([*pictures, generate(xl_engine)])


def test_an_undecodable_reference_is_refused_by_number_and_leaves_nothing_behind(engine):
    before = generate(engine)
    with pytest.raises(InvalidRequest, match="reference 2 cannot be decoded"):
        generate(engine, reference(1), Reference(image=EncodedImage(data=b"x"), role="product"))
    assert same(generate(engine), before)


def test_more_references_than_the_model_takes_are_refused(folders):
    engine = load(tiny_models.image_spec("stable-diffusion", references=1), folders, "cpu")
    with pytest.raises(InvalidRequest, match="takes 1 reference images, but 2 were given"):
        generate(engine, reference(1), reference(2))
    plain = load(tiny_models.image_spec("stable-diffusion", references=0), folders, "cpu")
    with pytest.raises(InvalidRequest, match="takes no reference images"):
        generate(plain, reference(1))


# --- where the presets lie, on the published structures ---------------------------------------------------------------


def layers(**blocks):
    found = [Layer("mid", 0, 0)]
    for side in ("down", "up"):
        found += [Layer(side, block, k) for block, count in blocks[side].items() for k in range(count)]
    return found


def test_sdxl_presets_are_those_of_instantstyle():
    presets = block_presets(layers(down={1: 2, 2: 2}, up={0: 3, 1: 3}), {"addition_embed_type": "text_time"})
    assert presets["style"] == {Layer("up", 0, 1)}
    assert presets["layout"] == {Layer("down", 2, 1)}


def test_sd15_presets_are_the_deepest_blocks_with_attention():
    presets = block_presets(layers(down={0: 2, 1: 2, 2: 2}, up={1: 3, 2: 3, 3: 3}), {})
    assert presets["style"] == {Layer("up", 1, k) for k in range(3)}
    assert presets["layout"] == {Layer("down", 2, k) for k in range(2)}
    assert len(presets["all"]) == 1 + 6 + 9


# --- the adapter that reads every patch -------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["stable-diffusion", "stable-diffusion-xl"])
def plus(request, tmp_path_factory):
    """An engine with the kind of adapter that is published as `plus`, and one without references."""
    root = tmp_path_factory.mktemp("plus")
    main = tiny_models.IMAGE_FAMILIES[request.param](root / "main")
    folders = {"main": main, "ip_adapter": tiny_models.save_ip_adapter(root / "ip_adapter", main, plus=True)}
    bare = load(tiny_models.image_spec(request.param, references=0), {"main": main}, "cpu")
    return load(tiny_models.image_spec(request.param), folders, "cpu"), bare


def test_the_plus_adapter_reads_sixteen_tokens_of_each_reference(plus):
    engine, _ = plus
    projection = engine._pipeline.unet.encoder_hid_proj.image_projection_layers[0]
    assert type(projection).__name__ == "IPAdapterPlusImageProjection"
    assert projection.latents.shape[1] == 16


def test_the_plus_adapter_weighs_every_reference_and_none_is_no_adapter(plus):
    engine, bare = plus
    make = partial(generate, engine, scale=1.0)
    pictures = [make(reference(3)), make(reference(4)), make(reference(3), reference(4)), make(reference(3, 0.5))]
    assert_all_differ(pictures)
    assert np.array_equal(make(reference(3, 0.0), reference(4)), pictures[1])
    assert np.array_equal(generate(engine), generate(bare))
    assert np.array_equal(generate(engine, reference(3), scale=0.0), generate(bare))


def test_the_plus_adapter_sees_what_lies_at_the_edge_of_a_reference(plus):
    engine, _ = plus
    pixels = np.asarray(tiny_models.opened(tiny_models.png(3, 192, 64))).copy()
    edge = pixels.copy()
    edge[:, :24] = 255 - edge[:, :24]
    references = (Reference(image=tiny_models.encoded(Image.fromarray(one)), role="product") for one in (pixels, edge))
    assert_all_differ([generate(engine, one, scale=1.0) for one in references])
