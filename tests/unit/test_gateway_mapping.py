"""The pure parts of the gateway: forms to objects, seeds to outputs, seconds to frames, errors to answers."""

import asyncio
import hashlib
import logging
import subprocess
import sys

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from configs.settings import load_model_specs
from models.errors import BudgetExceeded, Cancelled, InferenceFailed, InvalidRequest, ModelError, OutOfMemory
from models.spec import ImageModelSpec, VideoModelSpec
from pipelines.errors import BadInput, Busy, NotFound, PipelineError, StorageFailed
from quality.score import UnknownDimension
from serving.backends.interface import ModelCounters
from serving.errors import NotReady, QueueFull, ServingError
from serving.gateway.forms import Pair, Upload, nested
from serving.gateway.metrics import COUNTERS, GAUGES
from serving.gateway.middleware import RequestIdFilter, RequestIds, current_request_id
from serving.gateway.openai.images import output_seeds
from serving.gateway.openai.schemas import VideoCreate
from serving.gateway.openai.sizes import fitting_frames, fitting_size
from serving.gateway.problems import CODES, Problem, problem_of
from tests.support.gateway_server import IMAGE, VIDEO


def test_the_gateway_imports_neither_ray_nor_torch():
    program = (
        "import sys, serving.gateway.app, serving.backends.in_process;"
        "print([name for name in ('ray', 'torch', 'diffusers', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


# --- forms ---


def test_a_form_becomes_what_the_json_body_would_be():
    file = Upload("a.png", b"x")
    pairs: list[Pair] = [
        ("prompt", "[a bottle]"), ("image[]", file), ("image[]", "abc"), ("ip_adapter[weight]", "0.5"),
        ("ip_adapter[images][]", "def"), ("lora[][name]", "toon"), ("lora[][name]", "ink"), ("lora[][scale]", "1"),
        ("lora[][scale]", "0.5"), ("coherence", '{"shared_seed": 3}'), ("seed", "[1, 2]"), ("size", "{broken"),
    ]  # fmt: skip
    assert nested(pairs, frozenset({"prompt"})) == {
        "prompt": "[a bottle]",
        "image": [file, "abc"],
        "ip_adapter": {"weight": "0.5", "images": ["def"]},
        "lora": [{"name": "toon", "scale": "1"}, {"name": "ink", "scale": "0.5"}],
        "coherence": {"shared_seed": 3},
        "seed": [1, 2],
        "size": "{broken",
    }


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["a", "a[b]"], "both as a value and"),
        (["a[]", "a[b]"], "both as a value and"),
        (["a[][b]", "a[][b]", "a[][c]"], "different keys"),
        (["a[][b][c]"], "JSON text"),
        (["a[b][c][d][e]"], "cannot be read"),
        (["a[b"], "cannot be read"),
        (["[]"], "cannot be read"),
    ],
)
def test_names_that_contradict_each_other_are_refused(names, says):
    with pytest.raises(Problem, match=says) as caught:
        nested([(name, "x") for name in names], frozenset())
    assert caught.value.status_code == 422


@given(st.lists(st.tuples(st.text(st.sampled_from("ab[]{}1"), max_size=8), st.text(max_size=4)), max_size=6))
def test_any_form_is_an_object_or_a_refusal(pairs):
    try:
        assert isinstance(nested(pairs, frozenset()), dict)
    except Problem as problem:
        assert problem.status_code == 422


# --- seeds and frames ---


@given(st.integers(0, 2**63 - 1), st.integers(1, 10))
def test_output_zero_has_the_seed_itself_and_the_others_their_own(seed, count):
    seeds = output_seeds(seed, count)
    assert seeds[0] == seed
    assert len(set(seeds)) == count
    assert seeds == output_seeds(seed, 10)[:count]


def test_derived_seeds_never_change():
    """They are written down by users; another derivation would break every one of them."""
    words = [hashlib.sha256(text).digest()[:8] for text in (b"7:output:1", b"7:output:2")]
    assert output_seeds(7, 3) == [7, *(int.from_bytes(word, "big") >> 11 for word in words)]


@pytest.mark.parametrize(
    ("seconds", "frames"), [("0.1", 1), ("0.5", 5), ("1", 9), ("1.1", 9), ("2", 17), ("2.125", 17)]
)
def test_seconds_become_the_nearest_count_that_the_model_makes(seconds, frames):
    asked = VideoCreate(prompt="x", seconds=seconds)
    assert fitting_frames(VIDEO, asked.seconds, None, strict=True) == (frames, ())


def test_a_model_of_any_count_makes_the_seconds_exactly():
    free = VIDEO.model_copy(update={"frame_multiple": 1})
    assert fitting_frames(free, 1.5, None, strict=True) == (12, ())
    assert fitting_frames(free, None, None, strict=True) == (17, ())


@pytest.mark.parametrize("seconds", ["4", 8, 12.0, 3600])
@pytest.mark.parametrize(("most", "made"), [(17, 17), (18, 17), (20, 17), (21, 21)])
def test_more_seconds_than_a_model_can_make_are_its_longest_clip_with_a_note(seconds, most, made):
    spec = VIDEO.model_copy(update={"max_frames": most})
    asked = VideoCreate(prompt="x", seconds=seconds)
    frames, notes = fitting_frames(spec, asked.seconds, None, strict=False)
    assert (frames, len(notes)) == (made, 1)
    assert f"{float(seconds):g} seconds" in notes[0]
    with pytest.raises(Problem, match="at most"):
        fitting_frames(spec, asked.seconds, None, strict=True)


