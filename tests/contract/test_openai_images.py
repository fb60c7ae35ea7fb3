"""`/v1/images`, driven by the official client over a real server whose engines draw at once."""

import base64
import hashlib
import io
import socket
import threading

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from models.errors import InferenceFailed, OutOfMemory
from models.interfaces import LoraUse, StartImage, StartLatents
from tests.support.gateway_server import CHAT, IMAGE, MIXER, refusal, serve
from tests.support.gateway_users import bearer
from tests.support.tiny_models import png
from tests.support.waiting import ended, until


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("images")) as server:
        yield server


@pytest.fixture(autouse=True)
def forget_requests(server):
    server.studio.requests.clear()
    server.studio.fail_with = None


def opened(image):
    return Image.open(io.BytesIO(base64.b64decode(image.b64_json)))


def text(picture):
    return base64.b64encode(picture.data).decode()


# --- generations ---


def test_an_image_comes_back_as_base64_with_its_seed_noise_and_artifact(server, client):
    made = client.images.generate(model=IMAGE.name, prompt="a steel bottle", size="48x80", extra_body={"seed": 7})
    (image,) = made.data
    assert opened(image).size == (48, 80)
    assert opened(image).format == "PNG"
    assert (made.size, made.output_format, made.model) == ("48x80", "png", IMAGE.name)
    assert image.seed == 7
    assert image.artifact == hashlib.sha256(base64.b64decode(image.b64_json)).hexdigest()
    assert image.noise_sha256
    assert image.timings["denoise"] > 0
    (request,) = server.studio.requests
    assert (request.num_inference_steps, request.guidance_scale) == (4, 3.0)


def test_auto_is_the_models_own_size(client):
    assert client.images.generate(model=IMAGE.name, prompt="a bottle", size="auto").size == "64x64"


def test_superset_fields_reach_the_model(server, client):
    extra = {
        "negative_prompt": "dull", "num_inference_steps": 2, "guidance_scale": 1.5, "deterministic": True,
        "lora": [{"name": "toon", "scale": 0.5}, {"name": "ink"}],
        "coherence": {"shared_seed": 9, "shared_strength": 0.25, "shared_cutoff": 0.2},
    }  # fmt: skip
    client.images.generate(model=IMAGE.name, prompt="a bottle", extra_body=extra)
    (request,) = server.studio.requests
    assert (request.negative_prompt, request.num_inference_steps, request.guidance_scale) == ("dull", 2, 1.5)
    assert request.deterministic
    assert request.loras == (LoraUse(name="toon", scale=0.5), LoraUse(name="ink"))
    assert (request.noise.shared_seed, request.noise.shared_strength, request.noise.shared_cutoff) == (9, 0.25, 0.2)


def test_a_preset_sets_loras_steps_and_guidance_and_what_is_given_beside_it_comes_first(server, client):
    for extra in ({}, {"num_inference_steps": 5, "lora": {"name": "toon"}}):
        client.images.generate(model=IMAGE.name, prompt="a bottle", extra_body={"preset": "fast", **extra})
    fast, own = server.studio.requests
    assert (fast.num_inference_steps, fast.guidance_scale, fast.loras) == (3, 1.0, (LoraUse(name="ink"),))
    assert (own.num_inference_steps, own.guidance_scale) == (5, 1.0)
    assert own.loras == (LoraUse(name="ink"), LoraUse(name="toon"))


def test_extra_params_are_fields_too_and_an_unknown_key_is_refused(server, client):
    client.images.generate(model=IMAGE.name, prompt="a bottle", extra_body={"extra_params": {"seed": 5}})
    assert server.studio.requests[0].noise.seed == 5
    with pytest.raises(openai.UnprocessableEntityError, match="flow_shift"):
        client.images.generate(model=IMAGE.name, prompt="a bottle", extra_body={"extra_params": {"flow_shift": 3}})
    with pytest.raises(openai.UnprocessableEntityError, match="both as a field"):
        client.images.generate(model=IMAGE.name, prompt="x", extra_body={"seed": 1, "extra_params": {"seed": 2}})


