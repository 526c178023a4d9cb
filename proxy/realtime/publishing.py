"""A publication to a channel with history, on its way from its node's lane through the log to the members."""

from struct import Struct
from typing import Final

from holdfast.balancer.history.base import Append, Appended, Keep, Logged
from holdfast.protocols.nodes.effects import Effect
from holdfast.protocols.positions import Publication
from holdfast.proxy.realtime.fan_out import FanOut

_SIZE: Final = Struct("<I")


class Given(Publication, gc=False):
    """excluded: clients that do not get it when it is given out, as packed ids. is_given: to the last of those who are
    here."""

    excluded: bytes = b""
    is_given: bool = False


class Publishing:
    """A publication to one channel with history, on its way. answer: its place in the log, as soon as is_answered;
    None: the log is away. order: of the answer, among those of the log. is_known: nobody else can have appended
    anything else by its identity."""

    __slots__ = (
        "answer",
        "channel",
        "excluded",
        "has_looked",
        "identity",
        "is_answered",
        "is_known",
        "is_offered",
        "is_text",
        "order",
        "payload",
        "plain",
        "sender",
    )

    def __init__(
        self,
        channel: str,
        identity: bytes,
        payload: bytes,
        is_text: bool,
        excluded: bytes,
        sender: bytes = b"",
        *,
        is_known: bool,
    ) -> None:
        self.channel = channel
        self.identity = identity
        self.payload = payload
        self.is_text = is_text
        self.excluded = excluded
        self.sender = sender
        self.is_known = is_known
        self.answer: Appended | None = None
        self.order = 0
        self.is_answered = self.is_offered = self.has_looked = False
        self.plain: Given | None = None  # it is given out without a place in the log

    def append(self, keep: Keep) -> Append:
        """It, for the log."""
        note = note_of(self.sender, self.excluded)
        return Append(self.channel, self.identity, self.payload, self.is_text, note, keep)

    def given(self, offset: int) -> Given:
        """It, for who is here. offset: its place; 0: none."""
        return Given(self.payload, self.is_text, offset, self.sender, self.excluded)

    def answered(self, answer: Appended | None, order: int) -> None:
        self.answer, self.is_answered, self.order = answer, True, order


def note_of(sender: bytes, excluded: bytes) -> bytes:
    """What is in the log beside the payload: mostly nothing; else the size of `sender`, that, and the rest."""
    return _SIZE.pack(len(sender)) + sender + excluded if sender or excluded else b""


def read_given(logged: Logged) -> Given:
    """What is in the log, for who is here. Of a note that is none nothing is known: whoever shares the log has it."""
    note = logged.note
    size = _SIZE.unpack_from(note)[0] if len(note) >= _SIZE.size else 0
    sender, excluded = note[_SIZE.size : _SIZE.size + size], note[_SIZE.size + size :]
    if len(excluded) % 8:
        excluded = b""
    return Given(logged.payload, logged.is_text, logged.offset, sender, excluded)


Done = Effect | Publishing | FanOut  # the latter: to a channel with history, and not kept
