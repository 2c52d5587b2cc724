"""What a transform makes of weights: laws on tensors, and models whose members trained different parts."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path

import hypothesis.extra.numpy as arrays
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spaces.parts import Slice
from spaces.points import Identity, Interpolation, Member, Pruning, Soup, Transform
from trainables.checkpoint import CheckpointError, save_checkpoint
from trainables.manifest import TrainableManifest, TrainedParameter
from trainables.weights.points import (
    TrainedWeights,
    apply_point,
    averaged,
    interpolated,
    open_weights,
    point_manifest,
    pruned,
)
from trainables.weights.slices import sliced

NUMBERS = st.floats(-1e4, 1e4, width=32)
SHAPES = arrays.array_shapes(max_dims=2, max_side=6)
FEW = settings(max_examples=40, deadline=None)
TYPES = st.sampled_from([torch.float32, torch.bfloat16])


@st.composite
def alike(draw: st.DrawFn, count: int) -> list[Tensor]:
    """Tensors of one shape and type; a few numbers only, so that some of them are equal or 0."""
    shape, dtype = draw(SHAPES), draw(TYPES)
    numbers = st.sampled_from([*draw(st.lists(NUMBERS, min_size=1, max_size=4)), 0.0]) | NUMBERS
    array = arrays.arrays("float32", shape, elements=numbers)
    return [torch.from_numpy(draw(array)).to(dtype) for _ in range(count)]


class TestInterpolation:
    @FEW
    @given(alike(2))
    def test_its_ends_are_base_and_tuned_bit_for_bit(self, pair: list[Tensor]) -> None:
        base, tuned = pair
        assert torch.equal(interpolated(base, tuned, 0), base)
        assert torch.equal(interpolated(base, tuned, 1), tuned)

    @FEW
    @given(alike(2), st.floats(0, 1))
    def test_it_lies_between_them_and_leaves_what_did_not_change(
        self, pair: list[Tensor], alpha: float
    ) -> None:
        base, tuned = pair
        value = interpolated(base, tuned, alpha)
        assert value.dtype == base.dtype
        # A step of rounding at the larger end.
        slack = 1e-6 * torch.maximum(base.float().abs(), tuned.float().abs())
        assert (value.float() >= torch.minimum(base, tuned).float() - slack).all()
        assert (value.float() <= torch.maximum(base, tuned).float() + slack).all()
        assert torch.equal(value[base == tuned], base[base == tuned])

    def test_by_hand(self) -> None:
        """0.1 x 10 + 0.9 x 20 = 19."""
        assert interpolated(torch.tensor([10.0]), torch.tensor([20.0]), 0.9).item() == pytest.approx(19.0)

    def test_it_is_rounded_once(self) -> None:
        """166 - 299 / 8 = 128.625, to the nearest of bfloat16's whole numbers 129.

        In bfloat16 itself 299 becomes 300 and 166 - 37.5 = 128.5 becomes 128.
        """
        base, tuned = torch.tensor([166.0]).bfloat16(), torch.tensor([-133.0]).bfloat16()
        assert interpolated(base, tuned, 1 / 8).item() == 129


class TestPruning:
    @FEW
    @given(alike(2))
    def test_keeping_all_is_the_tuned_model(self, pair: list[Tensor]) -> None:
        assert torch.equal(pruned(*pair, 1), pair[1])

    @FEW
    @given(alike(2), st.floats(0, 1, exclude_min=True))
    def test_every_element_is_the_base_s_or_the_tuned_one(self, pair: list[Tensor], keep: float) -> None:
        value = pruned(*pair, keep)
        assert ((value == pair[0]) | (value == pair[1])).all()

    @FEW
    @given(SHAPES, st.floats(0, 1, exclude_min=True), st.booleans(), st.integers(0, 9))
    def test_exactly_the_share_is_kept(
        self, shape: tuple[int, ...], keep: float, ties: bool, seed: int
    ) -> None:
        """All elements change, so those that are kept can be counted; with ties all rank alike."""
        generator = torch.Generator().manual_seed(seed)
        base = torch.ones(shape) if ties else torch.randn(shape, generator=generator)
        tuned = base + (1.0 if ties else torch.rand(shape, generator=generator) + 1)
        assert int((pruned(base, tuned, keep) != base).sum()) == round(keep * math.prod(shape))

    def test_the_larger_change_on_the_larger_weight_is_kept(self) -> None:
        """Mean |W| is 2. Ranks |dW| (1 - 2 / |W|): 4 x 1/2 = 2; 2 x 1/2 = 1; 1 x -1 = -1; 4 x -1 = -4.

        By |dW| alone the last one would be among the best.
        """
        base, change = torch.tensor([4.0, -4.0, 1.0, -1.0]) * 0.8, torch.tensor([4.0, 2.0, 1.0, 4.0])
        tuned = base + change
        for keep, kept in ((0.25, [0]), (0.5, [0, 1]), (0.75, [0, 1, 2])):
            changed = (pruned(base, tuned, keep) != base).nonzero().flatten().tolist()
            assert changed == kept

    def test_of_equal_ranks_the_first_are_kept(self) -> None:
        base = torch.ones(2, 2)
        assert pruned(base, base + 1, 0.75).tolist() == [[2, 2], [2, 1]]

    def test_a_change_of_nothing_ranks_last(self) -> None:
        """|W| is 0, 3, 3, mean 2: ranks -inf, 1 x 1/3, 0 for no change."""
        base, tuned = torch.tensor([0.0, 3.0, 3.0]), torch.tensor([9.0, 4.0, 3.0])
        assert pruned(base, tuned, 1 / 3).tolist() == [0, 4, 3]
        assert pruned(base, tuned, 2 / 3).tolist() == [0, 4, 3]

    def test_where_the_whole_base_is_zero_the_larger_change_is_kept(self) -> None:
        tuned = torch.tensor([1.0, -3.0, 0.0, 2.0])
        assert pruned(torch.zeros(4), tuned, 0.5).tolist() == [0, -3, 0, 2]


class TestSoup:
    @FEW
    @given(alike(1))
    def test_of_one_is_it(self, one: list[Tensor]) -> None:
        assert torch.equal(averaged(one), one[0])

    @FEW
    @given(alike(1), st.integers(2, 7))
    def test_of_identical_members_is_each_of_them(self, one: list[Tensor], count: int) -> None:
        assert torch.equal(averaged(one * count), one[0])

    @FEW
    @given(st.integers(2, 5).flatmap(alike))
    def test_it_is_the_mean(self, tensors: list[Tensor]) -> None:
        exact = torch.stack([tensor.double() for tensor in tensors]).mean(0)
        scale = torch.stack([tensor.double().abs() for tensor in tensors]).amax(0)
        # At most four steps, each of which rounds a difference, a share of it and a sum: 4 x 5 x 2^-24 of the
        # largest number. Then one rounding to the tensors' type. Below the smallest normal number it is off
        # by up to half of the smallest number that there is: of 2^-149, and of smallest_normal x eps.
        kind = torch.finfo(tensors[0].dtype)
        smallest = 4 * 5 * 2.0**-150 + kind.smallest_normal * kind.eps
        allowed = (4 * 5 * 2.0**-24 + kind.eps) * scale + smallest
        assert ((averaged(tensors).double() - exact).abs() <= allowed).all()


class Toy(nn.Module):
    """A fused matrix, whose rows are two roles' in each of two heads, one whole matrix and a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.fused = nn.Parameter(torch.arange(8.0).reshape(4, 2) + 1)
        self.down = nn.Parameter(torch.full((2, 2), 10.0))
        self.bias = nn.Parameter(torch.zeros(2))


