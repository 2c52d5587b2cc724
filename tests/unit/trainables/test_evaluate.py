from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_models import IDS, encoder, llava, recipe, samples
from torch import nn

from trainables.collate import EncodedSample, Encoder
from trainables.data.samples import Sample
from trainables.data.tasks import EmbeddedTask
from trainables.evaluate import TaskOutput, evaluate_task
from trainables.loop import fine_tune
from trainables.manifest import build_manifest
from trainables.metrics import DEFAULT_DECODING, EXACT_MATCH, Decoding, MetricSpec
from trainables.model import load_model, load_processor
from trainables.scoring.generation import generated_answers, token_limits

ANSWERS = ("red", "cat dog", "1 : 45", "no")


def learn(taken: Sequence[Sample], steps: int) -> nn.Module:
    """Return a model that was trained on the samples, so that it knows some or all of them."""
    model, data = llava(), encode(taken)
    how = recipe(steps=steps, learning_rate=2e-2, batch_size=8)
    manifest = build_manifest(model, "full")
    list(fine_tune(model, manifest, how, data, seed=0, rungs=(steps,), pad_token_id=IDS["<pad>"]))
    return model.requires_grad_(False)


def encode(taken: Sequence[Sample]) -> list[EncodedSample]:
    return [encoder().encode(sample) for sample in taken]


def scored(
    model: nn.Module,
    data: Sequence[Sample],
    *,
    metric: MetricSpec = EXACT_MATCH,
    batch_size: int = 8,
    keep: int = 0,
    first: int | None = None,
    predict: bool = False,
    decoding: Decoding = DEFAULT_DECODING,
) -> TaskOutput:
    return evaluate_task(
        model,
        encoder().tokenizer,
        encode(data),
        samples=data,
        metric=metric,
        decoding=decoding,
        batch_size=batch_size,
        keep=keep,
        scored=first,
        predict=predict,
    )


def greedy_scores(model: Any, data: Sequence[EncodedSample], eos: int) -> list[float]:
    """Return 100 for each sample whose answer, end included, is what greedy decoding writes, one by one."""
    scores = []
    for sample in data:
        reference = sample.tokens["input_ids"][sample.prompt_length :].tolist()
        prompt = {name: tensor[None, : sample.prompt_length] for name, tensor in sample.tokens.items()}
        with torch.inference_mode():
            written = model.generate(
                **prompt,
                **sample.extras,
                do_sample=False,
                max_new_tokens=len(reference) + 3,
                eos_token_id=eos,
            )
        scores.append(100.0 if written[0, sample.prompt_length :].tolist() == reference else 0.0)
    return scores


@pytest.fixture(scope="module")
def half_known() -> tuple[nn.Module, tuple[Sample, ...]]:
    """A model that answers some of its samples right and some wrong, of one token and of several."""
    data = samples("learnt", 20, answers=ANSWERS)
    return learn(data, 45), data + samples("text", 6, answers=ANSWERS, images=False)


def test_teacher_forcing_equals_greedy_decoding(
    half_known: tuple[nn.Module, tuple[Sample, ...]],
) -> None:
    model, data = half_known
    scores, own = scored(model, data).scores, encode(data)
    assert scores == greedy_scores(model, own, IDS["</s>"])
    for several in (False, True):
        seen = {s for s, sample in zip(scores, own, strict=True) if (sample.answer_length > 2) is several}
        assert seen == {0.0, 100.0}, "the model must know some of these answers, and not all"


@pytest.mark.parametrize("name", ["digits", "compare_numbers", "digital_clock", "easy_vqa_yesno"])
def test_teacher_forcing_equals_greedy_decoding_on_the_embedded_model(
    name: str, embedded: tuple[Any, Encoder]
) -> None:
    model, own_encoder = embedded
    taken = EmbeddedTask(name=name).load("search", 10)
    data = [own_encoder.encode(sample) for sample in taken]
    tokenizer = own_encoder.tokenizer
    output = evaluate_task(model, tokenizer, data, samples=taken, metric=EXACT_MATCH, batch_size=4, keep=0)
    assert output.scores == greedy_scores(model, data, tokenizer.eos_token_id)
    assert output.scores.count(100.0) > 5, "these are skills of the shipped model"


