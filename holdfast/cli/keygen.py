"""holdfast keygen: key pairs for CURVE, so that proxy and nodes know each other and nobody reads along."""

import argparse
import os
import shutil
from pathlib import Path

from holdfast.cli.command import Command, add_json_argument
from holdfast.console.output import say, say_json
from holdfast.protocols.errors import HoldfastError
from holdfast.proxy.config.values import to_toml


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("keys"), help="where the files go (default: %(default)s)"
    )
    add_json_argument(parser)


def _run(arguments: argparse.Namespace) -> int:
    try:
        files = _make(arguments.out.absolute())
    except OSError as error:  # of the working directory too, if that is gone
        raise HoldfastError(f"{error.filename or arguments.out}: {error.strerror}") from error
    if arguments.json:
        say_json({name: str(file) for name, file in files.items()})
        return 0
    say("# for the proxy:")
    say("[node]")
    say(f"curve_secret_key_file = {to_toml(str(files['proxy_secret_key']))}")
    say(f"curve_authorized_keys = {to_toml(str(files['authorized_keys']))}")
    say("")
    say("# for each node:")
    say(f"# holdfast node ... --secret-key {files['node_secret_key']} --proxy-key {files['proxy_public_key']}")
    say("# Another node may share its pair, or have one of its own, whose public key goes into the folder above.")
    return 0


def _make(out: Path) -> dict[str, Path]:
    """Both pairs, and the folder of authorized keys with the public ones. Overwrites nothing."""
    import zmq.auth  # slow to import

    files = {
        "proxy_public_key": out / "proxy.key",
        "proxy_secret_key": out / "proxy.key_secret",
        "node_public_key": out / "node.key",
        "node_secret_key": out / "node.key_secret",
        "authorized_keys": out / "authorized",
    }
    for file in files.values():
        if file.exists():
            raise HoldfastError(f"{file} exists: keys are not overwritten, give another --out DIR")
    files["authorized_keys"].mkdir(parents=True)
    previous = os.umask(0o077)  # from the first byte on, secret keys are the owner's alone
    try:
        for name in ("proxy", "node"):
            zmq.auth.create_certificates(out, name)
    finally:
        os.umask(previous)
    for name in ("proxy_public_key", "node_public_key"):
        files[name].chmod(0o644)
        shutil.copyfile(files[name], files["authorized_keys"] / files[name].name)  # proxies of a cluster share a pair
    return files


COMMAND = Command(_add_arguments, _run)
