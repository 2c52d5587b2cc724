from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import pytest
import torch
import yaml
from made_study import BASE, Answered, config, finalist, record, trial, with_answers
from safetensors.torch import load_file

from search.handover.recipe_document import RecipeDocument
from search.handover.study_files import recipe_document, write_results
from search.records.predictions import Whose, read_whose
from search.records.study_folder import StudyFolder
from search.results import PointResult, TrialResult, TrialState
from search.selection import select
from search.settings.study_file import parse_study
from spaces.points import Interpolation, Member, Point, Soup, Transform
from spaces.recipe import Recipe
from trainables.checkpoint import save_checkpoint
from trainables.data.samples import Sample
from trainables.manifest import TrainableManifest, TrainedParameter

WEIGHTS = {"parameter/a.weight": torch.tensor([1.0, 2.0]), "parameter/b.bias": torch.tensor([3.0])}
MANIFEST = {
    "model_type": "llava",
    "family": "llava",
    "subset": "gate_up",
    "trained": 3,
    "total": 12,
    "by_role": {"mlp.gate": 2, "mlp.up": 1},
    "adapters": None,
}
PARAMETERS = (
    TrainedParameter("a.weight", "mlp.gate", 0, (2, 2), 4, 16),
    TrainedParameter("b.bias", "mlp.up", 0, (3,), 3, 12),
)


def with_weights(folder: StudyFolder, made: TrialResult) -> TrialResult:
    """Give a made trial the files that a worker leaves."""
    home = folder.trials / made.trial_id
    pointer = save_checkpoint(home / "step_000040.safetensors", WEIGHTS, 40)
    (home / "manifest.json").write_text(json.dumps(MANIFEST))
    *before, last = made.rungs
    return dataclasses.replace(made, rungs=(*before, dataclasses.replace(last, weights=pointer.path)))


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path / "runs" / "made")


