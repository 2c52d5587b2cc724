"""Nodes on which everything but the project is installed, and which reach no package index."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from machines import Machines

ENVIRONMENT = {
    "PIP_NO_INDEX": "1",
    "PIP_NO_BUILD_ISOLATION": "0",  # pip's spelling of "yes, none"
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    # A node of one core would otherwise start its processes one after the other.
    "RAY_worker_maximum_startup_concurrency": "8",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_INSTALL = """
set -e
venv=~/.recipe-search/venv
{python} -m venv --without-pip $venv
echo {packages} > $venv/lib/python{version}/site-packages/installed-before.pth
for command in ray=ray.scripts.scripts mlflow=mlflow pip=pip; do
    printf '#!/bin/sh\\nexec %s -m %s "$@"\\n' $venv/bin/python ${{command#*=}} > $venv/bin/${{command%%=*}}
    chmod +x $venv/bin/${{command%%=*}}
done
"""


def install_packages(there: Machines) -> None:
    """Give each node an environment that sees the packages of this one, without the project."""
    script = _INSTALL.format(
        python=sys.executable,
        packages=Path(pytest.__file__).parents[1],
        version=f"{sys.version_info.major}.{sys.version_info.minor}",
    )
    for node in there.addresses:
        there.on_node(node, script)
