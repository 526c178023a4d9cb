"""What the node library raises, beside the errors of protocols.errors."""

from collections.abc import Iterable, Mapping
from operator import index

from holdfast.node.plain import check_close_code, check_number, pairs_of
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError

STATUSES = range(400, 600)


class RequestError(HoldfastError):
    """To be raised by a handler: the client gets `status` (as of HTTP, 400-599) and `message` instead of a reply.

    Of a long message it gets the first 2,000 characters. Effects of the handler that were not flushed are dropped: they
    would have travelled with the reply. headers: for HTTP, as of a Reply; WWW-Authenticate with 401, say.
    """

    reason = Reason.NODE_ERROR
    code = 0  # see Refused

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.status = check_number(status, STATUSES, "the status of an error")
        self.headers = pairs_of(headers)


class StateError(HoldfastError):
    """A change of the state was not made: it breaks a limit, its owner can't own it, or nobody put it in order in time.

    In the last case it may still be made later.
    """


class StateRefused(StateError):
    """A change was not made, and never will be: it breaks a limit of the state, its owner can't own it, or too many
    others are on their way at the proxies. No fault of this node.
    """


class StateConflict(StateError):
    """A change was not made because the key does not have the version that it was meant for: somebody was faster.

    expected: that version. found: the one that the key had at this node when it was told, 0: it was not there. That is
    the one that stood in the way, or a later one.
    """

    def __init__(self, message: str, expected: int, found: int) -> None:
        super().__init__(message)
        self.expected = expected
        self.found = found


class LinkRefused(HoldfastError):
    """A proxy will not have this node as it is: wrong token, wrong version. Trying again would not help."""

    reason = Reason.UNAUTHORIZED


class LifespanError(HoldfastError):
    """What is around a run (@node.lifespan) could not be set up, or has ended the run by itself.

    `__cause__` is what the author's function has raised, if it has.
    """


def told(error: RequestError) -> tuple[int, str, list[tuple[str, str]], int]:
    """Status, message, headers and close code, as they are sent.

    Raises whatever: its attributes may have been set by hand, and its class may be the author's.
    """
    status = check_number(error.status, STATUSES, "the status of an error")
    return status, "".join(str(error)), pairs_of(error.headers), index(error.code) and check_close_code(error.code)


def one_of_ours(group: ExceptionGroup[Exception]) -> HoldfastError | None:
    """The first error of a group, if all of it are ours: who called is told that, and of no group."""
    errors: list[HoldfastError] = []
    for error in group.exceptions:
        found = one_of_ours(error) if isinstance(error, ExceptionGroup) else error
        if not isinstance(found, HoldfastError):
            return None
        errors.append(found)
    return errors[0]
