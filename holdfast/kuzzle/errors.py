"""What Kuzzle's clients are told when something fails: classes for statuses, a catalogue for ids, codes and messages.

Owns the names. An id is `domain.subdomain.error`, a code the same as a number (`0xDDSSEEEE`); programs compare
them, so they are those of Kuzzle 2 (kuzzleio/kuzzle, lib/kerror/codes). The message is for people.
"""

from typing import Any, ClassVar

MAX_MESSAGE = 2000  # characters: what is wrong may be as large as the request, and is said twice


class KuzzleError(Exception):
    """An error for the client. Raise a subclass from an action, with an id of your own, or `error(id, ...)`.

    props: what the message was made with, for programs; the client gets them as text. Of each of these, and of the
    message, it gets the first 2,000 characters.
    """

    status: ClassVar[int] = 500

    def __init__(
        self, message: str, id: str = "plugin.runtime.unexpected_error", code: int = 0, props: tuple[object, ...] = ()
    ) -> None:
        super().__init__(message)
        self.id = id
        self.code = code
        self.props = props

    def as_json(self) -> dict[str, Any]:
        """The `error` of a response."""
        return {
            "status": self.status,
            "message": _cut(str(self)),
            "id": self.id,
            "code": self.code,
            "props": [_cut(str(prop)) for prop in self.props],
        }


def _cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + "..."


class BadRequestError(KuzzleError):
    status = 400


class UnauthorizedError(KuzzleError):
    status = 401


class ForbiddenError(KuzzleError):
    status = 403


class NotFoundError(KuzzleError):
    status = 404


class PreconditionError(KuzzleError):
    status = 412


class SizeLimitError(KuzzleError):
    status = 413


class TooManyRequestsError(KuzzleError):
    status = 429


class InternalError(KuzzleError):
    status = 500


class PluginImplementationError(KuzzleError):
    status = 500


class ExternalServiceError(KuzzleError):
    status = 500


class ServiceUnavailableError(KuzzleError):
    status = 503


class GatewayTimeoutError(KuzzleError):
    status = 504


# id -> class, code, message. Only what this package answers: an id that nothing raises would promise something.
CATALOGUE: dict[str, tuple[type[KuzzleError], int, str]] = {
    "core.fatal.service_unavailable": (ExternalServiceError, 0x00000002, "Service unavailable: {}."),
    "core.realtime.room_not_found": (NotFoundError, 0x00010001, 'The room "{}" doesn\'t exist'),
    "core.realtime.too_many_rooms": (
        SizeLimitError,
        0x00010003,
        "Unable to subscribe: maximum number of unique rooms reached.",
    ),
    "core.realtime.invalid_scope": (
        BadRequestError,
        0x00010004,
        'Invalid value for the "scope" parameter (allowed: "all", "in", "out", "none").',
    ),
    "core.realtime.invalid_users": (
        BadRequestError,
        0x00010005,
        'Invalid value for the "users" parameter (allowed: "all", "in", "out", "none").',
    ),
    "core.realtime.not_subscribed": (PreconditionError, 0x00010008, 'User "{}" has not subscribed to "{}".'),
    "services.storage.unknown_index": (PreconditionError, 0x01010001, 'The index "{}" does not exist.'),
    "services.storage.unknown_collection": (PreconditionError, 0x01010002, 'The collection "{}":"{}" does not exist.'),
    "services.storage.get_limit_exceeded": (
        SizeLimitError,
        0x01010003,
        "The number of documents returned by this request exceeds the configured server limit.",
    ),
    "services.storage.write_limit_exceeded": (
        SizeLimitError,
        0x01010004,
        "The number of documents edited by this request exceeds the configured server limit.",
    ),
    "services.storage.not_found": (NotFoundError, 0x0101000B, 'Document "{}" not found in "{}":"{}".'),
    "services.storage.document_already_exists": (BadRequestError, 0x01010011, "Document already exists."),
    "services.storage.too_many_changes": (
        ExternalServiceError,
        0x01010020,
        'The request may have modified document "{}", or not: too many changes since it was first handled to know.',
    ),
    "services.storage.index_already_exists": (PreconditionError, 0x01010026, 'A {} index named "{}" already exists'),
    "services.storage.invalid_index_name": (BadRequestError, 0x01010029, 'The index name "{}" is invalid'),
    "services.storage.invalid_collection_name": (BadRequestError, 0x0101002A, 'The collection name "{}" is invalid'),
    "api.assert.invalid_type": (BadRequestError, 0x02010001, 'Wrong type for argument "{}" (expected: {})'),
    "api.assert.invalid_argument": (BadRequestError, 0x02010002, 'Invalid argument "{}". Expected: {}'),
    "api.assert.missing_argument": (BadRequestError, 0x02010003, 'Missing argument "{}".'),
    "api.assert.body_required": (BadRequestError, 0x02010008, "The request must specify a body."),
    "api.assert.invalid_id": (BadRequestError, 0x0201000A, 'Invalid "_id" value: cannot start with an underscore'),
    "api.assert.koncorde_dsl_error": (BadRequestError, 0x0201000E, "{}"),
    "api.assert.unsupported_protocol": (
        InternalError,
        0x02010010,
        'The protocol "{}" is not supported by the API action "{}".',
    ),
    "api.process.controller_not_found": (NotFoundError, 0x02020004, 'API controller "{}" not found.'),
    "api.process.action_not_found": (NotFoundError, 0x02020005, 'API action "{}":"{}" not found'),
    "api.process.too_many_requests": (
        TooManyRequestsError,
        0x02020008,
        "Rejected: requests rate limit exceeded for this user.",
    ),
    "network.http.unsupported_verb": (BadRequestError, 0x03010006, 'Unsupported HTTP verb "{}".'),
    "network.http.url_not_found": (NotFoundError, 0x03010007, "API URL not found: {}."),
    "network.http.unsupported_content": (
        BadRequestError,
        0x03010008,
        'Invalid request content-type. Expected "application/json", got: "{}".',
    ),
    "network.http.volatile_parse_failed": (
        BadRequestError,
        0x0301000B,
        'Unable to convert the "x-kuzzle-volatile" HTTP header to JSON: {}',
    ),
    "network.http.body_parse_failed": (BadRequestError, 0x0301000C, "Unable to convert the HTTP body to JSON: {}"),
    "network.websocket.unexpected_error": (BadRequestError, 0x03030001, "Caught an unexpected WebSocket error: {}"),
    "plugin.runtime.unexpected_error": (
        PluginImplementationError,
        0x04020002,
        "Caught an unexpected plugin error: {}",
    ),
    "plugin.strategy.missing_user": (UnauthorizedError, 0x04030014, "{}"),
    "security.token.invalid": (UnauthorizedError, 0x07010001, "Invalid token."),
    "security.token.ttl_exceeded": (BadRequestError, 0x07010004, "expiresIn value exceeds maximum allowed value"),
    "security.token.invalid_expiration": (
        BadRequestError,
        0x07010009,
        "Token can not be created with this expiration time: {}",
    ),
    "security.credentials.unknown_strategy": (BadRequestError, 0x07020001, 'Unknown authentication strategy "{}"'),
    "security.rights.unauthorized": (
        UnauthorizedError,
        0x07030001,
        'Unauthorized: authentication required to execute the action "{}:{}".',
    ),
}


def error(id: str, *props: object) -> KuzzleError:
    """The error of the catalogue, its message filled with `props`."""
    kind, code, message = CATALOGUE[id]
    return kind(message.format(*props), id, code, props)
