"""A proxy as the whole of its process."""

from collections.abc import Callable

import structlog

from holdfast.proxy.app import App
from holdfast.proxy.config import Config
from holdfast.proxy.process import allocator, collector
from holdfast.proxy.process.bound import Bound

log = structlog.get_logger("holdfast.serving")


async def serve(config: Config, *, ready: Callable[[Bound], None]) -> None:
    """Run a proxy until SIGTERM or SIGINT has drained it. `ready` is called once, when it serves.

    The process must be the proxy's own: its garbage collector and its malloc are set for it.
    """
    allocator.keep_freed()
    _warn(config)

    def started(bound: Bound) -> None:
        collector.tame()
        ready(bound)

    await App(config).run(started)


def _warn(config: Config) -> None:
    """What an operator should know before something happens."""
    if config.node.insecure_bind_without_authentication:
        why = "whoever reaches it is a node, and gets requests"
        log.warning("insecure_node_bind", bind=config.node.bind, why=why)
