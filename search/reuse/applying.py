"""Applying a recipe: it is trained on a study's data without a search, and compared with the base."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from rich.console import Console

from search.clusters.warm_cluster import open_pool, placed, started
from search.decision.candidates import EVALUATIONS_FILE
from search.finalists.retraining import Retrained, retrain
from search.findings.data_findings import bad_csv, data_tags
from search.handover.licences import CARD
from search.handover.recipe_document import RecipeDocument, recipe_yaml
from search.objective import score_metrics
from search.phases.base import base_lines
from search.phases.leased_jobs import run_jobs
from search.phases.steps import step
from search.phases.study_failed import StudyFailed
from search.phases.study_run import StudyRun
from search.planning.preparation import Prepared
from search.records.stored_finalists import CONFIRM_FILE
from search.records.stored_study import objective_of
from search.records.study_folder import StudyFolder, make_anew
from search.records.versions import versions
from search.reuse.applied_document import applied_card, applied_document
from search.reuse.caveats import Circumstances, caveat_sentence, caveats
from search.reuse.comparison import Compared, Evaluations, compare
from search.settings.study_file import dump_study
from search.tracking import StudyTracker
from spaces.points import Identity, Point
from trainables.checkpoint import CheckpointError, export_delta
from trainables.files import write_atomically
from trainables.manifest import TrainableManifest
from trainables.scoring.evaluation import evaluations_json
from trainables.weights.points import TrainedWeights, point_manifest
from trainables.workers.jobs import ConfirmJob, PointJob, Report


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What applying a recipe leaves.

    Attributes:
        document: The recipe with what it scored here.
        compared: On the search split, and on the confirm split where there is one.
        folder: Where the files lie.
        caveat: In what the recipe was applied otherwise than it was found; empty where in nothing.
        warnings: What could not be recorded, one line each.
    """

    document: RecipeDocument
    compared: tuple[Compared, ...]
    folder: StudyFolder
    caveat: str
    warnings: tuple[str, ...]


def apply_recipe(
    found: RecipeDocument, document: RecipeDocument, prepared: Prepared, *, seed: int, console: Console
) -> Applied:
    """Train a recipe, on the cluster of `RAY_ADDRESS` or on this machine, and write what it leaves.

    Args:
        found: The recipe as it was selected.
        document: The same as it is trained, with the fields that the user changed.
        prepared: The study's checked input; its MLflow store must be prepared.
        seed: Fixes the order of the data, and new adapters.
        console: Where the progress is shown.

    Raises:
        InputError: The cluster can't be reached or is too small, or the folder can't be made.
        StudyFailed: The base could not be evaluated, training failed, or Ray did.
    """
    with started(console) as (nodes, grows):
        prepared, placement = placed(prepared, nodes, console)
        config = prepared.config
        folder = StudyFolder(config.folder.absolute())
        make_anew(folder.root, {folder.study.name: dump_study(config).encode()})
        if prepared.bad:
            write_atomically(folder.bad_samples, bad_csv(prepared.bad).encode())
        made_with = versions()
        with StudyTracker(config.tracking.uri, config.tracking.experiment) as tracker:
            tags = {**made_with, **data_tags(prepared.leaks, prepared.bad)}
            tracker.start_study(
                config,
                tags=tags,
                fingerprints=prepared.data_fingerprints,
                study_id=uuid4().hex,
                kind="apply",
            )
            with open_pool(prepared, placement, folder.ray, grows=grows) as pool:
                run = StudyRun(
                    prepared=prepared,
                    folder=folder,
                    tracker=tracker,
                    console=console,
                    placement=placement,
                    pool=pool,
                    versions=made_with,
                )
                done = _recorded(run, found, document, seed)
    return replace(done, warnings=tuple(tracker.warnings))


def _recorded(run: StudyRun, found: RecipeDocument, document: RecipeDocument, seed: int) -> Applied:
    """Train, write the folder, and record both in MLflow."""
    recipe = document.recipe
    assert recipe is not None
    lines = caveats(found, list(document.recipes.values()), circumstances(document, run.prepared))
    if caveat := caveat_sentence(recipe, lines):
        run.console.print(f"note: {caveat}")
    folder, tracker, metrics = run.folder, run.tracker, dict[str, float]()
    try:
        compared, manifest, measured = _trained(run, document, seed)
        for each in compared:
            base, tuned = _files(folder, each.split)
            write_atomically(base, evaluations_json(each.base))
            write_atomically(tuned, evaluations_json(each.tuned))
        done = applied_document(document, run, compared, manifest, seed=seed, caveats=lines)
        write_atomically(folder.recipe, recipe_yaml(done).encode())
        write_atomically(folder.selected / CARD, applied_card(run.config, done, compared).encode())
        tracker.log_artifacts([folder.recipe, folder.selected])
        metrics = measured
    finally:
        tracker.finish(succeeded=bool(metrics), metrics=metrics)
    return Applied(document=done, compared=compared, folder=folder, caveat=caveat, warnings=())


def _files(folder: StudyFolder, split: str) -> tuple[Path, Path]:
    """Return where the base's and the tuned model's points on each sample of a split are kept."""
    if split == "search":
        return folder.base, folder.root / EVALUATIONS_FILE
    return folder.confirm_base, folder.root / CONFIRM_FILE


