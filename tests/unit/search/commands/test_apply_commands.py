"""`apply` and `evaluate` refuse a wrong input in one line, before anything is started or written."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_study import LORA
from tiny_models import save_llama

from search.cli import main
from search.handover.recipe_document import RecipeDocument, recipe_yaml
from spaces.recipe import Recipe

RECIPE = Recipe(subset="sa_proj", learning_rate=1e-4, steps=4, batch_size=4)
STUDY: dict[str, Any] = {
    "name": "made",
    "model": {"path": "tiny-llava"},
    "targets": ["counting"],
    "held_out": ["compare_numbers"],
    "training": {"samples": 6},
    "evaluation": {"samples": 3},
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], home: Path, *arguments: str) -> str:
    """Run a command that must refuse its input; return what it said."""
    before = sorted(home.rglob("*"))
    capsys.readouterr()
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    added = {path.relative_to(home).parts[0] for path in set(home.rglob("*")) - set(before)}
    assert added <= {"runs"}
    assert not [path for path in home.glob("runs/*") if path.name != ".cache"]
    return said.removeprefix("error: ").removesuffix("\n")


def recipe(home: Path, document: RecipeDocument | None = None, **fields: Any) -> str:
    found = document or RecipeDocument(recipe=dataclasses.replace(RECIPE, **fields))
    (home / "recipe.yaml").write_text(recipe_yaml(found))
    return "recipe.yaml"


def test_a_subset_that_the_architecture_lacks(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    llama = str(save_llama(home / "llama"))
    held_out = "held_out=[compare_numbers]"
    file = recipe(home, subset="projector")
    said = refused(capsys, home, "apply", file, "study.yaml", f"model.path={llama}", held_out)
    assert said.startswith("subset 'projector' matches no parameter of this model, whose roles are: attn.k")


def test_layers_beyond_the_model_s(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, home, "apply", recipe(home, layers="90-95"), "study.yaml")
    assert "90-95" in said


def test_adapters_on_what_has_no_linear_layer(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, home, "apply", recipe(home, subset="norm", **LORA), "study.yaml")
    assert said.startswith("LoRA needs linear layers, and subset 'norm' holds none on this model")


def test_fields_of_adapters_without_adapters(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, home, "apply", recipe(home), "study.yaml", "recipe.lora_rank=8")
    assert said == "recipe.*: recipe field lora_rank must be left out with the method 'selective', got 8"


def test_a_verdict_to_keep_the_base(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = recipe(home, RecipeDocument(recipe=None, verdict="keep the base"))
    said = refused(capsys, home, "apply", file, "study.yaml")
    assert said == "recipe.yaml: the verdict is to keep the base, so there is nothing to apply"


def test_an_earlier_result_is_not_replaced_unasked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "runs" / "made-applied").mkdir(parents=True)
    assert main(["apply", recipe(home), "study.yaml"]) == 2
    assert "runs/made-applied exists already: give the result another name=" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["apply", "evaluate"])
def test_a_cluster_s_client_is_sent_to_its_head(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    path = recipe(home) if command == "apply" else "base"
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:1")
    assert "through ray://127.0.0.1:1; " in refused(capsys, home, command, path, "study.yaml")


def test_nothing_to_evaluate_is_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, home, "evaluate", "nothing", "study.yaml")
    assert said.startswith("nothing: expected 'base', a folder with delta.safetensors (a study's selected/)")
    recipe(home)
    said = refused(capsys, home, "evaluate", ".", "study.yaml")
    assert said == "recipe.yaml: its weights are not there: no selected/delta.safetensors"


def test_a_split_that_is_not_scored_is_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, home, "evaluate", "base", "study.yaml", "--split", "train")
    assert said == "--split train: expected one of: confirm, search"
    (home / "kept.jsonl").write_text('{"prompt": "a", "answer": "b"}\n')
    own = "tasks={kept: {search: kept.jsonl}}"
    said = refused(
        capsys, home, "evaluate", "base", "study.yaml", own, "held_out=[kept]", "--split", "confirm"
    )
    assert said == "--split confirm: task 'kept' has none"


def test_weights_of_another_base_are_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import hashlib

    folder = home / "selected"
    folder.mkdir()
    (folder / "delta.safetensors").write_bytes(b"delta")
    manifest = {"model_type": "llava", "family": "llava", "subset": "mlp", "layers": "all", "total": 1}
    manifest |= {"parameters": [], "adapters": None, "distilled": False, "base_fingerprint": "f" * 64}
    manifest |= {"sha256": hashlib.sha256(b"delta").hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    said = refused(capsys, home, "evaluate", "selected", "study.yaml")
    assert said.startswith("selected was trained from another base than 'tiny-llava': its fingerprint is ")
    assert said.endswith(", not ffffffffffff; --any-base evaluates it all the same")
    (folder / "delta.safetensors").write_bytes(b"other")
    assert "is damaged" in refused(capsys, home, "evaluate", "selected", "study.yaml")


@pytest.mark.parametrize("seed", ["x", "-1", "4294967296", "1.5"])
def test_a_seed_that_is_none(home: Path, capsys: pytest.CaptureFixture[str], seed: str) -> None:
    said = refused(capsys, home, "apply", recipe(home), "study.yaml", "--seed", seed)
    assert said == f"--seed: expected a whole number from 0 to 4294967295, got {seed!r}"


def test_a_folder_is_not_taken_for_a_study_file_near_itself(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "dir.yaml").mkdir()
    said = refused(capsys, home, "evaluate", "base", "dir.yaml")
    assert said == "dir.yaml: expected a study file, but this is a folder"
    assert refused(capsys, home, "evaluate", "base", "dir.yml") == "dir.yml: no such study file"
