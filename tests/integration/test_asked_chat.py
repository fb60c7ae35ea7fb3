"""A profile's own chat model is asked about pictures: in its lane, alone, and over Ray Serve, with one value."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from configs.settings import CONFIGS, load_model, load_profile
from models.errors import InferenceFailed
from models.interfaces import EncodedImage, Unwatched
from models.llm.transformers_chat import TransformersChat
from models.manifest import write_manifest
from models.sketch.build import build
from models.spec import ChatModelSpec
from models.weights import Library
from pipelines.media import encode_clip
from pipelines.runtime.questions import AskedChat, asked_of
from pipelines.scoring import ScoreRequest
from quality.asked import Asked, Fact
from quality.dimensions.asks import QUESTION
from quality.score import NoValue
from serving.backends.in_process import profile_backend
from serving.profile_models import LibraryLoader, model_set
from serving.scores.local import catalogue_of, scorers_of
from tests.support.tiny_models import encoded

NAMES = ("vqascore.text", "asks.object", "asks.color")
FACTS = (Fact("object", "There is a bottle.", "There is a shoe."), Fact("color", "It is red.", "It is blue."))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with the weights of `eyes`, a random LLaVA of whose answers yes, no, A and B are among the likeliest."""
    home = tmp_path_factory.mktemp("home")
    own, folder = home / "own", home / "models" / "eyes" / "main"
    folder.mkdir(parents=True)
    build("llm", folder)
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    processor.tokenizer.add_tokens(["yes"])
    processor.save_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True)
    model.resize_token_embeddings(len(processor.tokenizer), mean_resizing=False)
    model.save_pretrained(folder)
    spec = {"kind": "chat", "family": "llava", "licence": "MIT", "vram_gb": 0, "vision": True}
    spec |= {"weights": {"main": {"repository": "random/eyes", "revision": "0"}}}
    told = TransformersChat(ChatModelSpec.model_validate({"name": "eyes", **spec}), {"main": folder}, "cpu")
    grey = np.full((48, 64, 3), 128, np.uint8)
    with torch.inference_mode():
        inputs = told._encode(asked_of([grey], QUESTION.format("a red bottle"), 60).messages)
        state = told._model(**inputs, output_hidden_states=True).hidden_states[-1][0, -1]
    with torch.no_grad():
        for token in processor.tokenizer.convert_tokens_to_ids(["yes", "no", "A", "B"]):
            model.lm_head.weight[token] = 3 * model.lm_head.weight[token] + 9 * state / state.square().sum()
    model.save_pretrained(folder)
    write_manifest(folder, "random/eyes", "0")
    for kind, name, data in (
        ("models", "eyes", spec),
        ("models", "blind", {**spec, "vision": False}),
        ("profiles", "eyes", {**yaml.safe_load((CONFIGS / "profiles" / "sketch.yaml").read_text()), "chat": "eyes"}),
    ):
        (own / kind).mkdir(parents=True, exist_ok=True)
        (own / kind / f"{name}.yaml").write_text(yaml.safe_dump(data))
    return home


@pytest.fixture
def profile(home, monkeypatch):
    monkeypatch.setenv("ADMINT_HOME", str(home))
    monkeypatch.setenv("ADMINT_CONFIGS", str(home / "own"))
    return load_profile("eyes")


def clip():
    frames = np.random.default_rng(3).integers(0, 256, (10, 6, 8, 3), dtype=np.uint8)
    request = {"data": encode_clip(frames.repeat(8, 1).repeat(8, 2), 8), "prompt": "a red bottle"}
    return ScoreRequest(dimensions=NAMES, asked=Asked(facts=FACTS), series=True, **request)


def pair(one="white", other="black"):
    data = [encoded(Image.new("RGB", (64, 48), colour)) for colour in (one, other)]
    return ScoreRequest(
        data=data[0].data, media="image", against=EncodedImage(data=data[1].data), dimensions=("preference",),
        prompt="a red bottle",
    )  # fmt: skip


def alone(profile, *requests):
    with closing(scorers_of(profile)) as scorers:
        return [score for request in requests for score in scorers.measured(request, Unwatched())]


class Counting(LibraryLoader):
    chats = 0
    threads: set[str]

    def chat(self, spec):
        type(self).chats += 1
        type(self).threads.add(threading.current_thread().name)
        return super().chat(spec)


async def beside(profile, loader, *requests):
    backend = profile_backend(profile, [load_model(profile.chat, ChatModelSpec)], loader)
    try:
        said = [item async for item in backend.chat("eyes", {"model": "eyes", "messages": HELLO, "max_tokens": 2})]
        assert said
        return [score for one in requests for score in await backend.score(one, Unwatched())], await backend.counters()
    finally:
        await asyncio.to_thread(backend.close)


HELLO = [{"role": "user", "content": "Hello"}]


async def test_the_chat_model_that_is_loaded_answers_in_its_own_lane_with_the_values_of_one_that_is_loaded_alone(
    profile, home
):
    Counting.threads = set()
    found, counters = await beside(profile, Counting(Library(home / "models"), "cpu"), clip(), pair())
    assert Counting.chats == 1
    assert all(name.startswith("lane-cpu") for name in Counting.threads)
    assert [score.reason for score in found] == [None] * 4
    text, product, colour, preferred = found
    assert 0 < text.raw < 1 and len(set(text.series.values)) > 4
    assert {product.raw, colour.raw} <= {0, 1} and preferred.raw in (0, 0.5, 1)
    assert (text.backbone, text.fidelity, text.licence, text.device) == ("eyes", "like", "MIT", "cpu")
    assert len(text.weights_sha256) == 64
    assert counters["eyes"].calls == 1 + 8 + 4 + 2, "each question is a call of the model"
    assert found == alone(profile, clip(), pair())


