"""The error tree of `serving`: errors of a server and of its clients. HTTP: `serving/gateway/problems.py`.

ServingError
├── QueueFull          too many requests wait already; try again after `retry_after` seconds
├── NotReady           a deployment is still loading, or lost its replicas
├── PortTaken          the server cannot listen at its address
├── StartFailed        Ray, or a deployment on it, did not come up
├── UnsafeSecret       the key that signs tokens is missing, a placeholder, too short, or readable by others
├── Undecodable        an upload that its decoder did not survive: too large, endless, or made to crash it
├── Unauthenticated    no credentials, or none that are valid
│   └── Expired        a token or a signed address whose time is over
├── Forbidden          valid credentials that do not allow this
├── Unreachable        the command line cannot reach its server, or lost the connection
└── UnsafeCredentials  the command line's own file of tokens can be read by others, or is damaged
"""

from __future__ import annotations


class ServingError(Exception):
    """Base of everything `serving` raises on purpose."""


class QueueFull(ServingError):
    """The queue before a deployment is full."""

    def __init__(self, message: str, retry_after: int) -> None:
        """`retry_after` in seconds."""
        super().__init__(message, retry_after)
        self.message = message
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.message


class NotReady(ServingError):
    """A deployment is still loading its model, or has no live replica."""


class PortTaken(ServingError):
    """Another process listens on the address."""


class StartFailed(ServingError):
    """Ray did not start, or a deployment failed to load; the message says which, why, and where the logs are."""


class UnsafeSecret(ServingError):
    """The server does not start with this signing key: whoever knows it can act as any user."""


class Undecodable(ServingError):
    """The process that decoded an upload was ended by its limits, or crashed; nothing else was harmed."""


class Unauthenticated(ServingError):
    """The caller is not known. Unknown, expired and revoked credentials are answered alike, on purpose."""

    def __init__(self, message: str = "the access token, API key or ticket is not valid: log in again") -> None:
        super().__init__(message)


class Expired(Unauthenticated):
    """A token or a signed address that was right, and is too old. Nobody else learns so: its signature is checked."""

    def __init__(self, message: str, code: str) -> None:
        """`code` of the answer."""
        super().__init__(message)
        self.code = code


class Forbidden(ServingError):
    """The caller is known and may not do this."""


class Unreachable(ServingError):
    """No connection to the server, or one that broke. The server goes on with what it was asked for."""


class UnsafeCredentials(ServingError):
    """The file of tokens is not used: whoever can read it can act as its owner."""
