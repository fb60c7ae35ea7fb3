"""How many connections a server holds, and for how long one may take to say what it wants.

A connection costs its caller nothing: 3,000 that never finish a request would use up the file descriptors of a server
that waits for them. So a request has HEAD_SECONDS to begin and to name itself, one address has a share, and when the
room is used up it is the oldest connection without a complete request that leaves, never the one that comes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
from collections import Counter
from typing import Any, Protocol

MAX_CONNECTIONS = 4096
"""Of one process, event streams and WebSockets included."""
MAX_PER_ADDRESS = 1024
"""Of one address, which may be a proxy or the whole of an office."""
HEAD_SECONDS = 10.0
"""For the head of a request, from the connection or from its first byte on one that is kept alive."""
HEAD_BYTES = 64 * 1024
REFUSED_SECONDS = 60.0
"""For the rest of a body that was refused: its sender reads the answer when it has sent all."""
RESERVED_FILES = 128
"""File descriptors that are left to the database, to artifacts and to the decoders."""
logger = logging.getLogger(__name__)


def room_for_connections() -> int:
    """As many as this process may hold, after its limit of open files was raised as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    free = soft - len(os.listdir("/proc/self/fd")) - RESERVED_FILES
    return max(16, min(MAX_CONNECTIONS, free))


class Line(Protocol):
    """A transport, as far as its owner counts it."""

    def is_closing(self) -> bool: ...
    def abort(self) -> None: ...


class Connections:
    """The open connections of one listener, oldest first."""

    def __init__(self, room: int, per_address: int = MAX_PER_ADDRESS) -> None:
        self._room = room
        self._per_address = per_address
        self._open: dict[Line, _Connection] = {}
        self._addresses: Counter[str] = Counter()

    def admit(self, transport: Line, protocol: Any, address: str) -> bool:
        """Whether the new connection may stay. Closes the oldest one without a complete request when there is no room.

        `protocol` is uvicorn's; its `cycle` tells what its request has come to.
        """
        if self._addresses[address] >= self._per_address:
            self._make_room(address)
        elif len(self._open) >= self._room:
            self._make_room(None)
        if self._addresses[address] >= self._per_address or len(self._open) >= self._room:
            return False
        self._open[transport] = _Connection(protocol, address)
        self._addresses[address] += 1
        return True

    def rest(self, transport: Line) -> None:
        """Its answer is complete: of all that wait it is the youngest now."""
        if (connection := self._open.pop(transport, None)) is not None:
            self._open[transport] = connection

    def upgrade(self, transport: Line) -> None:
        """It is a WebSocket from now on."""
        if transport in self._open:
            self._open[transport].protocol = None

    def remove(self, transport: Line) -> None:
        if (connection := self._open.pop(transport, None)) is not None:
            self._addresses[connection.address] -= 1
            if not self._addresses[connection.address]:
                del self._addresses[connection.address]

    def _make_room(self, address: str | None) -> None:
        """Let one connection go, of `address` if one is given; those that have ended by themselves in any case."""
        for transport in [each for each in self._open if each.is_closing()]:
            self.remove(transport)
        for transport, connection in self._open.items():
            if connection.is_incomplete and address in (None, connection.address):
                transport.abort()
                self.remove(transport)
                return


class _Connection:
    """A connection and where it comes from."""

    def __init__(self, protocol: Any, address: str) -> None:
        self.protocol = protocol
        """None: a WebSocket."""
        self.address = address

    @property
    def is_incomplete(self) -> bool:
        """Whether the server waits for the rest of a request, or for the next one."""
        if self.protocol is None:
            return False
        cycle = self.protocol.cycle
        return cycle is None or cycle.response_complete or cycle.more_body


class Guarded(asyncio.Protocol):
    """What a connection does beside uvicorn's HTTP protocol, in front of which it stands among the bases."""

    guard: Connections
    transport: asyncio.Transport
    client: tuple[str, int] | None
    loop: asyncio.AbstractEventLoop
    cycle: Any
    timer: asyncio.TimerHandle | None = None
    in_head = False
    head_bytes = 0
    is_websocket = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self.guard.admit(self.transport, self, self.client[0] if self.client else "unknown"):
            logger.warning("a connection of %s was refused: too many are open", self.client)
            self.transport.abort()
            return
        self.timer = self.loop.call_later(HEAD_SECONDS, self.give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_timer()
        self.guard.remove(self.transport)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.is_websocket:
            return  # the connection is another protocol's from now on
        self.head_bytes = self.head_bytes + len(data) if self.in_head else 0
        if self.head_bytes > HEAD_BYTES:
            self.give_up()
        elif self.cycle is not None and not self.cycle.response_complete:
            self.stop_timer()
        elif self.timer is None and not self.transport.is_closing():
            is_refused = self.cycle is not None and self.cycle.more_body
            self.timer = self.loop.call_later(REFUSED_SECONDS if is_refused else HEAD_SECONDS, self.give_up)

    def on_message_begin(self) -> None:
        self.in_head = True  # httptools sets no bound to it; h11 has one, and calls nothing here
        super().on_message_begin()  # type: ignore[misc]

    def on_headers_complete(self) -> None:
        self.in_head = False
        super().on_headers_complete()  # type: ignore[misc]

    def on_response_complete(self) -> None:
        self.guard.rest(self.transport)
        super().on_response_complete()  # type: ignore[misc]
        if self.in_head and self.timer is None:  # the next request began before this one was answered
            self.timer = self.loop.call_later(HEAD_SECONDS, self.give_up)

    def handle_websocket_upgrade(self, *event: Any) -> None:
        self.is_websocket = True
        self.stop_timer()
        self.guard.upgrade(self.transport)
        super().handle_websocket_upgrade(*event)  # type: ignore[misc]

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def give_up(self) -> None:
        self.timer = None
        self.transport.abort()


def guarded(base: type[asyncio.Protocol], connections: Connections) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol `base`, whose connections are admitted by `connections` and bounded in time."""
    return type("GuardedProtocol", (Guarded, base), {"guard": connections})
