"""A recipe's training settings under the names of `transformers.TrainingArguments`."""

from __future__ import annotations

import math
from typing import Any

from search.exports.source import Source


def training_arguments(source: Source) -> dict[str, Any]:
    """Return the settings, for one device and a batch of one sample at a time.

    transformers, and what is built on it, has the same AdamW (betas 0.9 and 0.999, epsilon 1e-8) and the same
    mean over the answer tokens of a whole optimiser step.
    """
    recipe = source.recipe
    warmup = math.ceil(recipe.warmup_ratio * recipe.steps)
    schedule = "constant_with_warmup" if recipe.schedule == "constant" and warmup else recipe.schedule
    return {
        "learning_rate": recipe.learning_rate,
        "max_steps": recipe.steps,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": recipe.batch_size,
        "lr_scheduler_type": schedule,
        "warmup_steps": warmup,
        "optim": "adamw_torch",
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "bf16": source.model.dtype == "bfloat16",
        "seed": source.document.seed,
    }