def test_a_single_seed_serves_the_first_output_and_derives_the_others(client):
    def seeds(**extra):
        made = client.images.generate(model=IMAGE.name, prompt="a bottle", n=3, extra_body=extra)
        return [image.seed for image in made.data], [image.b64_json for image in made.data]

    first, pictures = seeds(seed=11)
    assert first[0] == 11
    assert len(set(first)) == len(set(pictures)) == 3
    assert seeds(seed=11) == (first, pictures)
    assert seeds(seed=[4, 5, 6])[0] == [4, 5, 6]
    assert seeds(seed=first)[1] == pictures
    assert all(seed < 2**53 for seed in seeds()[0])


def test_a_picture_under_an_idempotency_key_is_the_same_file_when_it_is_sent_again(server, client):
    def made(key, **body):
        headers = {"Idempotency-Key": key} if key else {}
        return client.images.generate(prompt="a bottle", extra_headers=headers, **body).data

    first, again = made("order-1", n=2), made("order-1", n=2)
    assert [image.artifact for image in first] == [image.artifact for image in again]
    assert all(request.deterministic for request in server.studio.requests)
    assert made("order-2", n=2)[0].seed != first[0].seed
    assert made("order-1", n=1)[0].seed != first[0].seed
    assert made(None)[0].seed != made(None)[0].seed
    assert made("order-1", extra_body={"seed": 5})[0].seed == 5
    headers = {"Idempotency-Key": "edit-1"}
    edits = [client.images.edit(prompt="in snow", image=files(png(1)), extra_headers=headers).data[0] for _ in "12"]
    assert edits[0].artifact == edits[1].artifact


def test_seeds_must_be_one_or_one_per_output(client):
    with pytest.raises(openai.UnprocessableEntityError, match="2 seeds for n = 3") as caught:
        client.images.generate(model=IMAGE.name, prompt="a bottle", n=3, extra_body={"seed": [1, 2]})
    assert caught.value.param == "seed"


