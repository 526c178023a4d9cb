"""The cluster's record as the coordination store has it, and the cards of proxies.

A store keeps a MasterRecord: a growing number and a text. Here the number is the record's version and the text all of
it, so the stores need to know nothing of clusters.
"""

import msgspec

from holdfast.balancer.coordination.base import CoordinationError, MasterRecord
from holdfast.protocols.peers.frames import Member, Record

_record = msgspec.json.Decoder(Record)
_card = msgspec.msgpack.Decoder(Member)


def to_store(record: Record) -> MasterRecord:
    return MasterRecord(record.version, msgspec.json.encode(record).decode())


def from_store(stored: MasterRecord) -> Record:
    """Raises CoordinationError for what `to_store` does not give. A store that nobody has written to has Record()."""
    if stored == MasterRecord():
        return Record()
    try:
        record = _record.decode(stored.node)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise CoordinationError(f"not the record of a cluster (version {stored.epoch}): {error}") from error
    if record.version != stored.epoch:
        raise CoordinationError(f"a record of version {record.version} is stored as version {stored.epoch}")
    if len(set(record.ids)) != len(record.ids):
        raise CoordinationError(f"a record of version {record.version} has a member twice")
    if not -(1 << 63) <= record.incarnation < 1 << 64:
        raise CoordinationError(f"a record of version {record.version} has no incarnation of 64 bits")
    return record


def to_card(member: Member) -> bytes:
    return msgspec.msgpack.encode(member)


def from_card(proxy: str, card: bytes) -> Member:
    """The card under this proxy's name. Raises CoordinationError for what `to_card` does not give."""
    try:
        member = _card.decode(card)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise CoordinationError(f"the card of {proxy!r} is not a proxy's ({len(card)} bytes): {error}") from error
    if member.proxy != proxy:
        raise CoordinationError(f"the card of {proxy!r} is another proxy's")
    return member
