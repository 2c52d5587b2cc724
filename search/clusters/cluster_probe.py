"""Asks a running cluster what its nodes have: a script that `search.clusters.cluster_check` runs by itself.

Joining a cluster that does not answer can't be given up from within. Nothing of the project is imported here:
the nodes may lack it, and that is one of the questions.

The first argument is JSON: the address, a file that every node should see or null, and how many seconds the
nodes may take. The answer is JSON on the last line of stdout.
"""

from __future__ import annotations

import json
import sys
from typing import Any

PACKAGES = ("spaces", "trainables", "search")


def look(file: str | None) -> dict[str, Any]:
    """Return what this node has: versions, a digest of the project's sources, and whether a file is there."""
    import hashlib
    import importlib.util
    import platform
    from importlib import metadata
    from pathlib import Path

    # Ray itself refuses nodes and drivers of another version of Ray.
    found: dict[str, Any] = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in ("torch", "transformers"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    origins = [spec.origin for name in PACKAGES if (spec := importlib.util.find_spec(name)) and spec.origin]
    digest = hashlib.sha256()
    for folder in [Path(origin).parent for origin in origins]:
        for source in sorted(folder.rglob("*.py")):
            digest.update(source.relative_to(folder).as_posix().encode() + source.read_bytes())
    found["project"] = digest.hexdigest() if len(origins) == len(PACKAGES) else None
    found["sees_file"] = file is not None and Path(file).is_file()
    return found


def knock(address: str) -> None:
    """Raise at once what `ray.init` tells after 20 to 30 s and in general terms (Ray 2.60).

    Raises:
        ConnectionError: Nothing answers there.
        PermissionError: The cluster wants another token.
        ValueError: It is no address.
    """
    import socket

    import ray
    from ray._private.authentication import authentication_token_setup as tokens
    from ray._private.services import canonicalize_bootstrap_address

    client, plain = address.startswith("ray://"), address.removeprefix("ray://")
    host, colon, port = (plain if client else canonicalize_bootstrap_address(plain)).rpartition(":")
    if not colon or not port.isdigit():
        raise ValueError("expected auto, host:port or ray://host:port")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise ConnectionError(f"nothing answers there: {error.strerror or error}") from None
    try:
        if address == "auto":  # the one address for which `ray.init` looks for a token unasked
            tokens.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
        tokens.ensure_token_if_auth_enabled(create_token_if_missing=False)
        _show_token_to_client_server(f"{host}:{port}") if client else _show_token(f"{host}:{port}")
    except ray.exceptions.AuthenticationError:
        raise PermissionError("the authentication token is missing or not the cluster's") from None


def _show_token(address: str) -> None:
    from ray import _raylet

    _raylet.GcsClient(address=address)  # type: ignore[attr-defined]


def _show_token_to_client_server(address: str) -> None:
    import grpc  # type: ignore[import-untyped]
    import ray
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import ray_client_pb2, ray_client_pb2_grpc

    ping = ray_client_pb2.ClusterInfoRequest(type=ray_client_pb2.ClusterInfoType.PING)
    try:
        ray_client_pb2_grpc.RayletDriverStub(init_grpc_channel(address)).ClusterInfo(ping, timeout=10)
    except grpc.RpcError as error:
        # Other refusals belong to Ray Client's protocol, which begins with more than a ping.
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            raise ray.exceptions.AuthenticationError(error.details()) from None


def names(alive: list[dict[str, Any]]) -> dict[str, str]:
    """Return name -> identifier of each node, for nodes as `ray.nodes()` tells them."""
    addresses = [node["NodeManagerAddress"] for node in alive]
    return {
        address if addresses.count(address) == 1 else f"{address} ({node['NodeID'][:8]})": node["NodeID"]
        for address, node in zip(addresses, alive, strict=True)
    }


def ask(address: str, file: str | None, seconds: float) -> dict[str, Any]:
    """Return the cluster's resources, and name -> `look` of each living node, or why there is none.

    A node's name is its address, with the node's identifier where several share the address.
    """
    import time

    import ray

    ray.init(address=address, log_to_driver=False, logging_level="error")
    deadline = time.monotonic() + seconds
    answers: dict[str, Any] = {}
    while True:
        there = names([node for node in ray.nodes() if node["Alive"]])
        missing = [node for node in there.values() if not isinstance(answers.get(node), dict)]
        answers |= _ask_nodes(missing, file, max(0.0, deadline - time.monotonic()))
        # A node that has just come or is about to go is not known everywhere at the same time.
        if all(isinstance(answers[node], dict) for node in missing) or time.monotonic() > deadline:
            break
        time.sleep(1)
    found = {name: answers[node] for name, node in there.items()}
    return {"resources": ray.cluster_resources(), "nodes": found}


def _ask_nodes(nodes: list[str], file: str | None, seconds: float) -> dict[str, Any]:
    """Return node -> what `look` found on it, or why there is no answer."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Takes nothing of the node, so that it starts at once where other studies hold all cores.
    task = ray.remote(num_cpus=0, max_retries=0)(look)
    asked = {
        node: task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(file)
        for node in nodes
    }
    ready, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=seconds) if asked else ([], [])
    answers: dict[str, Any] = {}
    for node, answer in asked.items():
        try:
            answers[node] = ray.get(answer) if answer in ready else "no answer in time"
        except ray.exceptions.RayError as error:
            answers[node] = " ".join(str(error).split())[:300]
    return answers


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    try:
        knock(request["address"])
        answer = ask(request["address"], request["file"], request["seconds"])
    except Exception as error:
        sys.exit(" ".join(str(error).split()) or type(error).__name__)
    print(json.dumps(answer))
