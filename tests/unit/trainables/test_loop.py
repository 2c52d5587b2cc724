from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from tiny_models import IDS, encoded, llama, llava, recipe
from torch import Tensor, nn

from spaces.recipe import Recipe
from spaces.subsets import SUBSETS
from trainables.collate import collate
from trainables.loop import Progress, StepTooLarge, TrialFailed, fine_tune, learning_rate_at
from trainables.manifest import build_manifest
from trainables.training.losses import answer_logits, answer_loss_sum
from trainables.weights.trained import trained_manifest

PAD = IDS["<pad>"]


def run(model: nn.Module, how: Recipe, rungs: tuple[int, ...] = (4,), **options: object) -> list[Progress]:
    manifest = trained_manifest(model, how)
    options = {"seed": 0, "pad_token_id": PAD, **options}
    return list(fine_tune(model, manifest, how, encoded(), rungs=rungs, **options))


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # 8 steps, a quarter of them warm-up: 1/3 and 2/3 of the peak. Of the six steps that follow,
        # 0, 1, ... 5 sixths are done: a line gives 1 - k/6, a cosine (1 + cos(k pi / 6)) / 2.
        ("linear", [1 / 3, 2 / 3, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        (
            "cosine",
            [1 / 3, 2 / 3, 1, (1 + math.sqrt(3) / 2) / 2, 0.75, 0.5, 0.25, (1 - math.sqrt(3) / 2) / 2],
        ),
        ("constant", [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_learning_rate_by_hand(schedule: str, expected: list[float]) -> None:
    how = recipe(steps=8, learning_rate=0.5, warmup_ratio=0.25, schedule=schedule)
    assert [learning_rate_at(step, how) for step in range(8)] == pytest.approx([0.5 * e for e in expected])


def test_without_warm_up_the_first_step_is_at_the_peak() -> None:
    assert learning_rate_at(0, recipe(steps=3, learning_rate=0.5, warmup_ratio=0.0)) == 0.5


def test_the_optimiser_follows_the_schedule() -> None:
    """The rate of the sixth of six steps on a line is a sixth of the first's, and so are its moves."""
    model = llava()
    weights = [model.lm_head.weight.detach().clone()]
    how = recipe("llm", steps=6, learning_rate=1e-3, warmup_ratio=0.0, schedule="linear")
    manifest = build_manifest(model, "llm")
    for _ in fine_tune(model, manifest, how, encoded(), seed=0, rungs=range(1, 7), pad_token_id=PAD):
        weights.append(model.lm_head.weight.detach().clone())
    moved = [(after - before).abs().max().item() for before, after in pairwise(weights)]
    # AdamW's first step is the learning rate itself, in each element with a gradient.
    assert moved[0] == pytest.approx(1e-3, rel=1e-2)
    assert moved[-1] < 1e-3 / 3


def test_the_loss_of_a_step_is_the_mean_over_the_answer_tokens() -> None:
    """An untrained model with a zeroed head is sure of nothing: ln V nats per token, whatever the batch."""
    model = llava()
    nn.init.zeros_(model.lm_head.weight)
    (progress,) = run(model, recipe("projector", steps=1), rungs=(1,))
    assert progress.losses == pytest.approx((math.log(model.config.text_config.vocab_size),))


@pytest.mark.parametrize("subset", SUBSETS)
def test_trains_the_subset_and_no_other_parameter(subset: str) -> None:
    model = llava()
    before = copied(model.state_dict())
    names = set(build_manifest(model, subset).names)
    (progress,) = run(model, recipe(subset))
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    # The last vision layer feeds nothing (the features are those of the layer before it), the class token
    # is dropped from them, a key's bias cancels in the softmax, and of embeddings only those seen change.
    assert changed <= names
    idle = {n for n in names - changed if "layers.1." in n or "post_layernorm" in n or "k_proj.bias" in n}
    assert changed == names - idle
    assert changed
    # Nor does anything else cost a gradient or a place in the checkpoint.
    assert {name for name, p in model.named_parameters() if p.requires_grad} == names
    kept = {key.partition("/")[2] for key in progress.state if key.startswith("parameter/")}
    assert kept == names


@pytest.mark.parametrize(
    ("subset", "fields"),
    [
        ("full", {}),
        ("sa_proj", {}),
        ("mlp", {"lwf_weight": 1.0, "l2sp_weight": 0.1, "replay_ratio": 0.3}),
    ],
)
@pytest.mark.parametrize("rung", [1, 3])
def test_going_on_from_a_rung_equals_an_undisturbed_run(
    subset: str, fields: dict[str, float], rung: int
) -> None:
    how = recipe(subset, steps=5, weight_decay=0.1, warmup_ratio=0.4, **fields)
    whole, replay, base = llava(), encoded("replay"), dict(llava().named_parameters())
    *_, last = run(whole, how, rungs=(rung, 5), replay=replay)

    interrupted = llava()
    manifest = build_manifest(interrupted, subset)
    half = fine_tune(
        interrupted, manifest, how, encoded(), seed=0, rungs=(rung, 5), pad_token_id=PAD, replay=replay
    )
    state = copied(next(half).state)
    half.close()

    resumed = llava()
    (progress,) = run(resumed, how, rungs=(rung, 5), resume=state, replay=replay, base=base)
    assert (progress.step, progress.losses) == (last.step, last.losses)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    for name, tensor in last.state.items():
        assert torch.equal(tensor, progress.state[name]), name


def test_a_resumed_state_is_not_written_to() -> None:
    how = recipe("down", steps=3)
    model = llava()
    manifest = build_manifest(model, "down")
    run_ = fine_tune(model, manifest, how, encoded(), seed=0, rungs=(1, 3), pad_token_id=PAD)
    state = copied(next(run_).state)
    run_.close()
    kept = copied(state)
    run(llava(), how, rungs=(1, 3), resume=state)
    assert all(torch.equal(state[name], kept[name]) for name in kept)


def test_pauses_at_each_rung_with_the_losses_since_the_last_one() -> None:
    how = recipe("down", steps=6)
    progress = run(llava(), how, rungs=(2, 3, 6))
    assert [(p.step, len(p.losses)) for p in progress] == [(2, 2), (3, 1), (6, 3)]
    assert all(p.seconds > 0 for p in progress)
    (at_once,) = run(llava(), how, rungs=(6,))
    assert at_once.losses == tuple(loss for p in progress for loss in p.losses)


def test_the_last_rung_ends_the_run() -> None:
    model, twin = llava(), llava()
    how = recipe("down", steps=6, schedule="constant")
    assert [p.step for p in run(model, how, rungs=(2,))] == [2]
    run(twin, recipe("down", steps=2, schedule="constant"), rungs=(2,))
    assert torch.equal(
        model.model.language_model.layers[0].mlp.down_proj.weight,
        twin.model.language_model.layers[0].mlp.down_proj.weight,
    )


def test_the_seed_changes_the_order_and_so_the_losses() -> None:
    how = recipe("down", steps=2)
    first, again, other = (run(llava(), how, rungs=(2,), seed=seed)[0].losses for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_loss_that_is_not_finite_fails_the_trial() -> None:
    with pytest.raises(TrialFailed, match=r"^loss is nan at step 2$"):
        run(llava(), recipe("full", learning_rate=1e38))


def test_clipping_bounds_the_gradient() -> None:
    """The first moment after one step is a tenth of the gradient, whose norm clipping bounds."""

    def norm(max_grad_norm: float) -> float:
        (progress,) = run(llava(), recipe("llm", steps=1, max_grad_norm=max_grad_norm), rungs=(1,))
        moments = [t for name, t in progress.state.items() if name.startswith("exp_avg/")]
        return 10 * torch.cat([m.flatten() for m in moments]).norm().item()

    assert norm(0) > 0.2
    assert norm(0.1) == pytest.approx(0.1, rel=1e-3)


def test_trains_a_text_model_too() -> None:
    from tiny_models import samples

    from trainables.collate import Encoder
    from trainables.tiny.build import build_tokenizer

    model = llama()
    before = copied(model.state_dict())
    data = [Encoder(build_tokenizer()).encode(sample) for sample in samples("text", 8, images=False)]
    manifest = build_manifest(model, "qkv")
    list(fine_tune(model, manifest, recipe("qkv"), data, seed=0, rungs=(4,), pad_token_id=PAD))
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == set(manifest.names)


class TestDistillation:
    def test_the_first_step_has_none(self) -> None:
        """Before the first step the student is the teacher, so only cross-entropy is left."""
        plain, distilled = (
            run(llava(), recipe("mlp", lwf_weight=weight, learning_rate=0.1))[0].losses
            for weight in (0.0, 100.0)
        )
        assert distilled[0] == pytest.approx(plain[0], rel=1e-6)
        assert distilled[1] > plain[1] + 1e-3

    def test_the_loss_of_the_second_step_by_hand(self) -> None:
        """Cross-entropy plus 3 x 2^2 KL(base || tuned) at temperature 2, over the second batch's tokens."""
        # All samples in each batch.
        how = recipe("mlp", steps=2, lwf_weight=3.0, learning_rate=0.1, batch_size=10)
        model, base = llava(), llava()
        (one,) = run(model, how, rungs=(1,))
        batch = collate(encoded(), PAD)
        with torch.no_grad():
            p, q = (answer_logits(each(**batch.inputs).logits, batch) for each in (base, model))
            soft = (p / 2).softmax(-1)
            kl = (soft * ((p / 2).log_softmax(-1) - (q / 2).log_softmax(-1))).sum()
            expected = answer_loss_sum(model(**batch.inputs).logits, batch) + 3 * 4 * kl
        (two,) = run(llava(), how, rungs=(2,))
        assert two.losses[1] == pytest.approx(expected.item() / batch.answer_mask.sum().item(), rel=1e-5)
        assert two.losses[0] == one.losses[0]
        assert 12 * kl > 1e-3 * expected

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_keeps_the_model_nearer_to_the_base(self, dtype: torch.dtype) -> None:
        batch, base = collate(encoded(), PAD), llava().to(dtype)
        base = base(**batch.inputs).logits.float().log_softmax(-1)

        def drift(weight: float) -> float:
            model = llava().to(dtype)
            run(model, recipe("full", lwf_weight=weight, steps=8), rungs=(8,))
            with torch.no_grad():
                tuned = model(**batch.inputs).logits.float().log_softmax(-1)
            return (base.exp() * (base - tuned)).sum().item()

        assert drift(30.0) < 0.5 * drift(0.0)

    def test_does_not_depend_on_the_passes(self) -> None:
        how = recipe("sa_proj", lwf_weight=2.0, learning_rate=1e-3)
        one, other = (run(llava(), how, micro_batch_size=size)[0] for size in (None, 1))
        assert one.losses == pytest.approx(other.losses, rel=1e-5)

    def test_never_writes_to_the_base_s_copies(self) -> None:
        model = llava()
        manifest = build_manifest(model, "mlp")
        base = {tensor.key: model.get_parameter(tensor.name).clone() for tensor in manifest.tensors}
        kept = copied(base)
        run(model, recipe("mlp", lwf_weight=1.0, l2sp_weight=0.1), base=base)
        assert all(torch.equal(base[key], kept[key]) for key in kept)
        assert not any(torch.equal(model.get_parameter(key), kept[key]) for key in kept)


def test_what_is_switched_off_changes_nothing() -> None:
    """Neither samples to replay nor the base's copies, without a recipe that asks for them."""
    how = recipe("mlp")
    models = llava(), llava()
    manifest = build_manifest(models[0], "mlp")
    base = {tensor.key: torch.zeros(1) for tensor in manifest.tensors}
    (one,), (other,) = run(models[0], how), run(models[1], how, replay=encoded("replay"), base=base)
    assert one.losses == other.losses
    for name, tensor in models[0].state_dict().items():
        assert torch.equal(tensor, models[1].state_dict()[name]), name


def test_the_pull_to_the_base_keeps_weights_nearer_to_it() -> None:
    def moved(weight: float) -> float:
        model, base = llava(), llava()
        run(model, recipe("mlp", l2sp_weight=weight, max_grad_norm=0.0, steps=8), rungs=(8,))
        pairs = zip(model.parameters(), base.parameters(), strict=True)
        return math.sqrt(sum((a - b).square().sum().item() for a, b in pairs))

    assert moved(10.0) < 0.5 * moved(0.0)


def test_replay_without_samples_is_refused() -> None:
    with pytest.raises(ValueError, match=r"replay_ratio 0.25, and there are no samples for replay"):
        run(llava(), recipe("mlp", replay_ratio=0.25))


MEMORY_ERRORS = {
    "a GPU's": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
    "Python's": MemoryError("Unable to allocate 2 GiB"),
    "the CPU's": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 2 GiB"),
    "oneDNN's": RuntimeError("could not create a primitive"),
}


def fails_above(model: nn.Module, samples: int, error: Exception) -> None:
    """Have a model raise an error in passes of more samples than that."""

    def check(_: nn.Module, __: object, kwargs: Mapping[str, Tensor]) -> None:
        if len(kwargs["input_ids"]) > samples:
            raise error

    model.register_forward_pre_hook(check, with_kwargs=True)


@pytest.mark.parametrize("kind", MEMORY_ERRORS)
def test_a_step_that_memory_is_wanting_for_says_so(kind: str) -> None:
    model = llava()
    fails_above(model, 2, MEMORY_ERRORS[kind])
    with pytest.raises(StepTooLarge, match=r"2 GiB|a primitive"):
        run(model, recipe(steps=4))
    # In passes that fit, it trains as a model does that has room for more.
    small, plain = llava(), llava()
    fails_above(small, 2, MEMORY_ERRORS[kind])
    (one,) = run(small, recipe(steps=4), micro_batch_size=2)
    (other,) = run(plain, recipe(steps=4), micro_batch_size=2)
    assert one.losses == other.losses
    assert all(torch.equal(one.state[name], other.state[name]) for name in other.state)


def test_another_error_of_a_step_is_left_as_it_is() -> None:
    model = llava()
    fails_above(model, 2, RuntimeError("a shape does not fit"))
    with pytest.raises(RuntimeError, match="a shape does not fit") as raised:
        run(model, recipe(steps=4))
    assert not isinstance(raised.value, StepTooLarge)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_run_that_stops_between_two_rungs_goes_on_as_if_it_had_not(after: int) -> None:
    """Its state is that of the step; the losses since the last rung are those of an undisturbed run."""
    how = recipe(steps=6)
    expected = run(llava(), how, rungs=(2, 6))
    steps = iter(range(1, 7))
    model = llava()
    first = [
        replace(progress, state=copied(progress.state))
        for progress in fine_tune(
            model,
            trained_manifest(model, how),
            how,
            encoded(),
            seed=0,
            rungs=(2, 6),
            pad_token_id=PAD,
            stops=lambda: next(steps) >= after,
        )
    ]
    last = first[-1]
    # A rung is a checkpoint by itself: whoever has to stop there does so at the next step.
    assert last.stopped
    assert last.step == (3 if after == 2 else after)
    rest = run(llava(), how, rungs=(2, 6) if last.step < 2 else (6,), resume=last.state)
    reached = [*(progress for progress in first if not progress.stopped), *rest]
    assert [(each.step, each.losses) for each in reached] == [(each.step, each.losses) for each in expected]
    for name, tensor in expected[-1].state.items():
        assert torch.equal(rest[-1].state[name], tensor), name