@pytest.mark.parametrize(("name", "magic"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_every_output_format_is_made_and_served_by_its_url(server, client, name, magic):
    made = client.images.generate(
        model=IMAGE.name, prompt="a bottle", output_format=name, output_compression=80, response_format="url"
    )
    url = made.data[0].url
    assert url.startswith(f"{server.url}/v1/artifacts/{made.data[0].artifact}?signature=")
    answer = httpx.get(url, timeout=60)
    assert answer.headers["content-type"] == f"image/{name}"
    assert Image.open(io.BytesIO(answer.content)).format == magic


def test_what_openai_offers_and_no_model_here_does_is_noted(client):
    made = client.images.generate(model=IMAGE.name, prompt="a bottle", quality="hd", style="vivid")
    assert [note.split()[0] for note in made.notes] == ["quality", "style"]


def test_an_ip_adapter_object_in_invokeais_words_becomes_references(server, client):
    adapter = {
        "image": [text(png(1)), f"data:image/png;base64,{text(png(2))}"],
        "weight": [0.5, 0.9], "method": "composition", "begin_step_percent": 0.1, "end_step_percent": 0.8,
    }  # fmt: skip
    client.images.generate(model=IMAGE.name, prompt="a bottle", extra_body={"ip_adapter": adapter})
    (request,) = server.studio.requests
    assert [reference.weight for reference in request.references] == [0.5, 0.9]
    assert request.adapter.model_dump(exclude={"mask"}) == {
        "scale": 1.0, "blocks": "layout", "begin_step_percent": 0.1, "end_step_percent": 0.8,
    }  # fmt: skip


def test_one_weight_is_the_adapters_scale(server, client):
    adapter = {"images": text(png(1)), "weight": 0.4, "method": "full"}
    client.images.generate(model=IMAGE.name, prompt="a bottle", extra_body={"ip_adapter": adapter})
    (request,) = server.studio.requests
    assert (request.adapter.scale, request.adapter.blocks, request.references[0].weight) == (0.4, "all", 1.0)


def test_the_adapters_mask_is_white_where_it_was_transparent(server, client):
    adapter = {"images": [text(png(1))], "mask": base64.b64encode(holed()).decode()}
    client.images.generate(model=IMAGE.name, prompt="a bottle", extra_body={"ip_adapter": adapter})
    mask = Image.open(io.BytesIO(server.studio.requests[-1].adapter.mask.data))
    assert (mask.getpixel((5, 5)), mask.getpixel((60, 5))) == (255, 0)


def test_a_later_image_starts_from_an_earlier_one_by_artifact_id(server, client):
    first = client.images.generate(
        model=IMAGE.name, prompt="a bottle", extra_body={"coherence": {"keep_latents": True}}
    ).data[0]
    start = {"artifact": first.artifact, "strength": 0.5}
    client.images.generate(model=IMAGE.name, prompt="a bottle", extra_body={"coherence": {"start": start}})
    request = server.studio.requests[-1]
    assert isinstance(request.start, StartImage)
    assert hashlib.sha256(request.start.image.data).hexdigest() == first.artifact
    start["artifact"] = first.latents_artifact
    client.images.generate(model=IMAGE.name, prompt="a bottle", extra_body={"coherence": {"start": start}})
    request = server.studio.requests[-1]
    assert isinstance(request.start, StartLatents)
    assert hashlib.sha256(request.start.data).hexdigest() == first.latents_artifact


@pytest.mark.parametrize(
    ("extra", "param", "says"),
    [
        ({"size": "60x64", "strict": True}, "size", "multiples of 16"),
        ({"size": "1024x1024", "strict": True}, "size", "at most 16384"),
        ({"size": "big"}, "size", "WIDTHxHEIGHT"),
        ({"model": "dall-e-3", "strict": True}, "model", f"the nearest is '{IMAGE.name}'"),
        ({"model": "paintr"}, "model", f"the nearest is '{IMAGE.name}'"),
        ({"model": "gpt-4o"}, "model", IMAGE.name),
        ({"n": 11}, "n", "less than or equal to 10"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"lora": {"name": "sepia"}}, "lora", "toon, ink"),
        ({"lora": [{"name": "ink"}, {"name": "ink"}]}, "lora", "twice"),
        ({"preset": "slow"}, "preset", "choose from fast"),
        ({"preset": "fast", "lora": {"name": "ink"}}, "lora", "twice"),
        ({"num_inference_steps": 0}, "num_inference_steps", "greater than or equal to 1"),
        ({"ip_adapter": {"images": [], "weight": 1}}, "ip_adapter.images", "at least one"),
        ({"model": "mixer", "ip_adapter": {"images": ["AAAA"], "mask": "AAAA"}}, "ip_adapter.mask", "region"),
        ({"ip_adapter": {"images": ["AAAA"], "method": "style_strong"}}, "ip_adapter.method", "'composition'"),
        ({"ip_adapter": {"images": ["AAAA"], "weight": [1, 1]}}, "ip_adapter.weight", "2 weights for 1"),
        ({"ip_adapter": {"images": ["AAAA"]}}, "ip_adapter.images.0", "not a JPEG, PNG or WebP"),
        ({"ip_adapter": {"images": ["http://x/y.png"]}}, "ip_adapter.images.0", "URLs are not fetched"),
        ({"coherence": {"start": {"artifact": "0" * 64}}}, "coherence.start.artifact", "no artifact"),
        ({"background": "transparent"}, "background", "opaque"),
        ({"true_cfg_scale": 2}, "true_cfg_scale", "unknown field"),
        ({"model": CHAT.name}, "model", "/v1/chat/completions"),
        ({"model": "nothing"}, "model", IMAGE.name),
        ({"prompt": ""}, "prompt", "at least 1"),
    ],
)
def test_what_cannot_be_served_is_refused_before_it_is_queued(server, client, extra, param, says):
    body = {"model": IMAGE.name, "prompt": "a bottle", **extra}
    with pytest.raises((openai.UnprocessableEntityError, openai.NotFoundError)) as caught:
        client.post("/images/generations", body=body, cast_to=object)
    assert refusal(caught)["param"].startswith(param)
    assert says in refusal(caught)["message"]
    assert not server.studio.requests


def test_a_limit_is_told_as_a_number_too(client):
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.images.generate(model=IMAGE.name, prompt="a bottle", size="1024x1024", extra_body={"strict": True})
    assert caught.value.code == "limit_exceeded"
    assert refusal(caught)["details"] == {"max_pixels": 128 * 128}


# --- edits ---


def files(*pictures):
    return [(f"{index}.png", picture.data, "image/png") for index, picture in enumerate(pictures)]


def holed(width=64, height=64):
    mask = Image.new("RGBA", (width, height), (255, 255, 255, 255))
    mask.paste((0, 0, 0, 0), (0, 0, width // 2, height))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()


def test_the_first_image_is_where_an_edit_starts_and_the_others_are_references(server, client):
    made = client.images.edit(
        model=IMAGE.name, prompt="in snow", image=files(png(1, 80, 48), png(2)), extra_body={"strength": 0.5}
    )
    (request,) = server.studio.requests
    assert isinstance(request.start, StartImage)
    assert request.start.strength == 0.5
    assert len(request.references) == 1
    assert made.size == "80x48"  # auto: nearest in shape to the first image


def test_under_a_mask_the_first_image_is_repainted_where_the_mask_is_transparent(server, client):
    client.images.edit(model=IMAGE.name, prompt="in snow", image=files(png(1)), mask=("m.png", holed(), "image/png"))
    (request,) = server.studio.requests
    assert request.start is None
    assert request.inpaint.strength == 1.0
    mask = Image.open(io.BytesIO(request.inpaint.mask.data))
    assert (mask.getpixel((5, 5)), mask.getpixel((60, 5))) == (255, 0)


def painted_over(server, client, image, mask, **options):
    """The picture before and after an edit under a mask."""
    made = client.images.edit(
        model=IMAGE.name, prompt="in snow", image=("i.png", image.data, "image/png"), mask=("m.png", mask, "image/png"),
        **options,
    )  # fmt: skip
    before, after = Image.open(io.BytesIO(image.data)).convert("RGB"), opened(made.data[0])
    assert made.size == f"{after.width}x{after.height}"
    return np.asarray(before).astype(int), np.asarray(after).astype(int), made


def test_what_a_mask_keeps_stays_bit_for_bit(server, client):
    before, after, _ = painted_over(server, client, png(1), holed())
    assert np.array_equal(after[:, 32:], before[:, 32:])
    assert np.abs(after[:, :32] - before[:, :32]).mean() > 10


def test_a_picture_of_another_size_keeps_its_size_and_its_pixels_under_a_mask(server, client):
    before, after, made = painted_over(server, client, png(1, 120, 70), holed(120, 70))
    assert np.array_equal(after[:, 60:], before[:, 60:])
    assert np.abs(after[:, :60] - before[:, :60]).mean() > 10
    assert "scaled to the image's own size" in made.data[0].notes[0]


def test_at_a_size_of_its_own_an_edit_keeps_the_picture_as_it_was_fitted(server, client):
    _, after, _ = painted_over(server, client, png(1, 120, 120), holed(120, 120), size="64x64")
    fitted = np.asarray(Image.open(io.BytesIO(png(1, 120, 120).data)).convert("RGB").resize((64, 64), 1)).astype(int)
    assert np.array_equal(after[:, 34:], fitted[:, 34:])


@pytest.mark.parametrize("field", ["mask", "ip_adapter.mask"])
def test_an_empty_mask_is_refused(server, client, field):
    buffer = io.BytesIO()
    Image.new("RGBA", (64, 64), (0, 0, 0, 255)).save(buffer, "PNG")
    with pytest.raises(openai.UnprocessableEntityError, match="the mask is empty") as caught:
        if field == "mask":
            client.images.edit(prompt="x", image=files(png(1)), mask=("m.png", buffer.getvalue(), "image/png"))
        else:
            adapter = {"images": [text(png(1))], "mask": base64.b64encode(buffer.getvalue()).decode()}
            client.images.generate(prompt="x", extra_body={"ip_adapter": adapter})
    assert caught.value.param == field
    assert not server.studio.requests


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"image": b"GIF89a"}, "image.0: image 'a.png' is not a JPEG"),
        ({"mask": b"GIF89a"}, "mask: mask 'm.png' is not"),
    ],
)
def test_a_picture_is_called_what_it_is(client, part, says):
    files = {"image": ("a.png", part.get("image", png(1).data)), "mask": ("m.png", part.get("mask", holed()))}
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.images.edit(model=IMAGE.name, prompt="x", **files)
    assert says in refusal(caught)["message"]