@pytest.fixture(scope="module")
def embedded() -> tuple[Any, Encoder]:
    model = load_model("tiny-llava", dtype=torch.float32)
    return model, Encoder(load_processor("tiny-llava"))


@pytest.mark.parametrize("metric", [EXACT_MATCH, MetricSpec("normalized_exact_match")], ids=str)
def test_scores_do_not_depend_on_batches_or_order(
    half_known: tuple[nn.Module, tuple[Sample, ...]], metric: MetricSpec
) -> None:
    model, data = half_known
    alone = scored(model, data, metric=metric, batch_size=1).scores
    assert 0 < sum(alone) < 100 * len(alone)
    for batch_size in (3, 7, len(data)):
        # Batches hold samples of similar length, and all of these mix images and text.
        assert scored(model, data, metric=metric, batch_size=batch_size).scores == alone
    assert scored(model, data[::-1], metric=metric, batch_size=5).scores == alone[::-1]


def test_kept_log_probabilities_are_of_the_first_samples_in_order(
    half_known: tuple[nn.Module, tuple[Sample, ...]],
) -> None:
    model, data = half_known
    kept = scored(model, data, batch_size=6, keep=4).log_probs
    assert len(kept) == 4
    for sample, own, rows in zip(data, encode(data), kept, strict=False):
        assert rows.shape == (own.answer_length, len(IDS))
        assert rows.exp().sum(-1).tolist() == pytest.approx([1.0] * own.answer_length, abs=1e-5)
        (alone,) = scored(model, [sample], keep=1).log_probs
        assert torch.allclose(rows, alone, atol=1e-4)


def test_generation_keeps_the_same_log_probabilities(
    half_known: tuple[nn.Module, tuple[Sample, ...]],
) -> None:
    model, data = half_known
    exact = scored(model, data, keep=4).log_probs
    generated = scored(model, data, metric=MetricSpec("normalized_exact_match"), keep=4).log_probs
    assert len(exact) == len(generated) == 4
    assert all(torch.equal(a, b) for a, b in zip(exact, generated, strict=True))


@pytest.fixture(scope="module")
def says_cat() -> nn.Module:
    """A model that always answers `cat dog`."""
    return learn(samples("cats", 16, answers=("cat dog",)), 40)


@pytest.mark.parametrize(
    ("reference", "exact", "normalized"),
    [
        ("cat dog", 100.0, 100.0),
        ("the cat dog .", 0.0, 100.0),
        ("cat", 0.0, 0.0),  # it goes on where the reference ends
        ("cat dog cup", 0.0, 0.0),  # it ends where the reference goes on
        ("dog cat", 0.0, 0.0),
    ],
)
def test_what_counts_as_right(says_cat: nn.Module, reference: str, exact: float, normalized: float) -> None:
    data = samples("cats", 6, answers=(reference,))
    assert scored(says_cat, data).scores == [exact] * 6
    assert scored(says_cat, data, metric=MetricSpec("normalized_exact_match")).scores == [normalized] * 6


def test_any_of_several_references_is_right(says_cat: nn.Module) -> None:
    """It answers `cat dog`: one answer is compared by its tokens, further ones with what it writes."""
    (sample,) = samples("cats", 1, answers=("sun",))
    accepted = [(), ("sun", "cat dog"), ("cat dog", "sun"), ("sun", "cat"), ("sun", "cat dog cup")]
    data = [replace(sample, references=texts) for texts in accepted]
    assert scored(says_cat, data).scores == [0.0, 100.0, 100.0, 0.0, 0.0]


def test_predictions_of_exact_match_are_written_where_the_answer_is_wrong(says_cat: nn.Module) -> None:
    right, wrong = samples("cats", 1, answers=("cat dog",)), samples("cats", 1, answers=("sun",))
    output = scored(says_cat, right + wrong, predict=True)
    assert (output.scores, output.predictions) == ([100.0, 0.0], ["cat dog", "cat dog"])
    assert scored(says_cat, right + wrong).predictions == []


