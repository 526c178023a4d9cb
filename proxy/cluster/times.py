"""The times of the cluster's rules, from the configuration."""

from balancer.cluster.membership import Times
from balancer.election import MAX_DRIFT
from proxy.config import Config

CARD_TTL = 1.5  # times heartbeat_timeout: one refresh, at a third of it, may be lost


def times_of(config: Config) -> Times:
    cluster = config.cluster
    return Times(
        heartbeat=cluster.heartbeat,
        heartbeat_timeout=cluster.heartbeat_timeout,
        discover_timeout=cluster.discover_timeout,
        fence_timeout=cluster.fence_timeout,
        takeover_timeout=cluster.takeover_timeout,
        card_ttl=CARD_TTL * cluster.heartbeat_timeout,
        # A proxy that is cut off notices, waits for the fence, and closes its clients over the spread.
        grace=cluster.fence_timeout + config.drain.spread + 2 * cluster.heartbeat_timeout,
        lease_wait=config.election.lease * (1 + MAX_DRIFT),
    )