WRITTEN = {
    "bare": "{}",
    "data url": "data:image/png;base64,{}",
    "parameter": "data:image/png;charset=utf-8;base64,{}",
    "quoted parameter": 'data:image/png;name="a,b.png";base64,{}',
    "without a type": "data:;base64,{}",
    "capitals": "DATA:image/PNG;BASE64,{}",
    "blanks": "  data:image/png;base64, {} \n",
}


@pytest.mark.parametrize("form", sorted(WRITTEN))
@pytest.mark.parametrize("alphabet", ["plain", "urlsafe", "lines", "unpadded", "percent"])
def test_base64_is_read_as_tools_write_it(server, client, form, alphabet):
    data = png(7, 65, 64).data
    written = base64.b64encode(data).decode()
    body = {
        "plain": written,
        "urlsafe": base64.urlsafe_b64encode(data).decode(),
        "lines": "\r\n".join(written[start : start + 76] for start in range(0, len(written), 76)),
        "unpadded": written.rstrip("="),
        "percent": written.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
    }[alphabet]
    adapter = {"images": [WRITTEN[form].format(body)]}
    client.images.generate(model=IMAGE.name, prompt="a bottle", extra_body={"ip_adapter": adapter})
    (request,) = server.studio.requests
    assert Image.open(io.BytesIO(request.references[0].image.data)).size == (65, 64)


