"""Times on the command line, written as in the configuration."""

import argparse

from holdfast.proxy.config.values import parse_duration


def duration(text: str) -> float:
    """Seconds above 0, for argparse."""
    seconds = parse_duration(text)
    if not seconds:
        raise argparse.ArgumentTypeError(f"expected a time such as 500ms, 20s or 2m, got {text}")
    return seconds
