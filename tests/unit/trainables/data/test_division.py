"""Laws of the division into splits: stable, independent, and in the shares that were asked for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.data.bad_samples import SampleError
from trainables.data.division import part_of
from trainables.data.samples import IMAGE_MARK, SPLITS, Sample, Split, Turn

EVEN: dict[Split, float] = {"train": 1, "search": 1, "confirm": 1}
prompts = st.text(min_size=1, max_size=30)
images = st.binary(min_size=1, max_size=20)
shares_of_splits = st.fixed_dictionaries({split: st.sampled_from([0.0, 0.1, 1, 3]) for split in SPLITS})


def asked(prompt: str, *images: bytes, history: tuple[Turn, ...] = (), answer: str = "7") -> Sample:
    return Sample(id="any", prompt=prompt, answer=answer, images=images, history=history)


def said(*texts: str) -> tuple[Turn, ...]:
    return tuple(
        Turn(role="assistant" if place % 2 else "user", text=text) for place, text in enumerate(texts)
    )


@given(seed=st.integers(0, 5), shares=shares_of_splits.filter(lambda shares: any(shares.values())))
@settings(max_examples=25, deadline=None)
def test_the_shares_are_met_in_the_long_run(seed: int, shares: dict[Split, float]) -> None:
    """Of n = 2,000 draws with probability p, a count is practically within 5 standard deviations."""
    n, whole = 2000, sum(shares.values())
    counts = Counter(part_of(asked(f"question {i}"), shares, seed) for i in range(n))
    for split in SPLITS:
        p = shares[split] / whole
        assert abs(counts[split] - n * p) <= 5 * (n * p * (1 - p)) ** 0.5


@given(prompt=prompts, picture=images, answers=st.lists(st.text(max_size=5), min_size=2, max_size=4))
def test_samples_about_one_image_share_a_split(prompt: str, picture: bytes, answers: list[str]) -> None:
    samples = [asked(f"{prompt}{i}", picture, b"another", answer=answer) for i, answer in enumerate(answers)]
    assert len({part_of(sample, EVEN, 3) for sample in samples}) == 1


@pytest.mark.parametrize("other", ["how many   dots", "How Many DOTS?!", "\n“how many dots” ?"])
def test_samples_that_ask_the_same_share_a_split(other: str) -> None:
    for seed in range(30):
        assert part_of(asked("How many dots?"), EVEN, seed) == part_of(asked(other, answer="x"), EVEN, seed)


def test_a_conversation_stays_together_however_it_is_cut_into_samples() -> None:
    """The image is shown in the second turn, so what comes before it can't know of it."""
    system = (Turn(role="system", text="You are terse."),)
    whole = said("Hello, you.", "Hello.", f"{IMAGE_MARK} And here?", "A cat.")
    for seed in range(30):
        cuts = [
            asked("Hello, you.", history=system),
            asked(f"{IMAGE_MARK} And here?", b"cat", history=(*system, *whole[:2])),
            asked("Its colour?", b"cat", history=(*system, *whole)),
        ]
        assert len({part_of(sample, EVEN, seed) for sample in cuts}) == 1


def test_a_conversation_about_an_image_goes_with_the_image() -> None:
    unmarked = asked("And now?", b"cat", history=said("What is it?", "A cat."))
    marked = asked("And now?", b"cat", history=said(f"{IMAGE_MARK} What?", "A cat."))
    for seed in range(30):
        assert part_of(unmarked, EVEN, seed) == part_of(asked("Hm?", b"cat"), EVEN, seed)
        assert part_of(marked, EVEN, seed) == part_of(asked("Hm?", b"cat"), EVEN, seed)


@given(prompt=prompts, share=st.floats(0.01, 100), scale=st.floats(0.01, 100))
def test_shares_are_relative(prompt: str, share: float, scale: float) -> None:
    one: dict[Split, float] = {"train": share, "confirm": 1}
    # The order in which shares are given makes no difference either.
    other: dict[Split, float] = {"confirm": scale, "train": share * scale}
    samples = [asked(f"{prompt}{i}") for i in range(20)]
    assert [part_of(each, one, 0) for each in samples] == [part_of(each, other, 0) for each in samples]


def test_two_seeds_differ() -> None:
    parts = [[part_of(asked(f"question {i}"), EVEN, seed) for i in range(100)] for seed in (0, 1)]
    # Two independent divisions in thirds agree on 33 of 100, with a standard deviation of 4.7.
    assert 10 < sum(one == other for one, other in zip(*parts, strict=True)) < 57


def test_the_division_is_the_same_on_every_machine() -> None:
    """By sha256sum the digests start with 7a, ed, 5e and 81 (of 100 in hexadecimal): .48, .93, .37 and .50.

    What was digested is `0:text:` and, on a line of its own, `how many`, `why` or `who`; of the pixels
    `0:image:(2, 2, 3)` and 12 zero bytes, whose digest goes on as 8101, which is above a half.
    """
    shares: dict[Split, float] = {"train": 0.5, "search": 0.25, "confirm": 0.25}
    pixels = np.zeros((2, 2, 3), np.uint8)
    found = [part_of(sample, shares, 0) for sample in (asked("How many?"), asked("Why?"), asked("Who?"))]
    found.append(part_of(Sample(id="p", prompt="Why?", answer="7", images=(pixels,)), shares, 0))
    assert found == ["train", "confirm", "train", "search"]


def test_a_path_and_its_content_are_one_image(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    path.write_bytes(b"picture")
    filed = Sample(id="f", prompt="?", answer="7", images=(path,))
    for seed in range(30):
        assert part_of(filed, EVEN, seed) == part_of(asked("other", b"picture"), EVEN, seed)
    path.unlink()
    with pytest.raises(SampleError, match="sample 'f': its image can't be read: No such file"):
        part_of(filed, EVEN, 0)


def test_some_share_must_be_above_0() -> None:
    with pytest.raises(ValueError, match="one of train, search, confirm must be above 0"):
        part_of(asked("?"), {"train": 0.0}, 0)
