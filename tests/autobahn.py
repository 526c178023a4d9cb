"""`python -m tests.autobahn`: the cases of the Autobahn test suite against a proxy with examples/echo_node.py.

First without compression, then all of them with it. The suite is written in Python 2.7, which must be there; what else
it needs is installed into a directory of its own. The status is 1 if a case has failed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import trio

from holdfast import testing

SUITE = "autobahntestsuite==25.10.1"  # it pins all that it needs
VIRTUALENV = "virtualenv==20.15.1"  # of those that run on today's Python one of the last that can make one for 2.7
# A case of section 9 has a message of 16 MiB, which the node echoes.
LIMITS = {"client": {"max_message_bytes": "17MiB"}, "node": {"max_frame_bytes": "18MiB"}}
COMPRESSED = ["12.*", "13.*"]
# What counts as passed, as in the suite's own report. Informational is what RFC 6455 leaves open.
PASSED = {"OK", "NON-STRICT", "INFORMATIONAL"}
RUNS = ((False, COMPRESSED), (True, []))  # compression, and which cases are left out


def install(python, place):
    """The command of the suite, installed if it is not there yet."""
    wstest = place / "suite" / "bin" / "wstest"
    if not wstest.exists():
        pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
        subprocess.run([*pip, "install", "--target", place / "virtualenv", VIRTUALENV], check=True)
        make = (sys.executable, "-m", "virtualenv", "--python", python, place / "suite")
        subprocess.run(make, check=True, env=os.environ | {"PYTHONPATH": str(place / "virtualenv")})
        pip = (wstest.with_name("pip"), "--quiet", "--no-python-version-warning")
        subprocess.run([*pip, "install", SUITE], check=True)
    return wstest


async def run(wstest, cases, excluded, *, compression):
    """Of each case what the suite says of it."""
    client = LIMITS["client"] | {"compression": compression}
    with tempfile.TemporaryDirectory(prefix="autobahn-") as place:
        async with testing.proxy(client=client, node=LIMITS["node"]) as proxy:
            await proxy.node_process("examples.echo_node:node")
            spec = {
                "outdir": place,
                "servers": [{"agent": "holdfast", "url": proxy.url}],
                "cases": cases,
                "exclude-cases": excluded,
                "exclude-agent-cases": {},
            }
            file = trio.Path(place, "spec.json")
            await file.write_text(json.dumps(spec))
            await trio.run_process([wstest, "--mode", "fuzzingclient", "--spec", file], stdout=subprocess.DEVNULL)
        return json.loads(await trio.Path(place, "index.json").read_text())["holdfast"]


def failures(cases):
    """Those that have not passed, and what is wrong with each."""
    for number, case in cases.items():
        if not PASSED.issuperset(verdict := (case["behavior"], case["behaviorClose"])):
            yield f"{number}: {', closing '.join(verdict)}"


def tally(cases, kind):
    return "  ".join(f"{what} {many}" for what, many in Counter(case[kind] for case in cases.values()).most_common())


async def main(wstest, cases):
    has_failed = False
    for compression, excluded in RUNS:
        results = await run(wstest, cases, excluded, compression=compression)
        print(f"{len(results)} cases, client.compression={str(compression).lower()}")
        print(f"    behaviour: {tally(results, 'behavior')}\n    close:     {tally(results, 'behaviorClose')}")
        for failure in failures(results):
            has_failed = True
            print(f"    {failure}")
    return has_failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.autobahn", description=__doc__)
    parser.add_argument("cases", nargs="*", default=["*"], help="such as 7.* (all)")
    parser.add_argument("--python", default="python2.7", help="the Python that the suite runs on (%(default)s)")
    parser.add_argument("--place", type=Path, default=Path("build", "autobahn"), help="where it is (%(default)s)")
    chosen = parser.parse_args()
    sys.exit(trio.run(main, install(chosen.python, chosen.place.absolute()), chosen.cases))
