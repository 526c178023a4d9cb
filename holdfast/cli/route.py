"""holdfast route: which of the routes of the configuration takes a request, and why the others don't."""

import argparse
import os

import msgspec

from holdfast.balancer.routes import Routes
from holdfast.cli.command import Command, add_config_arguments, add_json_argument, add_perhaps_admin_arguments
from holdfast.console.admin_client import AdminClient
from holdfast.console.output import say, say_json, say_table
from holdfast.protocols.errors import ConfigError
from holdfast.proxy.config import load
from holdfast.proxy.nodes.explain import explained, question_of
from holdfast.proxy.views import RouteQuestion, RouteStep, RouteView


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "method", metavar="METHOD", nargs="?", default="", help="of HTTP (default: GET); none with --message"
    )
    parser.add_argument("url", metavar="URL", help="or a path; with ws:// for a message of a WebSocket")
    parser.add_argument(
        "--header",
        metavar="NAME:VALUE",
        dest="headers",
        type=_header,
        action="append",
        default=[],
        help="can be repeated",
    )
    parser.add_argument("--message", metavar="JSON", help="what a client of a message protocol sends")
    parser.add_argument(
        "--protocol", default="", help="default: http; websocket with --message, or a URL that begins with ws://"
    )
    parser.add_argument(
        "--client", metavar="ID", default="", help="as `holdfast clients` shows it: on which side of a share it is"
    )
    add_config_arguments(parser)
    add_perhaps_admin_arguments(parser, "; it also tells which nodes are available")
    add_json_argument(parser)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not (name.strip() and colon):
        raise argparse.ArgumentTypeError(f"expected NAME:VALUE, got {text}")
    return name.strip(), value.strip()


def _run(arguments: argparse.Namespace) -> int:
    asked = RouteQuestion(
        arguments.url, arguments.method, arguments.headers, arguments.message, arguments.protocol, arguments.client
    )
    if arguments.admin is None:
        view = _by_configuration(arguments, asked)
    elif arguments.config is not None or arguments.sets:
        raise ConfigError("--admin asks a proxy that has its own configuration: not with --config and --set")
    else:
        admin = AdminClient(arguments.admin, arguments.token)
        view = admin.post("/api/route", msgspec.to_builtins(asked), RouteView)
    if arguments.json:
        say_json(view)
    else:
        _tell(view, has_nodes=arguments.admin is not None)
    return 0


def _by_configuration(arguments: argparse.Namespace, asked: RouteQuestion) -> RouteView:
    config = load(arguments.config, os.environ, arguments.sets).config
    routes = Routes(config.route, [None] * len(config.route)) if config.route else None
    try:
        return explained(routes, question_of(asked, config.client), None)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _tell(view: RouteView, *, has_nodes: bool) -> None:
    columns = ["ROUTE", "TAKES IT", "WHERE TO, OR WHY NOT"]
    say_table(
        [*columns, "AVAILABLE NOW"] if has_nodes else columns,
        (
            (
                step.route or "(no route)",
                "no" if step.why else "yes" if step.takes == 100 else f"{step.takes:g} % of clients",
                step.why or step.target,
                *([_available(step)] if has_nodes else []),
            )
            for step in view.steps
        ),
    )
    if has_nodes and any(step.available == [] and not step.why for step in view.steps):
        say("none is available: such a request waits for `request.parked_timeout`, and is refused with 503 then")


def _available(step: RouteStep) -> str:
    if step.available is None:
        return ""
    return ", ".join(step.available) or "none"


COMMAND = Command(
    _add_arguments,
    _run,
    "By the configuration that is given, as of serve; with --admin by that of a running proxy. Routes are asked in "
    "their order, up to the one that takes all that comes to it. Examples: holdfast route POST http://a.org/rooms/5; "
    'holdfast route ws://a.org/chat --message \'{"type": "move"}\'.',
)
