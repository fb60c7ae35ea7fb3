"""Addresses of databases as people write them."""

import pytest

from pipelines.errors import BadInput
from pipelines.store.engines import database_address


@pytest.mark.parametrize(
    ("written", "driver"),
    [
        ("sqlite:////data/store.sqlite", "sqlite+pysqlite"),
        ("sqlite+aiosqlite:////data/store.sqlite", "sqlite+pysqlite"),
        ("postgresql://ann:secret@db:5432/ads", "postgresql+psycopg"),
        ("postgres://ann:secret@db/ads?sslmode=require", "postgresql+psycopg"),
        ("postgresql+asyncpg://db/ads", "postgresql+psycopg"),
    ],
)
def test_the_stores_own_driver_is_used(written, driver):
    address = database_address(written)
    assert address.drivername == driver
    assert address.render_as_string(hide_password=False).partition(":")[2] == written.partition(":")[2]


@pytest.mark.parametrize("written", ["mysql://ann:secret@db/ads", "postgresql://ann:secret@db:port/ads", "secret", ""])
def test_what_is_no_address_is_refused_without_its_password(written):
    with pytest.raises(BadInput, match="cannot be read: write sqlite") as refused:
        database_address(written)
    assert "secret" not in str(refused.value)
