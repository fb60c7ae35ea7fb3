"""A generation as a video object: what its state shows."""

import asyncio
from datetime import UTC, datetime

import pytest

from configs.settings import load_recipe
from models.interfaces import NoiseSpec
from pipelines.orders.clip import ClipOrder, clip_generation
from pipelines.records import Event
from pipelines.store.database import Database, sqlite_url
from pipelines.store.generations import GenerationStore
from serving.gateway.openai.videos import video_object
from tests.support.gateway_server import VIDEO

THEN = datetime(2026, 11, 23, tzinfo=UTC)
FRAME = "a" * 64


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """One generation as the store gives it back, per first frame."""

    async def rows():
        database = Database(sqlite_url(tmp_path_factory.mktemp("view") / "store.sqlite"))
        await database.migrate()
        store = GenerationStore(database)
        made = {frame: await store.get("anna", await store.create("anna", *planned(frame))) for frame in (None, FRAME)}
        await database.close()
        return made

    return asyncio.run(rows())


def planned(first_frame):
    order = ClipOrder(
        prompt="a bottle", model=VIDEO.name, size=(80, 48), num_frames=9, noise=NoiseSpec(seed=4),
        num_inference_steps=4, guidance_scale=3.0, first_frame=first_frame,
    )  # fmt: skip
    manifest = {"models": {"video": VIDEO.model_dump(mode="json")}}
    return (*clip_generation(order, VIDEO, load_recipe("clip")), manifest)


@pytest.fixture
def generation(stored):
    def row(first_frame=None, status="processing", **changes):
        return stored[first_frame].model_copy(update={"status": status, **changes})

    return row


def event(kind, step=None, seq=1, message="", **data):
    return Event(kind=kind, step=step, message=message, data=data, seq=seq, created_at=THEN)


def test_a_given_frame_is_the_first_frame(generation):
    assert video_object(generation(first_frame=FRAME), (), (), None).first_frame == FRAME


@pytest.mark.parametrize(("status", "shown"), [("processing", 99), ("completed", 100)])
def test_progress_is_the_rows_and_not_complete_before_the_clip_is(generation, status, shown):
    assert video_object(generation(status="processing", progress=42), (), (), None).progress == 42
    assert video_object(generation(status=status, progress=100), (), (), None).progress == shown


@pytest.mark.parametrize(
    ("status", "shown"),
    [("pending", "queued"), ("processing", "in_progress"), ("completed", "completed"), ("cancelled", "cancelled")],
)
def test_states_have_openais_names(generation, status, shown):
    view = video_object(generation(status=status), (), (), None)
    assert (view.status, view.error) == (shown, None)


def test_a_failure_is_told_and_a_requested_cancel_is_seen_while_it_runs(generation):
    failed = video_object(generation(status="failed", error_message="no room"), (), (), None)
    assert failed.error is not None
    assert failed.error.message == "no room"
    assert video_object(generation(cancellation_requested=True), (), (), None).cancellation_requested
    assert not video_object(
        generation(status="cancelled", cancellation_requested=True), (), (), None
    ).cancellation_requested


def test_size_length_and_notes_are_those_of_the_order(generation):
    view = video_object(generation(), (event("notice", message="hm"),), (), 3)
    assert (view.size, view.seconds, view.num_frames, view.fps) == ("80x48", "1.125", 9, 8)
    assert (view.seed, view.model, view.queue_position, view.notes) == (4, VIDEO.name, 3, ("hm",))


def test_a_judgement_of_the_gate_is_a_note_only_when_it_costs_something(generation):
    quiet = event("notice", message="every minimum is met", notice="quality_gate")
    loud = event("notice", message="no retake is left", notice="quality_gate").model_copy(
        update={"severity": "warning"}
    )
    assert video_object(generation(), (quiet, loud), (), None).notes == ("no retake is left",)
