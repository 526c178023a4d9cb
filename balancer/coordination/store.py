"""Which store the proxies share, by the configuration. No I/O: one that can't be reached says so when it is used."""

from holdfast.balancer.coordination.base import Coordinator
from holdfast.balancer.coordination.redis_urls import parse_urls
from holdfast.balancer.coordination.sqlite import SqliteCoordinator
from holdfast.balancer.settings import StoreSettings
from holdfast.protocols.errors import ConfigError


def open_store(settings: StoreSettings) -> Coordinator:
    """Not of the kind memory, which is one proxy's own. Who opens it closes it by `aclose`. Raises ConfigError if the
    settings don't say where it is."""
    if settings.kind == "sqlite":
        if not settings.path:
            raise ConfigError("store.path: expected the file that the proxies of this machine share, got nothing")
        return SqliteCoordinator(settings.path, settings.timeout)
    try:
        servers = parse_urls(settings.urls)
    except ValueError as error:
        raise ConfigError(f"store.urls: expected {error}") from error
    # Imported only where it is used: redis-py takes 0.15 s.
    from holdfast.balancer.coordination.redis import RedisCoordinator

    return RedisCoordinator(servers, settings.name, settings.timeout, settings.password, settings.sentinel_password)
