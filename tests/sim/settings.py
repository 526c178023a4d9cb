"""The configuration of simulated proxies: short times, and limits so low that they are met."""

from msgspec.structs import replace

from holdfast.balancer.cluster.times import longest_grant
from holdfast.balancer.settings import ClusterSettings, ElectionSettings, NodeSettings, RequestSettings
from holdfast.proxy.config import ClientSettings, Config, DrainSettings, RealtimeSettings


def config(
    *,
    lease: float,
    timeout: float,
    takeover: float | None,
    node_heartbeat: float,
    fence: float,
    is_ordered: bool,
) -> Config:
    """takeover: 0 would mean never; None: as long as is safe."""
    return Config(
        client=ClientSettings(
            bind=("127.0.0.1:0",), max_outbox_bytes=4096, ping_timeout=3.0, close_timeout=1.0, ordered=is_ordered
        ),
        node=NodeSettings(
            token="the simulator's",
            heartbeat_interval=node_heartbeat,
            heartbeat_timeout=max(timeout, 3 * node_heartbeat),
            registry_page=4,
        ),
        request=RequestSettings(timeout=2.5, parked_timeout=1.5),
        election=ElectionSettings(lease=lease),
        cluster=ClusterSettings(
            heartbeat=0.5,
            heartbeat_timeout=timeout,
            discover_timeout=1.5,
            fence_timeout=fence,
            takeover_timeout=4 * (timeout + longest_grant(lease)) if takeover is None else takeover,
            retry_join=1000,
        ),
        realtime=RealtimeSettings(max_unacknowledged_bytes=16 << 10),
        drain=DrainSettings(timeout=2.0, spread=0.5),
    )


def at(config: Config, router: str) -> Config:
    """Of the proxy whose node link is there."""
    host = router.removeprefix("tcp://").rpartition(":")[0]
    return replace(
        config,
        node=replace(config.node, bind=(router,)),
        cluster=replace(config.cluster, pub=f"tcp://{host}:7511"),
    )


def odd(config: Config, *, lease: float = 0.0, timeout: float = 0.0, advertised: str = "") -> Config:
    """Another lease, another patience, or an address for others that is not its own."""
    cluster, election = config.cluster, config.election
    return replace(
        config,
        election=replace(election, lease=lease or election.lease),
        cluster=replace(cluster, heartbeat_timeout=timeout or cluster.heartbeat_timeout, router=advertised),
    )
