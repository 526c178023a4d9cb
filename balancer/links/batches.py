"""The cutting of many frames into batches, for the links: linear in what they hold."""

from collections.abc import Iterator

from msgspec import Raw

from holdfast.balancer.links.base import Outgoing
from holdfast.protocols.nodes.frames import encode_frame


def cut(frames: list[Outgoing], limit: int) -> Iterator[list[Raw]]:
    """The frames, encoded, in lists of at most `limit` bytes, or of one frame. None is encoded twice."""
    batch: list[Raw] = []
    size = 0
    for frame in frames:
        encoded = frame if isinstance(frame, Raw) else encode_frame(frame)
        length = len(memoryview(encoded))
        if batch and size + length > limit:
            yield batch
            batch, size = [], 0
        batch.append(encoded)
        size += length
    if batch:
        yield batch
