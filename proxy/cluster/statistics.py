"""What Prometheus is told of the cluster. proxy.metrics says what each field means."""

from msgspec import Struct
from msgspec.structs import astuple

from balancer.cluster.cluster import Cluster
from balancer.cluster.sequence import SequenceCounters


class ClusterStatistics(Struct, frozen=True):
    """The defaults are those of a proxy that is alone."""

    cluster_version: int = 0
    cluster_members: int = 1
    cluster_heard: int = 1
    cluster_fenced: bool = False
    cluster_gaps: int = 0
    cluster_messages_lost: int = 0
    cluster_duplicates: int = 0
    cluster_replayed: int = 0
    cluster_garbled: int = 0
    cluster_repairs: int = 0
    cluster_messages_sent: int = 0
    cluster_messages_received: int = 0
    cluster_bytes_sent: int = 0
    cluster_bytes_received: int = 0
    cluster_evictions: int = 0
    cluster_joins: int = 0
    cluster_store_errors: int = 0
    cluster_tunnels: int = 0


class StatisticsOf:
    """Adds up the streams of all peers, of those that have gone as well: counters must not fall."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._streams: dict[str, SequenceCounters] = {}
        self._gone = SequenceCounters()

    def dialled(self, peer: str) -> None:
        self._streams[peer] = self._cluster.peers[peer].stream.counters

    def hung_up(self, peer: str) -> None:
        self._gone = _sum(self._gone, self._streams.pop(peer))

    def now(self, now: float, tunnels: int) -> ClusterStatistics:
        cluster = self._cluster
        membership, counters = cluster.membership, cluster.counters
        streams = _sum(self._gone, *self._streams.values())
        return ClusterStatistics(
            cluster_version=membership.record.version,
            cluster_members=len(membership.record.members),
            cluster_heard=len(membership.hears(now)),
            cluster_fenced=membership.is_fenced(now),
            cluster_gaps=streams.gaps,
            cluster_messages_lost=streams.messages_lost,
            cluster_duplicates=streams.duplicates,
            cluster_replayed=streams.replayed,
            cluster_garbled=counters.garbled,
            cluster_repairs=streams.repairs,
            cluster_messages_sent=cluster.voice.sent,
            cluster_messages_received=streams.received,
            cluster_bytes_sent=cluster.voice.bytes_sent,
            cluster_bytes_received=counters.bytes_received,
            cluster_evictions=counters.evictions,
            cluster_joins=counters.joins,
            cluster_store_errors=counters.store_errors,
            cluster_tunnels=tunnels,
        )


def _sum(*counters: SequenceCounters) -> SequenceCounters:
    return SequenceCounters(*map(sum, zip(*map(astuple, counters), strict=True)))
