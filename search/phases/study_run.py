"""StudyRun: what the phases of a running study share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from search.config import StudyConfig
from search.phases.base import base_key, cached_base, measure_base
from search.planning.placement import Placement
from search.planning.preparation import Prepared
from search.records.ended_weights import EndedWeights
from search.records.room import Room
from search.records.study_folder import StudyFolder
from search.tracking import StudyTracker
from trainables.scoring.evaluation import Evaluation
from trainables.workers.execution import GroupShape
from trainables.workers.jobs import ConfirmData, WorkerSetup


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """A study that runs.

    Attributes:
        prepared: Its checked input.
        folder: Its folder.
        tracker: Its MLflow record.
        console: Where its progress is shown.
        placement: What its trials take from the cluster.
        pool: Handle of the `WorkerPool` actor.
        versions: Package -> version.
        room: What the weights of its ended trials may take on storage.
    """

    prepared: Prepared
    folder: StudyFolder
    tracker: StudyTracker
    console: Console
    placement: Placement
    pool: Any
    versions: Mapping[str, str]
    room: Room = field(default_factory=Room)

    @property
    def ended_weights(self) -> EndedWeights:
        """What of a trial's weights stays when it has ended."""
        return EndedWeights(
            earlier_rungs=self.config.points is not None and self.config.points.earlier_rungs,
            pruned=self.config.selection.keep_weights == "all",
        )

    @property
    def config(self) -> StudyConfig:
        """The study, resolved."""
        return self.prepared.config

    @property
    def shape(self) -> GroupShape:
        """The smallest worker group, which evaluates the base."""
        return self.placement.smallest_shape

    def base(self) -> tuple[dict[str, Evaluation], bool]:
        """Return what the base scores on the search split, and whether that was known already.

        Raises:
            StudyFailed: The base can't be evaluated.
        """
        key = self._base_key(self.prepared.setup)
        return cached_base(self._cache, key, partial(measure_base, self.pool, self.shape))

    def base_on_confirm(
        self, data: ConfirmData, measure: Callable[[], Mapping[str, Evaluation]]
    ) -> dict[str, Evaluation]:
        """Return what the base scores on the confirm splits, which may be known already.

        Args:
            data: Their samples.
            measure: Evaluates the base on them.
        """
        key = self._base_key(data.setup(self.prepared.setup))
        return cached_base(self._cache, key, measure)[0]

    @property
    def base_predictions(self) -> Path:
        """The file that keeps what the base answers to every sample."""
        return self._cache / f"{self._base_key(self.prepared.setup, predictions=True)}.json"

    @property
    def _cache(self) -> Path:
        return self.config.folder.parent / ".cache"

    def _base_key(self, setup: WorkerSetup, *, predictions: bool = False) -> str:
        # A model's output may depend on these versions.
        made_with = [
            f"{name} {self.versions[name]}" for name in ("torch", "transformers") if name in self.versions
        ]
        return base_key(
            setup,
            self.prepared.model_fingerprint,
            (str(self.shape), *made_with),
            predictions=predictions,
        )
