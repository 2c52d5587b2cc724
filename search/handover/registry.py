"""The selected model in MLflow's model registry: a version with the alias `champion`, signature and lineage.

What is registered is safetensors and one script (`search.handover.served_model`); nothing is pickled.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from search.config import StudyConfig
from search.decision.evidence import MEASURES
from search.exports.source import read_source
from search.exports.targets import export_to
from search.handover.licences import CARD, licence_of
from search.handover.recipe_document import RecipeDocument, read_recipe
from search.labels import recipe_label
from search.records.stored_study import read_study
from search.records.study_folder import StudyFolder
from search.records.study_record import StudyRecord
from search.stores.mlflow_store import quiet
from trainables.model import model_source

ALIAS: Final = "champion"
_ARTIFACT: Final = "selected"
_PACKAGES: Final = ("torch", "transformers")
_NEW_TOKENS: Final = 64
_LONGEST_TAG: Final = 5000
_CONTENT: Final = "sha256"


@dataclass(frozen=True, kw_only=True)
class Champion:
    """What is registered.

    Attributes:
        name: Name of the registered model.
        weights: The folder of the trained weights, or of the merged model.
        base: What the base is loaded by: a hub id, or a folder.
        dtype: Type of the weights.
        tags: What it came from.
        description: The model card, in Markdown.
        versions: Package -> version, of what the study ran with.
    """

    name: str
    weights: Path
    base: str
    dtype: str
    tags: Mapping[str, str]
    description: str
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """SHA-256 over all files of the weights."""
        digest = hashlib.sha256()
        for file in sorted(path for path in self.weights.rglob("*") if path.is_file()):
            digest.update(file.relative_to(self.weights).as_posix().encode() + b"\0")
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()


def champion(folder: StudyFolder, record: StudyRecord) -> Champion:
    """Return what is registered of a study that has selected a recipe; merges the weights if it says so.

    Args:
        folder: The study's folder, with recipe, selected weights and their card.
        record: What the study measured.
    """
    config, document = record.config, read_recipe(folder.recipe)
    assert document.recipe is not None
    weights = folder.selected
    if config.tracking.register_weights == "merged":
        weights = folder.root / "exports" / "transformers"
        export_to("transformers", read_source(folder.root), weights)
    base = model_source(config.model.path)
    card = (folder.selected / CARD).read_text(encoding="utf-8")
    return Champion(
        name=registered_name(config),
        weights=weights,
        base=str(Path(base).absolute()) if Path(base).is_dir() else base,
        dtype=config.model.dtype,
        tags=_lineage(config, document, record.run_id),
        description=card.partition("\n---\n")[2].strip(),
        versions=document.versions,
    )


def register_selected(client: Any, experiment_id: str, run_id: str, folder: Path) -> str:
    """Register what a study's folder has selected; return the version. See `register`.

    Args:
        client: MLflow's client.
        experiment_id: The study's experiment.
        run_id: The study's run.
        folder: The study's folder.
    """
    chosen = champion(StudyFolder(folder), read_study(folder))
    return register(client, experiment_id, run_id, chosen)


def registered_name(config: StudyConfig) -> str:
    """Return the registered model's name."""
    return config.tracking.registered_model or config.name


def _lineage(config: StudyConfig, document: RecipeDocument, run_id: str) -> dict[str, str]:
    assert document.recipe is not None
    evidence = document.evidence or {}
    confirm = evidence.get("confirm") or {}
    lineage = {
        "study": config.name,
        "study_run": run_id,
        "recipe": recipe_label(document.recipe),
        "weights": config.tracking.register_weights or "",
        "base": config.model.path,
        "base_fingerprint": document.model.fingerprint if document.model else "",
        "licence": licence_of(config.model.path) or "unknown",
        **{name: str(evidence[name]) for name in MEASURES if name in evidence},
        **{f"confirm_{name}": str(confirm[name]["value"]) for name in MEASURES if name in confirm},
        **{f"data/{name}": digest for name, digest in document.data.items()},
    }
    return {name: value[:_LONGEST_TAG] for name, value in lineage.items() if value}


def register(client: Any, experiment_id: str, run_id: str, chosen: Champion) -> str:
    """Register a model as a new version and make it the champion; return the version.

    The same weights of the same run are registered once, however often this is called.

    Args:
        client: MLflow's client.
        experiment_id: The study's experiment.
        run_id: The study's run.
        chosen: What to register.
    """
    content = chosen.content
    _make_sure_of(client, chosen.name)
    for known in client.search_model_versions(f"name = '{chosen.name}'"):
        if known.run_id == run_id and known.tags.get(_CONTENT) == content:
            client.set_registered_model_alias(chosen.name, ALIAS, known.version)
            return str(known.version)
    logged = _logged_model(client, experiment_id, run_id, chosen, content)
    try:
        with tempfile.TemporaryDirectory() as home:
            written = Path(home) / "model"
            _write(written, chosen, logged.model_id, run_id)
            client.log_model_artifacts(logged.model_id, str(written))
    except Exception:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")
    made = client.create_model_version(
        chosen.name,
        # `models:/<id>` would be looked for in MLflow's global store.
        source=logged.artifact_location,
        run_id=run_id,
        model_id=logged.model_id,
        tags={**chosen.tags, _CONTENT: content},
        description=chosen.description,
    )
    client.set_registered_model_alias(chosen.name, ALIAS, made.version)
    return str(made.version)


def _logged_model(client: Any, experiment_id: str, run_id: str, chosen: Champion, content: str) -> Any:
    """Return the model that a version is made of: what an attempt that was cut short left, else a new one."""
    left = client.search_logged_models([experiment_id], f"tags.{_CONTENT} = '{content}'")
    for found in left:
        if (found.source_run_id, found.name) == (run_id, chosen.name):
            return found
    return client.create_logged_model(
        experiment_id,
        name=chosen.name,
        source_run_id=run_id,
        model_type="recipe-search",
        tags={**chosen.tags, _CONTENT: content},
    )


def _make_sure_of(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(
            name, description="Selected by recipe-search; the alias `champion` is the latest study's choice."
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _write(folder: Path, chosen: Champion, model_id: str, run_id: str) -> None:
    """Write the model as MLflow keeps it."""
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema

    inputs = [ColSpec("string", "prompt"), ColSpec("string", "image", required=False)]
    with quiet("mlflow.pyfunc"):
        mlflow.pyfunc.save_model(
            str(folder),
            python_model=str(Path(__file__).with_name("served_model.py")),
            artifacts={_ARTIFACT: str(chosen.weights)},
            signature=ModelSignature(inputs=Schema(inputs), outputs=Schema([ColSpec("string")])),
            model_config={"base": chosen.base, "dtype": chosen.dtype, "new_tokens": _NEW_TOKENS},
            # Given, or MLflow would run the model to find out.
            pip_requirements=[
                *(
                    f"{name}=={_public(chosen.versions[name])}"
                    for name in _PACKAGES
                    if name in chosen.versions
                ),
                "mlflow",
                "pillow",
                "safetensors",
            ],
            input_example={"prompt": ["What is in the picture?"]},
            mlflow_model=Model(run_id=run_id, model_id=model_id),
            metadata={"study": chosen.tags.get("study", "")},
        )


def _public(version: str) -> str:
    """Return a version without the part that names a build, such as `+cpu`."""
    return version.partition("+")[0]
