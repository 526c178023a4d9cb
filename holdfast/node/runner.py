"""`holdfast node MODULE:NAME --join ADDRESS`, and `holdfast.run` for a script of one's own: run a node, drain it on
SIGTERM.

Options that a command line shouldn't show (a token) or a container sets can come as HOLDFAST_NODE_*; they stand
before what the module says, and the command line before them.
"""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import structlog
import trio

from holdfast.node import logs
from holdfast.node.blame import blamed
from holdfast.node.errors import LifespanError, one_of_ours
from holdfast.node.node import Node
from holdfast.node.plain import type_of
from holdfast.node.pump import Curve
from holdfast.node.raised import traceback_of
from holdfast.protocols.errors import ConfigError, HoldfastError
from holdfast.protocols.nodes.keys import decode_key

log = structlog.get_logger("holdfast.node")

PREFIX = "HOLDFAST_NODE_"
PROXIES_TOKEN = "HOLDFAST__NODE__TOKEN"  # a key of the proxies' configuration, as they read it


def _one_of(choices: Iterable[str]) -> Callable[[str], str]:
    def choose(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return choose


def label(text: str) -> tuple[str, str]:
    """NAME=VALUE. Raises ValueError."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError
    return name, value


def _labels(text: str) -> list[tuple[str, str]]:
    return [label(word) for word in text.split()]


# Each may be a variable, too: what it becomes, and what is expected of its text.
OPTIONS: tuple[tuple[str, Callable[[str], object], str], ...] = (
    *((name, str, "text") for name in ("name", "id", "token", "proxy_key", "secret_key", "metrics")),
    ("capacity", int, "a whole number"),
    ("weight", float, "a number"),
    ("drain_timeout", float, "a number of seconds"),
    ("label", _labels, "NAME=VALUE, several with spaces between"),
    ("log_level", _one_of(logs.LEVELS), ", ".join(logs.LEVELS)),
    ("log_format", _one_of(logs.FORMATS), ", ".join(logs.FORMATS)),
)
STOPPED = 1  # exit status after a second signal
LOCAL = "tcp://127.0.0.1:7510"  # where the proxy of this machine takes nodes, if nobody has said otherwise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    def option(name: str, metavar: str, help: str, type: type = str) -> None:
        variable = _variable(name)
        parser.add_argument(f"--{name}", metavar=metavar, type=type, help=f"{help} (or in the environment: {variable})")

    parser.add_argument("node", metavar="MODULE:NAME", help="a Node, as `app:node` for `node` of app.py in this folder")
    parser.add_argument(
        "--join",
        metavar="ADDRESS",
        action="append",
        help="a proxy's node address; can be repeated, one is enough to find the others (or in the environment: "
        f"{PREFIX}JOIN, with spaces between; default: {LOCAL}, a proxy on this machine)",
    )
    option("name", "NAME", "what it is, the same for all nodes that do the same")
    option("id", "ID", "its id, unique among live nodes: who takes that of another ends it; default: one made up")
    option("capacity", "N", "how many requests it takes at once", int)
    option("weight", "X", "its share of requests where that counts; 1.0 is normal", float)
    option("token", "TOKEN", "the proxies' node.token; better in the environment, where no process list shows it")
    option("proxy-key", "FILE", "the proxies' public key, made by `holdfast keygen`; with --secret-key")
    option("secret-key", "FILE", "this node's secret key, made by `holdfast keygen`")
    option("drain-timeout", "SECONDS", "how long running handlers may take to finish after SIGTERM", float)
    parser.add_argument(
        "--label",
        metavar="NAME=VALUE",
        action="append",
        type=label,
        help="what people who look at it, and routes, know it by; can be repeated "
        f"(or in the environment: {PREFIX}LABEL, with spaces between)",
    )
    option("metrics", "HOST:PORT", "serve metrics for Prometheus there, at /metrics; port 0: a free one, which is told")
    add_log_arguments(parser)


def add_log_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log-level",
        choices=logs.LEVELS,
        help=f"from which level on lines are logged; default: info (or in the environment: {PREFIX}LOG_LEVEL)",
    )
    parser.add_argument(
        "--log-format",
        choices=logs.FORMATS,
        help="auto: text on a terminal, JSON lines elsewhere; default: auto "
        f"(or in the environment: {PREFIX}LOG_FORMAT)",
    )


def _variable(name: str) -> str:
    return PREFIX + name.upper().replace("-", "_")


def _take_environment(arguments: argparse.Namespace) -> None:
    """What the command line does not say. The token has two names, this one and the proxies' own: who sets either for
    all that he runs is understood. Raises ConfigError, which names the variable."""
    for name, type_, expected in OPTIONS:
        variable = _variable(name)
        text = os.environ.get(variable)
        if text is None and name == "token":
            text = os.environ.get(PROXIES_TOKEN)
        if text is not None and getattr(arguments, name) is None:
            try:
                setattr(arguments, name, type_(text))
            except ValueError:
                raise ConfigError(f"{variable}: expected {expected}, got {text!r}") from None


def main(arguments: argparse.Namespace, survive: Callable[[], None] = lambda: None) -> int:
    """Run a node until it is told to stop. Returns the exit status. Raises ConfigError, LinkRefused, LifespanError.

    survive: what SIGHUP means from now on, with a line in the log.
    """
    _take_environment(arguments)
    log_as = arguments.log_level or "info", arguments.log_format or "auto"
    logs.log_to_stderr(*log_as)  # before the module is loaded, which may see to that itself, and may have a use for
    survive()  # the signal
    node = load(arguments.node)
    logs.take_standard_logging(*log_as)
    _apply(arguments, node)
    return _run(node, arguments.join or _join_of_environment() or [LOCAL], arguments.metrics)


def run(
    node: Node,
    join: str | Sequence[str] | None = None,
    *,
    log_level: str | None = "info",
    metrics: str | None = None,
) -> None:
    """Be a node until told to stop, as `holdfast node`: for the end of a script of one's own.

        if __name__ == "__main__":
            holdfast.run(node)

    SIGTERM or SIGINT (Ctrl-C) drains it, and this returns; a second one stops it at once, with SystemExit (1).
    join: an address of a proxy or several, by default that of one on this machine, tcp://127.0.0.1:7510. The
    environment counts as for `holdfast node` (HOLDFAST_NODE_JOIN, HOLDFAST_NODE_TOKEN and the others of its --help) and
    stands before this argument and what is set on the node.
    log_level: debug, info, warning or error, of the log that is set up on stderr: structlog and the standard library's
    logging, each unless it is set up already. None: neither is touched.
    metrics: HOST:PORT where Prometheus reads what is measured; None: nothing is.
    What ends the node is one line on stderr and SystemExit: 2 for what has to be written otherwise (ConfigError), 1 for
    another error of the library's (LinkRefused, LifespanError). Not from within an event loop: there it is `node.run`.
    """
    if log_level is not None and log_level not in logs.LEVELS:
        raise ValueError(f"expected a log level of {', '.join(logs.LEVELS)}, got {log_level!r}")
    try:
        arguments = argparse.Namespace(**dict.fromkeys(name for name, _, _ in OPTIONS))
        _take_environment(arguments)
        if log_level is not None:
            log_as = arguments.log_level or log_level, arguments.log_format or "auto"
            if not structlog.is_configured():
                logs.log_to_stderr(*log_as)
            logs.take_standard_logging(*log_as)
        _apply(arguments, node)
        proxies = _join_of_environment() or ([join] if isinstance(join, str) else join) or [LOCAL]
        status = _run(node, proxies, arguments.metrics or metrics)
    except HoldfastError as error:
        sys.stderr.write(f"holdfast: {error}\n")
        raise SystemExit(2 if isinstance(error, ConfigError) else 1) from None
    if status:
        raise SystemExit(status)


def _join_of_environment() -> list[str]:
    return os.environ.get(f"{PREFIX}JOIN", "").split()


def _apply(arguments: argparse.Namespace, node: Node) -> None:
    for name in ("name", "id", "capacity", "weight", "token", "drain_timeout"):
        value = getattr(arguments, name)
        if value is not None:
            setattr(node, name, value)
    node.labels.update(arguments.label or ())
    if arguments.proxy_key is not None or arguments.secret_key is not None:  # an empty one is not "in the clear"
        node.curve = _load_keys(arguments.proxy_key, arguments.secret_key)


def _run(node: Node, join: Sequence[str], metrics: str | None) -> int:
    logs.of_node(node.id)
    try:
        return node._start(serve, node, join, metrics)
    except LifespanError as error:
        if error.__cause__ is not None:
            log.error("lifespan_failed", exception=traceback_of(error.__cause__))
        raise


def load(spec: str) -> Node:
    """The node that MODULE:NAME names; modules of the working directory count. Raises ConfigError; HoldfastError for
    what the module raises while it is loaded."""
    module_name, _, name = spec.partition(":")
    if not module_name or not name or module_name.startswith(".") or "/" in module_name:
        raise ConfigError(f"expected MODULE:NAME, a module as `import` names it and not a path, got {spec!r}")
    try:
        here = os.getcwd()
    except OSError as error:  # it was removed
        raise ConfigError(f"the working directory: {error.strerror}") from None
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except HoldfastError:
        raise
    except Exception as error:
        if not isinstance(error, ModuleNotFoundError) or not error.name or not module_name.startswith(error.name):
            raise blamed(error) from error  # also for a module that the author's one imports
        hint = f": it is named without .py, as {module_name[:-3]}:{name}" if module_name.endswith(".py") else ""
        raise ConfigError(f"there is no module {error.name} here or among the installed ones{hint}") from error
    if not hasattr(module, name):
        raise ConfigError(f"module {module_name} has no {name}")
    node = getattr(module, name)
    if not isinstance(node, Node):
        raise ConfigError(f"{spec} is not a holdfast.Node but {type_of(node)}")
    return node


async def serve(node: Node, join: Sequence[str], metrics: str | None = None) -> int:
    """Run a node. SIGTERM or SIGINT drains it; a second one stops it at once. Returns the exit status.

    metrics: where they are served, HOST:PORT. Raises ConfigError if that can't be.
    """
    status = STOPPED
    try:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_obey, signals, node, nursery.cancel_scope)
                if metrics is not None:
                    await _measure(node, metrics, nursery)
                await node.run(join)
                status = 0
                nursery.cancel_scope.cancel(reason="the node has left")
    except ExceptionGroup as group:
        error = one_of_ours(group)
        if error is None:
            raise
        raise error from error.__cause__
    return status


async def _measure(node: Node, address: str, nursery: trio.Nursery) -> None:
    from holdfast.node import exposition, measuring  # prometheus_client takes its time to import

    node.meter = meter = measuring.Meter(node)
    await nursery.start(exposition.serve, address, meter.exposition)


async def _obey(signals: AsyncIterator[int], node: Node, scope: trio.CancelScope) -> None:
    await anext(signals)
    node.drain()
    await anext(signals)
    scope.cancel(reason="second signal")


def _load_keys(proxy_key: str | None, secret_key: str | None) -> Curve:
    import zmq.auth

    if proxy_key is None or secret_key is None:
        raise ConfigError("--proxy-key and --secret-key go together")
    try:
        server, _ = zmq.auth.load_certificate(proxy_key)
        public, secret = zmq.auth.load_certificate(secret_key)
        for key in filter(None, (server, public, secret)):
            decode_key(key)
    except (OSError, ValueError) as error:
        raise ConfigError(f"can't read a key: {error}") from error
    if secret is None:
        raise ConfigError(f"{secret_key} holds no secret key")
    return Curve(server, public, secret)
