"""What the rivals share: Hugging Face's Trainer on a recipe, and its evaluation by `generate`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from benchmarks.rivals.problem import Problem, trained_names
from spaces.recipe import Recipe
from trainables.collate import EncodedSample, Encoder, collate, pad_token_id
from trainables.loop import learning_rate_at
from trainables.scoring.generation import left_padded

Values = Mapping[str, float]


def with_labels(samples: Sequence[EncodedSample], pad: int) -> dict[str, Tensor]:
    """Return a training batch; the labels of all tokens but the answers' are -100."""
    batch = collate(samples, pad)
    return {**batch.inputs, "labels": batch.inputs["input_ids"].masked_fill(~batch.answer_mask, -100)}


def freeze_all_but(model: nn.Module, recipe: Recipe) -> nn.Module:
    """Set `requires_grad` of the parameters that a recipe trains, and of no other."""
    names = trained_names(model, recipe)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    return model


class GenerateScorer:
    """Scores a model by what it generates greedily, as exact match in points.

    Args:
        problem: The samples.
        tokenizer: The model's tokenizer.
    """

    def __init__(self, problem: Problem, tokenizer: Any) -> None:
        self._problem = problem
        self.tokenizer = tokenizer
        self._base: tuple[Values, Values] | None = None

    @torch.no_grad()
    def correct(self, model: nn.Module, task: str, n: int | None = None) -> list[bool]:
        """Return for each of a task's first `n` samples whether the model writes the reference answer."""
        samples = self._problem.search[task][:n]
        # A longer text than the longest answer and its end is wrong, whatever it is.
        limit = max(sample.answer_length for sample in samples)
        size = self._problem.eval_batch_size
        written: list[str] = []
        for start in range(0, len(samples), size):
            inputs = left_padded(samples[start : start + size], self.tokenizer)
            width = inputs["input_ids"].shape[1]
            output = model.generate(  # type: ignore[operator]
                **{name: tensor.to(model.device) for name, tensor in inputs.items()},
                do_sample=False,
                max_new_tokens=limit,
                eos_token_id=int(samples[0].tokens["input_ids"][-1]),
                pad_token_id=pad_token_id(self.tokenizer),
            )
            written += self.tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
        answers = self._problem.answers[task][:n]
        return [text.strip() == answer for text, answer in zip(written, answers, strict=True)]

    def measure_base(self, model: nn.Module) -> None:
        """Evaluate the base, which scores are compared with."""
        found = {task: self.correct(model.eval(), task) for task in self._problem.search}
        early = {task: _points(own[: self._problem.rung_samples]) for task, own in found.items()}
        self._base = (early, {task: _points(own) for task, own in found.items()})

    def metrics(self, model: nn.Module, step: int) -> dict[str, float]:
        """Return a rung's score, its parts and the value of each task."""
        assert self._base is not None
        last = step == self._problem.rungs[-1]
        n = None if last else self._problem.rung_samples
        values = {task: _points(self.correct(model.eval(), task, n)) for task in self._problem.search}
        return {**self._problem.score(values, self._base[last]).to_metrics(), **values}


class Rungs(TrainerCallback):
    """Has the Trainer evaluate, and where asked save, at the rungs; notes when the first step began.

    Args:
        rungs: The optimiser steps.
        saves: Whether a checkpoint is saved at each of them.
    """

    def __init__(self, rungs: Sequence[int], *, saves: bool) -> None:
        self._rungs = frozenset(rungs)
        self._saves = saves
        self.started_at = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Take the time of the first step."""
        if state.global_step == 0:
            self.started_at = time.time()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Ask for evaluation and checkpoint at a rung."""
        if state.global_step in self._rungs:
            control.should_evaluate = True
            control.should_save = self._saves
        return control


class RecipeTrainer(Trainer):
    """Trainer whose evaluation is a score by `generate`, and whose learning rate is the recipe's.

    Args:
        problem: The data.
        scorer: Evaluates; it must have measured the base.
        rungs: The callback that says when.
        **options: The Trainer's own.
    """

    def __init__(self, problem: Problem, scorer: GenerateScorer, rungs: Rungs, **options: Any) -> None:
        self._problem = problem
        self._scorer = scorer
        self._rungs = rungs
        tokenizer = options["processing_class"]
        super().__init__(
            train_dataset=list(problem.train),  # type: ignore[arg-type]
            data_collator=partial(with_labels, pad=pad_token_id(tokenizer)),
            **{**options, "callbacks": [rungs, *options.get("callbacks", ())]},
        )

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the cosine with warm-up as the study has it; the Trainer's own begins with a step at 0."""
        unit = self._problem.recipe(self._problem.subsets[0], 1.0)
        self.lr_scheduler = LambdaLR(optimizer or self.optimizer, partial(learning_rate_at, recipe=unit))
        return self.lr_scheduler

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Score the model as it is; log it as any evaluation."""
        found = self._scorer.metrics(self.model, self.state.global_step)
        metrics = {f"eval_{name}": value for name, value in found.items()}
        metrics["eval_started_at"] = self._rungs.started_at
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def training_arguments(problem: Problem, folder: Path, seed: int, learning_rate: float) -> TrainingArguments:
    """Return the Trainer's arguments for a recipe, with the study's defaults."""
    recipe = problem.recipe(problem.subsets[0], learning_rate)
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        optim="adamw_torch_fused",
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        seed=seed,
        dataloader_drop_last=True,
        remove_unused_columns=False,
        logging_strategy="no",
        save_strategy="no",  # the rungs say when
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )


def load_tokenizer(problem: Problem) -> Any:
    """Return the base model's tokenizer."""
    return Encoder.load(problem.model).tokenizer


def _points(correct: Sequence[bool]) -> float:
    return 100.0 * sum(correct) / len(correct)
