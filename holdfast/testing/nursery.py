"""A nursery for tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def nursery() -> AsyncIterator[trio.Nursery]:
    """One out of which a single error comes as itself: pytest then shows the assertion that failed."""
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from None  # noqa: ASYNC123 - the group says nothing that it does not
