"""StudyFolder: names of the files in a study's folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from search.settings.user_input import InputError


@dataclass(frozen=True)
class StudyFolder:
    """Names of the files in a study's folder.

    Attributes:
        root: The folder.
    """

    root: Path

    @property
    def study(self) -> Path:
        """The resolved study file."""
        return self.root / "study.yaml"

    @property
    def trials_table(self) -> Path:
        """One row a trial."""
        return self.root / "trials.csv"

    @property
    def points_table(self) -> Path:
        """One row a point; only where points were evaluated."""
        return self.root / "points.csv"

    @property
    def bad_samples(self) -> Path:
        """One row a sample that was left out, since it can't be used; only where there are any."""
        return self.root / "bad_samples.csv"

    @property
    def recipe(self) -> Path:
        """The selected recipe with its evidence."""
        return self.root / "recipe.yaml"

    @property
    def rule(self) -> Path:
        """The rule that `select` applied, where it is not the study's own."""
        return self.root / "rule.yaml"

    @property
    def report(self) -> Path:
        """The page for a person."""
        return self.root / "report.html"

    @property
    def plots(self) -> Path:
        """The report's plots as plotly JSON, for use elsewhere."""
        return self.root / "plots"

    @property
    def selected(self) -> Path:
        """The selected weights."""
        return self.root / "selected"

    @property
    def trials(self) -> Path:
        """One folder a trial: manifest, per-sample evaluations and trained parameters."""
        return self.root / "trials"

    @property
    def points(self) -> Path:
        """One folder a point: per-sample evaluations, and the weights of the selected one."""
        return self.root / "points"

    @property
    def facts(self) -> Path:
        """What no file of a trial or point tells: versions, fingerprints, times."""
        return self.root / "record.json"

    @property
    def base(self) -> Path:
        """What the untouched model scored on each sample of the search split."""
        return self.root / "base.json"

    @property
    def finalists(self) -> Path:
        """One folder a finalist, with one for each of its runs, and `trained` for what they were made of."""
        return self.root / "finalists"

    @property
    def confirm_base(self) -> Path:
        """What the untouched model scored on each sample of the confirm split; only with finalists."""
        return self.root / "confirm_base.json"

    @property
    def predictions(self) -> Path:
        """One table a model: its answer to every sample."""
        return self.root / "predictions"

    @property
    def sampler(self) -> Path:
        """The Optuna study, unless it lies in a database."""
        return self.root / "optuna.journal"

    @property
    def ray(self) -> Path:
        """Tune's and Train's own state."""
        return self.root / "ray"


def make_anew(folder: Path) -> None:
    """Make an empty folder for a study; an earlier one's is replaced, and nothing else.

    Raises:
        InputError: What lies there is no study's folder, or it can't be made.
    """
    try:
        if folder.exists():
            if not StudyFolder(folder).study.is_file() and any(folder.iterdir()):
                raise InputError(f"output: {folder} is not a study's folder, so it is not replaced")
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"output: {folder} can't be made: {error.strerror}") from None
