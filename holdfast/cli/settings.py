"""holdfast check, config: what the configuration is, and whether it is good. Both start nothing."""

import argparse
import itertools
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from holdfast.balancer.coordination.redis_urls import parse_urls
from holdfast.balancer.links.curve import Curve
from holdfast.balancer.settings import StoreSettings
from holdfast.cli.command import Command, add_config_arguments, add_json_argument
from holdfast.console.output import say, say_json
from holdfast.protocols.errors import ConfigError
from holdfast.proxy.clients.listener import port_of_protocol
from holdfast.proxy.clients.tls import server_context
from holdfast.proxy.cluster.bindings import resolve
from holdfast.proxy.config import Config, Loaded, examine, load
from holdfast.proxy.config.channels import as_toml as rule_as_toml
from holdfast.proxy.config.keys import MASK, is_secret
from holdfast.proxy.config.routes import as_toml
from holdfast.proxy.config.sources import value_of
from holdfast.proxy.config.unreached import rules_unreached, unreached
from holdfast.proxy.config.values import to_toml


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    add_json_argument(parser)


def _check(arguments: argparse.Namespace) -> int:
    loaded, problems = examine(arguments.config, os.environ, arguments.sets)
    warnings: list[str] = []
    if loaded is not None:
        problems += refused_later(loaded.config)
        lines = unreached(loaded.config.route, loaded.config.client)
        warnings += (f"{arguments.config}: [[route]]: {line}" for line in lines)
        warnings += (f"{arguments.config}: [[channel]]: {line}" for line in rules_unreached(loaded.config.channel))
    if arguments.json:
        say_json({"valid": not problems, "problems": problems, "warnings": warnings})
    else:
        for line in [*(f"warning: {warning}" for warning in warnings), *(problems or ["the configuration is valid"])]:
            say(line)
    return 2 if problems else 0


def refused_later(config: Config) -> Iterator[str]:
    """What `serve` would find first where it is used: in files, interfaces, and what others have registered."""
    client, node, cluster, store = config.client, config.node, config.cluster, config.store
    trials: list[Callable[[], object]] = [partial(port_of_protocol, spec) for spec in client.protocols]
    if client.tls_certificate_file:
        trials.append(partial(server_context, client.tls_certificate_file, client.tls_key_file))
    if node.curve_secret_key_file:
        trials.append(partial(Curve, node.curve_secret_key_file, node.curve_authorized_keys))
    trials += (partial(_resolve, "node.bind", address) for address in node.bind)
    if store.kind != "memory":
        trials += [partial(_resolve, "cluster.pub", cluster.pub), partial(_resolve, "cluster.router", cluster.router)]
    for kind in {store.kind, config.history.kind} & {"sqlite", "redis"}:
        trials.append(partial(_look_at_sqlite if kind == "sqlite" else _look_at_redis, store))
    for trial in trials:
        try:
            trial()
        except ConfigError as error:
            yield str(error)


def _resolve(key: str, address: str) -> None:
    try:
        resolve(address)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error


def _look_at_sqlite(store: StoreSettings) -> None:
    folder = Path(store.path).parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"store.path: expected a folder that can be written to, got {folder}")


def _look_at_redis(store: StoreSettings) -> None:
    """Its files. Whether it is there is another matter: it may come later."""
    for option, value in (parse_urls(store.urls).tls or {}).items():
        if option in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile") and not os.access(str(value), os.R_OK):
            raise ConfigError(f"store.urls: {option}: expected a file that can be read, got {value}")


def _config(arguments: argparse.Namespace) -> int:
    loaded = load(arguments.config, os.environ, arguments.sets)
    routes, rules = loaded.config.route, loaded.config.channel
    if arguments.json:
        values: dict[str, object] = {
            name: {"value": _shown(loaded, name), "source": origin.source, "name": origin.name}
            for name, origin in loaded.origins.items()
        }
        tables = {name: table for name, table in (("route", routes), ("channel", rules)) if table}
        say_json({**values, **tables})
        return 0
    for section, names in itertools.groupby(loaded.origins, lambda name: name.partition(".")[0]):
        lines = {name: f"{name.partition('.')[2]} = {to_toml(_shown(loaded, name))}" for name in names}
        width = max(map(len, lines.values()))
        say(f"[{section}]")
        for name, line in lines.items():
            say(f"{line:<{width}}  # {loaded.origins[name]}")
        say("")
    for route in routes:
        say("\n".join(["[[route]]", *as_toml(route), ""]))
    for rule in rules:
        say("\n".join(["[[channel]]", *rule_as_toml(rule), ""]))
    return 0


def _shown(loaded: Loaded, name: str) -> object:
    value = value_of(loaded.config, name)
    return MASK if is_secret(name) and value else value


CHECK = Command(
    _add_arguments,
    _check,
    "One line per problem, and per warning: a route or a rule of channels that is never reached, a route that "
    "wants what no request has. Exit status 0 if there is no problem, else 2.",
)
CONFIG = Command(
    _add_arguments,
    _config,
    "As TOML, with all defaults; secrets are masked, and a mask is refused where a secret is expected.",
)
