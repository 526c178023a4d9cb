"""The build in C: where a compiler is, mypyc makes extensions of MODULES for a wheel. Elsewhere the wheel is pure.

HOLDFAST_COMPILE=0 asks for a pure wheel in any case, 1 for a compiled one or none. The extensions lie in the wheel
beside the sources they were made of, and Python prefers them. Nothing is written into the source tree: there they would
hide each later change, so an editable install is never compiled. docs/howto/compile.md is for users.
"""

import os
import shutil
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# What every message passes on its way, whole: a call out of compiled code into interpreted costs more than one
# between two interpreted functions, so one module that is left out in the middle takes half of the gain.
MODULES = (
    "holdfast/balancer/remembered.py",
    "holdfast/balancer/directory.py",
    "holdfast/balancer/health.py",
    "holdfast/balancer/ledger.py",
    "holdfast/balancer/links/sessions.py",
    "holdfast/balancer/links/zeromq.py",
    "holdfast/balancer/policies.py",
    "holdfast/protocols/clients/http.py",
    "holdfast/protocols/clients/centrifuge/port.py",  # a class of http's, which must not be interpreted
    "holdfast/protocols/clients/http_body.py",
    "holdfast/protocols/clients/http_doors.py",  # the same
    "holdfast/protocols/clients/http_head.py",
    "holdfast/protocols/clients/websocket.py",
    "holdfast/protocols/clients/websocket_frames.py",
    "holdfast/proxy/nodes/announcer.py",
    "holdfast/proxy/realtime/channels.py",
    "holdfast/proxy/clients/answering.py",
    "holdfast/proxy/clients/clients.py",
    "holdfast/proxy/clients/connection.py",
    "holdfast/proxy/clients/descriptors.py",
    "holdfast/proxy/clients/held.py",
    "holdfast/proxy/clients/intake.py",
    "holdfast/proxy/clients/interest.py",
    "holdfast/proxy/clients/rate_limit.py",
    "holdfast/proxy/nodes/dispatch.py",
    "holdfast/proxy/nodes/streamed.py",
    "holdfast/proxy/realtime/effects.py",
    "holdfast/proxy/nodes/gateway.py",
    "holdfast/proxy/realtime/fan_out.py",
    "holdfast/proxy/realtime/filtered.py",
    "holdfast/proxy/realtime/lane.py",
    "holdfast/proxy/realtime/lanes.py",
    "holdfast/proxy/metrics.py",
    "holdfast/proxy/clients/nowhere.py",
    "holdfast/proxy/clients/ordered.py",
    "holdfast/proxy/realtime/mutes.py",
    "holdfast/proxy/clients/outbox.py",
    "holdfast/proxy/clients/reactor.py",
    "holdfast/proxy/clients/session.py",
    "holdfast/proxy/clients/shared.py",
    "holdfast/proxy/clients/state.py",
    "holdfast/proxy/clients/transport.py",
    "holdfast/proxy/clients/wheel.py",
)


class CompileHook(BuildHookInterface[Any]):
    _folder: TemporaryDirectory[str] | None = None

    def dependencies(self) -> list[str]:
        """The libraries too: mypy reads their types."""
        return ["mypy[mypyc]~=2.4", *self.metadata.core.dependencies] if _is_possible() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        wanted = os.environ.get("HOLDFAST_COMPILE", "")
        if version == "editable":
            if wanted == "1":
                raise RuntimeError("HOLDFAST_COMPILE=1 excludes --editable: the extensions would hide every edit")
            return
        if wanted != "1" and not _is_possible():
            return
        self._folder = TemporaryDirectory(prefix="holdfast-compile-")
        try:
            extensions = _compile(Path(self._folder.name))
        except (Exception, SystemExit) as error:  # what is broken is the compiler: the wheel is whole without it
            if wanted == "1":
                raise
            self.app.display_warning(f"the hot path is not compiled: {error!r:.500}")
            return
        build_data["force_include"] |= {str(file): inside for file, inside in extensions.items()}
        build_data["infer_tag"] = True
        build_data["pure_python"] = False

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def _is_possible() -> bool:
    """Whether a compiler and Python's headers are there, and nobody has said that they are not to be used."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return os.environ.get("HOLDFAST_COMPILE") != "0" and shutil.which(compiler) is not None and headers.exists()


def _compile(folder: Path) -> dict[Path, str]:
    """The extensions, and where they belong in the wheel."""
    # Here, because they are there only when dependencies() has asked for them.
    from mypyc.build import mypycify
    from setuptools import Distribution

    # Without our own strictness, that of `make check`: here it would only refuse newer libraries.
    arguments = ["--config-file=", "--cache-dir", str(folder / "mypy"), *MODULES]
    level = os.environ.get("HOLDFAST_COMPILE_LEVEL", "3")  # of optimisation: 0 is compiled in a third of the time
    modules = mypycify(arguments, group_name="holdfast", target_dir=str(folder / "c"), opt_level=level)
    command = Distribution({"ext_modules": modules}).get_command_obj("build_ext")
    built = folder / "built"
    command.build_lib, command.build_temp = str(built), str(folder / "objects")
    command.ensure_finalized()
    command.run()
    return {file: file.relative_to(built).as_posix() for file in built.rglob("*.so")}