Q, K = Slice(0, 2, 0, 1), Slice(0, 2, 1, 2)
PARTS = {
    "q": TrainedParameter("fused", "attn.q", 0, (4, 2), 4, 16, Q),
    "k": TrainedParameter("fused", "attn.k", 0, (4, 2), 4, 16, K),
    "down": TrainedParameter("down", "mlp.down", 0, (2, 2), 4, 16),
    "bias": TrainedParameter("bias", "norm", None, (2,), 2, 8),
}


def manifest(*parts: str, **changed: TrainedParameter) -> TrainableManifest:
    return TrainableManifest(
        model_type="toy",
        family="toy",
        subset="+".join(parts),
        parameters=tuple((PARTS | changed)[part] for part in parts),
        total=14,
    )


def weights(folder: Path, changes: Mapping[str, float], *parts: str) -> TrainedWeights:
    """Write what a trial leaves that added a number to all elements of each of its parts."""
    trained, model = manifest(*parts), Toy()
    named = dict(model.named_parameters())
    with torch.no_grad():
        for name, change in changes.items():
            sliced(named[PARTS[name].name], PARTS[name].slice).add_(change)
    state = {f"parameter/{t.key}": sliced(named[t.name].detach(), t.slice) for t in trained.tensors}
    path = folder / f"{'-'.join(parts)}-{sum(changes.values())}.safetensors"
    pointer = save_checkpoint(path, state, 1)
    assert pointer is not None
    return TrainedWeights(path=str(path), manifest=trained, sha256=pointer.sha256)