# --- sizes ---

OPENAI_SIZES = (
    "256x256", "512x512", "1024x1024", "1792x1024", "1024x1792", "1536x1024", "1024x1536", "720x1280", "1280x720",
    "auto", "1x1", "7x9000", "99999x99999",
)  # fmt: skip
"""Those that OpenAI's clients send, and some that nobody should."""
REAL = [spec for spec in load_model_specs().values() if isinstance(spec, ImageModelSpec | VideoModelSpec)]


@pytest.mark.parametrize("spec", REAL, ids=lambda spec: spec.name)
@pytest.mark.parametrize("text", OPENAI_SIZES)
def test_every_size_is_made_by_every_model_as_near_as_it_can(spec, text):
    frames = getattr(spec, "max_frames", 1)
    size, notes = fitting_size([(spec, frames)], text, strict=False)
    made = f"{size[0]}x{size[1]}"
    assert fitting_size([(spec, frames)], made, strict=True) == (size, ())
    assert bool(notes) == (text not in (made, "auto"))
    if notes:
        assert text in notes[0]
        with pytest.raises(Problem):
            fitting_size([(spec, frames)], text, strict=True)


@pytest.mark.parametrize(
    ("text", "size"),
    [("60x64", (64, 64)), ("1024x1024", (64, 64)), ("1792x1024", (80, 48)), ("720x1280", (48, 80)), ("5x5", (16, 16))],
)
def test_a_size_is_rounded_where_that_is_enough_and_else_the_models_own_of_the_nearest_shape(text, size):
    assert fitting_size([(IMAGE, 1)], text, strict=False)[0] == size


def test_the_nearest_size_is_one_that_the_model_of_the_first_frame_makes_too():
    small = IMAGE.model_copy(update={"max_pixels": 48 * 80})
    assert fitting_size([(VIDEO, 1), (small, 1)], "1024x1024", strict=False)[0] in ((48, 80), (80, 48))
    with pytest.raises(Problem, match="at most 10"):
        fitting_size([(VIDEO, 1), (IMAGE.model_copy(update={"max_pixels": 10}), 1)], "48x80", strict=False)


@pytest.mark.parametrize("text", ["1024X1024", " 1024 x 1024 ", "1024*1024", "1024×1024", "01024x1024"])
def test_a_size_is_read_as_people_write_it(text):
    assert VideoCreate(prompt="x", size=text).size == "1024x1024"


@pytest.mark.parametrize("text", ["auto", "AUTO", "", None])
def test_no_size_is_auto(text):
    assert VideoCreate(prompt="x", size=text).size == "auto"


@pytest.mark.parametrize("text", ["big", "0x64", "64x0", "64", "64x", "-64x64", "1e3x5", "123456x1"])
def test_what_is_no_size_is_told_how_to_be_written(text):
    with pytest.raises(ValidationError, match="WIDTHxHEIGHT"):
        VideoCreate(prompt="x", size=text)


# --- errors ---


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequest("x"), 422), (BudgetExceeded("x"), 422), (OutOfMemory("x"), 507), (InferenceFailed("x"), 500),
        (Cancelled("x"), 499), (QueueFull("x", 3), 429), (NotReady("x"), 503), (BadInput("x"), 422),
        (NotFound("x"), 404), (Busy("x"), 409), (StorageFailed("/a/path"), 503), (UnknownDimension("x"), 422),
        (ValueError("x"), 500),
    ],
)  # fmt: skip
def test_every_error_has_its_status_and_a_code_of_the_list(error, status):
    problem = problem_of(error)
    assert problem.status_code == status == CODES[problem.code]
    assert "/a/path" not in problem.message


def test_every_class_of_the_error_trees_has_a_meaning_of_its_own():
    for tree in (ModelError, PipelineError, ServingError):
        assert problem_of(tree("x")).code != "internal_error" or tree is ServingError


def test_a_full_queue_says_when_to_come_back():
    assert dict(problem_of(QueueFull("x", 9)).headers or {}) == {"Retry-After": "9"}


def test_every_model_counter_is_exported():
    assert {*GAUGES, *COUNTERS} == set(ModelCounters.model_fields)


# --- request ids ---


async def test_every_log_line_of_a_request_carries_its_id():
    lines = []
    handler = logging.Handler()
    handler.addFilter(RequestIdFilter())
    handler.emit = lambda record: lines.append(  # type: ignore[method-assign]
        (getattr(record, "request_id", None), record.getMessage())
    )
    logger = logging.getLogger("serving.gateway")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        app = FastAPI()

        @app.get("/{name}")
        async def log(name):
            logging.getLogger("serving.gateway.inside").info("inside %s", name)

        client = AsyncClient(transport=ASGITransport(RequestIds(app)), base_url="http://x")
        async with client:
            await asyncio.gather(*(client.get(f"/{name}", headers={"X-Request-ID": name}) for name in "abc"))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert {(name, f"inside {name}") for name in "abc"} <= set(lines)
    ends = [(request_id, text.rsplit(" ", 2)[0]) for request_id, text in lines if text.startswith("GET")]
    assert sorted(ends) == [(name, f"GET /{name} 200") for name in "abc"]
    assert current_request_id() == "-"
