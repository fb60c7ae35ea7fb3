"""A worker that dies at a write, before or after it, is replaced by another: the directed ad stays the same."""

import pytest

from pipelines.errors import StorageFailed

WRITES = ("append", "start_stage", "finish_stage", "reuse_step", "commit_step", "end")


class DyingStore:
    """The store as a worker sees it that dies at its `last` write; nothing it does later arrives either."""

    def __init__(self, store, last, arrives):
        self._store, self._left, self._arrives = store, last, arrives

    def __getattr__(self, name):
        method = getattr(self._store, name)
        if name not in WRITES:
            return method

        async def write(*args, **kwargs):
            self._left -= 1
            if self._left == 0 and self._arrives:
                await method(*args, **kwargs)
            if self._left <= 0:
                raise StorageFailed("this worker is dead")
            return await method(*args, **kwargs)

        return write


async def directed(world, last=None, arrives=False):
    """Redraw scene 2 and approve; with `last`, each of the two workers dies at that write and is replaced."""
    generation_id = await world.reach("storyboard")
    await world.anna.regenerate("anna", generation_id, "storyboard", 2, "snow")
    await work(world, generation_id, last, arrives)
    await world.anna.approve("anna", generation_id, "storyboard")
    generation = await work(world, generation_id, last, arrives)
    assert (generation.status, generation.current_stage) == ("awaiting_approval", "video")
    events = await world.log(generation_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    finished = await world.steps(generation_id)
    assert len(finished) == len(set(finished)) + 1, "only the redrawn scene was finished twice"
    takes = await world.store.takes(generation_id)
    return sorted((take.kind, take.scene_number or 0, take.artifact) for take in takes if take.current)


async def work(world, generation_id, last, arrives):
    if last is not None:
        with pytest.raises(StorageFailed, match="dead"):
            await world.run(generation_id, store=DyingStore(world.store, last, arrives))
    return await world.run(generation_id, take_over=True)


@pytest.mark.parametrize("arrives", [False, True])
async def test_a_worker_that_dies_at_any_write_changes_nothing_of_the_directed_ad(world, arrives):
    undisturbed = await directed(world)
    assert [kind for kind, _, _ in undisturbed] == ["clip", "clip", "keyframe", "keyframe", "reference"]
    for last in (1, 8, 10, 13):
        assert await directed(world, last, arrives) == undisturbed
