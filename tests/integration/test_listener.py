"""The gateway's own socket: answers until it is closed, is shared by replicas, and says when it is gone."""

import httpx
import pytest

from serving.deployments.listener import Address, Listener
from tests.support.program import free_port


async def hello(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.fixture
def address():
    return Address("127.0.0.1", free_port())


async def said(address):
    async with httpx.AsyncClient() as client:
        return (await client.get(f"http://{address.host}:{address.port}/")).text


async def test_it_answers_as_soon_as_it_exists_and_no_more_once_it_is_closed(address):
    listener = Listener(hello, address)
    assert await said(address) == "hello"
    listener.check()
    await listener.close()
    with pytest.raises(httpx.ConnectError):
        await said(address)
    with pytest.raises(RuntimeError, match="stopped"):
        listener.check()


async def test_replicas_of_one_machine_share_an_address_and_one_that_goes_leaves_it_to_the_others(address):
    first, second = Listener(hello, address), Listener(hello, address)
    await first.close()
    assert await said(address) == "hello"
    await second.close()


async def test_an_address_that_is_not_this_machines_is_an_error():
    with pytest.raises(OSError, match="assign requested address"):
        Listener(hello, Address("192.0.2.1", free_port()))
