"""Nodes that are not there yet: what the cluster's autoscaler may start when trials ask for it.

Ray tells a driver which nodes there are, and not which there may be. The autoscaler's own file does; it lies
on the head, where the autoscaler's process names it on its command line. Where that process is out of sight
(KubeRay runs it beside the head, in a container of its own), only what is there counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import psutil
import yaml

from search.clusters.devices import Node, accelerator_bytes, living_nodes

_HEAD_RESOURCE: Final = "node:__internal_head__"
_ASK_SECONDS: Final = 60.0


def cluster_nodes() -> tuple[list[Node], bool]:
    """Return the cluster's nodes, those that may come included, and whether an autoscaler was found."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    to_come = nodes_to_come(alive)
    return [*living_nodes(alive), *(to_come or [])], to_come is not None


def nodes_to_come(alive: Sequence[Mapping[str, Any]]) -> list[Node] | None:
    """Return the nodes that the connected cluster's autoscaler may add; None if none was found.

    Args:
        alive: The nodes that are there, as `ray.nodes()` tells them.
    """
    import ray

    address = ray.get_runtime_context().gcs_address
    ask = ray.remote(num_cpus=0, resources={_HEAD_RESOURCE: 0.001})(autoscaling_config)
    asked = ask.remote(address)
    done, _ = ray.wait([asked], timeout=_ASK_SECONDS)
    config = ray.get(asked) if done else None
    return None if config is None else nodes_of_config(config, [node["Resources"] for node in alive])


def autoscaling_config(gcs_address: str) -> dict[str, Any] | None:
    """Return what a cluster's autoscaler was started with, asked on the cluster's head; None without one."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if f"--gcs-address={gcs_address}" not in words or not any(w.endswith("monitor.py") for w in words):
            continue
        for word in words:
            if word.startswith("--autoscaling-config="):
                path = Path(word.partition("=")[2]).expanduser()
                found = yaml.safe_load(path.read_text(encoding="utf-8"))
                keys = ("available_node_types", "head_node_type", "max_workers")
                return {key: found[key] for key in keys if key in found}
    return None


def nodes_of_config(config: Mapping[str, Any], alive: Sequence[Mapping[str, float]]) -> list[Node]:
    """Return the nodes that may still come, those with most GPUs first where not all may.

    A node that is there is taken for one of the type with its CPU and GPU.

    Args:
        config: What `autoscaling_config` returned.
        alive: The resources of the nodes that are there.
    """
    workers = [resources for resources in alive if _HEAD_RESOURCE not in resources]
    bound = config.get("max_workers", 2)  # Ray's own default
    left = bound - len(workers)
    there = Counter((resources.get("CPU", 0), resources.get("GPU", 0)) for resources in workers)
    types = [
        (kind.get("resources") or {}, kind.get("labels") or {}, kind.get("max_workers", bound))
        for name, kind in config.get("available_node_types", {}).items()
        if name != config.get("head_node_type")
    ]
    types.sort(key=lambda kind: (kind[0].get("GPU", 0), kind[0].get("CPU", 0)), reverse=True)
    nodes: list[Node] = []
    for resources, labels, most in types:
        size = (resources.get("CPU", 0), resources.get("GPU", 0))
        if size == (0, 0):
            continue  # what it has is known only when it is there
        taken = min(most, there[size])
        there[size] -= taken
        for _ in range(min(most - taken, left - len(nodes))):
            nodes.append(
                Node(
                    cpus=float(size[0]),
                    gpus=float(size[1]),
                    memory=int(resources.get("memory", 0)) or None,
                    gpu_memory=accelerator_bytes(resources, labels) if size[1] else None,
                    here=False,
                )
            )
    return nodes
