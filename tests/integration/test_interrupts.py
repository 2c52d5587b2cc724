"""What a driver that is connected to Ray makes of signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

_DRIVER = """
import signal, sys
from search.clusters.cluster import connected
signal.signal(signal.SIGINT, getattr(signal, sys.argv[1]))
try:
    with connected():
        print("connected", flush=True)
        try:
            signal.pause()
        finally:
            exec(sys.argv[2])
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize(
    ("sent", "sigint", "then"),
    [
        (signal.SIGINT, "default_int_handler", ""),
        (signal.SIGTERM, "SIG_IGN", ""),
        (signal.SIGTERM, "default_int_handler", "open('/none')"),
    ],
    ids=["Ctrl-C", "notice behind nohup", "notice of which another error is made"],
)
def test_a_driver_is_interrupted(sent: signal.Signals, sigint: str, then: str) -> None:
    """Behind `nohup` or `&` SIGINT is ignored, and SIGTERM must not be."""
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    environment.pop("RAY_ADDRESS", None)
    process = subprocess.Popen(
        [sys.executable, "-c", _DRIVER, sigint, then],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "connected\n"
        process.send_signal(sent)
        said, _ = process.communicate(timeout=60)
        assert (said, process.returncode) == ("interrupted\n", 0)
