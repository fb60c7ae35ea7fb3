"""The pool of loaded models: what stays, what goes, and who waits. Engines are small real networks."""

import gc
import threading
import weakref

import pytest
from torch import nn

from models.errors import Cancelled, WeightsError
from models.interfaces import Unwatched
from models.pool import ModelPool, size_bytes
from models.spec import SpecBase

KILOBYTE = 1024


class Engine:
    """Holds a network of `kilobytes`, twice: as the pipelines of one model do."""

    def __init__(self, kilobytes):
        self.network = nn.Linear(256 * kilobytes, 1, bias=False)
        self.pipelines = (self.network, self.network)


class Shelf:
    """Loads engines, and remembers which and where they are."""

    def __init__(self):
        self.loads = []
        self.alive: weakref.WeakValueDictionary[str, Engine] = weakref.WeakValueDictionary()

    def __call__(self, spec):
        self.loads.append(spec.name)
        engine = self.alive[spec.name] = Engine(int(spec.name.rpartition("-")[2]))
        return engine


def spec(name, vram_gb=0.0):
    return SpecBase(name=name, family="none", licence="none", vram_gb=vram_gb)


def touch(pool, *names):
    for name in names:
        with pool.use(spec(name), Unwatched()):
            pass


@pytest.fixture
def shelf():
    return Shelf()


def pool_of(shelf, kilobytes):
    return ModelPool(shelf, None if kilobytes is None else kilobytes * KILOBYTE)


def test_an_engine_is_measured_once_however_often_it_is_referred_to():
    assert size_bytes(Engine(3)) == 3 * KILOBYTE


def test_a_model_is_loaded_once_while_it_fits(shelf):
    pool = pool_of(shelf, 10)
    touch(pool, "a-4", "b-4", "a-4", "b-4")
    assert shelf.loads == ["a-4", "b-4"]
    assert pool.loaded() == {"a-4": 4 * KILOBYTE, "b-4": 4 * KILOBYTE}


def test_without_a_budget_everything_stays(shelf):
    pool = pool_of(shelf, None)
    touch(pool, *(f"{letter}-100" for letter in "abcdef"))
    assert len(pool.loaded()) == 6


def test_the_least_recently_used_model_goes_and_its_memory_with_it(shelf):
    pool = pool_of(shelf, 10)
    touch(pool, "a-4", "b-4", "a-4", "c-4")
    gc.collect()
    assert list(pool.loaded()) == ["a-4", "c-4"]
    assert sorted(shelf.alive) == ["a-4", "c-4"]
    touch(pool, "b-4")
    assert shelf.loads == ["a-4", "b-4", "c-4", "b-4"]


def test_as_many_go_as_the_new_one_needs_and_no_more(shelf):
    pool = pool_of(shelf, 10)
    touch(pool, "a-3", "b-3", "c-3", "d-6")
    assert list(pool.loaded()) == ["c-3", "d-6"]


def test_room_is_made_before_loading_when_the_need_is_known(shelf):
    alive_at_load = []

    def load(spec):
        alive_at_load.append(sorted(shelf.alive))
        return shelf(spec)

    pool = ModelPool(load, 10 * KILOBYTE)
    with pool.use(spec("a-8"), Unwatched()):
        pass
    with pool.use(spec("b-8", vram_gb=8 * KILOBYTE / 1e9), Unwatched()):  # by its description
        pass
    touch(pool, "a-8")  # by its measure
    assert alive_at_load == [[], [], []]


def test_a_model_in_use_is_never_evicted(shelf):
    pool = pool_of(shelf, 10)
    with pool.use(spec("a-4"), Unwatched()) as held:
        touch(pool, "b-4", "c-4", "d-4")
        assert list(pool.loaded()) == ["a-4", "d-4"]
        assert pool.engines()["a-4"] is held


def test_a_model_larger_than_the_budget_is_loaded_alone(shelf):
    pool = pool_of(shelf, 10)
    touch(pool, "a-4", "b-40")
    assert list(pool.loaded()) == ["b-40"]
    touch(pool, "a-4")
    assert list(pool.loaded()) == ["a-4"]


def test_who_needs_more_room_than_those_in_use_leave_waits_for_them(shelf):
    pool = pool_of(shelf, 10)
    touch(pool, "b-8")
    got = threading.Event()

    def want():
        with pool.use(spec("b-8"), Unwatched()):
            got.set()

    with pool.use(spec("a-8"), Unwatched()):
        waiting = threading.Thread(target=want)
        waiting.start()
        assert not got.wait(0.05)
        assert list(pool.loaded()) == ["a-8"]
    waiting.join(timeout=10)
    assert got.is_set()
    assert list(pool.loaded()) == ["b-8"]


def test_two_threads_that_want_one_model_load_it_once_and_others_are_served_meanwhile():
    loading, go = threading.Event(), threading.Event()
    loads = []

    def load(spec):
        loads.append(spec.name)
        if spec.name == "slow-1":
            loading.set()
            assert go.wait(10)
        return Engine(1)

    pool = ModelPool(load, None)
    threads = [threading.Thread(target=touch, args=(pool, "slow-1")) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert loading.wait(10)
    touch(pool, "quick-1")
    assert list(pool.loaded()) == ["quick-1"]
    go.set()
    for thread in threads:
        thread.join(timeout=10)
    assert sorted(loads) == ["quick-1", "slow-1"]


def test_who_waits_for_room_can_be_cancelled(shelf):
    class Impatient:
        def step(self, done, total):
            raise Cancelled(f"stopped at {done} of {total}")

    pool = pool_of(shelf, 10)
    touch(pool, "b-8")
    with pool.use(spec("a-8"), Unwatched()):
        with pytest.raises(Cancelled, match="0 of 1"), pool.use(spec("b-8"), Impatient()):
            pytest.fail("there was room")
        assert list(pool.loaded()) == ["a-8"]


def test_the_activations_of_the_model_that_needs_most_count_once(shelf):
    pool = pool_of(shelf, 15)
    needs = {name: spec(name, vram_gb=kilobytes * KILOBYTE / 1e9) for name, kilobytes in {"a-3": 6, "b-3": 8}.items()}
    for each in needs.values():
        with pool.use(each, Unwatched()):
            pass
    assert list(pool.loaded()) == ["a-3", "b-3"]  # 3 + 3 of weights and 5 for the activations of b
    touch(pool, "c-4")
    assert list(pool.loaded()) == ["a-3", "b-3", "c-4"]
    touch(pool, "d-1")
    assert list(pool.loaded()) == ["b-3", "c-4", "d-1"]


def test_a_failed_load_leaves_no_trace_and_is_tried_again():
    attempts = []

    def load(spec):
        attempts.append(spec.name)
        if len(attempts) == 1:
            raise WeightsError("no weights in 'x'")
        return Engine(1)

    pool = ModelPool(load, 10 * KILOBYTE)
    with pytest.raises(WeightsError):
        touch(pool, "a-1")
    assert pool.loaded() == {}
    touch(pool, "a-1")
    assert list(pool.loaded()) == ["a-1"]


def test_a_call_that_fails_lets_its_model_go(shelf):
    pool = pool_of(shelf, 10)
    with pytest.raises(RuntimeError), pool.use(spec("a-8"), Unwatched()):
        raise RuntimeError("stop")
    touch(pool, "b-8")
    assert list(pool.loaded()) == ["b-8"]
