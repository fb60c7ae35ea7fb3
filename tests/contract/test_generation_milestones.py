"""The milestones of a generation: its log without the progress events that a newer one has overtaken."""

from pipelines.records import NewEvent


def moved(done):
    return NewEvent(kind="step_progress", message="", step="video/scene-001", data={"done": done, "total": 9})


async def test_only_the_newest_progress_stays_and_everything_else_does(store, generation_id):
    lease = await store.claim(generation_id, "worker")
    started = NewEvent(kind="stage_started", message="", step="video")
    notice = NewEvent(kind="notice", message="hm")
    await store.append(lease, started, moved(1), moved(2), notice, moved(3))
    seen = await store.milestones(generation_id)
    assert [(event.kind, event.data.get("done")) for event in seen] == [
        ("stage_started", None),
        ("notice", None),
        ("step_progress", 3),
    ]
    assert [event.seq for event in seen] == [1, 4, 5]


async def test_a_generation_that_never_ran_has_none(store, generation_id):
    assert await store.milestones(generation_id) == ()
