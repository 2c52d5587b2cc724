"""The Ray Train run of a worker group: how it starts its workers, and how it finds those that died."""

from __future__ import annotations

import os
from typing import Any, Final

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.api.callback import RayTrainCallback

from trainables.train_callbacks import GroupCallback
from trainables.worker import worker_loop
from trainables.workers.execution import GroupShape

# How long Ray Train waits for its workers' place before it asks anew, perhaps for other nodes. A controller
# that is killed while it waits leaves its request with Ray for ever: a closed group ends when it asks anew.
_START_TIMEOUT: Final = 10  # seconds


class _Trainer(TorchTrainer):
    """Without Ray Train's detached cleaner, which outlives a controller that dies where no dashboard runs.

    A pool frees what dead controllers have reserved: see `remove_orphans`.
    """

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        callbacks = super()._create_default_callbacks()
        return [each for each in callbacks if not isinstance(each, PlacementGroupCleanerCallback)]


def trainer_of(
    group: Any, name: str, shape: GroupShape, storage_path: str, *, hang_seconds: float, beat_seconds: float
) -> TorchTrainer:
    """Return the run of a group, which is not started yet; Ray Train's settings of this process are made.

    Args:
        group: Handle of the `WorkerGroup` actor.
        name: Name of the run.
        shape: Workers and their resources.
        storage_path: Folder of Ray Train's own state, shared by all nodes.
        hang_seconds: A worker that does not answer Ray Train for so long is ended.
        beat_seconds: How long workers wait between two signs of progress.
    """
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(_START_TIMEOUT))
    # Ray Train asks a thread of its own in each worker, so this finds a process that was stopped, also
    # while it loads; the group's watch finds whatever keeps the work itself from going on.
    os.environ.setdefault("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S", str(hang_seconds))
    return _Trainer(
        worker_loop,
        train_loop_config={"group": group, "shape": shape, "beat_seconds": beat_seconds},
        scaling_config=ScalingConfig(
            num_workers=shape.workers,
            use_gpu=shape.gpus > 0,
            resources_per_worker={"CPU": shape.cpus, **({"GPU": shape.gpus} if shape.gpus else {})},
        ),
        torch_config=TorchConfig(backend="nccl" if shape.gpus >= 1 and shape.workers > 1 else "gloo"),
        # Jobs bound their own restarts, so Ray Train may restart the group without end.
        run_config=RunConfig(
            name=name,
            storage_path=storage_path,
            failure_config=FailureConfig(max_failures=-1),
            callbacks=[GroupCallback(group)],
        ),
    )
