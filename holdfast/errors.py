"""What the node library raises, beside the errors of protocols.errors."""

from protocols.close import Reason
from protocols.errors import HoldfastError


class RequestError(HoldfastError):
    """To be raised by a handler: the client gets `status` (as of HTTP, 400-599) and `message` instead of a reply.

    Effects of the handler that were not flushed are dropped: they would have travelled with the reply.
    """

    reason = Reason.NODE_ERROR

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        if not 400 <= status <= 599:
            raise ValueError(f"the status of an error is 400 to 599, got {status}")
        self.status = status


class StateError(HoldfastError):
    """A change of the state was not made: it breaks a limit, or no master put it in order in time.

    In the second case it may still be made later.
    """


class LinkRefused(HoldfastError):
    """A proxy will not have this node as it is: wrong token, wrong version. Trying again would not help."""

    reason = Reason.UNAUTHORIZED


def one_of_ours(group: ExceptionGroup[Exception]) -> HoldfastError | None:
    """The first error of a group, if all of it are ours: who called is told that, and of no group."""
    errors: list[HoldfastError] = []
    for error in group.exceptions:
        found = one_of_ours(error) if isinstance(error, ExceptionGroup) else error
        if not isinstance(found, HoldfastError):
            return None
        errors.append(found)
    return errors[0]
