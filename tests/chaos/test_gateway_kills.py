"""`kill -9` of the gateway: orders stand once, streams go on where they were cut, generations do not notice."""

import asyncio
import random

import httpx

from tests.chaos.gateway_kills import ORDER, ORDERS, POINTS, gateway_faults, kill_gateways, patiently, visitor
from tests.chaos.kills import RANDOM, TERM
from tests.support.waiting import until_async


async def test_an_answered_order_stands_once_and_an_unanswered_one_at_most_once(chaos):
    rng = random.Random(7)  # noqa: S311
    kills = await kill_gateways(chaos, gateway_faults(rng, each=1, moments=1, terms=1), rng)
    assert {kill.point for kill in kills} == {*POINTS, RANDOM, TERM}
    await chaos.check_files()


async def follow(http, generation_id, seen):
    """Every `seq` of the log as its stream shows it, through as many gateways as it takes."""

    async def to_its_end():
        last = seen[-1] if seen else 0
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(last)}
        try:
            async with http.stream("GET", f"{ORDERS}/{generation_id}/events", headers=headers) as answer:
                assert answer.status_code == 200
                async for line in answer.aiter_lines():
                    if line.startswith("id: "):
                        seen.append(int(line.removeprefix("id: ")))
                return True
        except httpx.TransportError:
            return False

    await until_async(to_its_end, lambda: f"the end of a stream that came to event {len(seen)}")


async def test_a_stream_that_is_taken_up_again_after_kills_has_no_gap_and_no_repeat(chaos):
    async with visitor(chaos) as http:
        port = http.base_url.port
        gateway = chaos.gateway(port)
        generation_id = (await patiently(http, "POST", ORDERS, json=ORDER)).json()["id"]
        seen: list[int] = []
        following = asyncio.create_task(follow(http, generation_id, seen))
        chaos.pace.touch()
        chaos.worker()
        for step in ("storyboard/", "video/"):
            await chaos.until_event(generation_id, "step_started", step)
            gateway.kill()
            gateway = chaos.gateway(port)
        chaos.pace.unlink()
        await following
        assert seen == list(range(1, len(seen) + 1))
        detail = (await patiently(http, "GET", f"{ORDERS}/{generation_id}")).json()
        assert detail["status"] == "completed", detail
