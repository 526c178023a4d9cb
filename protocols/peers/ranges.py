"""The ranges of what proxies tell each other and keep in a store. Decoders refuse what is beyond them.

One number that nobody can exceed would be remembered for ever, and compared with every honest one.
"""

from typing import Annotated

from msgspec import Meta

MAX_MEMBERS = 1000
MAX_RUNS = 100  # of nodes, in one frame
Number = Annotated[int, Meta(ge=0, lt=2**53)]  # versions, epochs, indices: these are clocks in microseconds, at most
Prefix = Annotated[int, Meta(ge=0, lt=2**32)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]  # not NaN
Id = Annotated[str, Meta(min_length=1, max_length=64)]  # of a proxy
Word = Annotated[str, Meta(max_length=256)]  # "" is nobody
Endpoint = Annotated[str, Meta(max_length=256, pattern=r"^[!-~]*\Z")]
# What a node or a proxy tells raises ours above it. So one lie must not take us where nothing can be counted any more,
# and what we tell others then must be near enough for them.
MAX_JUMP = 2**32
# Where counting may begin: versions of records, and so epochs and terms, at the clock in milliseconds, indices of the
# state at the clock in microseconds. One that says more than 2109 is wrong.
MAX_BEGINNING = 2**42
MAX_FIRST_INDEX = 1000 * MAX_BEGINNING


def is_near(told: int, ours: int, beginning: int = MAX_BEGINNING) -> bool:
    """Whether what another tells may raise ours: it began at a clock at the latest, and has not jumped."""
    return 0 <= told <= max(ours, beginning) + MAX_JUMP
