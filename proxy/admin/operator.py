"""What operators and their tools ask on the ports of clients, as they asked Kuzzle's cluster plugin.

Over HTTP GET /_plugin/cluster/health and /status, POST /_plugin/cluster/reset; on every message protocol the messages
`{"controller": "cluster/cluster", "action": "health"}` and so on. Stands before the dispatch of a proxy in a cluster,
and lets everything else through: what only looks like it, and actions that are not its own, are for nodes.

health and status are told to everybody, as balancers and tools need them. reset wants admin.token, or one of
admin.tokens that may operate; if there is none, nobody may.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
from msgspec import Struct

from holdfast.balancer.ledger import Requester
from holdfast.protocols.clients.base import ReplyHead
from holdfast.protocols.clients.error_reply import error_reply
from holdfast.protocols.clients.events import HttpRequest, Message, Request
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import RequestError
from holdfast.proxy.admin.access import OPERATE, Access, bearer
from holdfast.proxy.admin.http import CHALLENGE, JSON, HttpError
from holdfast.proxy.config.sections import AdminSettings
from holdfast.proxy.views import Control, PluginStatus

CONTROLLER = "cluster/cluster"
# The end of the controller's name, in whatever way JSON writes its slash. Longer messages are not looked at: to search
# one of 100 KB takes 50 us, and no question is so long.
MARK = b'/cluster"'
LONGEST = 4096
PATHS = {f"/_plugin/cluster/{action}": action for action in ("health", "status", "reset")}


class Asked(Struct, gc=False):
    """A message in Kuzzle's form, so far as it is for us."""

    controller: str
    action: str
    requestId: str | int | None = None
    jwt: str | None = None


class Outcome(NamedTuple):
    """error: "" if there is none."""

    status: int
    result: object = None
    error: str = ""


_decoder = msgspec.json.Decoder(Asked)


class Operator:
    """dispatch: where everything else goes."""

    def __init__(
        self, control: Control, dispatch: Callable[[Requester, Request], None], settings: AdminSettings
    ) -> None:
        self._control = control
        self._dispatch = dispatch
        self._access = Access(settings)

    def request(self, connection: Requester, event: Request) -> None:
        """A client asks."""
        if type(event) is Message:
            payload = event.payload
            if len(payload) <= LONGEST and MARK in payload and (asked := _asked(payload)) is not None:
                self._answer(connection, event, asked)
                return
        elif type(event) is HttpRequest and event.target.startswith("/_plugin/cluster/"):
            action = PATHS.get(event.target.partition("?")[0])
            if action is not None:
                self._answer_http(connection, event, action)
                return
        self._dispatch(connection, event)

    def _answer(self, connection: Requester, event: Message, asked: Asked) -> None:
        outcome = self._do(asked.action, f"Bearer {asked.jwt or ''}")
        if outcome.error:
            connection.fail(event, RequestError(outcome.error, Reason.UNAUTHORIZED, status=outcome.status))
            return
        envelope = {
            "requestId": asked.requestId,
            "room": asked.requestId,  # kuzzle-sdk finds the request by it
            "status": outcome.status,
            "error": None,
            "controller": CONTROLLER,
            "action": asked.action,
            "result": outcome.result,
        }
        connection.reply(event, None, msgspec.json.encode(envelope), True, False)

    def _answer_http(self, connection: Requester, event: HttpRequest, action: str) -> None:
        methods = ("POST",) if action == "reset" else ("GET", "HEAD")
        if event.method not in methods:
            allow = ", ".join(methods)
            _refuse(connection, event, Outcome(405, error=f"this path takes {allow}"), ("Allow", allow))
            return
        outcome = self._do(action, dict(event.headers).get("authorization", ""))
        if outcome.error:
            _refuse(connection, event, outcome, *([CHALLENGE] if outcome.status == 401 else []))
            return
        head = ReplyHead(outcome.status, [("Content-Type", JSON)])
        connection.reply(event, head, msgspec.json.encode(outcome.result), True, False)

    def _do(self, action: str, authorization: str) -> Outcome:
        if action == "health":
            ready, _ = self._control.ready()
            return Outcome(200, "ok") if ready else Outcome(503, "ko")
        if action == "status":
            return Outcome(200, PluginStatus.of(self._control.cluster()))
        if self._access.is_open:
            return Outcome(403, error="reset needs admin.token, and none is configured")
        try:
            self._access.check(authorization, OPERATE)
        except HttpError as error:
            if error.status == 401 and not bearer(authorization):
                return Outcome(401, error="reset needs admin.token: as bearer token, or as jwt in a message")
            return Outcome(error.status, error=str(error))
        self._control.reset()
        return Outcome(200, "ok")


def _asked(payload: bytes) -> Asked | None:
    """The message, if it is for us."""
    try:
        asked = _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return asked if asked.controller == CONTROLLER and f"/_plugin/cluster/{asked.action}" in PATHS else None


def _refuse(connection: Requester, event: HttpRequest, outcome: Outcome, *headers: tuple[str, str]) -> None:
    """With headers, which a typed error can't have."""
    reason = Reason.UNAUTHORIZED if outcome.status in (401, 403) else Reason.BAD_REQUEST
    body = error_reply(b"", RequestError(outcome.error, reason, status=outcome.status))
    connection.reply(event, ReplyHead(outcome.status, [("Content-Type", JSON), *headers]), body, True, False)
