"""Is the cluster that `RAY_ADDRESS` names fit for a study: reached, of one version, with shared files?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from search.clusters import cluster_probe
from search.clusters.checks import Check

SHARED_STORAGE: Final = "shared storage"
_NAMES: Final = {"python": "Python", "torch": "PyTorch", "transformers": "transformers"}


def check_cluster(address: str | None, timeout: float, output: Path | None = None) -> list[Check]:
    """Join the cluster from another process and ask each of its nodes, within a bounded time.

    Args:
        address: The value of `RAY_ADDRESS`.
        timeout: Seconds that all of it may take.
        output: The folder that every node must see; a file is left there for a moment. None asks for none.
    """
    name = "ray cluster"
    if not address or address == "local":
        return [Check(name=name, ok=True, detail="none given; a run starts one on this machine")]
    with _left_for_a_moment(output) as file:
        request = {"address": address, "file": file and str(file), "seconds": timeout / 2}
        try:
            # With this process's own path, which Ray also gives to a driver's tasks.
            done = subprocess.run(
                [sys.executable, "-P", cluster_probe.__file__, json.dumps(request)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            detail = f"{address} did not answer in {timeout:g} s"
            return [Check(name=name, ok=False, detail=detail, fix=fix_of(""))]
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        return [Check(name=name, ok=False, detail=f"{address}: {lines[-1]}", fix=fix_of(lines[-1]))]
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    return judge(address, answer, cluster_probe.look(None), output if file else None)


def judge(
    address: str, answer: Mapping[str, Any], mine: Mapping[str, Any], output: Path | None
) -> list[Check]:
    """Turn what the nodes told into checks.

    Args:
        address: The cluster's address.
        answer: What `cluster_probe.ask` returned.
        mine: What `cluster_probe.look` finds here.
        output: The folder in which a file was left, or None.
    """
    resources, nodes = answer["resources"], answer["nodes"]
    cpus, gpus = resources.get("CPU", 0), resources.get("GPU", 0)
    some = f" on {len(nodes)} nodes" if len(nodes) > 1 else ""
    checks = [Check(name="ray cluster", ok=True, detail=f"{address}: {cpus:g} CPU, {gpus:g} GPU{some} now")]
    told = {node: look for node, look in nodes.items() if not isinstance(look, str)}
    if silent := [f"{node}: {look}" for node, look in sorted(nodes.items()) if isinstance(look, str)]:
        fix = "look at the node's Ray logs, or take it out of the cluster"
        checks.append(Check(name="nodes", ok=False, detail="; ".join(silent), fix=fix))
    checks.append(_same_versions(told, mine))
    if output is not None and len(nodes) > 1:
        blind = sorted(node for node, look in told.items() if not look["sees_file"])
        detail = f"not the same folder on {', '.join(blind)}" if blind else "seen by every node"
        fix = "with several nodes, `output` must lie on storage that all of them share, at the same path"
        checks.append(Check(name=SHARED_STORAGE, ok=not blind, detail=f"{output}: {detail}", fix=fix))
    return checks


def _same_versions(told: Mapping[str, Mapping[str, Any]], mine: Mapping[str, Any]) -> Check:
    """Compare what the nodes run with what this process runs."""
    differences = []
    for node, theirs in sorted(told.items()):
        differences += [
            f"{node} has {name} {theirs[key]}, here it is {mine[key]}"
            for key, name in _NAMES.items()
            if theirs[key] != mine[key]
        ]
        if theirs["project"] is None:
            differences.append(f"{node} has no recipe-search")
        elif theirs["project"] != mine["project"]:
            differences.append(f"{node} has another version of recipe-search")
    return Check(
        name="versions",
        ok=not differences,
        detail="; ".join(differences) or "the same on every node",
        fix="install the same project with the same constraints.txt on every node; `ray up` does so",
    )


def fix_of(message: str) -> str:
    """Return what to do about a cluster that can't be joined, by what Ray said."""
    lower = message.lower()
    if "token" in lower or "auth" in lower:
        return "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token as on the cluster's nodes"
    if "version" in lower:
        return "use the versions of the cluster's nodes here, or those of constraints.txt there"
    return "start the cluster, correct RAY_ADDRESS, or unset it to run on this machine"


@contextmanager
def _left_for_a_moment(folder: Path | None) -> Iterator[Path | None]:
    """Leave an empty file in a folder, made if there is none; afterwards all is as it was before."""
    if folder is None:
        yield None
        return
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    file = folder.absolute() / f".recipe-search-{uuid.uuid4().hex}"
    try:
        _touch(file)
    except OSError:
        # That it can't be written is said where it is.
        yield None
        return
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)
        for path in made:
            with suppress(OSError):  # another study may have written there by now
                path.rmdir()


def _touch(file: Path) -> None:
    """Make a file and its folder; once more where another check, then done, removed the folder in between."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
