"""What a study would run on, and whether it does: asked before anything of it is started."""

from __future__ import annotations

from search.clusters.autoscaler import cluster_nodes
from search.clusters.checks import Check
from search.clusters.cluster import connected
from search.clusters.cluster_check import check_cluster
from search.clusters.devices import Node, local_node
from search.config import StudyConfig
from search.data.inputs import load_data
from search.findings.data_findings import data_lines
from search.planning.outline import outline_study
from search.planning.preparation import place_study
from search.settings.study_file import InputError
from search.wording import counted

_CLUSTER_TIMEOUT = 60.0  # seconds for a cluster to answer


def nodes_to_run_on(address: str | None) -> list[Node]:
    """Return the nodes of a cluster, those included that may still come; without one, this machine.

    Args:
        address: The cluster of `RAY_ADDRESS`, or None.

    Raises:
        InputError: The cluster can't be reached, or only from outside.
    """
    if address is None:
        return [local_node()]
    if address.startswith("ray://"):
        raise InputError(
            f"RAY_ADDRESS: what the cluster has is not asked through {address}; ask on its head, or say it "
            "with --gpus and --gpu-memory-gib of `plan`"
        )
    # Joining a cluster that does not answer can't be given up, so another process tries first.
    if broken := [check for check in check_cluster(address, _CLUSTER_TIMEOUT)[:1] if not check.ok]:
        raise InputError(f"RAY_ADDRESS: {broken[0].detail}: {broken[0].fix}")
    with connected():
        return cluster_nodes()[0]


def check_study(config: StudyConfig, address: str | None) -> Check:
    """Check that a study's data and model are there, and that its trials find the GPUs and cores they need.

    Args:
        config: The study.
        address: The cluster that it would run on; None is this machine.
    """
    outside = address is not None and address.startswith("ray://")
    try:
        data = load_data(config)
        outline = outline_study(config, data.all, guess=True)
    except InputError as error:
        # A list that follows, such as of parameters without a role, is the plan's to show.
        detail = str(error).partition("\n")[0].rstrip(":")
        return Check(name="study", ok=False, detail=detail, required=not outside, wrong_input=True)
    try:
        placement = place_study(config, outline, nodes_to_run_on(address))
    except InputError as error:
        fix = "see `recipe-search plan` for what each subset needs"
        return Check(name="study", ok=False, detail=str(error), fix=fix, required=not outside)
    there = f"{config.name}: {counted(placement.concurrency, 'trial')} at a time at most"
    told = [there, *placement.warnings, *data_lines(data.leaks, data.warnings, data.bad)]
    return Check(name="study", ok=True, detail="; ".join(told))
