"""Function: a function of the node's author, and how it is called.

Owns the rule for all of them: async ones are awaited where they are called; plain ones run in a thread, so that one
which blocks, or computes for long, holds up nobody else; one that was registered with `inline=True` is called in the
node's own thread. What a plain one returns is awaited if that can be done: lambdas, wrappers of decorators and objects
with an async __call__ do not look like async functions.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from operator import attrgetter
from types import AsyncGeneratorType, CodeType, GeneratorType
from typing import Any, NamedTuple, TypeVar

from holdfast.node.threads import Threads
from holdfast.protocols.errors import ConfigError

T = TypeVar("T")

MISPLACED_YIELD = "has a `yield`, so nothing of it would run: that is for lifespans, and for the parts of a Reply"


class Function:
    """`await function(*arguments)` calls it and gives what it returns.

    threads: in which it runs if it is a plain one, and not inline. None: where it is called, which is for whoever sees
    to the thread himself. count: how many of the arguments it takes, the first ones; None: all.
    begin: calls it with less around it: gives the result, or an awaitable of it.
    function: the author's. is_inline, is_async: it needs no thread. name, said: for the log, with its place. They are
    looked for where it is registered: where it has failed nothing else may.
    """

    __slots__ = ("_threads", "begin", "function", "is_async", "is_inline", "name", "said")

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        inline: bool = False,
        threads: Threads | None = None,
        count: int | None = None,
    ) -> None:
        self.name = name_of(function)
        self.said = said(function)
        self.is_async = is_async(function)
        self.is_inline = inline
        self.function = function
        if count is not None:
            function = partial(_call_with, function, count)
        self._threads = threads
        self.begin: Callable[..., Any] = function
        if self.needs_thread and threads is not None:
            self.begin = partial(_in_thread, threads, function)

    @property
    def needs_thread(self) -> bool:
        return not (self.is_async or self.is_inline)

    async def __call__(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - the author's
        result = self.begin(*arguments, **named)
        if isinstance(result, Awaitable):
            result = await result
        check_result(self.function, result)
        return result


async def _in_thread(threads: Threads, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
    result = await threads.run(partial(function, **named) if named else function, *arguments)
    return await result if isinstance(result, Awaitable) else result


def _call_with(function: Callable[..., Any], count: int, *arguments: Any) -> Any:  # noqa: ANN401
    return function(*arguments[:count])


# What an author registers may be an object of any kind, as a stand-in of a test, or one that makes up its attributes.
# Where it is looked at, which is also where it has failed, it has what it has, and nothing is raised for it.


def ask(question: Callable[[Any], T], function: object, default: T) -> T:
    """The answer of what looks at it; `default` if it can't be asked."""
    try:
        return question(function)
    except Exception:
        return default


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a call only begins: of an async function, of what is wrapped around one, or of an object that is called
    as one."""
    return ask(inspect.iscoroutinefunction, innermost(function), False)


def innermost(function: Callable[..., Any]) -> Callable[..., Any]:
    """What is within decorators that say what they are around, partials, and an object that is called."""
    inner = unwrapped(function)
    while (within := _within(inner)) is not None:
        inner = unwrapped(within)
    return inner if _code_of(inner) is not None else ask(attrgetter("__call__"), inner, inner)


def unwrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """What is within decorators that say what they are around."""
    return ask(inspect.unwrap, function, function)


def _within(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """What a partial calls; None: it is none. isinstance would ask the object as well."""
    return ask(attrgetter("func"), function, None) if issubclass(type(function), partial) else None


def _code_of(function: object) -> object:
    """A stand-in of a test has whatever is asked for."""
    return ask(attrgetter("__code__"), function, None)


def flags_of(function: Callable[..., Any]) -> int:
    """What kind of code a call begins, as inspect.CO_GENERATOR has it, of a partial and of an object too; 0: of none,
    or it can't be asked. What is within decorators is not looked at."""
    while (within := _within(function)) is not None:
        function = within
    codes = _code_of(function), ask(attrgetter("__call__.__code__"), type(function), None)
    return next((code.co_flags for code in codes if isinstance(code, CodeType) and type(code) is CodeType), 0)


def check_no_generator(function: Callable[..., Any]) -> None:
    """Raise ConfigError for one with a `yield`: a call does nothing of what is in it, and nobody asks it for more. What
    is wrapped around such a one may do that."""
    if flags_of(function) & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        raise ConfigError(f"{said(function)} {MISPLACED_YIELD}")


def check_result(function: Callable[..., Any], result: object) -> None:
    """The same where it shows when it is called. Raises TypeError."""
    if type(result) in (GeneratorType, AsyncGeneratorType):
        raise TypeError(f"{said(function)} returns what {MISPLACED_YIELD}")


class Whose(NamedTuple):
    """Who has handled something, for people. function: with its place; "": nobody. route: by which it was found.
    around: middleware."""

    function: str = ""
    route: str = ""
    around: str = ""

    def __str__(self) -> str:
        return " or ".join(filter(None, (self.function, self.around))) + (f", for {self.route}" if self.route else "")


def name_of(function: Callable[..., Any]) -> str:
    """For the log."""
    while (within := _within(function)) is not None:
        function = within
    name = ask(attrgetter("__qualname__"), function, None)
    return name if type(name) is str and name else type(function).__qualname__


def said(function: Callable[..., Any]) -> str:
    """Its name, and where it is if that is known: two may have one name, and there is no traceback."""
    code = _code_of(innermost(function))
    if type(code) is not CodeType:
        return name_of(function)
    return f"{name_of(function)} ({code.co_filename.rpartition('/')[2]}, line {code.co_firstlineno})"


def kind_of(value: object) -> str:
    """What it is that can't be sent: its type, and what is likely to be missing."""
    kind, name = type(value).__name__, ask(attrgetter("__qualname__"), value, "")
    if isinstance(value, Coroutine):
        return f"{kind} of {name}: is an `await` missing?"
    return f"{kind} {name}: is it to be called?" if name and callable(value) else kind
