"""The configuration: which keys there are, where values come from, what is refused.

sections   the sections as Structs, with the defaults
keys       what each key means: unit, range, meaning (one table; checks and the reference page read it)
values     a value as it came (TOML, or text) -> a value of the key's type
rules      what must hold between keys
channels   [[channel]] in the file
routes     [[route]] in the file; unreached: those that take nothing all the same
jwt_keys   what client.jwt_keys names -> keys
sources    default < file < environment < --set, and which of them each value is from

Nothing here is read again while the proxy runs.
"""

from holdfast.balancer.settings import ClusterSettings, StoreSettings
from holdfast.proxy.config.sections import (
    AdminSettings,
    ClientSettings,
    Config,
    DrainSettings,
    LogSettings,
    RealtimeSettings,
)
from holdfast.proxy.config.sources import Loaded, Origin, examine, load
from holdfast.proxy.config.values import is_loopback, split_address

__all__ = [
    "AdminSettings",
    "ClientSettings",
    "ClusterSettings",
    "Config",
    "DrainSettings",
    "Loaded",
    "LogSettings",
    "Origin",
    "RealtimeSettings",
    "StoreSettings",
    "examine",
    "is_loopback",
    "load",
    "split_address",
]