def test_predictions_are_what_is_scored(half_known: tuple[nn.Module, tuple[Sample, ...]]) -> None:
    model, data = half_known
    metric = MetricSpec("normalized_exact_match")
    output = scored(model, data, metric=metric, predict=True)
    again = [metric.score(text, s.accepted) for text, s in zip(output.predictions, data, strict=True)]
    assert output.scores == again
    # Of right samples the answer itself, so the same as what is written.
    exact = scored(model, data, predict=True)
    assert exact.predictions == output.predictions


def test_what_is_written_ends_at_a_limit_or_before_a_text(says_cat: nn.Module) -> None:
    data = samples("cats", 2, answers=("cat",))
    metric = MetricSpec("normalized_exact_match")
    for decoding in (Decoding(max_new_tokens=1), Decoding(stop=("x", "dog"))):
        output = scored(says_cat, data, metric=metric, predict=True, decoding=decoding)
        assert (output.predictions, output.scores) == (["cat"] * 2, [100.0] * 2)


def test_a_choice_is_right_where_it_is_the_most_probable(says_cat: nn.Module) -> None:
    (sample,) = samples("cats", 1, answers=("cat dog",))
    choices = ("sun", "cat dog", "red")
    data = [replace(sample, choices=choices), replace(sample, choices=choices, answer="red")]
    output = scored(says_cat, data, metric=MetricSpec("multiple_choice"), predict=True, keep=1)
    assert (output.scores, output.predictions) == ([100.0, 0.0], ["cat dog"] * 2)
    # Drift is measured on the answer and its end, whatever the metric is.
    assert output.log_probs[0].shape == (3, len(IDS))


@pytest.mark.parametrize("name", ["exact_match", "normalized_exact_match", "multiple_choice"])
def test_the_first_samples_are_scored_as_among_all(
    half_known: tuple[nn.Module, tuple[Sample, ...]], name: str
) -> None:
    """Of 26 samples 12 are scored; the log-probabilities of 14 are kept all the same."""
    model, data = half_known
    data = tuple(replace(sample, choices=ANSWERS) for sample in data)
    # Further references make exact_match write, too.
    data = (*data[:6], *(replace(each, references=("sun", each.answer)) for each in data[6:]))
    how: dict[str, Any] = {"metric": MetricSpec(name), "predict": True, "keep": 14, "batch_size": 26}
    whole, part = scored(model, data, **how), scored(model, data, first=12, **how)
    assert 0 < sum(part.scores) < 1200
    assert (part.scores, part.predictions) == (whole.scores[:12], whole.predictions[:12])
    assert len(part.log_probs) == 14
    assert all(torch.equal(a, b) for a, b in zip(part.log_probs, whole.log_probs, strict=True))


@pytest.mark.parametrize(
    ("references", "limit", "expected"),
    [
        # Two tokens and an end, and 8 more.
        ((), None, 11),
        # Of several references the longest counts: `1 : 45` has three tokens.
        (("cat dog", "1 : 45", "no"), None, 12),
        (("no", "cat dog"), None, 11),
        (("1 : 45",), 2, 2),
    ],
)
def test_how_long_an_answer_may_be(references: tuple[str, ...], limit: int | None, expected: int) -> None:
    (sample,) = samples("cats", 1, answers=("cat dog",))
    data = [replace(sample, references=references)]
    decoding = Decoding(max_new_tokens=limit)
    assert token_limits(encoder().tokenizer, encode(data), data, decoding) == [expected]


def test_each_answer_has_its_own_limit_in_a_batch(says_cat: nn.Module) -> None:
    """Nothing ends these answers but their limits, so what is written beyond them is cut."""
    data = encode(samples("cats", 2, answers=("sun",)))
    tokenizer = encoder().tokenizer
    written = generated_answers(says_cat, tokenizer, data, 2, limits=[1, 5])
    assert written == ["cat", "cat dog"]
