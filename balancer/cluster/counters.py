"""What a proxy's part of the cluster counts; streams and the state count for themselves."""

from msgspec import Struct


class ClusterCounters(Struct):
    bytes_received: int = 0
    garbled: int = 0
    evictions: int = 0
    joins: int = 0
    store_errors: int = 0
