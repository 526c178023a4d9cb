"""Function: a function of the node's author, and how it is called.

Owns the rule for all of them: async ones are awaited where they are called; plain ones run in a thread, so that one
which blocks, or computes for long, holds up nobody else; one that was registered with `inline=True` is called in the
node's own thread. What a plain one returns is awaited if that can be done: lambdas, wrappers of decorators and objects
with an async __call__ do not look like async functions.
"""

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from holdfast.node.threads import Threads


class Function:
    """`await function(*arguments)` calls it and gives what it returns.

    threads: in which it runs if it is a plain one, and not inline. None: where it is called, which is for whoever sees
    to the thread himself. count: how many of the arguments it takes, the first ones; None: all.
    begin: calls it with less around it: gives the result, or an awaitable of it.
    is_inline, is_async: it needs no thread. name: for the log.
    """

    __slots__ = ("_threads", "begin", "function", "is_async", "is_inline", "name")

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        inline: bool = False,
        threads: Threads | None = None,
        count: int | None = None,
    ) -> None:
        self.name = name_of(function)
        self.is_async = is_async(function)
        self.is_inline = inline
        if count is not None:
            function = partial(_call_with, function, count)
        self.function = function
        self._threads = threads
        self.begin: Callable[..., Any] = function
        if self.needs_thread and threads is not None:
            self.begin = partial(_in_thread, threads, function)

    @property
    def needs_thread(self) -> bool:
        return not (self.is_async or self.is_inline)

    async def __call__(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - the author's
        result = self.begin(*arguments, **named)
        return await result if isinstance(result, Awaitable) else result


async def _in_thread(threads: Threads, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
    result = await threads.run(partial(function, **named) if named else function, *arguments)
    return await result if isinstance(result, Awaitable) else result


def _call_with(function: Callable[..., Any], count: int, *arguments: Any) -> Any:  # noqa: ANN401
    return function(*arguments[:count])


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a call only begins: of an async function, of what is wrapped around one, or of an object that is called
    as one."""
    inner = inspect.unwrap(function)
    while isinstance(inner, partial):
        inner = inspect.unwrap(inner.func)
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(getattr(inner, "__call__", None))  # noqa: B004


def name_of(function: Callable[..., Any]) -> str:
    """For the log."""
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def said(function: Callable[..., Any]) -> str:
    """Its name, and where it is if that is known: two may have one name, and there is no traceback."""
    try:
        code = inspect.unwrap(function).__code__
    except (AttributeError, ValueError):
        return name_of(function)
    return f"{name_of(function)} ({code.co_filename.rpartition('/')[2]}, line {code.co_firstlineno})"
