"""What an author's function has raised, and how it is looked at: nothing of it can be asked without perhaps raising.

Its class is the author's, and so are its text, attributes, notes and causes, what `isinstance` says of it, and how a
group of it is split. What is known of it is its type, its frames, and what a group is made of: that is read past the
class. The rest is asked here, in this one place, so that no guard fails by the error that it guards against.
"""

import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from math import inf
from types import TracebackType
from typing import Any, TypeGuard, TypeVar

import trio

KindT = TypeVar("KindT", bound=BaseException)

UNTOLD = "(the error can't be asked for its text)"
MAX_SHOWN = 100  # errors of a group, and of causes, whose tracebacks are all made

_members: Any = vars(BaseExceptionGroup)["exceptions"]
_frames: Any = vars(BaseException)["__traceback__"]
_cause: Any = vars(BaseException)["__cause__"]
_context: Any = vars(BaseException)["__context__"]


def is_awaitable(result: object) -> TypeGuard[Awaitable[Any]]:
    """What a function has returned, by its type: it may be a lazy or a weak one of something that can't be had."""
    return issubclass(type(result), Awaitable)


def as_kind(error: BaseException, kind: type[KindT]) -> KindT | None:
    """The error, if it is of this kind by its type."""
    found: Any = error
    return found if issubclass(type(error), kind) else None


def innermost(error: BaseException) -> BaseException:
    """It, or what groups of one are around."""
    while len(members := _members_of(error)) == 1:
        error = members[0]
    return error


def split(error: BaseException) -> tuple[trio.Cancelled | None, BaseException | None]:
    """What of it is cancellation, which must go on, and what the function did wrong.

    A whole group of cancellation goes on as one of it: a class of groups may refuse to be split, by Trio too. An old
    one that is raised where nothing is cancelled is wrong, for nobody would catch it. SystemExit and KeyboardInterrupt
    are the function's own doing too, alone and in a group: a function that is called for one thing does not end the
    process that does a thousand.
    """
    if not _members_of(error):
        cancelled = as_kind(error, trio.Cancelled)
        return (cancelled, None) if cancelled is not None and _is_cancelled() else (None, error)
    wrong: list[BaseException] = []
    cancellation: trio.Cancelled | None = None
    for leaf in _leaves(error):
        cancelled = as_kind(leaf, trio.Cancelled)
        if cancelled is None:
            wrong.append(leaf)
        else:
            cancellation = cancelled
    if cancellation is None or not _is_cancelled():
        return None, error
    if not wrong:
        return cancellation, None
    failure = BaseExceptionGroup("what was raised beside cancellation", wrong)
    return cancellation, failure.with_traceback(_frames.__get__(error))


class guarded:
    """`with guarded(failed)` around a call of an author's function: what it does wrong goes to `failed`, and costs
    nothing else; cancellation goes on."""

    __slots__ = ("_failed",)

    def __init__(self, failed: Callable[[BaseException], object]) -> None:
        self._failed = failed

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if error is None:
            return False
        cancelled, failure = split(error)
        if failure is not None:
            self._failed(failure)
        if cancelled is None or cancelled is error:
            return cancelled is None
        raise cancelled from None


def traceback_of(error: BaseException) -> str:
    """For a log line, as its field `exception`. Of what can't be shown: its frames and its type.

    Not exc_info: how that is shown is up to the author's set-up of structlog, and what structlog does without one is to
    show all local variables in a frame: it takes seconds, in which the node does nothing else, and they hold payloads.
    """
    with suppress(BaseException):
        return _whole(error).rstrip()
    with suppress(BaseException):  # what can't be shown may be its cause
        return _without_text(error, text_of(error)).rstrip()
    return type_of(error)


def text_of(error: BaseException) -> str:
    """Its own word. "": it has none; UNTOLD: it can't be asked."""
    with suppress(BaseException):
        return "".join(str(error))
    return UNTOLD


def line_of(error: BaseException) -> str:
    """Type and first line, of what groups of one are around."""
    error = innermost(error)
    lines = text_of(error).splitlines()
    return f"{type_of(error)}: {lines[0]}" if lines else type_of(error)


def type_of(error: BaseException) -> str:
    """Its name, which is the class's and not a metaclass's."""
    return str(vars(type)["__qualname__"].__get__(type(error)))


def full_type_of(error: BaseException) -> str:
    """With its module, but for Python's own."""
    name = type_of(error)
    module: object = None
    with suppress(BaseException):
        module = vars(type)["__module__"].__get__(type(error))
    return f"{module}.{name}" if type(module) is str and module != "builtins" else name


def seen_from(error: BaseException, *files: str) -> BaseException:
    """Its traceback begins at the first frame that is not of these files."""
    frames: TracebackType | None = _frames.__get__(error)
    while frames is not None and frames.tb_frame.f_code.co_filename in files:
        frames = frames.tb_next
    return BaseException.with_traceback(error, frames)


def add_note(error: BaseException, note: str) -> None:
    """Say more of it, once: it may be raised again and again."""
    with suppress(BaseException):
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)


def is_of_few(error: BaseException) -> bool:
    """Whether it has few errors in it, in groups and as causes, each counted as often as it is there."""
    count, waiting = 0, [error]
    while waiting and count <= MAX_SHOWN:
        error = waiting.pop()
        within = (*_members_of(error)[: MAX_SHOWN + 1], _cause.__get__(error), _context.__get__(error))
        said = [each for each in within if each is not None]
        count += len(said)
        waiting.extend(said)
    return count <= MAX_SHOWN


def _members_of(error: BaseException) -> tuple[BaseException, ...]:
    return _members.__get__(error) if issubclass(type(error), BaseExceptionGroup) else ()


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """In order, each once: a group may be in several."""
    seen = {id(error)}
    waiting = [error]
    while waiting:
        error = waiting.pop()
        members = _members_of(error)
        if not members:
            yield error
        for member in reversed(members):
            if id(member) not in seen:
                seen.add(id(member))
                waiting.append(member)


def _is_cancelled() -> bool:
    """Whether the calling task is, or the one that waits for the calling thread."""
    if trio.lowlevel.in_trio_task():
        return trio.current_effective_deadline() == -inf
    try:
        trio.from_thread.check_cancelled()
    except trio.Cancelled:
        return True
    except RuntimeError:  # the author's own thread
        pass
    return False


def _whole(error: BaseException) -> str:
    if is_of_few(error):
        return "".join(traceback.format_exception(error))
    # Python would look at all of them, a thousand in a fifth of a second, and show few.
    first = next(_leaves(error))
    shown = "" if first is error else f"\nThe first of them:\n{_without_text(first, text_of(first))}"
    return f"{_without_text(error, text_of(error))}{shown}"


def _without_text(error: BaseException, text: str = UNTOLD) -> str:
    frames = "".join(traceback.format_tb(_frames.__get__(error)))
    return f"Traceback (most recent call last):\n{frames}{type_of(error)}: {text}"
