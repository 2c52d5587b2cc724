"""AdamW over the trained parameters, in fp32 whatever the model's type.

A step of AdamW moves a weight by about the learning rate. bfloat16 has 8 significant bits: a weight of 1
moves in steps of 2^-8 = 0.4 % at least, so most steps of fine-tuning would be rounded away. Trained
parameters of such a model therefore have a master in fp32, which accumulates gradients and takes the steps
(Micikevicius et al., arXiv 1710.03740); the model's own parameter is the master rounded.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainables.parallel import laid_out_like

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class MasterAdamW:
    """AdamW with fp32 masters where the model's parameters are not fp32.

    Args:
        trained: The trained parameters by name; what belongs to a sharded one is sharded too.
        weight_decay: Decoupled weight decay.
        max_grad_norm: Gradients are scaled down to this global L2 norm; 0 switches clipping off.
    """

    def __init__(self, trained: Mapping[str, nn.Parameter], *, weight_decay: float, max_grad_norm: float):
        self._trained = dict(trained)
        self._max_grad_norm = max_grad_norm
        self._masters: dict[str, Tensor] = {
            name: p if p.dtype == torch.float32 else p.detach().float().requires_grad_()
            for name, p in self._trained.items()
        }
        self._adamw = torch.optim.AdamW(self._masters.values(), weight_decay=weight_decay, fused=True)

    def take_gradients(self) -> None:
        """Add the gradients of a backward pass to the masters' and free them in the model."""
        for name, parameter in self._trained.items():
            master = self._masters[name]
            if master is parameter or parameter.grad is None:
                continue
            gradient = parameter.grad.float()
            master.grad = gradient if master.grad is None else master.grad.add_(gradient)
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Clip, take one step at a learning rate, and round the masters into the model."""
        for group in self._adamw.param_groups:
            group["lr"] = learning_rate
        if self._max_grad_norm > 0:
            nn.utils.clip_grad_norm_(self._masters.values(), self._max_grad_norm)
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=True)
        self._round_into_model()

    def state(self) -> dict[str, Tensor]:
        """Return the live tensors to go on from: `parameter/<name>`, `master/<name>` if any, moments."""
        state = {}
        for name, parameter in self._trained.items():
            master = self._masters[name]
            state[f"parameter/{name}"] = parameter.detach()
            if master is not parameter:
                state[f"master/{name}"] = master.detach()
            for key, moment in self._adamw.state.get(master, {}).items():
                state[f"{key}/{name}"] = moment
        return state

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned, in this or another number of processes.

        Args:
            state: The tensors, whole.
        """
        for name, parameter in self._trained.items():
            master = self._masters[name]
            key = f"parameter/{name}" if master is parameter else f"master/{name}"
            master.copy_(laid_out_like(state[key], master))
            moments = {
                # The number of steps is a scalar, which each process has.
                moment: state[f"{moment}/{name}"].to(master.device, copy=True)
                if moment == "step"
                else laid_out_like(state[f"{moment}/{name}"], master)
                for moment in _MOMENTS
                if f"{moment}/{name}" in state
            }
            if moments:
                self._adamw.state[master] = moments
        self._round_into_model()

    def _round_into_model(self) -> None:
        for name, parameter in self._trained.items():
            if self._masters[name] is not parameter:
                parameter.copy_(self._masters[name])
