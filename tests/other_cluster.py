"""A Ray cluster of another process, as a user's commands meet one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def other_cluster(script: str, *arguments: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Run a script that starts a cluster; yield the address that it tells, and end it.

    Args:
        script: Python; prints `address <address>` and ends the cluster when its standard input is closed.
        arguments: The script's.
        environment: The script's.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    found = next((line.split()[1] for line in process.stdout if line.startswith("address ")), None)
    assert found, "the cluster did not start"
    yield found
    process.communicate(timeout=120)
