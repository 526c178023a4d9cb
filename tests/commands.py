"""Commands that tests run to their end."""

import os
import subprocess

PATIENCE = 600.0  # a build, or a whole suite of tests


def run(*command, cwd, **environment):
    """What it says, on stdout and stderr. That it fails is a failure of the test, which shows that."""
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
