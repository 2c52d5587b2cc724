from __future__ import annotations

import io

import pytest
import torch
from made_study import config
from rich.console import Console
from tiny_models import llava

from search.plan import human_bytes, plan_table, study_plan
from trainables.manifest import build_manifest

MODEL = llava()
TOTAL = sum(parameter.numel() for parameter in MODEL.parameters())
MLP = 16 * 24


def plan(*subsets: str, dtype: str = "float32") -> dict[str, object]:
    study = config(subsets=subsets)
    model = llava().to(getattr(torch, dtype))
    return study_plan(study, {subset: build_manifest(model, subset) for subset in subsets})


def test_says_what_each_subset_trains() -> None:
    made = plan("gate_up", "full")
    assert made["parameters"] == TOTAL
    gate_up, full = made["subsets"]  # type: ignore[misc]
    assert (gate_up["subset"], gate_up["trained"], gate_up["tensors"]) == ("gate_up", 4 * MLP, 4)
    assert gate_up["share"] == pytest.approx(4 * MLP / TOTAL)
    assert gate_up["by_role"] == {"mlp.gate": 2 * MLP, "mlp.up": 2 * MLP}
    assert gate_up["learning_rate"] == [1e-5, 1e-1]
    assert (full["trained"], full["share"]) == (TOTAL, 1.0)


def test_memory_in_fp32_by_hand() -> None:
    """The whole model once; of what is trained, a gradient and two moments of 4 bytes each."""
    (gate_up,) = plan("gate_up")["subsets"]  # type: ignore[misc]
    assert gate_up["weights_bytes"] == 4 * TOTAL
    assert gate_up["gradient_bytes"] == 4 * 4 * MLP
    assert gate_up["optimizer_bytes"] == 2 * 4 * 4 * MLP


def test_memory_in_half_precision_by_hand() -> None:
    """AdamW keeps its moments in the weights' type."""
    (gate_up,) = plan("gate_up", dtype="bfloat16")["subsets"]  # type: ignore[misc]
    assert gate_up["weights_bytes"] == 2 * TOTAL
    assert gate_up["gradient_bytes"] == 2 * 4 * MLP
    assert gate_up["optimizer_bytes"] == 2 * 2 * 4 * MLP


def test_says_what_will_be_run() -> None:
    made = plan("gate_up", "full", "vo")
    assert (made["study"], made["model"], made["trials"]) == ("made", "tiny-llava", 4)
    # No published recipe trains `vo`.
    assert made["presets"] == ["paper_full", "paper_gate_up"]
    assert made["rungs"] == [40]
    assert made["per_trial"] == {"workers": 1, "cpus_per_worker": 1.0, "gpus_per_worker": 0.0}
    assert (made["targets"], made["held_out"]) == (["count", "clock"], ["colour", "shape"])


def test_the_table_has_a_row_for_each_subset() -> None:
    table = plan_table(plan("gate_up", "projector"))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    lines = console.export_text().splitlines()
    assert len(lines) == 3
    assert lines[1].split()[:4] == ["gate_up", f"{4 * MLP:,}", f"{4 * MLP / TOTAL:.1%}", "4"]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (80 * 1024**3, "80.0 GiB"),
        (3 * 1024**4, "3.0 TiB"),
    ],
)
def test_sizes_have_binary_units(count: int, text: str) -> None:
    assert human_bytes(count) == text
