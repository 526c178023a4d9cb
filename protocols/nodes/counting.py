"""The question how many are in a channel, and its answer: frames of the node link (protocols.nodes.frames)."""

from msgspec import Struct


class AskCount(Struct, array_like=True, frozen=True, gc=False, tag=28):
    """How many clients of all proxies are in a channel? `ask` is the node's own number for the question."""

    ask: int
    channel: str


class Counted(Struct, array_like=True, frozen=True, gc=False, tag=58):
    """The answer to AskCount. refused: too much is being asked, and nobody has counted: ask again later."""

    ask: int
    count: int
    refused: bool = False
