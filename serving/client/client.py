"""`admint.Client` and `admint.AsyncClient`: a server for programs. Both perform the same operations.

The synchronous client runs the asynchronous one in a thread of its own: so there is one way to send, to try again, to
renew tokens and to follow events, and it works inside of a running event loop (a notebook), too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from concurrent.futures import Future
from contextlib import AsyncExitStack, ExitStack, aclosing
from inspect import Signature, signature
from threading import Lock
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

from anyio.from_thread import BlockingPortal, start_blocking_portal

import admint
from pipelines.errors import BadInput
from serving.client import ads, media
from serving.client.exceptions import public_errors
from serving.client.http import Connection, connect, server_address
from serving.client.login import Access, Credentials, Key, PasswordLogin, access_to, credentials_file
from serving.client.sending import Operation, Stream

P = ParamSpec("P")
T = TypeVar("T")
DEFAULT_SERVER = "http://127.0.0.1:8000"
"""Where `admint serve` listens by default."""


class AsyncClient:
    """A server of AdMint, for programs with an event loop.

    `async with` it, or `aclose` it. `server`: its address; None: that of the last `admint login`, else this machine's
    port 8000. Credentials: an API key, or a username and password, which are logged in once and out again at the end;
    neither: `ADMINT_API_KEY`, else the last `admint login` to this server.

    Raises BadInput for what is no address. All methods raise `APIError` and its kinds, and `Unreachable`.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        api_key: str | None = None,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        with public_errors():
            self.server = _address(server)
            self._access = _access(self.server, api_key, username, password)
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._connection: Connection | None = None
        self.generations = AsyncGenerations(self)
        """Ads by any recipe."""
        self.sessions = AsyncSessions(self)
        """Ads stage by stage."""
        self.stories = AsyncStories(self)
        """Master mode."""
        self.comparisons = AsyncComparisons(self)
        """Ads that are made to be compared."""
        self.images = AsyncImages(self)
        """Single pictures."""
        self.videos = AsyncVideos(self)
        """Single clips."""
        self.models = AsyncModels(self)
        """What the server offers."""
        self.files = AsyncFiles(self)
        """Files by their sha256, scores of videos, and the dimensions that there are."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the login of a username and password, and close all connections."""
        connection, self._connection = self._connection, None
        try:
            if connection is not None and isinstance(self._access, PasswordLogin) and self._access.logged_in:
                with public_errors():
                    await connection.call("POST", "/api/auth/logout")
        except admint.AdMintError:  # the tokens end by themselves
            pass
        finally:
            await self._stack.aclose()

    async def perform(self, operation: Operation[T]) -> T:
        """Perform an operation of `serving.client`, with public errors."""
        with public_errors():
            return await operation(await self._connected())

    async def follow(self, stream: Stream[T]) -> AsyncGenerator[T, None]:
        """What a stream of `serving.client` brings, with public errors."""
        with public_errors():
            async with aclosing(stream(await self._connected())) as items:
                async for item in items:
                    yield item

    async def _connected(self) -> Connection:
        async with self._opening:
            if self._connection is None:
                access = await asyncio.to_thread(access_to, self.server) if self._access is None else self._access
                self._connection = await self._stack.enter_async_context(connect(self.server, access))
        return self._connection


class Client:
    """A server of AdMint, for programs without an event loop: as `AsyncClient`, and every method waits.

    `with` it, or `close` it. Threads may share it.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        api_key: str | None = None,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self._client = AsyncClient(server, api_key=api_key, username=username, password=password)
        self.server = self._client.server
        self._stack = ExitStack()
        self._starting = Lock()
        self._portal: BlockingPortal | None = None
        self.generations = Generations(self)
        """Ads by any recipe."""
        self.sessions = Sessions(self)
        """Ads stage by stage."""
        self.stories = Stories(self)
        """Master mode."""
        self.comparisons = Comparisons(self)
        """Ads that are made to be compared."""
        self.images = Images(self)
        """Single pictures."""
        self.videos = Videos(self)
        """Single clips."""
        self.models = Models(self)
        """What the server offers."""
        self.files = Files(self)
        """Files by their sha256, scores of videos, and the dimensions that there are."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the login of a username and password, and close all connections."""
        with self._starting:
            portal, self._portal = self._portal, None
        if portal is not None:
            _result(portal.start_task_soon(self._client.aclose))
            self._stack.close()

    def perform(self, operation: Operation[T]) -> T:
        """Perform an operation of `serving.client`, with public errors."""
        return self._wait_for(lambda: self._client.perform(operation))

    def follow(self, stream: Stream[T]) -> Generator[T, None, None]:
        """What a stream of `serving.client` brings, with public errors."""
        items = self._client.follow(stream)
        try:
            while (item := self._wait_for(lambda: anext(items, _END))) is not _END:
                yield item
        finally:
            self._wait_for(items.aclose)

    def _wait_for(self, work: Callable[[], Awaitable[T]]) -> T:
        with self._starting:
            if self._portal is None:
                self._portal = self._stack.enter_context(start_blocking_portal())
            portal = self._portal

        async def awaited() -> T:
            return await work()

        return _result(portal.start_task_soon(awaited))


