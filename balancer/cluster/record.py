"""The cluster's record as the coordination store has it, and the cards of proxies.

A store keeps a MasterRecord: a growing number and a text. Here the number is the record's version and the text all of
it, so the stores need to know nothing of clusters.
"""

import msgspec

from balancer.coordination.base import MasterRecord
from protocols.peers.frames import Member, Record

_record = msgspec.json.Decoder(Record)
_card = msgspec.msgpack.Decoder(Member)


def to_store(record: Record) -> MasterRecord:
    return MasterRecord(record.version, msgspec.json.encode(record).decode())


def from_store(stored: MasterRecord) -> Record:
    """Raises ValueError for what `to_store` does not give; a store that has never been written to has Record()."""
    if stored == MasterRecord():
        return Record()
    try:
        record = _record.decode(stored.node)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not the record of a cluster (version {stored.epoch}): {error}") from error
    if record.version != stored.epoch:
        raise ValueError(f"a record of version {record.version} is stored as version {stored.epoch}")
    return record


def to_card(member: Member) -> bytes:
    return msgspec.msgpack.encode(member)


def from_card(card: bytes) -> Member:
    """Raises ValueError for what `to_card` does not give."""
    try:
        return _card.decode(card)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"not a proxy's card ({len(card)} bytes): {error}") from error
