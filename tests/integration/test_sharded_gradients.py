"""What the benchmark claims of FSDP2 and FSDP1, on a model small enough for a test."""

from __future__ import annotations

import pytest
from worlds import in_world

from benchmarks.sharded_gradients import Size, build, measure, refusal
from trainables.manifest import build_manifest

SIZE = Size(hidden=64, layers=2, vocabulary=512)


def work(rank: int, side: str, subset: str) -> dict[str, int]:
    return measure(rank, 2, SIZE, side, subset)


def refused(rank: int) -> str:
    return refusal(rank, SIZE)


@pytest.mark.slow
@pytest.mark.parametrize("subset", ["sa_proj", "gate_up"])
def test_only_fsdp2_keeps_gradients_for_what_is_trained_alone(subset: str) -> None:
    trained = build_manifest(build(SIZE), subset).bytes
    for rank in in_world(2, work, "fsdp2", subset):
        assert (rank["gradients"], rank["optimizer"], rank["reduced"]) == (trained // 2, trained, trained)
    # Each layer whole: 4 matrices of 64 x 64, 3 of 64 x 176 and 2 norms, in fp32.
    layers = 2 * 4 * (4 * 64 * 64 + 3 * 64 * 176 + 2 * 64)
    for rank in in_world(2, work, "fsdp1", subset):
        assert rank["gradients"] == pytest.approx(layers / 2, rel=1e-3)
        assert rank["reduced"] == pytest.approx(layers, rel=1e-3)


@pytest.mark.slow
def test_without_the_original_parameters_fsdp1_refuses() -> None:
    assert "requires_grad=True and False" in in_world(2, refused)[0]
