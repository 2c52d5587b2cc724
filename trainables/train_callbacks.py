"""What a worker group hears of Ray Train, and tells it, about its workers.

This is Ray's developer API, which a trainer takes; nothing public tells or steers where workers go anew.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.train import ScalingConfig
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback

from trainables.notice import listen
from trainables.workers.causes import GroupFailed, cause_of


class GroupCallback(ControllerCallback, WorkerGroupCallback):
    """Runs in Ray Train's controller.

    Left to itself, Ray puts each group on the emptiest node, so that soon no node is free for a large group.

    Args:
        group: Handle of the `WorkerGroup`.
    """

    def __init__(self, group: Any) -> None:
        self._group = group

    def on_controller_start_worker_group(
        self, *, scaling_config: ScalingConfig, num_workers: int
    ) -> dict[str, str] | None:
        """Return a selector of nodes, or None to let Ray choose.

        Raises:
            GroupFailed: The group was closed before its workers came up.
        """
        nodes = ray.get(self._group.starts.remote())
        if nodes is None:
            raise GroupFailed("the group was closed")
        return {"ray.io/node-id": f"in({','.join(nodes)})"} if nodes else None

    def after_worker_group_start(self, worker_group: Any) -> None:
        """Hand over the workers, the nodes that they are on, and Ray's placement group that holds them."""
        workers = worker_group.get_workers()
        worker_group.execute(listen)
        nodes = [worker.metadata.node_id for worker in workers]
        place = worker_group.get_worker_group_state().placement_group_handle.placement_group
        ray.get(self._group.placed.remote(nodes, place, [worker.actor for worker in workers]))

    def after_worker_group_poll_status(self, worker_group_status: Any) -> None:
        """Tell why workers are gone that can't tell it themselves."""
        for error in worker_group_status.errors.values():
            cause = error.health_check_failure if isinstance(error, WorkerHealthCheckFailedError) else error
            if isinstance(cause, ray.exceptions.OutOfMemoryError):
                ray.get(self._group.out_of_memory.remote(cause_of(cause)))
