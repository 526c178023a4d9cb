"""Where functions of the node's author run that do not run in Trio: in asyncio, beside it (holdfast.asyncio).

Owns the question where the caller is. What a function does through the node mostly does not wait, and is done where it
is called; what may have to wait is carried to Trio, and its outcome back. Nodes without asyncio pay a look at `way`.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar, cast

import trio
from sniffio import thread_local as library

ResultT = TypeVar("ResultT")


class Way(Protocol):
    async def to_trio(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:  # noqa: ANN401
        """What `await function(*arguments)` gives in Trio."""
        ...

    def within_trio(self, manager: AbstractAsyncContextManager[ResultT]) -> AbstractAsyncContextManager[ResultT]:
        """For `async with`: entered and left in Trio, in one task."""
        ...

    def current_time(self) -> float:
        """By Trio's clock."""
        ...


way: Callable[[], Way] | None = None  # from the caller's thread to Trio; None: nobody in this process uses asyncio


def current_time() -> float:
    """By Trio's clock, for who runs in Trio or in asyncio."""
    return way().current_time() if way is not None and library.name != "trio" else trio.current_time()


async def in_trio(function: Callable[..., Awaitable[ResultT]], *arguments: Any) -> ResultT:  # noqa: ANN401 - anything
    """Await it in Trio, wherever the caller is."""
    if way is not None and library.name != "trio":
        return cast("ResultT", await way().to_trio(function, *arguments))
    return await function(*arguments)


def within_trio(manager: AbstractAsyncContextManager[ResultT]) -> AbstractAsyncContextManager[ResultT]:
    """The same for `async with`."""
    return way().within_trio(manager) if way is not None and library.name != "trio" else manager
