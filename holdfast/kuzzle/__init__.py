"""Kuzzle's dialect for node authors: controllers and actions that Kuzzle's own SDKs can talk to.

api        Api: the table of actions, the way of a request, the guard
wire       the JSON of requests, responses and notifications
http       what an HTTP request means, headers of a response
routes     method and path to controller, action and arguments
errors     what a client is told when something fails: classes, ids, codes

filters    Koncorde: parse, normalise, name, evaluate
rooms      who has subscribed to what, derived from the replicated state
memberships  who has subscribed is in the channel, and nobody else
realtime   the controller `realtime`, and who is notified of what

contents   which indexes, collections and documents there are
catalog    the controllers `index` and `collection`
documents  the controller `document`, in memory
record     what a document's entry holds: content, and who made its latest changes
fading     what records remember ends
holdings   how many documents, of each client and of all
search     filter and order documents
time_slice long work in short pieces

tokens     signed tokens
auth       the controller `auth` with the strategy `local`
expiring   entries of the state that end by themselves
"""

from holdfast.kuzzle.api import Api
from holdfast.kuzzle.errors import (
    BadRequestError,
    ExternalServiceError,
    ForbiddenError,
    GatewayTimeoutError,
    InternalError,
    KuzzleError,
    NotFoundError,
    PluginImplementationError,
    PreconditionError,
    ServiceUnavailableError,
    SizeLimitError,
    TooManyRequestsError,
    UnauthorizedError,
)
from holdfast.kuzzle.holdings import Quota
from holdfast.kuzzle.wire import Request

__all__ = [
    "Api",
    "BadRequestError",
    "ExternalServiceError",
    "ForbiddenError",
    "GatewayTimeoutError",
    "InternalError",
    "KuzzleError",
    "NotFoundError",
    "PluginImplementationError",
    "PreconditionError",
    "Quota",
    "Request",
    "ServiceUnavailableError",
    "SizeLimitError",
    "TooManyRequestsError",
    "UnauthorizedError",
]
