"""The times of the cluster's rules, from the configuration."""

from holdfast.balancer.cluster.times import Times
from holdfast.proxy.config import Config


def times_of(config: Config) -> Times:
    cluster = config.cluster
    return Times(
        heartbeat=cluster.heartbeat,
        heartbeat_timeout=cluster.heartbeat_timeout,
        discover_timeout=cluster.discover_timeout,
        fence_timeout=cluster.fence_timeout,
        takeover_timeout=cluster.takeover_timeout,
        lease=config.election.lease,
        spread=config.drain.spread,
    )
