"""Random models of some ten thousand parameters and samples for them; built offline in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from transformers import CLIPVisionConfig, LlamaConfig, LlamaForCausalLM, LlavaConfig
from transformers import LlavaForConditionalGeneration as Llava

from spaces.recipe import Recipe
from trainables.collate import EncodedSample, Encoder
from trainables.data.samples import Sample
from trainables.metrics import EXACT_MATCH, MetricSpec
from trainables.tiny.build import IMAGE_TOKENS, PATCH, build_processor, build_tokenizer
from trainables.tiny.canvas import SIZE
from trainables.tiny.vocabulary import BOS, EOS, IMAGE, PAD, VOCABULARY
from trainables.workers.jobs import Report, TaskData, TrainJob, WorkerSetup

IDS = {word: index for index, word in enumerate(VOCABULARY)}
WORDS = ("red", "green", "blue", "cat", "dog", "cup", "sun", "yes", "no")


def text_config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=IDS[BOS],
        eos_token_id=IDS[EOS],
        pad_token_id=IDS[PAD],
        tie_word_embeddings=False,
    )


def llava(seed: int = 0) -> Llava:
    """Return a random LLaVA as the workers hold a base: fp32, frozen, in evaluation mode."""
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=SIZE,
            patch_size=PATCH,
            projection_dim=16,
        ),
        text_config=text_config(),
        image_token_index=IDS[IMAGE],
        image_seq_length=IMAGE_TOKENS,
        # Of the last layer but one, so that the last layer and norm have no part in the forward pass.
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Llava(config).eval().requires_grad_(False)


def llama(seed: int = 0) -> LlamaForCausalLM:
    """Return a random text model, as `llava` does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(text_config()).eval().requires_grad_(False)


def save_llava(folder: Path, seed: int = 0) -> Path:
    llava(seed).save_pretrained(folder)
    build_processor().save_pretrained(folder)
    return folder


def save_llama(folder: Path, seed: int = 0) -> Path:
    llama(seed).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


def samples(
    name: str, n: int, *, answers: Sequence[str] = WORDS, seed: int = 0, images: bool = True
) -> tuple[Sample, ...]:
    """Return samples of noise, with prompts of several lengths and answers taken in turn."""
    rng = np.random.default_rng((seed, *name.encode()))
    return tuple(
        Sample(
            id=f"{name}/{index}",
            prompt=" ".join(rng.choice(WORDS, size=int(rng.integers(1, 6)))) + " ?",
            answer=answers[index % len(answers)],
            images=(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8),) if images else (),
        )
        for index in range(n)
    )


def task(
    name: str,
    role: Literal["target", "held_out"],
    *,
    n: int = 6,
    answers: Sequence[str] = WORDS,
    metric: MetricSpec = EXACT_MATCH,
    images: bool = True,
    train: Sequence[Sample] | None = None,
) -> TaskData:
    own = samples(name, 16, answers=answers, seed=1, images=images) if role == "target" else ()
    return TaskData(
        name=name,
        role=role,
        metric=metric,
        train=own if train is None else tuple(train),
        search=samples(name, n, answers=answers, seed=2, images=images),
    )


def setup(model: Path, tasks: Sequence[TaskData] | None = None) -> WorkerSetup:
    """Return what a worker loads; by default one target that is always answered alike, so learnt at once."""
    return WorkerSetup(
        model=str(model),
        dtype="float32",
        tasks=tuple(tasks or (task("easy", "target", answers=("yes",)), task("kept", "held_out", n=5))),
        eval_batch_size=4,
        drift_samples=3,
        threads=1,
    )


def recipe(subset: str = "full", *, steps: int = 4, learning_rate: float = 1e-2, **fields: object) -> Recipe:
    return Recipe.from_dict(
        {"subset": subset, "steps": steps, "learning_rate": learning_rate, "batch_size": 4, **fields}
    )


def adapters(variant: str = "lora") -> dict[str, Any]:
    """Return the fields of a recipe that trains adapters, strongly enough for a few steps to be seen."""
    own = {"lora_rank": 4, "lora_alpha": 32.0, "lora_dropout": 0.0, "lora_variant": variant}
    return {"method": "lora", **own}


@cache
def encoder() -> Encoder:
    """Return the encoder of `llava`."""
    return Encoder(build_processor())


@cache
def encoded(name: str = "train", n: int = 10) -> tuple[EncodedSample, ...]:
    """Return samples as `llava` takes them."""
    return tuple(encoder().encode(sample) for sample in samples(name, n))


def train_job(
    folder: Path, subset: str = "full", *, rungs: Sequence[int] = (2, 6), **fields: object
) -> TrainJob:
    return TrainJob(
        trial_id=folder.name,
        recipe=recipe(subset, steps=rungs[-1], **fields),
        seed=3,
        rungs=tuple(rungs),
        folder=str(folder),
    )


def measured(reports: Iterable[Report]) -> list[tuple[object, ...]]:
    """Return what must not depend on where and when a job ran: everything but cost and paths."""
    return [
        (r.step, r.done, r.evaluations, {k: v for k, v in r.metrics.items() if not k.startswith("cost/")})
        for r in reports
    ]


def assert_is_base(model: nn.Module) -> None:
    """Assert that a model is `llava` bit for bit, frozen and in evaluation mode."""
    for name, tensor in llava().state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert not any(module.training for module in model.modules())
