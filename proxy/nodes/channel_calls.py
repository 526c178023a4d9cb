"""What nodes are asked of channels: whether a client may subscribe, and to take what one publishes.

A question is a request as any other: parked while no node is there, sent again when one is lost, answered by its
deadline. What a node does meanwhile is done before its answer counts: so what a client has published is, when it is
told so. Where nodes are, and none of them has a function for it, clients are refused.
"""

from collections.abc import Callable
from math import inf

from holdfast.balancer.calls import Call, Caller, check_whole
from holdfast.balancer.directory import Directory, Pool
from holdfast.balancer.ledger import Requester
from holdfast.balancer.taken import ALL, NOT, Taken
from holdfast.protocols.clients.base import ReplyHead
from holdfast.protocols.clients.events import Publish, Subscribe
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import FrameError, HoldfastError, ProtocolError, RequestError
from holdfast.protocols.nodes.calls import PUBLICATION, SUBSCRIBE, decode_granted
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.realtime.permits import MAY, Grant, Told, Wish


class Question(Caller):
    """One that a node answers."""

    __slots__ = ("_reactor", "_told", "_wish", "id")

    def __init__(self, wish: Wish, told: Told, reactor: Reactor) -> None:
        self.id = wish.session.id
        self._wish = wish
        self._told = told
        self._reactor = reactor

    @property
    def is_closed(self) -> bool:
        return self._wish.is_over or self._wish.connection.is_closed

    def reply(self, event: Call, head: ReplyHead | None, payload: bytes | None, is_text: bool, more: bool) -> Taken:
        if self.is_closed:
            return NOT
        check_whole(head, more=more)
        self._told(self._granted(payload or b"") if event.kind == SUBSCRIBE else MAY)
        return ALL

    def _granted(self, payload: bytes) -> Grant:
        try:
            granted = decode_granted(payload)
        except FrameError as error:
            raise ProtocolError(str(error), Reason.BAD_REPLY) from error
        expires = self._reactor.now + granted.expires if granted.expires else inf
        return Grant(granted.info, expires, granted.recovers)

    def fail(self, event: Call, error: HoldfastError) -> int:
        if not self.is_closed:
            is_word = error.reason is Reason.NODE_ERROR and error.http_status < 500
            if is_word and isinstance(error, RequestError):  # the node's, not its failure
                error = RequestError(str(error), Reason.REFUSED, error.retry_after, error.status, error.code)
            self._told(error)
        return 0


class ChannelCalls:
    """subscribe, publication: pools of nodes that take these. info: the Client of an id, encoded."""

    def __init__(
        self,
        subscribe: Pool,
        publication: Pool,
        dispatch: Callable[[Requester, Call, Pool], None],
        directory: Directory,
        info: Callable[[int], bytes],
        reactor: Reactor,
    ) -> None:
        self._subscribe = subscribe
        self._publication = publication
        self._dispatch = dispatch
        self._directory = directory
        self._info = info
        self._reactor = reactor

    def ask(self, wish: Wish, told: Told) -> None:
        """See proxy.realtime.permits.AsksNodes."""
        event, id = wish.event, wish.session.id
        pool = self._subscribe if isinstance(event, Subscribe) else self._publication
        if not pool.is_wanted and self._directory.ready:
            told(HoldfastError(f"{pool.nobody} is there", Reason.REFUSED))
            return
        if isinstance(event, Publish):
            call = Call(PUBLICATION, event.payload, event.is_text, id, self._info(id), channel=event.channel)
        else:
            call = Call(SUBSCRIBE, event.payload, True, id, self._info(id), channel=event.channel)
            call.token, call.is_filter = event.token, event.is_filter
        self._dispatch(Question(wish, told, self._reactor), call, pool)
