"""What waits before a deployment is counted where it was asked for."""

import pytest

from serving.backends.interface import ModelCounters
from serving.deployments.handles import AskedCalls, with_queues


def test_a_call_counts_until_it_ends_also_with_an_error():
    asked = AskedCalls()
    with asked.one_of("filmer"), asked.one_of("filmer"):
        assert asked.snapshot() == {"filmer": 2}
    with pytest.raises(KeyError), asked.one_of("filmer"):
        raise KeyError
    assert asked.snapshot() == {"filmer": 0}


def test_what_was_asked_for_and_does_not_run_waits():
    counters = {"filmer": ModelCounters(running=1), "painter": ModelCounters(running=2, waiting=3)}
    seen = with_queues(counters, [{"filmer": 2, "other": 9}, {"filmer": 3}])
    assert (seen["filmer"].waiting, seen["painter"].waiting, set(seen)) == (4, 3, {"filmer", "painter"})


def test_counters_that_are_newer_than_the_asking_never_make_a_queue_negative():
    assert with_queues({"filmer": ModelCounters(running=2)}, [{"filmer": 1}])["filmer"].waiting == 0