def test_a_mask_that_repaints_most_of_an_image_says_so(client):
    """A canvas with white strokes on clear ground means the opposite here."""
    strokes = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    strokes.paste((255, 255, 255, 255), (0, 0, 16, 64))
    buffer = io.BytesIO()
    strokes.save(buffer, "PNG")
    made = client.images.edit(prompt="x", image=files(png(1)), mask=("m.png", buffer.getvalue(), "image/png"))
    assert "the mask repaints 75% of the image" in " ".join(made.notes)
    made = client.images.edit(prompt="x", image=files(png(1)), mask=("m.png", holed(), "image/png"))
    assert "repaints" not in " ".join(made.notes)


def test_strict_refuses_an_image_that_does_not_fill_the_size(client):
    with pytest.raises(openai.UnprocessableEntityError, match="160x48 and does not fill 64x64") as caught:
        client.images.edit(
            model=IMAGE.name, prompt="x", image=files(png(1, 160, 48)), size="64x64", extra_body={"strict": True}
        )
    assert caught.value.param == "image"


def test_a_mask_of_another_size_is_refused(client):
    with pytest.raises(openai.UnprocessableEntityError, match="32x32, the image 64x64") as caught:
        client.images.edit(
            model=IMAGE.name, prompt="x", image=files(png(1)), mask=("m.png", holed(32, 32), "image/png")
        )
    assert caught.value.param == "mask"


def test_a_model_with_native_references_takes_all_images_as_references(server, client):
    client.images.edit(model=MIXER.name, prompt="both on a table", image=files(png(1), png(2), png(3)))
    (request,) = server.studio.requests
    assert (request.start, request.inpaint) == (None, None)
    assert len(request.references) == 3


def test_an_edit_that_names_ip_adapter_takes_all_images_as_references(server, client):
    adapter = {"weight": [0.2, 0.3], "method": "style"}
    client.images.edit(
        model=IMAGE.name, prompt="in snow", image=files(png(1), png(2)), extra_body={"ip_adapter": adapter}
    )
    (request,) = server.studio.requests
    assert request.start is None
    assert [reference.weight for reference in request.references] == [0.2, 0.3]
    assert request.adapter.blocks == "style"


