"""The cases of `make attack` that need no model, against the gateway of the tests: every one of them is held."""

import pytest

from tests.security.attack import CASES, Target, attack
from tests.support.gateway_process import start_gateway


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacked")
    gateway = start_gateway(folder)
    yield Target(gateway.url, gateway.key, folder, gateway.program, models=False)
    gateway.stop()


@pytest.mark.parametrize("name", [each.name for each in CASES if each.run is not None and not each.needs_models])
def test_the_server_holds(target, name):
    assert attack(target, frozenset({name})) == {name: None}


def test_every_attack_of_the_table_is_tried_or_says_where_it_is():
    names = [each.name for each in CASES]
    assert sorted(names) == sorted({*(f"S{number}" for number in range(1, 26)), "L1"})
