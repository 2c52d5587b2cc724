"""Every study file that ships is a valid study; those for large models are planned at full size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import full_size
import pytest
from own_data import study_with_data

from search.cli import main
from search.planning.outline import subset_manifests
from search.settings.study_file import load_study

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
STUDIES = sorted(EXAMPLES.rglob("*.yaml"))
# Study file -> the class of its model.
LARGE = {
    "qwen2_5_vl_7b": "qwen2_5_vl",
    "llava_next_llama3_8b": "llava_next",
    "llava_onevision_qwen2_7b": "llava_onevision",
}
EACH_LARGE = pytest.mark.parametrize("study", LARGE)

# Elements by hand. A linear layer of the Qwens has biases at q, k and v alone, one of Llama none.
QWEN_ATTENTION = 28 * (2 * 3584**2 + 2 * 3584 * 512 + 3584 + 2 * 512)
QWEN_GATE_UP = 28 * 2 * 3584 * 18944
QWEN_TOWER = 3 * 2 * 14**2 * 1280 + 32 * (
    4 * 1280**2 + 4 * 1280 + 3 * 1280 * 3420 + 2 * 3420 + 1280 + 2 * 1280
)
QWEN_MERGER = 1280 + 5120**2 + 5120 + 5120 * 3584 + 3584
LLAMA_ATTENTION = 32 * (2 * 4096**2 + 2 * 4096 * 1024)
LLAMA_GATE_UP = 32 * 2 * 4096 * 14336
# 1024 wide: class token, 577 positions, patches; then layers of four projections, MLP and two norms.
CLIP = 1024 * (1 + 577 + 3 * 14**2) + 24 * (4 * 1024 * 1025 + 8 * 1024**2 + 5 * 1024 + 4 * 1024) + 4 * 1024
SIGLIP = (
    1152 * (729 + 3 * 14**2 + 1)
    + 26 * (4 * 1152 * 1153 + 2 * 1152 * 4304 + 4304 + 1152 + 4 * 1152)
    + 2 * 1152
)
COUNTS: dict[str, dict[str, int]] = {
    "qwen2_5_vl_7b": {
        "sa_proj": QWEN_ATTENTION,
        "gate_up": QWEN_GATE_UP,
        "mlp": QWEN_GATE_UP // 2 * 3,
        "sa_gate_up": QWEN_ATTENTION + QWEN_GATE_UP,
        "vision": QWEN_TOWER,
        "projector": QWEN_MERGER,
    },
    "llava_next_llama3_8b": {
        "sa_proj": LLAMA_ATTENTION,
        "gate_up": LLAMA_GATE_UP,
        "mlp": LLAMA_GATE_UP // 2 * 3,
        "vision": CLIP,
        # Two linear layers, and what ends an image's lines.
        "projector": 1024 * 4096 + 4096**2 + 3 * 4096,
        "vision_projector": CLIP + 1024 * 4096 + 4096**2 + 3 * 4096,
    },
    "llava_onevision_qwen2_7b": {
        "llm": QWEN_ATTENTION + QWEN_GATE_UP // 2 * 3 + 2 * 152000 * 3584 + 57 * 3584,
        "sa_proj": QWEN_ATTENTION,
        "gate_up": QWEN_GATE_UP,
        "mlp": QWEN_GATE_UP // 2 * 3,
        "vision": SIGLIP,
        "projector": 1152 * 3584 + 3584**2 + 3 * 3584,
    },
}
TOTALS = {
    "qwen2_5_vl_7b": 8_292_166_656,
    "llava_next_llama3_8b": 8_355_276_800,
    "llava_onevision_qwen2_7b": COUNTS["llava_onevision_qwen2_7b"]["llm"]
    + SIGLIP
    + COUNTS["llava_onevision_qwen2_7b"]["projector"],
}


def prepared(study: str, folder: Path) -> tuple[Path, str]:
    """Return arguments of the command: the study with data beside it, and a model of its model's shape."""
    model = full_size.save(LARGE[study], folder / "model")
    return study_with_data(EXAMPLES / f"{study}.yaml", folder, n=3), f"model.path={model}"


def planned(capsys: pytest.CaptureFixture[str], *arguments: Path | str) -> dict[str, Any]:
    assert main(["plan", *map(str, arguments), "--json", "--gpus", "8", "--gpu-memory-gib", "80"]) == 0
    made: dict[str, Any] = json.loads(capsys.readouterr().out)
    return made


def test_there_are_study_files() -> None:
    assert {path.stem for path in STUDIES} >= {"quickstart", *LARGE}
    assert len(STUDIES) >= 4


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.relative_to(EXAMPLES).as_posix())
def test_a_shipped_study_loads(path: Path) -> None:
    study = load_study(path)
    assert set(study.targets) | set(study.held_out) <= set(study.resolved_tasks())


@EACH_LARGE
def test_each_subset_trains_as_much_of_a_large_model_as_by_hand(study: str, tmp_path: Path) -> None:
    path, model = prepared(study, tmp_path)
    _, manifests = subset_manifests(load_study(path, [model]))
    assert {subset: found.count for subset, (found,) in manifests.items()} == COUNTS[study]
    assert {found.total for (found,) in manifests.values()} == {TOTALS[study]}


@EACH_LARGE
def test_a_large_model_is_planned_without_weights_or_a_gpu(
    study: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("space.subsets=[sa_proj]", "space.learning_rate_of={}", "evaluation.batch_size=1")
    made = planned(capsys, *prepared(study, tmp_path), *few, "training.micro_batch_size=1")
    (sa_proj,) = made["subsets"]
    assert made["runs"]["fits"]
    assert sa_proj["gpus"] <= 1
    assert not sa_proj["memory"]["by_formula"]
    assert sa_proj["memory"]["weights"] == 2 * TOTALS[study]
    assert "longest of" in made["largest_sample"]["found"]


@pytest.mark.slow
@EACH_LARGE
def test_a_shipped_study_runs_on_eight_gpus_of_80_gb(
    study: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = planned(capsys, *prepared(study, tmp_path))
    assert made["runs"]["fits"], made["runs"]
    assert not made["runs"]["warnings"]
    assert not any(subset["memory"]["by_formula"] for subset in made["subsets"])
