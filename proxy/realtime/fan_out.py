"""One notification on its way to many: where it has yet to go, and its bytes. To whom it goes is said by
proxy.realtime.channels."""

from collections.abc import Callable, Iterator, Sequence

import structlog

from holdfast.protocols.clients.base import ClientProtocol
from holdfast.protocols.errors import ProtocolError
from holdfast.protocols.positions import Publication
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.clients.transport import Transport

log = structlog.get_logger("holdfast.channels")

Named = Callable[[str, str, Publication], bytes]  # KnowsChannels.publication


class Rest:
    """Receivers of whom some have left their channel meanwhile. Made for these, so that others cost nothing more."""

    __slots__ = ("_nobody", "_receivers", "gone")

    def __init__(self, receivers: Iterator[Transport], nobody: Transport) -> None:
        self._receivers = receivers
        self._nobody = nobody
        self.gone: set[Transport] = set()

    def __iter__(self) -> Iterator[Transport]:
        return self

    def __next__(self) -> Transport:
        transport = next(self._receivers)
        return self._nobody if transport in self.gone else transport


class FanOut:
    """One notification on its way: where it has yet to go, and its bytes per wire format.

    channels, clients: of these nothing has been looked up before `place`. left: of the present receivers.
    vain: channels that had nobody, if anybody wants to know. tail: with it, each channel's name stands between the
    head, which is what was given as payload, and the tail. channel: whose members are receiving. epoch, offset: its
    place in the channel's log, if it has one. sender: as of Publication. is_named: some of the frames say the channel.
    """

    __slots__ = (
        "channel", "channels", "clients", "epoch", "excluded", "frames", "head", "is_named", "is_text", "left",
        "offset", "payload", "place", "receivers", "sender", "tail", "vain",
    )  # fmt: skip

    def __init__(
        self,
        payload: bytes,
        is_text: bool,
        channels: Sequence[str],
        clients: Sequence[int],
        excluded: set[int] | None,
        vain: dict[str, None] | None = None,
        tail: bytes = b"",
        epoch: str = "",
        offset: int = 0,
        sender: bytes = b"",
    ) -> None:
        self.payload = self.head = payload
        self.tail = tail
        self.is_text = is_text
        self.channels = channels
        self.clients = clients
        self.excluded = excluded
        self.vain = vain
        self.channel = ""
        self.epoch = epoch
        self.offset = offset
        self.sender = sender
        self.is_named = False
        self.place = 0
        self.left = 0
        self.receivers: Iterator[Transport]
        self.frames: dict[object, bytes] = {}

    @property
    def is_done(self) -> bool:
        return not self.left and self.place == len(self.channels) + len(self.clients)

    def is_for(self, channel: str) -> None:
        """What this channel gets."""
        self.channel = channel
        if self.tail:
            self.payload = b"%b%b%b" % (self.head, channel.encode(), self.tail)
        if self.tail or self.is_named:
            self.frames = {}

    def goes_to(self, receivers: list[Transport]) -> None:
        self.left = len(receivers)
        self.receivers = iter(receivers)

    def has_left(self, client: Transport, channel: str, nobody: Transport) -> None:
        """It is no member any more: if that channel is under way, and its turn has not come, it gets nothing."""
        if not self.left or not 0 < self.place <= len(self.channels) or self.channels[self.place - 1] != channel:
            return
        if not isinstance(self.receivers, Rest):
            self.receivers = Rest(self.receivers, nobody)
        self.receivers.gone.add(client)

    def encode(self, protocol: ClientProtocol, reactor: Reactor) -> bytes:
        """The bytes for a connection of this protocol. b"" when it can't say such a thing."""
        try:
            # Of KnowsChannels; isinstance would look at all of it: an eighth of what the guard counts for a delivery.
            named: Named | None = getattr(protocol, "publication", None) if self.channel else None
            if named is not None:
                self.is_named = True
                publication = Publication(self.payload, self.is_text, self.offset, self.sender)
                frame = named(self.channel, self.epoch, publication)
            else:
                frame = protocol.notification(self.payload, self.is_text)
        except ProtocolError:  # text that is no UTF-8: no client may get it
            frame = b""
        except Exception:  # an adapter's fault: its clients miss this one, and the log says so
            if reactor.masses.admits("adapter_crashed", reactor.now):
                log.exception("adapter_crashed", protocol=protocol.name)
            frame = b""
        if protocol.wire_format is not None:
            self.frames[protocol.wire_format] = frame
        return frame
