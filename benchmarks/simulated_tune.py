"""Tune's own event loop over simulated actors: what a driver costs with more trials than memory holds.

Hundreds of trials' processes do not fit on a small machine. What they cost the driver does not depend on
them, though: `TuneController` sees them through its actor manager alone. Here that manager calls a trainable
in the driver's process and hands over its answers one at a time, in the order in which they were asked for.
The time that the trainables take is measured and can be left out.

Ray's own calls (submitting a task, waiting, fetching a result) are left out, too; real actors show them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.tune import Callback, CheckpointConfig, PlacementGroupFactory
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Experiment
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import SearchAlgorithm


class _Handle:
    """What Tune takes for an actor's handle; it asks a new one for its address, without waiting."""

    def __init__(self, trainable: Any) -> None:
        self.trainable = trainable
        self.get_auto_filled_metrics = self

    def remote(self, **_: Any) -> dict[str, Any]:
        """Answer with nothing."""
        return {}


class SimulatedActors:
    """Takes the place of Tune's `RayActorManager`; its methods are those that `TuneController` calls.

    Attributes:
        seconds: Processor seconds of this thread spent inside trainables.
        events: Answers that were handed over.
    """

    def __init__(self, trainable: Callable[..., Any]) -> None:
        self._trainable = trainable
        # With the generation of the actor's tasks that the event belongs to.
        self._events: deque[tuple[TrackedActor, int, Callable[[], None]]] = deque()
        self._generation: dict[TrackedActor, int] = {}
        # Tune's loop reads this attribute of its own manager.
        self._live_actors_to_ray_actors_resources: dict[TrackedActor, tuple[_Handle, None]] = {}
        self._pending: set[TrackedActor] = set()
        self._made = 0
        self.seconds = 0.0
        self.events = 0

    def next(self, timeout: float) -> bool:
        """Hand over one answer; False if there is none."""
        while self._events:
            actor, generation, handle = self._events.popleft()
            if generation == self._generation[actor]:
                self.events += 1
                handle()
                return True
        return False

    def add_actor(
        self,
        cls: Any,
        resource_request: Any,
        kwargs: dict[str, Any],
        on_start: Any,
        on_stop: Any,
        on_error: Any,
    ) -> TrackedActor:
        """Ask for an actor; its start is an answer like any other."""
        actor = TrackedActor(self._made, on_start=on_start, on_stop=on_stop, on_error=on_error)
        self._made += 1
        self._pending.add(actor)

        def start() -> None:
            self._pending.discard(actor)
            self._live[actor] = (_Handle(self._timed(lambda: self._trainable(**kwargs))), None)
            on_start(actor)

        self._generation[actor] = 0
        self._queue(actor, start)
        return actor

    def remove_actor(self, tracked_actor: TrackedActor, kill: bool = False, stop_future: Any = None) -> bool:
        """End an actor; True if it had started."""
        self.clear_actor_task_futures(tracked_actor)
        if tracked_actor in self._pending:
            self._pending.discard(tracked_actor)
            return False
        if self._live.pop(tracked_actor, None) is not None and (on_stop := tracked_actor._on_stop):
            self._queue(tracked_actor, lambda: on_stop(tracked_actor))
        return True

    def schedule_actor_task(
        self,
        tracked_actor: TrackedActor,
        method_name: str,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        on_result: Any = None,
        on_error: Any = None,
        _return_future: bool = False,
    ) -> object | None:
        """Ask an actor to run one of its methods."""

        def answer() -> None:
            method = getattr(self._live[tracked_actor][0].trainable, method_name)
            value = self._timed(lambda: method(*args, **(kwargs or {})))
            if on_result:
                on_result(tracked_actor, value)

        self._queue(tracked_actor, answer)
        return object() if _return_future else None

    def clear_actor_task_futures(self, tracked_actor: TrackedActor) -> None:
        """Forget what an actor was asked for."""
        self._generation[tracked_actor] += 1

    def is_actor_started(self, tracked_actor: TrackedActor) -> bool:
        """Return whether an actor has started."""
        return tracked_actor in self._live

    def is_actor_failed(self, tracked_actor: TrackedActor) -> bool:
        """Return False: simulated actors do not die."""
        return False

    def get_live_actors_resources(self) -> dict[str, float]:
        """Return nothing: simulated actors reserve nothing."""
        return {}

    def cleanup(self) -> None:
        """End all actors."""
        self._live.clear()
        self._events.clear()

    @property
    def num_live_actors(self) -> int:
        """Actors that have started."""
        return len(self._live)

    @property
    def num_pending_actors(self) -> int:
        """Actors that have not started yet."""
        return len(self._pending)

    @property
    def num_total_actors(self) -> int:
        """Actors that have not been removed."""
        return len(self._live) + len(self._pending)

    @property
    def num_actor_tasks(self) -> int:
        """Answers that are still to be handed over."""
        return len(self._events)

    @property
    def _live(self) -> dict[TrackedActor, tuple[_Handle, None]]:
        return self._live_actors_to_ray_actors_resources

    def _queue(self, actor: TrackedActor, handle: Callable[[], None]) -> None:
        self._events.append((actor, self._generation[actor], handle))

    def _timed(self, call: Callable[[], Any]) -> Any:
        began = time.thread_time()
        try:
            return call()
        finally:
            self.seconds += time.thread_time() - began


def drive(
    trainable: Any,
    *,
    search: SearchAlgorithm,
    scheduler: TrialScheduler,
    callbacks: Sequence[Callback],
    trials: int,
    folder: Path,
    config: dict[str, Any] | None = None,
) -> SimulatedActors:
    """Run a study of Tune's to its end over simulated actors, as `Tuner.fit` does over real ones."""
    experiment = Experiment(
        "tune",
        run=trainable,
        config=config,
        num_samples=trials,
        storage_path=str(folder),
        checkpoint_config=CheckpointConfig(checkpoint_frequency=1, num_to_keep=2),
        resources_per_trial=PlacementGroupFactory([{"CPU": 0.01}]),
    )
    controller = TuneController(
        search_alg=search,
        scheduler=scheduler,
        callbacks=list(callbacks),
        trial_checkpoint_config=experiment.checkpoint_config,
        storage=experiment.storage,
        reuse_actors=True,
    )
    actors = SimulatedActors(trainable)
    controller._actor_manager = actors
    search.add_configurations([experiment])
    controller.update_max_pending_trials()
    controller.setup_experiments(experiments=[experiment], total_num_samples=trials)
    while not controller.is_finished():
        controller.step()
    controller.checkpoint(force=True, wait=True)
    controller.cleanup()
    return actors