def test_nested_superset_fields_survive_the_clients_multipart_encoding(server, client):
    extra = {
        "seed": [1, 2], "lora": [{"name": "toon", "scale": 0.5}, {"name": "ink", "scale": 0.7}],
        "coherence": {"shared_seed": 3, "keep_latents": True}, "deterministic": True,
    }  # fmt: skip
    made = client.images.edit(model=IMAGE.name, prompt="[x]", n=2, image=files(png(1)), extra_body=extra)
    assert [image.seed for image in made.data] == [1, 2]
    assert all(image.latents_artifact for image in made.data)
    request = server.studio.requests[0]
    assert request.prompt == "[x]"
    assert request.loras == (LoraUse(name="toon", scale=0.5), LoraUse(name="ink", scale=0.7))
    assert request.deterministic


def test_an_edit_starts_from_an_earlier_result_by_its_id(server, client):
    first = client.images.generate(model=IMAGE.name, prompt="a bottle").data[0]
    form = {"model": IMAGE.name, "prompt": "in snow", "image": first.artifact, "lora": '[{"name": "ink"}]'}
    as_parts = {"files": {name: (None, value) for name, value in form.items()}}
    for sent in (as_parts, {"data": form}):  # httpx sends no multipart body without a file, but an urlencoded one
        assert server.http.post("/v1/images/edits", **sent).status_code == 200
        request = server.studio.requests[-1]
        assert hashlib.sha256(request.start.image.data).hexdigest() == first.artifact
        assert request.loras == (LoraUse(name="ink"),)


def test_an_edit_with_a_strength_that_runs_no_step_is_refused_with_the_least(client):
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.images.edit(model=IMAGE.name, prompt="x", image=files(png(1)), extra_body={"strength": 0.1})
    assert refusal(caught)["details"] == {"min_strength": 0.25}


# --- failures ---


def test_out_of_memory_is_507_and_must_not_be_retried(server, client):
    server.studio.fail_with = OutOfMemory("no room for 64x64")
    with pytest.raises(openai.InternalServerError, match="no room") as caught:
        client.with_options(max_retries=2).images.generate(model=IMAGE.name, prompt="a bottle")
    assert (caught.value.status_code, caught.value.code, caught.value.type) == (507, "out_of_memory", "server_error")
    assert len(server.studio.requests) == 1


def test_a_failed_engine_is_500_and_the_next_call_works(server, client):
    server.studio.fail_with = InferenceFailed("kernel")
    with pytest.raises(openai.InternalServerError) as caught:
        client.images.generate(model=IMAGE.name, prompt="a bottle")
    assert (caught.value.status_code, caught.value.code) == (500, "inference_failed")
    server.studio.fail_with = None
    assert client.images.generate(model=IMAGE.name, prompt="a bottle").data


def test_a_full_queue_is_429_with_retry_after_and_no_output_is_left_running(tmp_path):
    with (
        serve(tmp_path, max_waiting=1) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as client,
    ):
        with pytest.raises(openai.RateLimitError) as caught:
            client.images.generate(model=IMAGE.name, prompt="a bottle", n=5)
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert (caught.value.code, caught.value.type) == ("queue_full", "rate_limit_error")
        counters = server.call(server.backend.counters())[IMAGE.name]
        assert (counters.running, counters.waiting) == (0, 0)


def test_who_hangs_up_cancels_the_model_call(server):
    stopped = threading.Event()
    with server.studio.holding(1):
        with httpx.Client(headers=bearer(server.key)) as caller:

            def ask():
                try:
                    caller.post(server.url + "/v1/images/generations", json={"prompt": "a bottle"}, timeout=60)
                except httpx.TransportError:
                    stopped.set()

            thread = threading.Thread(target=ask)
            thread.start()
            server.studio.until_held()
            before = server.call(server.backend.counters())[IMAGE.name].cancellations
            _hang_up(caller)
        ended(thread, "a caller who hung up")
        assert stopped.is_set()
        until(
            lambda: server.call(server.backend.counters())[IMAGE.name].cancellations == before + 1,
            "the cancelled call to be counted",
        )
    assert server.call(server.backend.counters())[IMAGE.name].running == 0


def _hang_up(caller):
    """Shut the sockets down under the waiting call."""
    for connection in caller._transport._pool.connections:
        stream = connection._connection._network_stream
        stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
