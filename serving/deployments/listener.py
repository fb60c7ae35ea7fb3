"""An ASGI application at a socket of this process: on one machine callers reach the gateway's replica itself.

Serve's proxy and its hop to the replica cost 3.8 ms of CPU per request, uvicorn in the replica 0.1 ms (measured on
`/healthz`): 200 clients that poll once a second would fill a core with the former alone. A cluster keeps the proxies:
they are on every node, and replicas move.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from serving.deployments.connections import Connections, guarded, room_for_connections

BACKLOG = 2048
"""Connections that may wait to be accepted."""
KEEP_ALIVE_SECONDS = 90
"""Longer than clients keep idle connections, so that none of them writes into one that is being closed."""
GRACE_SECONDS = 3
"""The time that running answers get when the server stops; event streams would never end by themselves."""

MESSAGE_BYTES = 64 * 1024
"""Of a WebSocket message: more than any route reads."""


@dataclass(frozen=True)
class Address:
    """Where to listen."""

    host: str
    port: int


class Listener:
    """Serves an application in the running event loop, until closed. The application's lifespan is its owner's."""

    def __init__(self, app: ASGIApp, address: Address) -> None:
        """Accept connections from now on. Raises OSError when the address cannot be bound."""
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            proxy_headers=False,  # `serving.gateway.proxies` reads them, from the proxies that the operator names
            access_log=False,  # `serving.gateway.middleware` writes a line per request, with its id
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            ws_max_size=MESSAGE_BYTES,
        )
        config.load()
        config.http_protocol_class = guarded(config.http_protocol_class, Connections(room_for_connections()))
        self._server = uvicorn.Server(config)
        self._serving = asyncio.create_task(self._server.serve([_bound(address)]))

    def check(self) -> None:
        """Raises RuntimeError when nothing listens any more."""
        if self._serving.done():
            raise RuntimeError("the HTTP server has stopped") from self._serving.exception()

    async def close(self) -> None:
        self._server.should_exit = True
        await asyncio.wait({self._serving})


def _bound(address: Address) -> socket.socket:
    """A listening socket that several replicas on this machine can share: the kernel spreads the connections."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # Named TCP: asyncio switches Nagle's delay off (40 ms per answer, measured) only on sockets that say what they are.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind((address.host, address.port))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