_END: Any = object()


def _result(future: Future[T]) -> T:
    """What comes of work in the client's thread; who stops waiting for it (Ctrl-C) stops it."""
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


class _AsyncPart:
    """Some of the operations of an `AsyncClient`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client


class _Part:
    """Some of the operations of a `Client`."""

    def __init__(self, client: Client) -> None:
        self._client = client


class _Awaited(Generic[P, T]):
    """A method of an `AsyncClient`'s part, with the parameters and the documentation of the operation."""

    def __init__(self, make: Callable[P, Operation[T]]) -> None:
        self.make = make
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, part: None, owner: type) -> Self: ...
    @overload
    def __get__(self, part: _AsyncPart, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, part: _AsyncPart | None, owner: type) -> Self | Callable[P, Coroutine[Any, Any, T]]:
        if part is None:
            return self
        client, make = part._client, self.make

        async def method(*args: P.args, **kwargs: P.kwargs) -> T:
            with public_errors():
                operation = make(*args, **kwargs)
            return await client.perform(operation)

        return _documented(method, make)


class _Blocking(Generic[P, T]):
    """The same of a `Client`'s part."""

    def __init__(self, make: Callable[P, Operation[T]]) -> None:
        self.make = make
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, part: None, owner: type) -> Self: ...
    @overload
    def __get__(self, part: _Part, owner: type) -> Callable[P, T]: ...
    def __get__(self, part: _Part | None, owner: type) -> Self | Callable[P, T]:
        if part is None:
            return self
        client, make = part._client, self.make

        def method(*args: P.args, **kwargs: P.kwargs) -> T:
            with public_errors():
                operation = make(*args, **kwargs)
            return client.perform(operation)

        return _documented(method, make)


class _AsyncEvents(Generic[P, T]):
    """A method that gives what a stream brings, to be read with `async for`."""

    def __init__(self, make: Callable[P, Stream[T]]) -> None:
        self.make = make
        self.__doc__ = make.__doc__

    def __get__(self, part: _AsyncPart, owner: type) -> Callable[P, AsyncGenerator[T, None]]:
        client, make = part._client, self.make
        return _documented(lambda *args, **kwargs: client.follow(make(*args, **kwargs)), make)


class _Events(Generic[P, T]):
    """A method that gives what a stream brings, to be read with `for`."""

    def __init__(self, make: Callable[P, Stream[T]]) -> None:
        self.make = make
        self.__doc__ = make.__doc__

    def __get__(self, part: _Part, owner: type) -> Callable[P, Generator[T, None, None]]:
        client, make = part._client, self.make
        return _documented(lambda *args, **kwargs: client.follow(make(*args, **kwargs)), make)


Method = TypeVar("Method", bound=Callable[..., Any])


def _documented(method: Method, make: Callable[..., Any]) -> Method:
    method.__doc__ = make.__doc__
    method.__name__ = method.__qualname__ = make.__name__
    method.__signature__ = signature(make).replace(return_annotation=Signature.empty)  # type: ignore[attr-defined]
    return method


class AsyncGenerations(_AsyncPart):
    """Ads by any recipe."""

    create = _Awaited(ads.create_generation)
    get = _Awaited(ads.get_generation)
    list = _Awaited(ads.list_generations)
    events = _AsyncEvents(ads.follow_generation)
    wait = _Awaited(ads.wait_for_generation)
    approve = _Awaited(ads.approve_generation)
    regenerate = _Awaited(ads.regenerate_generation)
    select = _Awaited(ads.select_take)
    correct = _Awaited(ads.correct_facts)
    cancel = _Awaited(ads.cancel_generation)
    resume = _Awaited(ads.resume_generation)
    delete = _Awaited(ads.delete_generation)
    takes = _Awaited(ads.generation_takes)
    conversation = _Awaited(ads.generation_conversation)
    record = _Awaited(ads.generation_record)
    quality = _Awaited(ads.generation_quality)
    download = _Awaited(ads.download_video)
    download_thumbnail = _Awaited(ads.download_thumbnail)
    download_report = _Awaited(ads.download_report)
    download_clip = _Awaited(ads.download_clip)


class AsyncSessions(_AsyncPart):
    """Ads stage by stage."""

    start = _Awaited(ads.start_session)
    get = _Awaited(ads.get_session)
    status = _Awaited(ads.session_status)
    events = _AsyncEvents(ads.follow_generation)
    wait = _Awaited(ads.wait_for_generation)
    approve = _Awaited(ads.approve_session)
    regenerate = _Awaited(ads.regenerate_session)
    upload_references = _Awaited(ads.upload_references)
    inpaint = _Awaited(ads.inpaint)
    chat = _Awaited(ads.chat)


