"""Users of a gateway whose generations nobody runs."""

import pytest

from tests.support.gateway_users import logged_in


@pytest.fixture(scope="module")
def anna(server):
    with logged_in(server, "anna") as client:
        yield client
