"""What this Holdfast is: its version, and whether its hot path was compiled (docs/howto/compile.md)."""

from importlib.metadata import version
from importlib.util import find_spec

_ON_THE_HOT_PATH = "holdfast.proxy.clients.connection"


def description() -> str:
    """As `holdfast --version` says it: "0.1.0 (interpreted)"."""
    return f"{version('holdfast-proxy')} ({'compiled' if is_compiled() else 'interpreted'})"


def is_compiled() -> bool:
    spec = find_spec(_ON_THE_HOT_PATH)
    return spec is not None and spec.origin is not None and not spec.origin.endswith(".py")