class AsyncStories(_AsyncPart):
    """Master mode: stories with their scenes and video."""

    create = _Awaited(ads.create_story)
    events = _AsyncEvents(ads.follow_generation)
    wait = _Awaited(ads.wait_for_generation)
    get = _Awaited(ads.get_story)


class AsyncComparisons(_AsyncPart):
    """Ads that are made to be compared."""

    create = _Awaited(ads.create_comparison)
    get = _Awaited(ads.get_comparison)
    choose_winner = _Awaited(ads.choose_winner)


class AsyncImages(_AsyncPart):
    """Single pictures."""

    generate = _Awaited(media.generate_images)
    edit = _Awaited(media.edit_image)


class AsyncVideos(_AsyncPart):
    """Single clips."""

    create = _Awaited(media.create_video)
    get = _Awaited(media.get_video)
    list = _Awaited(media.list_videos)
    wait = _Awaited(media.wait_for_video)
    delete = _Awaited(media.delete_video)
    download = _Awaited(media.download_content)


class AsyncModels(_AsyncPart):
    """What the server offers."""

    list = _Awaited(media.list_models)
    get = _Awaited(media.get_model)


class AsyncFiles(_AsyncPart):
    """Files by their sha256, scores of videos, and the dimensions that there are."""

    download = _Awaited(media.download_artifact)
    measure = _Awaited(media.measure)
    measure_files = _Awaited(media.measure_files)
    list_dimensions = _Awaited(media.list_dimensions)


class Generations(_Part):
    """Ads by any recipe."""

    create = _Blocking(ads.create_generation)
    get = _Blocking(ads.get_generation)
    list = _Blocking(ads.list_generations)
    events = _Events(ads.follow_generation)
    wait = _Blocking(ads.wait_for_generation)
    approve = _Blocking(ads.approve_generation)
    regenerate = _Blocking(ads.regenerate_generation)
    select = _Blocking(ads.select_take)
    correct = _Blocking(ads.correct_facts)
    cancel = _Blocking(ads.cancel_generation)
    resume = _Blocking(ads.resume_generation)
    delete = _Blocking(ads.delete_generation)
    takes = _Blocking(ads.generation_takes)
    conversation = _Blocking(ads.generation_conversation)
    record = _Blocking(ads.generation_record)
    quality = _Blocking(ads.generation_quality)
    download = _Blocking(ads.download_video)
    download_thumbnail = _Blocking(ads.download_thumbnail)
    download_report = _Blocking(ads.download_report)
    download_clip = _Blocking(ads.download_clip)


class Sessions(_Part):
    """Ads stage by stage."""

    start = _Blocking(ads.start_session)
    get = _Blocking(ads.get_session)
    status = _Blocking(ads.session_status)
    events = _Events(ads.follow_generation)
    wait = _Blocking(ads.wait_for_generation)
    approve = _Blocking(ads.approve_session)
    regenerate = _Blocking(ads.regenerate_session)
    upload_references = _Blocking(ads.upload_references)
    inpaint = _Blocking(ads.inpaint)
    chat = _Blocking(ads.chat)


class Stories(_Part):
    """Master mode: stories with their scenes and video."""

    create = _Blocking(ads.create_story)
    events = _Events(ads.follow_generation)
    wait = _Blocking(ads.wait_for_generation)
    get = _Blocking(ads.get_story)


class Comparisons(_Part):
    """Ads that are made to be compared."""

    create = _Blocking(ads.create_comparison)
    get = _Blocking(ads.get_comparison)
    choose_winner = _Blocking(ads.choose_winner)


class Images(_Part):
    """Single pictures."""

    generate = _Blocking(media.generate_images)
    edit = _Blocking(media.edit_image)


class Videos(_Part):
    """Single clips."""

    create = _Blocking(media.create_video)
    get = _Blocking(media.get_video)
    list = _Blocking(media.list_videos)
    wait = _Blocking(media.wait_for_video)
    delete = _Blocking(media.delete_video)
    download = _Blocking(media.download_content)


class Models(_Part):
    """What the server offers."""

    list = _Blocking(media.list_models)
    get = _Blocking(media.get_model)


class Files(_Part):
    """Files by their sha256, scores of videos, and the dimensions that there are."""

    download = _Blocking(media.download_artifact)
    measure = _Blocking(media.measure)
    measure_files = _Blocking(media.measure_files)
    list_dimensions = _Blocking(media.list_dimensions)


def _address(server: str | None) -> str:
    try:
        return server_address(server or Credentials(credentials_file()).read().latest or DEFAULT_SERVER)
    except BadInput as error:
        raise BadInput(str(error).replace("--server", "server")) from None


def _access(server: str, api_key: str | None, username: str | None, password: str | None) -> Access | None:
    if api_key is not None and (username is not None or password is not None):
        raise BadInput("give either api_key, or username and password")
    if (username is None) != (password is None):
        raise BadInput("username and password belong together: give both, or an api_key")
    if api_key is not None:
        return Key(api_key.strip())
    return None if username is None or password is None else PasswordLogin(server, username, password)
