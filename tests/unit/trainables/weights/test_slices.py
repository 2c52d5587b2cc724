"""Training a slice of a parameter: it, and nothing else of the parameter, moves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spaces.parts import Part, Slice
from trainables.training.optimizer import MasterAdamW
from trainables.weights.slices import LiveTensor, sliced


class TestSliced:
    def test_rows(self) -> None:
        matrix = torch.arange(8).reshape(4, 2)
        assert sliced(matrix, Slice(0, 1, 1, 3)).tolist() == [[2, 3], [4, 5]]

    def test_columns(self) -> None:
        matrix = torch.arange(8).reshape(2, 4)
        assert sliced(matrix, Slice(1, 1, 3, 4)).tolist() == [[3], [7]]

    def test_a_range_of_each_repeat(self) -> None:
        """Six rows are two heads of three: the second row of each is the slice."""
        rows = torch.arange(6).reshape(6, 1)
        assert sliced(rows, Slice(0, 2, 1, 2)).flatten().tolist() == [1, 4]

    def test_every_second_column_of_each_expert(self) -> None:
        experts = torch.arange(8).reshape(2, 1, 4)
        assert sliced(experts, Slice(2, 2, 1, 2)).flatten().tolist() == [1, 3, 5, 7]

    def test_a_slice_is_a_view(self) -> None:
        rows = torch.zeros(6, 1)
        sliced(rows, Slice(0, 2, 1, 2)).fill_(1)
        assert rows.flatten().tolist() == [0, 1, 0, 0, 1, 0]

    @pytest.mark.parametrize("part", [Slice(0, 1, 1, 3), Slice(0, 2, 1, 2), Slice(1, 5, 0, 1)])
    def test_its_count(self, part: Slice) -> None:
        assert sliced(torch.zeros(6, 10), part).numel() == Part("w", "attn.q", 0, (6, 10), part).count


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("part", [Slice(0, 1, 2, 4), Slice(0, 2, 1, 2), Slice(1, 1, 0, 3)])
def test_a_slice_trains_as_a_matrix_of_its_own(part: Slice, dtype: torch.dtype) -> None:
    """AdamW works element by element, so cut out or in place, the slice takes the same steps, bit for bit.

    Weight decay and clipping are on: both would differ if they saw the parameter's other elements.
    """
    torch.manual_seed(0)
    fused = nn.Parameter(torch.randn(6, 4).to(dtype))
    before = fused.detach().clone()
    alone = nn.Parameter(sliced(before, part).clone())
    target = torch.randn(6, 4).to(dtype)

    def trained(live: LiveTensor, wanted: torch.Tensor) -> MasterAdamW:
        optimizer = MasterAdamW({"w": live}, weight_decay=0.1, max_grad_norm=1.0)
        for _ in range(5):
            for _ in range(2):
                ((live.parameter - wanted) ** 2).sum().backward()
                optimizer.take_gradients()
            optimizer.step(0.01)
        return optimizer

    state = trained(LiveTensor(fused, part), target).state()
    expected = trained(LiveTensor(alone), sliced(target, part)).state()
    assert set(state) == set(expected)
    for key in expected:
        assert torch.equal(state[key], expected[key]), key
    assert not torch.equal(sliced(fused, part), sliced(before, part))
    others = torch.ones(6, 4, dtype=torch.bool)
    sliced(others, part).fill_(False)
    assert torch.equal(fused.detach()[others], before[others])
    assert all(t.numel() in (1, alone.numel()) for t in state.values())


def test_two_slices_of_one_parameter_train_together() -> None:
    """Gradients 1 and 2; AdamW's first step is the learning rate whatever the gradient's size."""
    fused = nn.Parameter(torch.zeros(3))
    optimizer = MasterAdamW(
        {"w[a]": LiveTensor(fused, Slice(0, 1, 0, 1)), "w[c]": LiveTensor(fused, Slice(0, 1, 2, 3))},
        weight_decay=0.0,
        max_grad_norm=0.0,
    )
    (fused * torch.tensor([1.0, 5.0, 2.0])).sum().backward()
    optimizer.take_gradients()
    optimizer.step(0.5)
    assert fused.tolist() == pytest.approx([-0.5, 0.0, -0.5])
    moments = optimizer.state()
    assert moments["exp_avg/w[a]"].item() == pytest.approx(0.1)
    assert moments["exp_avg/w[c]"].item() == pytest.approx(0.2)
