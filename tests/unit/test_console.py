"""The display of a run: it goes on where its log cannot be read for a moment."""

import asyncio
from datetime import UTC, datetime

from pipelines.errors import StorageFailed
from pipelines.records import Event
from serving.console import Follower
from tests.support.waiting import until_async

EVENTS = [Event(kind="notice", message="", seq=seq, created_at=datetime.now(UTC)) for seq in (1, 2)]


class OnceRefused:
    """An event log that refuses the first look."""

    def __init__(self, events):
        self.looks = 0
        self._events = events

    async def events(self, generation_id, after=0):
        self.looks += 1
        if self.looks == 1:
            raise StorageFailed("the database refused")
        return tuple(event for event in self._events if event.seq > after)


async def test_events_are_shown_as_they_come_though_the_log_could_not_be_read_once():
    shown: list[Event] = []
    follower = Follower(OnceRefused(EVENTS), "id", 0, shown.append)
    following = asyncio.create_task(follower.follow())
    await until_async(lambda: asyncio.sleep(0, len(shown) == len(EVENTS)), "both events")
    following.cancel()
    await asyncio.wait({following})
    assert [each.seq for each in shown] == [1, 2]
