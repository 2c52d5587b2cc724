"""What a recipe is called: nothing that sets it apart is left out, and nothing else is said."""

from __future__ import annotations

from typing import Any

import pytest
from made_study import LORA

from search.labels import approach_label, approach_sentence, group_label, recipe_label
from spaces.recipe import Recipe


def recipe(**fields: Any) -> Recipe:
    return Recipe(**{"subset": "sa_proj", "learning_rate": 1e-4, "steps": 40, "batch_size": 8, **fields})


@pytest.mark.parametrize(
    ("fields", "group", "label", "sentence"),
    [
        ({}, "sa_proj", "sa_proj", "sa_proj"),
        ({"weight_decay": 0.1, "warmup_ratio": 0.0}, "sa_proj", "sa_proj", "sa_proj"),
        (
            {"layers": "last:1/2"},
            "sa_proj last:1/2",
            "sa_proj last:1/2",
            "sa_proj in layers last:1/2",
        ),
        (
            {"layers": "last:1/2", **LORA},
            "sa_proj last:1/2 lora",
            "sa_proj last:1/2 lora r=8",
            "sa_proj in layers last:1/2 by LoRA (rank 8, alpha 16)",
        ),
        (
            {**LORA, "lora_alpha": 32.0, "lora_dropout": 0.05, "lora_variant": "dora"},
            "sa_proj lora",
            "sa_proj lora r=8 a=32 drop=0.05 dora",
            "sa_proj by DoRA (rank 8, alpha 32, dropout 0.05)",
        ),
        (
            {"lwf_weight": 0.5, "l2sp_weight": 0.01, "replay_ratio": 0.25},
            "sa_proj",
            "sa_proj lwf=0.5 l2sp=0.01 replay=0.25",
            "sa_proj under distillation (weight 0.5, temperature 2), L2-SP (weight 0.01) and 25 % replay",
        ),
        (
            {"lwf_weight": 1.0, "lwf_temperature": 4.0},
            "sa_proj",
            "sa_proj lwf=1@T4",
            "sa_proj under distillation (weight 1, temperature 4)",
        ),
    ],
)
def test_names(fields: dict[str, Any], group: str, label: str, sentence: str) -> None:
    made = recipe(**fields)
    assert group_label(made) == group
    assert approach_label(made) == label
    assert approach_sentence(made) == sentence
    assert recipe_label(made) == f"{label} lr 1.0e-4"
