"""What is in a store, as it is read: whoever reaches the store can have put anything there, or be in its place.

Owns the shapes and sizes that a store's content has. Refuses all else as a whole: with content that can't be understood
nobody knows who lives, so the store counts as gone until somebody has looked at it.
"""

from collections.abc import Iterable

from holdfast.balancer.coordination.base import CoordinationError, MasterRecord

MAX_CARDS = 1000
MAX_CARD_BYTES = 4 << 10
MAX_RECORD_BYTES = 1 << 20
MAX_NAME_LENGTH = 64
MAX_EPOCH_DIGITS = 20  # of 64 bits


def record_of(epoch: object, node: object) -> MasterRecord:
    """epoch: an integer, or as Redis gives it. Both None: nothing has been written yet. Raises CoordinationError."""
    if epoch is None and node is None:
        return MasterRecord()
    if isinstance(epoch, bytes) and len(epoch) <= MAX_EPOCH_DIGITS and epoch.isdigit():
        epoch = int(epoch)
    if type(epoch) is not int or not 0 <= epoch < 1 << 63:
        raise CoordinationError(f"the record's epoch: expected an integer from 0 on, got {_shown(epoch)}")
    try:
        text = node.decode() if isinstance(node, bytes) else node
    except UnicodeDecodeError as error:
        raise CoordinationError(f"the record: expected UTF-8, got {_shown(node)}") from error
    if not isinstance(text, str) or len(text) > MAX_RECORD_BYTES:
        raise CoordinationError(f"the record: expected a text of at most {MAX_RECORD_BYTES} bytes, got {_shown(node)}")
    return MasterRecord(epoch, text)


def cards_of(found: Iterable[tuple[object, object]]) -> dict[str, bytes]:
    """Proxies and cards, names as text or as Redis gives them. Raises CoordinationError."""
    cards: dict[str, bytes] = {}
    for proxy, card in found:
        try:
            name = proxy.decode() if isinstance(proxy, bytes) else proxy
        except UnicodeDecodeError as error:
            raise CoordinationError(f"a card: expected a proxy's id, got {_shown(proxy)}") from error
        if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME_LENGTH:
            raise CoordinationError(f"a card: expected a proxy's id, got {_shown(proxy)}")
        if not isinstance(card, bytes) or len(card) > MAX_CARD_BYTES:
            raise CoordinationError(
                f"the card of {_shown(proxy)}: expected at most {MAX_CARD_BYTES} bytes, got {_shown(card)}"
            )
        cards[name] = card
        if len(cards) > MAX_CARDS:
            raise CoordinationError(f"expected at most {MAX_CARDS} cards")
    return cards


def shown(text: str) -> str:
    """What somebody else has worded, for a line of the log."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:200])


def _shown(value: object) -> str:
    if isinstance(value, str | bytes):
        return repr(value[:32]) + (f" and more, {len(value)} in all" if len(value) > 32 else "")
    return repr(value) if isinstance(value, int | float | None) else f"a {type(value).__name__}"