def made(transform: Transform, *members: TrainedWeights) -> Toy:
    model = Toy()
    apply_point(model, transform, [open_weights(model, each) for each in members])
    return model


def soup(count: int) -> Soup:
    return Soup(tuple(Member(number, 1) for number in range(count)))


def changes(model: Toy) -> dict[str, list[float]]:
    """Return by how much each part's elements differ from the base's, without repetition."""
    now, base = dict(model.named_parameters()), dict(Toy().named_parameters())
    return {
        part: sorted({*(sliced(now[p.name] - base[p.name], p.slice)).flatten().tolist()})
        for part, p in PARTS.items()
    }


class TestAModel:
    def test_a_rung_s_weights_as_they_are(self, tmp_path: Path) -> None:
        model = made(Identity(), weights(tmp_path, {"q": 2.0, "down": 4.0}, "q", "down"))
        assert changes(model) == {"q": [2.0], "k": [0.0], "down": [4.0], "bias": [0.0]}

    def test_between_base_and_tuned(self, tmp_path: Path) -> None:
        model = made(Interpolation(0.5), weights(tmp_path, {"k": 2.0, "down": 4.0}, "k", "down"))
        assert changes(model) == {"q": [0.0], "k": [1.0], "down": [2.0], "bias": [0.0]}

    def test_the_share_is_kept_in_each_tensor(self, tmp_path: Path) -> None:
        """A slice of four, a matrix of four and a bias of two: half of each."""
        model = made(
            Pruning(0.5), weights(tmp_path, {"q": 2.0, "down": 4.0, "bias": 1.0}, "q", "down", "bias")
        )
        base = dict(Toy().named_parameters())
        changed = {name: int((p != base[name]).sum()) for name, p in model.named_parameters()}
        assert changed == {"fused": 2, "down": 2, "bias": 1}
        assert changes(model)["k"] == [0.0]

    def test_a_member_that_did_not_train_a_part_counts_as_the_base(self, tmp_path: Path) -> None:
        """Of three members, one changed q by 3, two changed down by 6 and 3, one the bias: 1, 3 and 2."""
        members = (
            weights(tmp_path, {"q": 3.0, "down": 6.0}, "q", "down"),
            weights(tmp_path, {"down": 3.0}, "down"),
            weights(tmp_path, {"bias": 6.0}, "bias"),
        )
        assert changes(made(soup(3), *members)) == {"q": [1.0], "k": [0.0], "down": [3.0], "bias": [2.0]}

    def test_slices_of_one_parameter_meet_in_a_soup(self, tmp_path: Path) -> None:
        """One member has the fused matrix as a whole, one its q alone: (2 + 4) / 2 and (2 + 0) / 2."""
        whole = weights(tmp_path, {"q": 2.0, "k": 2.0}, "q", "k")
        assert [tensor.key for tensor in whole.manifest.tensors] == ["fused"]
        model = made(soup(2), whole, weights(tmp_path, {"q": 4.0}, "q"))
        assert changes(model) == {"q": [3.0], "k": [1.0], "down": [0.0], "bias": [0.0]}

    @pytest.mark.parametrize("count", [1, 3])
    def test_a_soup_of_one_trial_is_it(self, tmp_path: Path, count: int) -> None:
        one = weights(tmp_path, {"q": 0.3, "down": 0.7}, "q", "down")
        assert changes(made(soup(count), *[one] * count)) == changes(made(Identity(), one))


