"""What a node says of itself for people: its id, its name, its labels. They come into logs, tables and terminals.

Checked at both ends: by the library, so that an author is told at once, and by the proxy, because the library may be
another.
"""

from collections.abc import Mapping

MAX_NAME = 256  # bytes of a name of a node or label; characters of who a client is
MAX_LABELS = 64
MAX_LABELS_BYTES = 4 << 10  # together: a hello has to be within what a stranger may say (balancer.links.door)


def fault_of(node: str, name: str, labels: Mapping[str, str]) -> str:
    """What is wrong with them; "" if nothing is."""
    if not (_is_fit(node) and _is_fit(name)):
        return f"id and name of a node have 1 to {MAX_NAME} bytes and no control characters"
    if len(labels) > MAX_LABELS:
        return f"a node has at most {MAX_LABELS} labels, got {len(labels)}"
    if not all(_is_fit(key) and (not value or _is_fit(value)) for key, value in labels.items()):
        return f"a label's name has 1 to {MAX_NAME} bytes, its value at most that, and no control characters"
    if (size := sum(len(text.encode()) for label in labels.items() for text in label)) > MAX_LABELS_BYTES:
        return f"the labels of a node have at most {MAX_LABELS_BYTES} bytes, got {size}"
    return ""


def _is_fit(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME and text.isprintable() and len(text.encode()) <= MAX_NAME


def shown(text: str) -> str:
    """One that may be anything, for the log."""
    return ascii(text[:MAX_NAME])[1:-1]