def circumstances(document: RecipeDocument, prepared: Prepared) -> Circumstances:
    """Return on what a recipe is trained, as far as its learning rate depends on it."""
    outline = prepared.outline
    variants = {recipe.variant for recipe in document.recipes.values()}
    manifests = [manifest for variant in variants for manifest in outline.ranges[variant]]
    return Circumstances(
        architecture=outline.architecture,
        model_type=outline.full.model_type,
        parameters=outline.full.total,
        trained=point_manifest(manifests).count,
        dtype=prepared.config.model.dtype,
        fingerprint=prepared.model_fingerprint,
        train={split: prepared.data_fingerprints[split] for split in _trained_on(document, prepared)},
    )


def _trained_on(document: RecipeDocument, prepared: Prepared) -> Iterator[str]:
    drawn = prepared.replay if any(recipe.replay_ratio for recipe in document.recipes.values()) else ()
    for task in (*prepared.setup.tasks, *drawn):
        if task.train:
            yield f"{task.name}/train"


def _trained(
    run: StudyRun, document: RecipeDocument, seed: int
) -> tuple[tuple[Compared, ...], TrainableManifest, dict[str, float]]:
    """Train, evaluate and write the weights; return what was measured, what was trained, and the metrics."""
    run.console.print("loading the base model into its worker groups and evaluating it")
    with run.console.status("loading and evaluating the base model"):
        base, cached = run.base()
    run.tracker.log_base(base, cached)
    for line in base_lines(run.config, base):
        run.console.print(line)
    maker = _Maker(run, document, seed)
    with step(run.console, "training"):
        maker.train(base)
    with step(run.console, "evaluating"):
        tuned, metrics = maker.evaluated()
        compared = [compare(run.config, "search", base, tuned)]
        if (data := run.prepared.confirm) is not None:
            confirm_base = run.base_on_confirm(data, lambda: maker.job(ConfirmJob(data=data)).evaluations)
            scored = maker.job(ConfirmJob(data=data, point=maker.point, members=maker.members))
            compared.append(compare(run.config, "confirm", confirm_base, scored.evaluations))
    maker.write_selected()
    for each in compared:
        prefix = "" if each.split == "search" else f"{each.split}/"
        objective = objective_of(run.config, each.base)
        found = score_metrics(each.tuned, objective=objective)
        metrics |= {f"{prefix}{name}": value for name, value in found.items()}
    return tuple(compared), maker.trained, metrics


class _Maker:
    """Makes the weights that a recipe stands for.

    Args:
        run: Where it is trained.
        document: The recipe.
        seed: The seed.
    """

    def __init__(self, run: StudyRun, document: RecipeDocument, seed: int) -> None:
        self._run = run
        self._document = document
        self._seed = seed
        self._shape = run.placement.shape_for(recipe.variant for recipe in document.recipes.values())
        self._ended: dict[int, Retrained] = {}

    @property
    def point(self) -> Point:
        """What is made of the trained weights."""
        return self._document.made

    @property
    def members(self) -> tuple[TrainedWeights, ...]:
        """The trained weights."""
        return tuple(self._ended[each.trial].weights(each.step) for each in self.point.members)

    def train(self, base: Evaluations) -> None:
        """Train what the point is made of.

        Raises:
            StudyFailed: Training failed.
        """
        steps: dict[int, set[int]] = {}
        for member in self.point.members:
            steps.setdefault(member.trial, set()).add(member.step)
        recipes = self._document.recipes
        wanted = {trial: (recipes[trial], tuple(sorted(found))) for trial, found in steps.items()}
        objective, folder = objective_of(self._run.config, base), self._run.folder.trials
        for ended in retrain(self._run, objective, wanted, seed=self._seed, folder=folder):
            if ended.error is not None:
                raise StudyFailed(f"training failed: {ended.error}")
            self._ended[ended.trial] = ended

    def evaluated(self) -> tuple[Evaluations, dict[str, float]]:
        """Return what the point scores on the search split, and what else was measured."""
        if isinstance(self.point.transform, Identity):
            own, step = self._ended[self.point.trial], self.point.step
            return own.evaluations[step], dict(own.rung(step).metrics)
        report = self.job(PointJob(point=self.point, members=self.members))
        return report.evaluations, dict(report.metrics)

    def job(self, job: PointJob | ConfirmJob) -> Report:
        """Have one job done.

        Raises:
            StudyFailed: It failed.
        """
        ((_, report),) = run_jobs(self._run.pool, {"point": (self._shape, job)}, at_a_time=1)
        if report.error is not None:
            raise StudyFailed(report.error)
        return report

    @property
    def trained(self) -> TrainableManifest:
        """What was trained; of a soup, all that its members did."""
        return point_manifest([each.manifest for each in self.members])

    def write_selected(self) -> None:
        """Write the point's weights to the folder."""
        folder = self._run.folder
        if isinstance(self.point.transform, Identity):
            (own,) = self.members
            weights, manifest, sha256 = Path(own.path), own.manifest, own.sha256
        else:
            target = folder.trials / "point.safetensors"
            report = self.job(PointJob(point=self.point, members=self.members, write_to=str(target)))
            assert report.manifest is not None
            assert report.checkpoint is not None
            manifest, sha256 = TrainableManifest.from_dict(report.manifest), report.checkpoint.sha256
            weights = target
        fingerprint = self._run.prepared.model_fingerprint
        try:
            export_delta(weights, manifest.to_dict(), fingerprint, folder.selected, sha256=sha256)
        except CheckpointError as error:
            raise StudyFailed(f"the trained weights can't be handed over: {error}") from None
        # What was trained is handed over; what it was made of can be made again.
        shutil.rmtree(folder.trials)
