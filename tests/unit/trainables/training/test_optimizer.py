from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from spaces.parts import Slice
from trainables.training.optimizer import MasterAdamW
from trainables.weights.slices import LiveTensor


def parameter(value: list[float], dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(torch.tensor(value, dtype=dtype))


def adamw(trained: dict[str, nn.Parameter], max_grad_norm: float = 0.0) -> MasterAdamW:
    return MasterAdamW(
        {name: LiveTensor(p) for name, p in trained.items()}, weight_decay=0.0, max_grad_norm=max_grad_norm
    )


def backward(trained: nn.Parameter, gradient: float) -> None:
    (trained * gradient).sum().backward()


def test_steps_below_bfloat16_s_resolution_add_up() -> None:
    """AdamW's steps at a constant gradient are the learning rate each: 100 steps of 1e-4 from 1 end at 0.99.

    Between 0.5 and 1 neighbours in bfloat16 are 2^-8 apart, so each single step would round away.
    """
    weight = parameter([1.0], torch.bfloat16)
    optimizer = adamw({"w": weight})
    assert (weight.data - 1e-4).item() == 1.0
    for _ in range(100):
        backward(weight, 1.0)
        optimizer.take_gradients()
        optimizer.step(1e-4)
    assert optimizer.state()["master/w"].item() == pytest.approx(0.99, abs=1e-5)
    assert weight.item() == torch.tensor(0.99, dtype=torch.bfloat16).item()


def test_gradients_of_several_passes_add_up_in_fp32() -> None:
    """1 + 2^-9 needs 10 significant bits: in bfloat16 the second gradient would be lost."""
    weight = parameter([0.0], torch.bfloat16)
    optimizer = adamw({"w": weight})
    for gradient in (1.0, 2.0**-9):
        backward(weight, gradient)
        optimizer.take_gradients()
    assert weight.grad is None
    optimizer.step(0.0)
    # AdamW's first moment after one step is a tenth of the gradient.
    assert optimizer.state()["exp_avg/w"].item() == pytest.approx(0.1 * (1 + 2.0**-9), rel=1e-6)


def test_an_fp32_parameter_is_its_own_master() -> None:
    weight = parameter([1.0, 2.0], torch.float32)
    optimizer = adamw({"w": weight})
    backward(weight, 1.0)
    optimizer.take_gradients()
    optimizer.step(0.25)
    assert weight.tolist() == pytest.approx([0.75, 1.75])
    assert set(optimizer.state()) == {"parameter/w", "step/w", "exp_avg/w", "exp_avg_sq/w"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_clips_the_norm_over_all_parameters(dtype: torch.dtype) -> None:
    """Gradients (3) and (4) have norm 5; scaled to norm 1 they are 0.6 and 0.8."""
    trained = {"a": parameter([0.0], dtype), "b": parameter([0.0], dtype)}
    optimizer = adamw(trained, max_grad_norm=1.0)
    backward(trained["a"], 3.0)
    backward(trained["b"], 4.0)
    optimizer.take_gradients()
    optimizer.step(0.0)
    state = optimizer.state()
    assert [state["exp_avg/a"].item(), state["exp_avg/b"].item()] == pytest.approx([0.06, 0.08], rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_goes_on_bit_for_bit_and_leaves_the_state_alone(dtype: torch.dtype) -> None:
    def trained(steps: int, state: dict[str, Tensor] | None = None) -> tuple[nn.Parameter, dict[str, Tensor]]:
        weight = parameter([1.0, -0.3], dtype)
        optimizer = adamw({"w": weight})
        if state is not None:
            optimizer.load_state(state)
        for _ in range(steps):
            backward(weight, 0.7)
            optimizer.take_gradients()
            optimizer.step(1e-3)
        return weight, {name: tensor.clone() for name, tensor in optimizer.state().items()}

    straight, expected = trained(5)
    _, half = trained(2)
    kept = {name: tensor.clone() for name, tensor in half.items()}
    resumed, found = trained(3, half)
    assert torch.equal(resumed, straight)
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    for name, tensor in kept.items():
        assert torch.equal(half[name], tensor), name


def test_a_parameter_without_a_gradient_is_left_alone() -> None:
    idle, busy = parameter([1.0], torch.bfloat16), parameter([1.0], torch.bfloat16)
    live = {"idle": LiveTensor(idle), "busy": LiveTensor(busy)}
    optimizer = MasterAdamW(live, weight_decay=0.5, max_grad_norm=1.0)
    backward(busy, 1.0)
    optimizer.take_gradients()
    optimizer.step(0.1)
    assert idle.item() == 1.0
    assert busy.item() < 1.0
    assert "exp_avg/idle" not in optimizer.state()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("clip", "expected"), [(0.0, 1.5), (0.5, 0.5)])
def test_the_pull_to_the_base_by_hand(dtype: torch.dtype, clip: float, expected: float) -> None:
    """Weight 0.5, from 3 back to 1, adds 0.5 x (3 - 1) to a gradient of 0.5; what is clipped is the sum.

    AdamW's first moment after one step is a tenth of the gradient.
    """
    weight = parameter([3.0], dtype)
    base = {"w": torch.tensor([1.0], dtype=dtype)}
    optimizer = MasterAdamW(
        {"w": LiveTensor(weight)}, weight_decay=0.0, max_grad_norm=clip, base=base, l2sp_weight=0.5
    )
    for gradient in (0.25, 0.25):  # once a step, however many passes it takes
        backward(weight, gradient)
        optimizer.take_gradients()
    optimizer.step(0.0)
    assert optimizer.state()["exp_avg/w"].item() == pytest.approx(0.1 * expected, rel=1e-5)
    assert base["w"].item() == 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_base_is_in_the_model_for_a_while(dtype: torch.dtype) -> None:
    weight = parameter([3.0, 4.0], dtype)
    live = {"w[a]": LiveTensor(weight, Slice(0, 1, 1, 2))}
    optimizer = MasterAdamW(
        live, weight_decay=0.0, max_grad_norm=0.0, base={"w[a]": torch.tensor([9.0], dtype=dtype)}
    )
    with optimizer.base_in_model():
        assert weight.tolist() == [3.0, 9.0]
    assert weight.tolist() == [3.0, 4.0]
    with pytest.raises(ZeroDivisionError), optimizer.base_in_model():
        raise ZeroDivisionError
    assert weight.tolist() == [3.0, 4.0]