class TestManifest:
    def test_of_one_trial_is_its_own(self) -> None:
        own = manifest("q", "down")
        assert point_manifest([own, own]) is own

    def test_of_several_is_their_union(self) -> None:
        union = point_manifest([manifest("down"), manifest("q"), manifest("k", "down")])
        assert {tensor.key for tensor in union.tensors} == {"down", "fused"}
        assert (union.count, union.subset) == (12, "down, q, k+down")

    def test_slices_of_one_role_that_may_overlap_are_taken_whole(self) -> None:
        rows = dataclasses.replace(PARTS["down"], slice=Slice(0, 1, 0, 1), count=2, bytes=8)
        union = point_manifest([manifest("down", down=rows), manifest("down")])
        assert union.parameters == (PARTS["down"],)

    def test_a_file_gives_it_back(self) -> None:
        own = manifest("q", "down")
        assert TrainableManifest.from_dict(json.loads(json.dumps(own.to_dict()))) == own


class TestWeightsThatCantBeTaken:
    def test_missing(self, tmp_path: Path) -> None:
        gone = TrainedWeights(path=str(tmp_path / "gone"), manifest=manifest("q"))
        with pytest.raises(CheckpointError, match=r"checkpoint .*gone is missing"):
            open_weights(Toy(), gone)

    def test_cut_short(self, tmp_path: Path) -> None:
        cut = weights(tmp_path, {"down": 1.0}, "down")
        content = Path(cut.path).read_bytes()
        Path(cut.path).write_bytes(content[:-3])
        with pytest.raises(CheckpointError, match="is damaged"):
            open_weights(Toy(), cut)

    def test_a_bit_that_flipped_in_the_values(self, tmp_path: Path) -> None:
        flipped = weights(tmp_path, {"down": 1.0}, "down")
        content = bytearray(Path(flipped.path).read_bytes())
        content[-3] ^= 1
        Path(flipped.path).write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"checkpoint {flipped.path} is damaged: its checksum is"):
            open_weights(Toy(), flipped)

    def test_without_a_checksum_the_header_alone_is_checked(self, tmp_path: Path) -> None:
        old = dataclasses.replace(weights(tmp_path, {"down": 1.0}, "down"), sha256=None)
        open_weights(Toy(), old)
        Path(old.path).write_bytes(Path(old.path).read_bytes()[:-3])
        with pytest.raises(CheckpointError, match="is damaged"):
            open_weights(Toy(), old)

    def test_without_a_tensor_that_was_trained(self, tmp_path: Path) -> None:
        less = dataclasses.replace(
            weights(tmp_path, {"down": 1.0}, "down"), manifest=manifest("down", "bias")
        )
        with pytest.raises(CheckpointError, match="lacks 'bias'"):
            open_weights(Toy(), less)

    def test_of_another_shape(self, tmp_path: Path) -> None:
        model = Toy()
        model.down = nn.Parameter(torch.zeros(2, 3))
        with pytest.raises(CheckpointError, match=r"does not fit: 'down' is \[2, 2\], the model's \[2, 3\]"):
            open_weights(model, weights(tmp_path, {"down": 1.0}, "down"))

    def test_of_a_parameter_that_the_model_lacks(self, tmp_path: Path) -> None:
        model = Toy()
        del model.down
        with pytest.raises(CheckpointError, match="the model has no 'down'"):
            open_weights(model, weights(tmp_path, {"down": 1.0}, "down"))
