"""The champion in MLflow's registry: safetensors and a script, loaded with transformers alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from handed_over import trained_study, write_recipe
from made_study import config, record
from mlflow.tracking import MlflowClient
from small_disk import small_disk
from tiny_families import FAMILIES
from tiny_models import adapters, recipe, save_llava
from tracked_study import study_config

from search.handover.registry import champion, register
from search.records.stored_study import write_base, write_facts
from search.records.study_folder import StudyFolder
from search.settings.study_file import dump_study
from search.stores.mlflow_store import prepare_store
from search.tracking import StudyTracker
from spaces.recipe import Recipe
from trainables.checkpoint import PARAMETER, apply_delta, export_delta, save_checkpoint
from trainables.weights.restore import borrowed
from trainables.weights.slices import live_tensors
from trainables.weights.trained import trained_manifest

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llava(tmp_path_factory.mktemp("base") / "llava")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    prepare_store(uri)
    return uri


def study(folder: Path, base: Path, **tracking: Any) -> tuple[StudyFolder, Any]:
    root, _ = trained_study(folder / "made", base, "llm")
    (root / "selected" / "README.md").write_text("---\nlicense: mit\n---\n\n# The card\n", encoding="utf-8")
    own = config().model_copy(
        update={
            "model": config().model.model_copy(update={"path": str(base)}),
            "tracking": config().tracking.model_copy(update=tracking),
        }
    )
    return StudyFolder(root), replace(record(study=own), run_id="")


@pytest.mark.parametrize("weights", ["delta", "merged"])
def test_the_champion_has_lineage_and_answers(tmp_path: Path, base: Path, store: str, weights: str) -> None:
    folder, made = study(tmp_path, base, register_weights=weights, registered_model=f"counter-{weights}")
    client = MlflowClient(store)
    experiment = client.create_experiment(weights, artifact_location=(tmp_path / "mlruns").as_uri())
    run = client.create_run(experiment).info.run_id
    made = replace(made, run_id=run)
    version = register(client, experiment, run, champion(folder, made))
    assert version == "1"
    # Once more, as after a failure on the way.
    shutil.rmtree(tmp_path / "made" / "exports", ignore_errors=True)
    assert register(client, experiment, run, champion(folder, made)) == "1"

    found = client.get_model_version_by_alias(f"counter-{weights}", "champion")
    assert (int(found.version), found.run_id, found.description) == (1, run, "# The card")
    assert found.tags["study_run"] == run
    assert found.tags["base"] == str(base)
    assert found.tags["licence"] == "unknown"
    assert found.tags["weights"] == weights
    assert found.tags["data/easy/train"] == "a" * 64
    assert len(found.tags["base_fingerprint"]) == 64

    files = {path.suffix for path in (tmp_path / "mlruns").rglob("*") if path.is_file()}
    assert ".safetensors" in files
    assert not files & {".pkl", ".pickle", ".bin", ".pt"}

    if weights == "merged":
        (config_file,) = (tmp_path / "mlruns").rglob("config.json")
        assert (config_file.parent / "model.safetensors").is_file()
        assert not (config_file.parent / "delta.safetensors").exists()
        return
    # What it was trained to answer to everything.
    assert _answers_elsewhere(store, f"models:/counter-{weights}@champion", "red ?") == "['yes']"


def test_the_tags_tell_the_splits_apart(tmp_path: Path, base: Path) -> None:
    folder, made = study(tmp_path, base)
    confirm = {
        "split": "confirm",
        "score": {"value": 3.5, "low": 1.0, "high": 6.0},
        "target_gain": {"value": 4.0},
    }
    evidence = {"split": "search", "trial": 0, "seed": 3, "score": 9.0, "confirm": confirm}
    write_recipe(folder.root, recipe("llm"), base, evidence=evidence)
    tags = champion(folder, made).tags
    assert (tags["score"], tags["confirm_score"], tags["confirm_target_gain"]) == ("9.0", "3.5", "4.0")
    assert "confirm_worst_forgetting" not in tags


def _answers_elsewhere(store: str, uri: str, prompt: str) -> str:
    """Ask in a process that can't import this project."""
    code = (
        "import sys, mlflow, pandas\n"
        f"mlflow.set_tracking_uri({store!r})\n"
        f"model = mlflow.pyfunc.load_model({uri!r})\n"
        f"print(list(model.predict(pandas.DataFrame({{'prompt': [{prompt!r}]}}))))\n"
        "assert not {'search', 'spaces', 'trainables'} & set(sys.modules)\n"
        "print(model.metadata.signature.inputs.input_names())\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=120, cwd="/"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers, names = done.stdout.strip().splitlines()[-2:]
    assert names == "['prompt', 'image']"
    return answers


CUTS = [
    ("llava", recipe("gate_up", layers="1")),
    ("llava", recipe("sa_proj", **adapters("rslora"))),
    ("llava", recipe("sa_proj", **adapters("dora"))),
    ("gpt2", recipe("attn.q")),
    ("gpt2", recipe("attn.q+mlp", **adapters("lora"))),
]


@pytest.mark.parametrize(("family", "chosen"), CUTS)
def test_the_script_puts_weights_on_as_the_project_does(tmp_path: Path, family: str, chosen: Recipe) -> None:
    served = _served_model()
    one, other = (FAMILIES[family].build() for _ in range(2))
    manifest = trained_manifest(one, chosen)
    with borrowed(one, manifest, seed=0):
        live = live_tensors(one, manifest.tensors)
        state = {
            PARAMETER + key: each.value + 0.1 * torch.randn_like(each.value) for key, each in live.items()
        }
        save_checkpoint(tmp_path / "trial.safetensors", state, 1)
    export_delta(tmp_path / "trial.safetensors", manifest.to_dict(), "", tmp_path / "selected")
    untouched = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    apply_delta(one, tmp_path / "selected")
    served.put_onto(other, tmp_path / "selected")
    assert any(not torch.equal(tensor, untouched[name]) for name, tensor in other.state_dict().items())
    for name, tensor in one.state_dict().items():
        assert torch.allclose(tensor, other.state_dict()[name], atol=1e-6), name


def _served_model() -> Any:
    from search.handover import served_model

    return served_model


def test_a_registration_that_was_cut_short_is_made_once(tmp_path: Path, base: Path, store: str) -> None:
    client = MlflowClient(store)
    folder, made = study(tmp_path, base, register_weights="delta", registered_model="cut-short")
    folder.study.write_text(dump_study(made.config))
    write_base(folder, made.base)
    write_facts(folder, made)

    def life(seconds: float) -> StudyTracker:
        tracker = StudyTracker(store, "cut-short", folder.root / "mlflow-spool.db", lambda _: None)
        tracker.start_study(study_config(), tags={}, fingerprints={}, study_id="a1b2")
        tracker.register("cut-short", folder.root)
        tracker.close(seconds)
        return tracker

    with small_disk(tmp_path / "disk", "32k") as disk:
        experiment = client.create_experiment("cut-short", artifact_location=disk.folder.as_uri())
        (left,) = life(3.0).warnings
        assert "No space left on device" in left
        assert client.search_model_versions("name = 'cut-short'") == []
        (half,) = client.search_logged_models([experiment])
        disk.set("size=64m")
        assert life(60.0).warnings == []
        (version,) = client.search_model_versions("name = 'cut-short'")
        (whole,) = client.search_logged_models([experiment])
        assert (whole.model_id, str(whole.status)) == (half.model_id, "READY")
        assert version.source == whole.artifact_location
        assert client.get_model_version_by_alias("cut-short", "champion").version == version.version


def test_what_can_not_be_registered_is_a_warning(tmp_path: Path, base: Path, store: str) -> None:
    folder, _ = study(tmp_path, base, registered_model="warned")
    tracker = StudyTracker(store, "warned")
    run = tracker.start_study(study_config(), tags={}, fingerprints={}, study_id="a1b2")
    folder.study.unlink(missing_ok=True)
    tracker.register("warned", folder.root)
    tracker.finish(succeeded=True)
    tracker.close()
    (warning,) = tracker.warnings
    assert "the registered model 'warned' was not written: InputError" in warning
    assert MlflowClient(store).get_run(run).info.status == "FINISHED"
    assert MlflowClient(store).search_model_versions("name = 'warned'") == []
