"""AdamW over the trained parameters, in fp32 whatever the model's type.

A step of AdamW moves a weight by about the learning rate. bfloat16 has 8 significant bits: a weight of 1
moves in steps of 2^-8 = 0.4 % at least, so most steps of fine-tuning would be rounded away. Trained
parameters of such a model therefore have a master in fp32, which accumulates gradients and takes the steps
(Micikevicius et al., arXiv 1710.03740); the model's own parameter is the master rounded. So has a slice of a
parameter, whatever its type: nothing that AdamW does can reach the parameter's other elements.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainables.training.parallel import laid_out_like
from trainables.weights.slices import LiveTensor

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class MasterAdamW:
    """AdamW with fp32 masters of slices, and of parameters that are not fp32.

    Args:
        trained: Key -> what is trained; what belongs to a sharded parameter is sharded too.
        weight_decay: Decoupled weight decay.
        max_grad_norm: Gradients are scaled down to this global L2 norm; 0 switches clipping off.
        base: Key -> the trained elements as the base has them; None if nothing asks for them.
        l2sp_weight: Strength of the pull back to the base, which joins the gradients before they are clipped.
    """

    def __init__(
        self,
        trained: Mapping[str, LiveTensor],
        *,
        weight_decay: float,
        max_grad_norm: float,
        base: Mapping[str, Tensor] | None = None,
        l2sp_weight: float = 0.0,
    ):
        self._trained = dict(trained)
        self._max_grad_norm = max_grad_norm
        self._base = base
        self._l2sp_weight = l2sp_weight
        self._masters: dict[str, Tensor] = {key: _master_of(live) for key, live in self._trained.items()}
        self._adamw = torch.optim.AdamW(self._masters.values(), weight_decay=weight_decay, fused=True)

    def take_gradients(self) -> None:
        """Add the gradients of a backward pass to the masters' and free them in the model."""
        taken = [(live, self._masters[key]) for key, live in self._trained.items()]
        taken = [(live, master) for live, master in taken if master is not live.parameter]
        for live, master in taken:
            if (gradient := live.gradient) is not None:
                # A copy: a view of a slice would keep the whole gradient, and AdamW wants it contiguous.
                gradient = gradient.to(torch.float32, copy=True).contiguous()
                master.grad = gradient if master.grad is None else master.grad.add_(gradient)
        # Several slices may take theirs of one parameter's gradient.
        for live, _ in taken:
            live.parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Clip, take one step at a learning rate, and round the masters into the model."""
        for group in self._adamw.param_groups:
            group["lr"] = learning_rate
        if self._l2sp_weight > 0:
            self._pull_to_base()
        if self._max_grad_norm > 0:
            nn.utils.clip_grad_norm_(self._masters.values(), self._max_grad_norm)
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=True)
        self._round_into_model()

    @contextmanager
    def base_in_model(self) -> Iterator[None]:
        """Have the base in the model for a while; the trained elements come back afterwards.

        The base's copies are never written to, so that the model can be restored from them after any error.
        """
        assert self._base is not None
        # A master that the model holds itself has no other copy.
        alone = {
            key: live.value.clone()
            for key, live in self._trained.items()
            if self._masters[key] is live.parameter
        }
        try:
            for key, live in self._trained.items():
                live.copy_(self._base[key])
            yield
        finally:
            for key, value in alone.items():
                self._trained[key].copy_(value)
            self._round_into_model()

    def state(self) -> dict[str, Tensor]:
        """Return the live tensors to go on from: `parameter/<key>`, `master/<key>` if it differs, moments."""
        state = {}
        for key, live in self._trained.items():
            master = self._masters[key]
            state[f"parameter/{key}"] = live.value
            if live.parameter.dtype != torch.float32:
                state[f"master/{key}"] = master.detach()
            for name, moment in self._adamw.state.get(master, {}).items():
                state[f"{name}/{key}"] = moment
        return state

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned, in this or another number of processes.

        Args:
            state: The tensors, whole.
        """
        for key, live in self._trained.items():
            master = self._masters[key]
            kept = "parameter" if live.parameter.dtype == torch.float32 else "master"
            master.copy_(laid_out_like(state[f"{kept}/{key}"], master))
            moments = {
                # The number of steps is a scalar, which each process has.
                moment: state[f"{moment}/{key}"].to(master.device, copy=True)
                if moment == "step"
                else laid_out_like(state[f"{moment}/{key}"], master)
                for moment in _MOMENTS
                if f"{moment}/{key}" in state
            }
            if moments:
                self._adamw.state[master] = moments
        self._round_into_model()

    def _pull_to_base(self) -> None:
        """Add the gradient of `weight / 2 ||w - w_base||^2` (L2-SP; Li et al., arXiv 1802.01483)."""
        assert self._base is not None
        for key, master in self._masters.items():
            # A weight without a gradient never left the base.
            if master.grad is not None:
                master.grad.add_(master.detach() - self._base[key], alpha=self._l2sp_weight)

    def _round_into_model(self) -> None:
        for key, live in self._trained.items():
            if self._masters[key] is not live.parameter:
                live.copy_(self._masters[key])


def _master_of(live: LiveTensor) -> Tensor:
    if live.slice is None and live.parameter.dtype == torch.float32:
        return live.parameter
    return live.value.float().clone(memory_format=torch.contiguous_format).requires_grad_()
