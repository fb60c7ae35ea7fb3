"""`kill -9` of workers at every named point and at random moments: the ad is the one that nobody disturbed."""

import random

from tests.chaos.kills import POINTS, TERM, kill_workers, worker_faults


async def test_no_kill_of_a_worker_loses_doubles_or_changes_anything(chaos, undisturbed):
    rng = random.Random(5)  # noqa: S311
    kills = await kill_workers(chaos, worker_faults(rng, each=1, moments=2, terms=2), undisturbed, rng)
    assert {kill.point for kill in kills} >= {*POINTS, TERM}
    assert len(kills) == len(POINTS) + 4
    await chaos.check_files()