def handed_over(folder: StudyFolder, *trials: TrialResult) -> dict[str, object]:
    study = dataclasses.replace(
        record(trials),
        model_fingerprint="f1",
        architecture="LlavaForConditionalGeneration",
        data_fingerprints={"count/train": "d1"},
    )
    write_results(folder, study, select(study.trials, study.objective))
    document = yaml.safe_load(folder.recipe.read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def test_the_selected_recipe_with_its_evidence(folder: StudyFolder) -> None:
    """Gains 40 and 0, mean 20; drops 4 and 0, mean 2: the score is 18."""
    better = with_weights(folder, trial(1, [{"count": 30.0}, {"count": 50.0, "colour": 86.0}], preset="p"))
    worse = trial(0, [{"count": 12.0}])
    pruned = trial(2, [{"count": 90.0}], state=TrialState.PRUNED)
    failed = trial(3, state=TrialState.FAILED, error="loss is nan at step 2")
    document = handed_over(folder, worse, better, pruned, failed)

    assert document["verdict"] == "use this recipe"
    assert document["point"] == {"trial": 1, "step": 40, "transform": "identity"}
    assert document["points"] == 0
    assert Recipe.from_dict(document["recipe"]) == better.recipe  # type: ignore[arg-type]
    assert document["model"] == {"path": "tiny-llava", "dtype": "float32", "fingerprint": "f1"}
    assert document["architecture"] == {
        "name": "LlavaForConditionalGeneration",
        "model_type": "llava",
        "family": "llava",
        "parameters": 12,
    }
    assert document["trained"] == {"roles": {"mlp.gate": 2, "mlp.up": 1}, "parameters": 3}
    assert RecipeDocument.from_dict(document, "recipe.yaml").recipe == better.recipe
    assert document["evidence"] == {
        "split": "search",
        "trial": 1,
        "trial_id": "id1",
        "seed": 5,
        "score": 18.0,
        "target_gain": 20.0,
        "held_out_forgetting": 2.0,
        "worst_forgetting": 4.0,
        "targets": {
            "count": {"base": 10.0, "tuned": 50.0, "n": 100},
            "clock": {"base": 20.0, "tuned": 20.0, "n": 100},
        },
        "held_out": {
            "colour": {"base": 90.0, "tuned": 86.0, "n": 100},
            "shape": {"base": 80.0, "tuned": 80.0, "n": 100},
        },
    }
    assert document["objective"] == {"forgetting_weight": 1.0, "max_forgetting": None}
    assert document["trials"] == {"COMPLETE": 2, "PRUNED": 1, "FAILED": 1}
    assert document["data"] == {"count/train": "d1"}
    assert document["versions"] == {"torch": "2.13.0"}
    assert "trial 1" in str(document["reason"])


def test_the_worst_drop_over_seeds_is_that_of_the_mean_values() -> None:
    """One seed drops 20 on colour, the other on shape: each drops 10 on average, and no task more."""
    seeds = [{**BASE, "count": 60.0, "colour": 70.0}, {**BASE, "count": 60.0, "shape": 60.0}]
    again = finalist("trial 0", *seeds)
    study = dataclasses.replace(
        record([trial(0, [{"count": 60.0}])]), finalists=(again,), confirm_base=record().base
    )
    selection = dataclasses.replace(select(study.trials, study.objective), finalist=again)
    confirm = recipe_document(study, selection)["evidence"]["confirm"]
    # The interval of a made finalist reaches 3 points to both sides.
    assert confirm["worst_forgetting"] == {"value": 10.0, "low": 7.0, "high": 13.0}
    # Gain (50 + 0) / 2, forgetting (10 + 10) / 2.
    assert confirm["score"] == {"value": 15.0, "low": 12.0, "high": 18.0}


def test_weights_of_a_seed_that_was_not_confirmed_are_named_by_it() -> None:
    again = finalist("trial 0", {"count": 60.0})
    runs = tuple(dataclasses.replace(run, confirm={}, confirmed=None) for run in again.runs)
    study = record([trial(0, [{"count": 50.0}])])
    selection = dataclasses.replace(
        select(study.trials, study.objective),
        finalist=dataclasses.replace(again, runs=runs, estimates=None),
    )
    fields = recipe_document(study, selection)
    assert "confirm" not in fields["evidence"]
    assert fields["evidence"]["selected"]["seed"] == 100
    assert RecipeDocument.from_dict(fields, "recipe.yaml").seed == 100


def test_the_tables_of_answers_tell_whose_they_are(folder: StudyFolder) -> None:
    """Trial 0 is selected as the search trained it, and was a finalist on seed 100 as well."""
    sample = Sample(id="s0", prompt="How many?", answer="2")
    study = with_answers(
        record([with_weights(folder, trial(0, [{"count": 50.0}]))]),
        Answered("count", [sample], [("3", 0.0)], [("2", 100.0)]),
    )
    models = {**study.predictions.models, "trial_0": study.predictions.models["selected"]}
    predictions = dataclasses.replace(study.predictions, models=models)
    again = finalist("trial 0", {"count": 50.0})
    study = dataclasses.replace(study, predictions=predictions, finalists=(again,))
    write_results(folder, study, select(study.trials, study.objective))
    assert {file.stem: read_whose(file) for file in folder.predictions.iterdir()} == {
        "base": None,
        "selected": Whose(candidate="trial 0"),
        "trial_0": Whose(candidate="trial 0", seed=100),
    }


def test_the_winner_s_weights_are_handed_over(folder: StudyFolder) -> None:
    handed_over(folder, with_weights(folder, trial(0, [{"count": 50.0}])))
    delta = load_file(folder.selected / "delta.safetensors")
    assert {name: tensor.tolist() for name, tensor in delta.items()} == {
        "a.weight": [1.0, 2.0],
        "b.bias": [3.0],
    }
    manifest = json.loads((folder.selected / "manifest.json").read_text())
    assert manifest["base_fingerprint"] == "f1"
    assert manifest["subset"] == "gate_up"


def with_point(folder: StudyFolder, transform: Transform, *trials: TrialResult) -> dict[str, object]:
    """Hand over a study whose one point, of its first trial, gains 60 on `count`: mean 30."""
    made = record([trial(9, [{"count": 70.0}])]).trials[0].last
    home = folder.points / "0"
    pointer = save_checkpoint(home / "weights.safetensors", {"parameter/a.weight": torch.tensor([9.0])}, 40)
    assert pointer is not None
    (home / "manifest.json").write_text(json.dumps(MANIFEST | {"trained": 1}))
    for number, each in enumerate(trials):
        own = TrainableManifest(
            model_type="llava",
            family="llava",
            subset=each.recipe.subset,
            parameters=(PARAMETERS[number],),
            total=12,
        )
        (folder.trials / each.trial_id).mkdir(parents=True)
        (folder.trials / each.trial_id / "manifest.json").write_text(json.dumps(own.to_dict()))
    result = PointResult(
        number=0,
        point=Point(trials[0].number, 40, transform),
        trial=trials[0],
        rung=dataclasses.replace(made, weights=pointer.path),
    )
    study = dataclasses.replace(record(trials), points=(result,))
    selection = select(study.trials, study.objective, study.points)
    assert selection.point is result
    write_results(folder, dataclasses.replace(study, model_fingerprint="f1"), selection)
    document = yaml.safe_load(folder.recipe.read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def test_a_selected_point_is_handed_over_with_its_evidence_and_weights(folder: StudyFolder) -> None:
    own = trial(3, [{"count": 50.0}])
    document = with_point(folder, Interpolation(0.9), own)
    assert document["point"] == {"trial": 3, "step": 40, "transform": "interpolation", "alpha": 0.9}
    assert Recipe.from_dict(document["recipe"]) == own.recipe  # type: ignore[arg-type]
    assert document["evidence"]["score"] == 30.0  # type: ignore[index]
    assert document["evidence"]["targets"]["count"]["tuned"] == 70.0  # type: ignore[index]
    assert document["points"] == 1
    assert load_file(folder.selected / "delta.safetensors")["a.weight"].tolist() == [9.0]
    assert json.loads((folder.selected / "manifest.json").read_text())["trained"] == 1
    # What was trained is the trial's, whatever was made of it.
    assert document["trained"] == {"roles": {"mlp.gate": 4}, "parameters": 4}
    assert len(folder.points_table.read_text().splitlines()) == 2


def test_a_selected_soup_names_what_each_member_was_trained_by(folder: StudyFolder) -> None:
    members = trial(3, [{"count": 50.0}]), trial(1, [{"count": 40.0}], subset="full")
    document = with_point(folder, Soup((Member(3, 40), Member(1, 40))), *members)
    soup = Soup((Member(3, 40), Member(1, 40)))
    assert Point.from_dict(document["point"]) == Point(3, 40, soup)  # type: ignore[arg-type]
    described: dict[int, dict[str, object]] = document["soup_recipes"]  # type: ignore[assignment]
    assert {trial: Recipe.from_dict(fields) for trial, fields in described.items()} == {
        each.number: each.recipe for each in members
    }
    # One member trained 4 elements and the other 3 others.
    assert document["trained"] == {"roles": {"mlp.gate": 4, "mlp.up": 3}, "parameters": 7}


def test_keeping_the_base_hands_over_no_weights(folder: StudyFolder) -> None:
    document = handed_over(folder, trial(0, [{"colour": 50.0}]))
    assert document["verdict"] == "keep the base"
    assert document["recipe"] is document["evidence"] is None
    assert not folder.selected.exists()
    assert folder.recipe.is_file()


def test_the_table_of_trials_has_one_row_each(folder: StudyFolder) -> None:
    handed_over(
        folder,
        with_weights(folder, trial(0, [{"count": 50.0}])),
        trial(1, state=TrialState.FAILED, error='out, of "luck"'),
    )
    first, second = csv.DictReader(folder.trials_table.read_text().splitlines())
    assert (first["state"], first["score"], first["subset"]) == ("COMPLETE", "20.0", "gate_up")
    assert (second["state"], second["score"], second["error"]) == ("FAILED", "", 'out, of "luck"')


def test_the_study_file_reads_back_to_the_same_study(folder: StudyFolder) -> None:
    handed_over(folder, trial(0, [{"colour": 50.0}]))
    # Read without looking for its tasks, which are made up.
    assert parse_study(yaml.safe_load(folder.study.read_text("utf-8")), "study.yaml") == config()


def test_the_document_is_plain_data() -> None:
    study = record([trial(0, [{"count": 50.0}])])
    document = recipe_document(study, select(study.trials, study.objective))
    assert yaml.safe_load(yaml.safe_dump(document)) == document
    assert json.loads(json.dumps(document)) == document
    assert BASE["count"] == document["evidence"]["targets"]["count"]["base"]