async def test_another_chat_model_than_the_one_that_writes_is_named_under_scorers(profile):
    other = profile.model_copy(update={"chat": "sketch-author", "scorers": {"chat": "eyes"}})
    backend = profile_backend(other, [load_model("sketch-author", ChatModelSpec)])
    try:
        assert await backend.score(clip(), Unwatched()) == tuple(alone(profile, clip()))
    finally:
        await asyncio.to_thread(backend.close)


async def test_a_scorer_replica_asks_the_chat_deployment_and_gets_the_values_of_this_process(
    profile, home, ray_session, monkeypatch
):
    from ray import serve

    from serving.deployments.calls import call_replica
    from serving.deployments.chat import chat_deployment
    from serving.deployments.scorer import scorer_deployment

    variables = {"ADMINT_HOME": str(home), "ADMINT_CONFIGS": str(home / "own")}
    options = {"ray_actor_options": {"num_cpus": 0.1, "runtime_env": {"env_vars": variables}}}
    chat = chat_deployment.options(name="Chat", max_ongoing_requests=1, **options).bind("eyes", "cpu")
    handle = serve.run(
        scorer_deployment.options(name="Scorer", **options).bind("eyes", "cpu", chat), name="asks", route_prefix=None
    )
    try:
        measured = [await call_replica(handle, "score", Unwatched(), request) for request in (clip(), pair())]
    finally:
        serve.delete("asks")
    found = [score for each in measured for score in each]
    here = alone(profile, clip(), pair())
    values = [score.series.values if score.series else () for score in here]
    assert [score.raw for score in found] == pytest.approx([score.raw for score in here], abs=1e-6)
    assert [score.series.values if score.series else () for score in found] == [pytest.approx(each) for each in values]
    drop = {"raw": None, "series": None, "note": None, "reason": "left out"}
    assert [each.model_copy(update=drop) for each in found] == [each.model_copy(update=drop) for each in here]


@pytest.mark.parametrize(
    ("chat", "says"), [("blind", "takes no pictures"), ("sketch-author", "is a grammar"), ("qwen3-vl-4b", "vLLM only")]
)
def test_a_chat_model_that_cannot_be_asked_is_the_reason(profile, chat, says):
    other = profile.model_copy(update={"chat": chat})
    assert {chat in score.reason and says in score.reason for score in alone(other, clip(), pair())} == {True}
    listed = {entry.name: entry for entry in catalogue_of(other)}
    assert says in (listed["asks.color"].missing or "") and says in (listed["preference"].missing or "")


def test_the_toy_worlds_chat_model_knows_no_yes_and_no_and_is_called_a_toy(profile):
    text = alone(profile.model_copy(update={"chat": "sketch-chat"}), clip())[0]
    assert text.reason == "sketch-chat gives no probability to yes or no as the first word of an answer"
    assert (text.metric_id, text.backbone) == ("toy.vqascore.text", "sketch-chat")


def test_the_list_has_the_chat_models_licence_and_how_often_it_is_asked(profile):
    entry = {one.name: one for one in catalogue_of(profile)}["vqascore.text"]
    assert (entry.missing, entry.licences, entry.models) == (None, ("MIT",), ("chat",))
    assert entry.questions == "8 questions, of a frame each"


def test_a_chat_model_of_vllm_is_asked_on_a_server_and_not_by_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("ADMINT_HOME", str(tmp_path))
    profile = load_profile("gpu-80gb")
    served, command = ({one.name: one for one in catalogue_of(profile, each)}["asks.object"] for each in (True, False))
    assert served.licences == ("Apache-2.0",)
    assert served.missing == "its weights are not here: admint models pull qwen3-vl-8b-fp8"
    assert "ADMINT_CHAT_URL" in (command.missing or "")
    folder = tmp_path / "models" / profile.chat / "main"
    folder.mkdir(parents=True)
    spec = load_model(profile.chat, ChatModelSpec)
    write_manifest(folder, spec.weights["main"].repository, spec.weights["main"].revision)
    assert {one.name: one for one in catalogue_of(profile, True)}["asks.object"].missing is None
    monkeypatch.setenv("ADMINT_CHAT_URL", "http://127.0.0.1:9/v1")
    assert {one.name: one for one in catalogue_of(profile)}["asks.object"].missing is None


def test_a_generation_depends_on_the_chat_model_only_where_it_can_be_asked(profile):
    assert model_set(profile).fingerprints["scorer:chat"] == model_set(profile).fingerprints["chat"]
    assert "scorer:chat" not in model_set(load_profile("sketch")).fingerprints


def test_a_model_that_fails_or_tells_no_probabilities_is_a_reason_and_ends_no_other_dimension(profile):
    def broken(request, look):
        raise InferenceFailed("the server is gone")

    spec = load_model("eyes", ChatModelSpec)
    with pytest.raises(NoValue, match="'eyes' could not be asked: the server is gone"):
        AskedChat(spec, None, "cpu", broken).yes([np.zeros((8, 8, 3), np.uint8)], "Is it black?")
