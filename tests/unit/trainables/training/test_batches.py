from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import IDS, encoder, samples

from trainables.collate import EncodedSample
from trainables.training.batches import DataOrder, micro_batches
from trainables.training.parallel import Share

PAD = IDS["<pad>"]
PICTURES = [encoder().encode(sample) for sample in samples("pictures", 4)]
WORDS = [encoder().encode(sample) for sample in samples("words", 4, images=False)]


def data_order(
    targets: int, batch_size: int, *, seed: int = 0, replayed: int = 0, ratio: float = 0.0
) -> DataOrder:
    return DataOrder(targets=targets, replayed=replayed, replay_ratio=ratio, batch_size=batch_size, seed=seed)


def answers(batch: object) -> int:
    return int(batch.answer_mask.sum())  # type: ignore[attr-defined]


def test_each_epoch_is_a_permutation() -> None:
    order = [i for step in range(10) for i in data_order(10, 3, seed=7).batch(step)]
    for epoch in range(3):
        assert sorted(order[10 * epoch : 10 * (epoch + 1)]) == list(range(10))
    assert order[:10] != order[10:20]


def test_one_process_takes_each_kind_at_once() -> None:
    pictures, words = micro_batches([WORDS[0], *PICTURES, *WORDS[1:]], Share(), None, PAD)
    assert pictures.inputs["pixel_values"].shape[0] == len(pictures.answer_mask) == 4
    assert "pixel_values" not in words.inputs
    assert len(words.answer_mask) == 4


def test_an_uneven_share_runs_along_with_a_sample_that_does_not_count() -> None:
    """Three samples for two processes, one a pass: the second process's second pass is a filler."""
    first, second = (list(micro_batches(WORDS[:3], Share(rank, 2), 1, PAD)) for rank in (0, 1))
    assert [answers(batch) for batch in first] == [WORDS[0].answer_length, WORDS[2].answer_length]
    assert [answers(batch) for batch in second] == [WORDS[1].answer_length, 0]


def test_a_process_without_an_image_runs_along_with_one_where_another_has_one() -> None:
    pictures, words = micro_batches([PICTURES[0], WORDS[0], WORDS[1]], Share(1, 2), None, PAD)
    assert pictures.inputs["pixel_values"].shape[0] == 1
    assert answers(pictures) == 0
    assert answers(words) == WORDS[1].answer_length


@settings(max_examples=60, deadline=None)
@given(
    kinds=st.lists(st.booleans(), min_size=1, max_size=9),
    size=st.integers(1, 4),
    micro=st.none() | st.integers(1, 4),
)
def test_all_processes_pass_alike_and_every_answer_counts_once(
    kinds: list[bool], size: int, micro: int | None
) -> None:
    chosen: list[EncodedSample] = [(PICTURES if kind else WORDS)[i % 4] for i, kind in enumerate(kinds)]
    size = min(size, len(chosen))
    passes = [list(micro_batches(chosen, Share(rank, size), micro, PAD)) for rank in range(size)]
    assert len({len(own) for own in passes}) == 1
    for alike in zip(*passes, strict=True):
        assert len({"pixel_values" in batch.inputs for batch in alike}) == 1
    counted = sum(answers(batch) for own in passes for batch in own)
    assert counted == sum(sample.answer_length for sample in chosen)
    if micro is not None:
        assert max(len(batch.answer_mask) for own in passes for batch in own) <= micro


def test_a_batch_larger_than_the_data_goes_on_into_the_next_epoch() -> None:
    batch = data_order(3, 7).batch(0)
    assert len(batch) == 7
    assert sorted(batch[:3]) == sorted(batch[3:6]) == [0, 1, 2]


def test_the_order_depends_on_the_seed() -> None:
    def first(seed: int) -> list[int]:
        return [i for step in range(5) for i in data_order(20, 4, seed=seed).batch(step)]

    assert first(3) == first(3)
    assert first(4) != first(3)


@pytest.mark.parametrize("rank", [0, 1])
def test_micro_batches_bound_the_samples_of_a_pass(rank: int) -> None:
    sizes = [len(b.answer_mask) for b in micro_batches(WORDS * 2, Share(rank, 2), 3, PAD)]
    assert sizes == [3, 1]


@pytest.mark.parametrize(
    ("ratio", "drawn"),
    [
        (0.0, [0, 0, 0, 0, 0]),
        (0.25, [1, 1, 1, 1, 1]),
        # 1.2 of 4: after 1, 2, ... 5 steps 1, 2, 3, 4 and 6 in all.
        (0.3, [1, 1, 1, 1, 2]),
        (0.1, [0, 0, 1, 0, 1]),
        (0.9, [3, 4, 3, 4, 4]),
    ],
)
def test_replay_by_hand(ratio: float, drawn: list[int]) -> None:
    """Of 10 target samples and 3 to replay, in batches of 4."""
    order = data_order(10, 4, replayed=3, ratio=ratio)
    batches = [order.batch(step) for step in range(5)]
    assert [sum(i >= 10 for i in batch) for batch in batches] == drawn


@settings(max_examples=30, deadline=None)
@given(
    ratio=st.integers(0, 99).map(lambda percent: percent / 100),
    batch_size=st.integers(1, 7),
    replayed=st.integers(1, 5),
    seed=st.integers(0, 5),
)
def test_replay_is_exact_in_the_long_run_and_leaves_the_targets_order(
    ratio: float, batch_size: int, replayed: int, seed: int
) -> None:
    order = data_order(6, batch_size, seed=seed, replayed=replayed, ratio=ratio)
    batches = [order.batch(step) for step in range(100)]
    assert {len(batch) for batch in batches} == {batch_size}
    taken = [i for batch in batches for i in batch]
    again = [i - 6 for i in taken if i >= 6]
    assert len(again) == round(100 * batch_size * ratio)
    for epoch in range(len(again) // replayed):
        assert sorted(again[epoch * replayed : (epoch + 1) * replayed]) == list(range(replayed))
    own = [i for i in taken if i < 6]
    plain = data_order(6, batch_size, seed=seed)
    assert own == [i for step in range(100) for i in plain.batch(step)][: len(own)]
