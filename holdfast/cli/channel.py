"""holdfast channel: which rule of the configuration takes a channel, and what holds for it."""

import argparse
import os

import msgspec

from holdfast.balancer.channel_rules import ChannelRules
from holdfast.cli.command import Command, add_config_arguments, add_json_argument, add_perhaps_admin_arguments
from holdfast.console.admin_client import AdminClient
from holdfast.console.output import say, say_json, say_table
from holdfast.protocols.errors import ConfigError
from holdfast.proxy.config import load
from holdfast.proxy.realtime.explain import rules_of
from holdfast.proxy.views import MAX_ASKED, ChannelQuestion, ChannelRulesView, ChannelRuleView


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="+", help="of a channel, as room:5")
    add_config_arguments(parser)
    add_perhaps_admin_arguments(parser, "")
    add_json_argument(parser)


def _run(arguments: argparse.Namespace) -> int:
    names: list[str] = arguments.names
    if not all(names):
        raise ConfigError("expected names of channels, got an empty one")
    if len(names) > MAX_ASKED:
        raise ConfigError(f"expected at most {MAX_ASKED} names, got {len(names)}")
    if arguments.admin is None:
        config = load(arguments.config, os.environ, arguments.sets).config
        view = rules_of(ChannelRules(config.channel), names, config.realtime)
    elif arguments.config is not None or arguments.sets:
        raise ConfigError("--admin asks a proxy that has its own configuration: not with --config and --set")
    else:
        asked = msgspec.to_builtins(ChannelQuestion(names))
        view = AdminClient(arguments.admin, arguments.token).post("/api/channel-rules", asked, ChannelRulesView)
    if arguments.json:
        say_json(view)
    else:
        _tell(view)
    return 0


def _tell(view: ChannelRulesView) -> None:
    say_table(
        ["CHANNEL", "RULE", "SUBSCRIBE", "PUBLISH", "HISTORY", "PRESENCE"],
        (
            (
                each.channel,
                f"{each.number}: {each.match}" if each.number else "(no rule)",
                each.subscribe,
                each.publish,
                _history(each),
                "yes" if each.presence else "no",
            )
            for each in view.channels
        ),
    )
    for each in view.channels:
        if each.why:
            say(f"nobody can be in {each.channel:.60}: {each.why}")


def _history(rule: ChannelRuleView) -> str:
    if not rule.history_messages:
        return "none"
    limits = [f"{rule.history_messages} messages"]
    if rule.history_bytes:
        limits.append(f"{rule.history_bytes} bytes")
    return ", ".join([*limits, f"{rule.history_age:g} s"])


COMMAND = Command(
    _add_arguments,
    _run,
    "By the configuration that is given, as of serve; with --admin by that of a running proxy. The first rule that "
    "matches a name takes it, and all that it does not say is as by default. Nodes have clients join, and publish, "
    "whatever a rule says. Example: holdfast channel news:sport room:5 --config holdfast.toml.",
)
