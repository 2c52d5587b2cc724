from __future__ import annotations

import math

import pytest
import torch

from trainables.drift import kl_divergence


def log_probs(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows).log()


def test_divergence_by_hand() -> None:
    """Two words. First sample, one token: p = (1/2, 1/2), q = (3/4, 1/4).

    KL(p || q) = 1/2 ln(2/3) + 1/2 ln 2 = 1/2 ln(4/3).
    Second sample, two tokens: p = (1/10, 9/10), q = (1/2, 1/2) gives 1/10 ln(1/5) + 9/10 ln(9/5); then p = q.
    The mean is over three tokens, not over two samples.
    """
    base = [log_probs([0.5, 0.5]), log_probs([0.1, 0.9], [0.5, 0.5])]
    tuned = [log_probs([0.75, 0.25]), log_probs([0.5, 0.5], [0.5, 0.5])]
    first = 0.5 * math.log(4 / 3)
    second = 0.1 * math.log(0.2) + 0.9 * math.log(1.8)
    assert kl_divergence(base, tuned) == pytest.approx((first + second) / 3)


def test_is_not_symmetric() -> None:
    p, q = [log_probs([0.5, 0.5])], [log_probs([0.9, 0.1])]
    # The other way round: 0.9 ln(1.8) + 0.1 ln(0.2).
    assert kl_divergence(q, p) == pytest.approx(0.9 * math.log(1.8) + 0.1 * math.log(0.2))
    assert kl_divergence(p, q) != pytest.approx(kl_divergence(q, p))


def test_is_zero_for_the_same_model() -> None:
    same = [torch.randn(3, 50).log_softmax(-1), torch.randn(1, 50).log_softmax(-1)]
    assert kl_divergence(same, [tensor.clone() for tensor in same]) == 0.0


@pytest.mark.parametrize(
    ("base", "tuned"),
    [
        ([], []),
        ([torch.zeros(1, 2)], []),
        ([torch.zeros(1, 2)], [torch.zeros(2, 2)]),
    ],
)
def test_refuses_samples_that_do_not_match(base: list[torch.Tensor], tuned: list[torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="same samples"):
        kl_divergence(base, tuned)
