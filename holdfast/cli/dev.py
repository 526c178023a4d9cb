"""holdfast dev: a proxy and a node, started anew after each change, and a console to talk to it."""

import argparse
import os
from pathlib import Path

from holdfast.cli.addresses import addresses
from holdfast.cli.command import Command, add_config_arguments
from holdfast.proxy.config import load
from holdfast.proxy.process import stderr


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port, 0 to 65535, got {text}")
    return int(text)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="MODULE:NAME", help="a Node, as `app:node` for `node` of app.py in this folder")
    parser.add_argument(
        "--port",
        metavar="PORT",
        type=_port,
        help="where clients connect; 0: a free one; default: 7512, or a free one if that is taken",
    )
    parser.add_argument(
        "--watch", metavar="FOLDER", type=Path, default=Path(), help="whose *.py are watched (default: this one)"
    )
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="of both; default: info")
    add_config_arguments(parser)


def _run(arguments: argparse.Namespace) -> int:
    import trio

    from holdfast.dev import development

    own = list(arguments.sets)
    if arguments.port is not None:
        own.append(f"client.bind=127.0.0.1:{arguments.port}")
    if arguments.log_level is not None:
        own.append(f"log.level={arguments.log_level}")
    given = load(arguments.config, os.environ, own)
    # No node of a former life will come and bring a state, so the first one need not be waited for.
    defaults = {**addresses(), "log.format": "text", "state.recover_timeout": "0"}
    sets = [f"{key}={value}" for key, value in defaults.items() if given.origins[key].source == "default"] + own
    config = load(arguments.config, os.environ, sets).config
    serve = [item for one in sets for item in ("--set", one)]
    if arguments.config is not None:
        serve += ["--config", str(arguments.config)]
    stderr.install()
    plan = development.Plan(
        arguments.node,
        serve,
        [] if arguments.log_level is None else ["--log-level", arguments.log_level],
        {} if "HOLDFAST_NODE_LOG_FORMAT" in os.environ else {"HOLDFAST_NODE_LOG_FORMAT": "text"},
        config.admin.token,
        bool(config.client.tls_certificate_file),
        arguments.watch,
    )
    return trio.run(development.run, plan)


COMMAND = Command(
    _add_arguments,
    _run,
    "Clients stay connected meanwhile: the next node is ready before the former one drains, and a change that can't be "
    "loaded leaves that one where it is. What both log is in this terminal, and what you type is sent as a client; "
    "/help tells more. Ctrl-C ends both.",
)
