from __future__ import annotations

from tiny_models import encoder, samples

from trainables.training.lockstep import Lockstep

PICTURES = samples("pictures", 5)
WORDS = samples("words", 3, images=False)


def passes(lockstep: Lockstep) -> dict[bool, int]:
    return {kind.with_image: kind.passes for kind in lockstep.kinds}


def test_everyone_passes_as_often_as_who_has_most() -> None:
    """Of p p p p p w w w in turn, one process has three pictures and one word, the other two of each."""
    lockstep = Lockstep.of((*PICTURES, *WORDS), 2, 1, encoder())
    assert passes(lockstep) == {True: 3, False: 2}
    # Two samples a pass: pictures 2 + 1, words 2.
    assert passes(Lockstep.of((*PICTURES, *WORDS), 2, 2, encoder())) == {True: 2, False: 1}


def test_a_kind_that_no_sample_has_takes_no_pass() -> None:
    assert passes(Lockstep.of(WORDS, 2, 1, encoder())) == {False: 2}


def test_a_process_without_samples_has_a_filler_of_the_kind() -> None:
    (kind,) = Lockstep.of(PICTURES[:1], 4, 8, encoder()).kinds
    assert kind.passes == 1
    assert "pixel_values" in kind.filler.extras
