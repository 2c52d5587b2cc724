from __future__ import annotations

import math

import pytest
import torch

from trainables.collate import Batch
from trainables.training.losses import answer_logits, answer_loss_sum, distillation_loss_sum


def test_answer_loss_by_hand() -> None:
    """Three tokens, two words. Only the last token is the answer's: position 1 predicts it.

    Logits (ln 3, 0) give the probabilities (3/4, 1/4); the answer is word 1, so the loss is ln 4.
    The second sample's answer is both tokens after the first: ln(4/3) for word 0, then ln 2 at equal logits.
    """
    logits = torch.zeros(2, 3, 2)
    logits[0, 0] = torch.tensor([50.0, -50.0])  # predicts a prompt token: must not count
    logits[0, 1] = torch.tensor([math.log(3), 0.0])
    logits[1, 0] = torch.tensor([math.log(3), 0.0])
    ids = torch.tensor([[0, 1, 1], [1, 0, 1]])
    mask = torch.tensor([[False, False, True], [False, True, True]])
    batch = Batch({"input_ids": ids}, mask)
    assert answer_loss_sum(logits, batch).item() == pytest.approx(math.log(4) + math.log(4 / 3) + math.log(2))
    assert answer_logits(logits, batch).flatten().tolist() == pytest.approx([math.log(3), 0] * 2 + [0, 0])


def test_distillation_by_hand() -> None:
    """At temperature 2 the teacher's logits (2 ln 3, 0) are (3/4, 1/4), the student's equal ones (1/2, 1/2).

    KL = 3/4 ln(3/2) + 1/4 ln(1/2), times 4; the second token is the same for both and adds nothing.
    """
    teacher = torch.tensor([[2 * math.log(3), 0.0], [1.0, -1.0]])
    student = torch.tensor([[5.0, 5.0], [2.0, 0.0]])
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert distillation_loss_sum(student, teacher, 2.0).item() == pytest.approx(4 * kl, rel=1e-5)
    # The other direction would be ln(2 / sqrt(3)) = 0.14 nats.
    assert kl == pytest.approx(0.1308, abs=1e-4)


def test_the_gradient_of_distillation_by_hand() -> None:
    """It is T (q - p) by the student's logits: 2 x (1/2 - 3/4, 1/2 - 1/4)."""
    student = torch.zeros(1, 2, requires_grad=True)
    distillation_loss_sum(student, torch.tensor([[2 * math.log(3), 0.0]]), 2.0).backward()
    assert student.grad is not None
    assert student.grad[0].tolist() == pytest.approx([-0.5, 0.5])


def test_no_answer_token_is_no_loss() -> None:
    """As for a sample that a process runs along with the others."""
    logits = torch.zeros(1, 3, 2, requires_grad=True)
    batch = Batch({"input_ids": torch.zeros(1, 3, dtype=torch.long)}, torch.zeros(1, 3, dtype=torch.bool))
    answers = answer_logits(logits, batch)
    loss = answer_loss_sum(logits, batch) + distillation_loss_sum(answers, answers.detach(), 2.0)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()
