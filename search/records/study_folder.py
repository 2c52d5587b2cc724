"""StudyFolder: names of the files in a study's folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from search.settings.user_input import InputError
from trainables.files import write_atomically


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
    def identity(self) -> Path:
        """What tells the study from others of its name, and when it was run."""
        return self.root / "identity.json"

    @property
    def spool(self) -> Path:
        """What MLflow has been told, and what it has yet to be told."""
        return self.root / "mlflow-spool.db"

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


def check_output(folder: Path) -> None:
    """Refuse a place where no study's folder can be made, before anything is begun.

    Raises:
        InputError: It can't be; the message names the key.
    """
    try:
        place = next(each for each in folder.absolute().parents if os.path.lexists(each))
        reason = None if place.is_dir() else f"{place} is no folder"
        if reason is None:
            # Rights alone don't tell: root has them in /proc and on a disk that is mounted to be read.
            tempfile.TemporaryDirectory(dir=place).cleanup()
    except OSError as error:
        reason = error.strerror
    if reason is not None:
        raise InputError(f"output: {folder} can't be made: {reason}")


def make_anew(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder for a study, all of it or nothing; an earlier one's is replaced, and nothing else.

    Args:
        folder: The study's folder.
        files: Name -> content of what it holds from the first.

    Raises:
        InputError: What lies there is no study's folder, or it can't be made.
    """
    new, old = (folder.with_name(f".{folder.name}.{kind}") for kind in ("new", "old"))
    try:
        if folder.exists() and not StudyFolder(folder).study.is_file() and any(folder.iterdir()):
            raise InputError(f"output: {folder} is not a study's folder, so it is not replaced")
        for left in (new, old):
            if left.exists():
                shutil.rmtree(left)
        new.mkdir(parents=True)
        for name, content in files.items():
            write_atomically(new / name, content)
        if folder.exists():
            folder.replace(old)
        new.replace(folder)
        if old.exists():
            shutil.rmtree(old)
    except OSError as error:
        raise InputError(f"output: {folder} can't be made: {error.strerror}") from None
