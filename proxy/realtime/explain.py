"""What `holdfast channel` tells: which rule takes a channel, and what holds for it."""

from collections.abc import Sequence

from holdfast.balancer.channel_rules import ChannelRule, ChannelRules, Matched
from holdfast.proxy.config.sections import RealtimeSettings
from holdfast.proxy.views import ChannelRulesView, ChannelRuleView

NO_RULE = Matched(0, ChannelRule(""), {})


def rules_of(rules: ChannelRules, channels: Sequence[str], settings: RealtimeSettings) -> ChannelRulesView:
    """Of each, in this order."""
    return ChannelRulesView([_of(rules.matched(channel) or NO_RULE, channel, settings) for channel in channels])


def _of(matched: Matched, channel: str, settings: RealtimeSettings) -> ChannelRuleView:
    rule, most = matched.rule, settings.max_channel_name_bytes
    size = len(channel.encode(errors="replace"))
    return ChannelRuleView(
        channel=channel,
        number=matched.number,
        match=rule.match,
        parameters=matched.parameters,
        subscribe=rule.subscribe,
        publish=rule.publish,
        history_messages=rule.history_messages,
        history_bytes=rule.history_bytes,
        history_age=rule.history_age,
        presence=rule.presence,
        why=f"its name has {size} bytes, realtime.max_channel_name_bytes is {most}" if size > most else "",
    )
