"""What a node is told to be, before it runs: what can't be is refused by its name.

What is set on it is not always what the annotations say: it may come from a configuration of the author's.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from holdfast.protocols.errors import ConfigError
from holdfast.protocols.nodes.frames import MAX_WEIGHT, MIN_WEIGHT
from holdfast.protocols.nodes.names import fault_of

MAX_CAPACITY = 1_000_000  # a handler that waits is a task of some KiB
MAX_THREADS = 10_000


class Settings(Protocol):
    """holdfast.node.node."""

    name: str
    id: str
    token: str
    labels: dict[str, str]
    capacity: int
    weight: float
    drain_timeout: float
    threads: int
    order: str


def check(node: Settings, join: Sequence[str]) -> None:
    """Raises ConfigError."""
    if isinstance(join, str) or not join:
        raise ConfigError(f"a node needs a list of at least one proxy's address, got {join!r}")
    if node.order not in ("", "client"):
        raise ConfigError(f'the order of a node is "client", or none, got {node.order!r:.80}')
    capacity: object = node.capacity
    if not isinstance(capacity, int) or not 1 <= capacity <= MAX_CAPACITY:
        raise ConfigError(f"the capacity of a node is 1 to {MAX_CAPACITY}, got {capacity!r}")
    labels = labels_of(node.labels)
    texts = (node.name, node.id, node.token, *labels, *labels.values())
    if not all(isinstance(text, str) for text in texts):
        raise ConfigError("name, id, token and labels of a node are strings")
    try:
        fault = fault_of(node.id, node.name, node.labels)
    except UnicodeEncodeError:
        fault = "name, id and labels of a node can be said in UTF-8"
    if fault:
        raise ConfigError(fault)
    threads, weight, drain_timeout = _numbers(node, "threads", "weight", "drain_timeout")
    if not 1 <= threads <= MAX_THREADS or threads != int(threads):
        raise ConfigError(f"the threads of a node are 1 to {MAX_THREADS}, got {threads}")
    if not MIN_WEIGHT <= weight <= MAX_WEIGHT:
        raise ConfigError(f"the weight of a node is {MIN_WEIGHT:g} to {MAX_WEIGHT:g}, got {weight}")
    if not drain_timeout >= 0:
        raise ConfigError(f"the drain_timeout of a node is 0 or more seconds, got {drain_timeout}")


def labels_of(labels: object) -> dict[str, str]:
    """Raises ConfigError for what is no mapping; None: no labels."""
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        raise ConfigError(f"the labels of a node are texts by name, as {{'zone': 'a'}}, got {labels!r:.80}")
    return dict(labels)


def _numbers(node: Settings, *names: str) -> list[float]:
    values = [getattr(node, name) for name in names]
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, int | float):
            raise ConfigError(f"the {name} of a node is a number, got {value!r:.80}")
    return values
