"""What Prometheus is told of the cluster. proxy.metrics says what each field means."""

from msgspec.structs import astuple

from holdfast.balancer.cluster.cluster import Cluster
from holdfast.balancer.cluster.sequence import SequenceCounters
from holdfast.proxy.statistics import ClusterStatistics


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
        membership, counters, state = cluster.membership, cluster.counters, cluster.replication.counters
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
            cluster_state_takeovers=state.takeovers,
            cluster_state_copies=state.copies,
            cluster_state_foreign=state.foreign,
            cluster_state_garbled=state.garbled,
        )


def _sum(*counters: SequenceCounters) -> SequenceCounters:
    return SequenceCounters(*map(sum, zip(*map(astuple, counters), strict=True)))
