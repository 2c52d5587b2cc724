"""Laws of conversations: every answer is taught once, and every image is there when it is asked about."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from trainables.data.samples import IMAGE_MARK, Sample, Turn
from trainables.formats.dialogue import Dialogue, samples_of

PAIRS = st.lists(st.integers(0, 2), min_size=1, max_size=6)


def dialogue(images: list[int], system: bool) -> Dialogue:
    """Return a conversation whose user turns mark so many images, each answer naming its turn."""
    turns = [Turn(role="system", text="S")] if system else []
    for number, count in enumerate(images):
        turns.append(Turn(role="user", text=f"q{number}" + IMAGE_MARK * count))
        turns.append(Turn(role="assistant", text=f"a{number}"))
    return Dialogue(turns=tuple(turns))


def taught(sample: Sample) -> list[str]:
    """Return the answers that training on a sample teaches: its own, and those after its last image."""
    turns = (*sample.history, Turn(role="user", text=sample.prompt))
    last = max((place for place, turn in enumerate(turns) if IMAGE_MARK in turn.text), default=-1)
    earlier = [t.text for place, t in enumerate(turns) if t.role == "assistant" and place > last]
    return [*(earlier if sample.teaches_history else []), sample.answer]


@given(images=PAIRS, system=st.booleans())
def test_every_answer_is_taught_exactly_once(images: list[int], system: bool) -> None:
    sources = [bytes([index]) for index in range(sum(images))]
    samples = samples_of(dialogue(images, system), sources, id="x", where="f:1", split="train")
    counts = Counter(answer for sample in samples for answer in taught(sample))
    assert counts == {f"a{number}": 1 for number in range(len(images))}
    # A sample for each part that images begin after an answer, and one more.
    assert len(samples) == 1 + sum(count > 0 for count in images[1:])
    for sample in samples:
        said = (*sample.history, Turn(role="user", text=sample.prompt))
        marks = sum(turn.text.count(IMAGE_MARK) for turn in said)
        assert sample.images == tuple(sources[:marks])
        assert said == dialogue(images, system).turns[: len(said)]


@given(images=PAIRS, system=st.booleans())
def test_scoring_asks_for_the_last_answer_alone(images: list[int], system: bool) -> None:
    sources = [bytes([index]) for index in range(sum(images))]
    (sample,) = samples_of(dialogue(images, system), sources, id="x", where="f:1", split="search")
    assert (sample.answer, sample.images) == (f"a{len(images) - 1}", tuple(sources))
    assert not sample.teaches_history


def test_images_without_marks_are_there_from_the_start() -> None:
    (sample,) = samples_of(dialogue([0, 0], False), [b"1", b"2"], id="x", where="f:1", split="train")
    assert (sample.images, taught(sample)) == ((b"1", b"2"), ["a0", "a1"])
