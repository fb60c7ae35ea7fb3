"""The server that the tests start: what was committed outlives its death, and it comes back under the same address."""

import psycopg
import pytest

from tests.support.postgres import PostgresServer


@pytest.fixture
def server():
    server = PostgresServer()
    server.start()
    yield server
    server.remove()


def test_what_was_committed_outlives_a_kill_and_nothing_else_does(server):
    url = server.url(server.create()).replace("+psycopg", "")
    connection = psycopg.connect(url)
    connection.execute("create table seen (number int)")
    connection.execute("insert into seen values (1)")
    connection.commit()
    connection.execute("insert into seen values (2)")
    server.kill()
    with pytest.raises(psycopg.OperationalError):
        connection.execute("select 1")
    server.start()
    with psycopg.connect(url) as again:
        assert again.execute("select number from seen").fetchall() == [(1,)]
    server.restart()
    with psycopg.connect(url) as again:
        assert again.execute("select count(*) from seen").fetchone() == (1,)
