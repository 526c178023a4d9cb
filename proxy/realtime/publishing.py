"""A publication to a channel with history, on its way from its node's lane through the log to the members."""

from holdfast.balancer.history.base import Appended
from holdfast.protocols.nodes.effects import Effect
from holdfast.protocols.positions import Publication
from holdfast.proxy.realtime.channels import FanOut


class Given(Publication, gc=False):
    """excluded: clients that do not get it when it is given out, as packed ids. It is in the log with it. is_given: to
    the last of those who are here."""

    excluded: bytes = b""
    is_given: bool = False


class Publishing:
    """A publication to one channel with history, on its way. answer: its place in the log, as soon as is_answered;
    None: the log is away. is_known: nobody else can have appended anything else by its identity."""

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
        "payload",
        "plain",
    )

    def __init__(
        self, channel: str, identity: bytes, payload: bytes, is_text: bool, excluded: bytes, *, is_known: bool
    ) -> None:
        self.channel = channel
        self.identity = identity
        self.payload = payload
        self.is_text = is_text
        self.excluded = excluded
        self.is_known = is_known
        self.answer: Appended | None = None
        self.is_answered = self.is_offered = self.has_looked = False
        self.plain: Given | None = None  # it is given out without a place in the log

    def answered(self, answer: Appended | None) -> None:
        self.answer, self.is_answered = answer, True


Done = Effect | Publishing | FanOut  # the latter: to a channel with history, and not kept
