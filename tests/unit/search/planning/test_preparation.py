from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_llama, save_llava

from search.clusters.devices import Node
from search.config import StudyConfig
from search.data.inputs import load_data
from search.planning import preparation
from search.planning.outline import subset_manifests
from search.planning.preparation import (
    check_resources,
    place_study,
    prepare,
    wish_of,
    with_evaluation_that_fits,
)
from search.settings.study_file import InputError
from trainables.model import model_fingerprint


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llava(tmp_path_factory.mktemp("model") / "llava")


def study(model: Path | str, **sections: Any) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "name": "s",
            "model": {"path": str(model)},
            "targets": ["counting"],
            "held_out": ["compare_numbers"],
            "space": {"subsets": ["full", "gate_up"], "learning_rate": [1e-4, 1e-3]},
            "training": {"steps": 4, "batch_size": 4, "samples": 6},
            "evaluation": {"samples": 3, "batch_size": 2, "drift_samples": 1},
            "search": {"trials": 2},
            **sections,
        }
    )


def test_gathers_what_a_study_needs(model: Path) -> None:
    config = study(model, resources={"cpus_per_worker": 0.5})
    prepared = prepare(config)
    assert prepared.config is config
    assert {subset: manifest.subset for subset, manifest in prepared.outline.manifests.items()} == {
        "full": "full",
        "gate_up": "gate_up",
    }
    assert prepared.model_fingerprint == model_fingerprint(str(model))
    assert prepared.data_fingerprints == load_data(config).fingerprints
    setup = prepared.setup
    assert (setup.model, setup.dtype, setup.eval_batch_size) == (str(model), "float32", 2)
    assert (setup.drift_samples, setup.threads) == (1, 1)
    assert [(t.name, len(t.train), len(t.search)) for t in setup.tasks] == [
        ("counting", 6, 3),
        ("compare_numbers", 0, 3),
    ]


@pytest.mark.parametrize(("cpus", "threads"), [(0.25, 1), (1.0, 1), (2.5, 2), (8.0, 8)])
def test_a_worker_has_a_thread_for_each_of_its_cores(model: Path, cpus: float, threads: int) -> None:
    prepared = prepare(study(model, resources={"cpus_per_worker": cpus}))
    assert prepared.setup.threads == threads


def test_a_study_that_runs_here_must_fit_here(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "local_node", lambda: Node(cpus=2, drivers=1000))
    greedy = prepare(study(model, resources={"gpus_per_worker": 1}))
    with pytest.raises(InputError, match=r"^resources: a trial needs 1 worker\(s\) x \(1 CPU, 1 GPU\)"):
        check_resources(greedy, address=None)
    check_resources(prepare(study(model)), address=None)


def test_impossible_resources_are_a_wrong_input(model: Path) -> None:
    config = study(model, resources={"workers_per_trial": 4, "cpus_per_worker": 2})
    outline = prepare(config).outline
    placed = place_study(config, outline, [Node(cpus=8, drivers=1)])
    assert (placed.concurrency, placed.smallest_shape.workers) == (1, 4)
    with pytest.raises(InputError, match=r"needs 4 worker\(s\) x \(2 CPU"):
        place_study(config, outline, [Node(cpus=7, drivers=1)])


def test_the_study_file_s_gpu_memory_counts_for_every_node(model: Path) -> None:
    config = study(model, resources={"gpu_memory_gib": 0.01})
    outline = prepare(config).outline
    with pytest.raises(InputError, match=r"fewer GPUs than any recipe needs: there are 2 .* 10\.2 MiB"):
        place_study(config, outline, [Node(cpus=8, gpus=2, gpu_memory=2**40)])


def test_workers_evaluate_as_many_samples_as_the_placement_says(model: Path) -> None:
    config = study(model, evaluation={"samples": 3, "batch_size": 512})
    prepared = prepare(config)
    # Room for the context and what the model needs, but not for the logits of 512 samples.
    placed = place_study(config, prepared.outline, [Node(cpus=8, gpus=2, gpu_memory=int(0.78 * 2**30))])
    assert 1 <= placed.eval_batch < 512
    assert with_evaluation_that_fits(prepared, placed).setup.eval_batch_size == placed.eval_batch
    assert any("evaluation.batch_size: 512 samples don't fit" in line for line in placed.warnings)


