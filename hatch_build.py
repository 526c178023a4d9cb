"""The optional build in C: with HOLDFAST_COMPILE=1 mypyc makes extensions of MODULES. Without it nothing happens here.

The extensions lie in the wheel beside the sources they were made of, and Python prefers them. Nothing is written into
the source tree: there they would hide each later change. docs/howto/compile.md is for users.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# What every message passes on its way, whole: a call out of compiled code into interpreted costs more than one
# between two interpreted functions, so one module that is left out in the middle takes half of the gain.
MODULES = (
    "balancer/cluster/remembered.py",
    "balancer/directory.py",
    "balancer/health.py",
    "balancer/ledger.py",
    "balancer/links/zeromq.py",
    "balancer/policies.py",
    "protocols/clients/http.py",
    "protocols/clients/http_body.py",
    "protocols/clients/http_head.py",
    "protocols/clients/websocket.py",
    "protocols/clients/websocket_frames.py",
    "proxy/channels.py",
    "proxy/clients.py",
    "proxy/connection.py",
    "proxy/dispatch.py",
    "proxy/effects.py",
    "proxy/gateway.py",
    "proxy/metrics.py",
    "proxy/outbox.py",
    "proxy/reactor.py",
    "proxy/transport.py",
    "proxy/wheel.py",
)


class CompileHook(BuildHookInterface[Any]):
    def dependencies(self) -> list[str]:
        """The libraries too: mypy reads their types."""
        return ["mypy[mypyc]~=2.4", *self.metadata.core.dependencies] if _is_wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not _is_wanted():
            return
        if version == "editable":
            raise RuntimeError("HOLDFAST_COMPILE=1 excludes --editable: the extensions would hide every edit")
        self._folder = TemporaryDirectory(prefix="holdfast-compile-")
        extensions = _compile(Path(self._folder.name))
        build_data["force_include"] |= {str(file): inside for file, inside in extensions.items()}
        build_data["infer_tag"] = True
        build_data["pure_python"] = False

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if _is_wanted():
            self._folder.cleanup()


def _is_wanted() -> bool:
    return os.environ.get("HOLDFAST_COMPILE") == "1"


def _compile(folder: Path) -> dict[Path, str]:
    """The extensions, and where they belong in the wheel."""
    # Here, because they are there only when dependencies() has asked for them.
    from mypyc.build import mypycify
    from setuptools import Distribution

    # Without our own strictness, that of `make check`: here it would only refuse newer libraries.
    arguments = ["--config-file=", "--cache-dir", str(folder / "mypy"), *MODULES]
    modules = mypycify(arguments, group_name="holdfast", target_dir=str(folder / "c"))
    command = Distribution({"ext_modules": modules}).get_command_obj("build_ext")
    built = folder / "built"
    command.build_lib, command.build_temp = str(built), str(folder / "objects")
    command.ensure_finalized()
    command.run()
    return {file: file.relative_to(built).as_posix() for file in built.rglob("*.so")}