def test_a_subset_that_matches_nothing_is_found_before_anything_starts(tmp_path: Path) -> None:
    config = study(
        save_llama(tmp_path / "llama"), space={"subsets": ["qkv", "vision"], "learning_rate": [1, 2]}
    )
    with pytest.raises(InputError, match=r"subset 'vision' matches no parameter of this model"):
        subset_manifests(config)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"subsets": ["vo"], "layers": ["all", "last:3"]},
            "layer range 'last:3' goes beyond the 2 layers of the language model",
        ),
        (
            {"subsets": ["vision_attn"], "layers": ["0,2"]},
            "layer range '0,2' goes beyond the 2 layers of the vision tower, which are 0 to 1",
        ),
        (
            {"subsets": ["full", "llm-position"]},
            "subset 'llm-position': 'position' matches no parameter of this model, whose roles are: ",
        ),
        (
            {"subsets": ["mlp.router"]},
            "subset 'mlp.router' matches no parameter of this model, whose roles are: ",
        ),
        (
            {"subsets": ["random(llm)"]},
            "subset 'random(llm)': 14896 elements can't be drawn from the 4352 in the layers' matrices of",
        ),
        (
            {"subsets": ["sa_proj", "norm"], "methods": ["selective", "lora"]},
            "LoRA needs linear layers, and subset 'norm' holds none on this model",
        ),
    ],
)
def test_what_a_model_does_not_have_is_found_before_anything_starts(
    model: Path, space: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=r"^(layer range|subset|LoRA)") as caught:
        subset_manifests(study(model, space={"learning_rate": [1, 2], **space}))
    assert str(caught.value).startswith(message)


def test_of_several_layer_ranges_the_one_that_takes_most_memory_is_planned(model: Path) -> None:
    """Of as many elements in the first layer and in the last: the first one's gradient passes both layers."""
    space = {"subsets": ["gate_up", "projector"], "methods": ["selective", "lora"], "learning_rate": [1, 2]}
    ends = prepare(study(model, space={**space, "layers": ["last:1", "first:1"]})).outline.manifests
    assert {variant: manifest.layers for variant, manifest in ends.items()} == {
        "gate_up": "first:1",
        "gate_up/lora": "first:1",
        "projector": "all",  # it has no layers
        "projector/lora": "all",
    }


def test_a_study_is_planned_for_its_largest_batch_and_workers_for_its_smallest(model: Path) -> None:
    space = {"subsets": ["full"], "learning_rate": [1, 2], "batch_size": [8, 2, 16]}
    wish = wish_of(study(model, space=space))
    assert (wish.batch_size, wish.smallest_batch) == (16, 2)


@pytest.mark.parametrize("name", ["no/such-model-anywhere", "tiny-lava"])
def test_a_model_that_is_not_there_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"model '{name}' can't be loaded") as error:
        prepare(study(name))
    assert "\n" not in str(error.value)


def test_a_model_without_a_processor_is_one_line(model: Path, tmp_path: Path) -> None:
    import shutil

    bare = shutil.copytree(model, tmp_path / "bare")
    for file in bare.iterdir():
        if file.name not in {"config.json", "model.safetensors", "generation_config.json"}:
            file.unlink()
    with pytest.raises(InputError, match="bare' can't be loaded") as error:
        prepare(study(bare))
    assert "\n" not in str(error.value)


def test_data_that_the_model_can_not_take_is_named(tmp_path: Path) -> None:
    config = study(save_llama(tmp_path / "llama"), space={"subsets": ["qkv"], "learning_rate": [1e-4, 1e-3]})
    with pytest.raises(InputError, match=r"^task 'counting': sample .* takes text only; .*=skip$"):
        prepare(config)
