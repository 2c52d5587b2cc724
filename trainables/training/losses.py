"""What a step of training minimises.

Shapes: B samples, T tokens, V vocabulary entries, A answer tokens of a batch together.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from trainables.collate import Batch


def answer_logits(logits: Tensor, batch: Batch) -> Tensor:
    """Return the logits that predict the batch's answer tokens, `[A, V]`, in fp32.

    Args:
        logits: `[B, T, V]`; position t predicts token t + 1.
        batch: The batch that the logits belong to.
    """
    return logits[:, :-1][batch.answer_mask[:, 1:]].float()


def answer_loss_sum(logits: Tensor, batch: Batch) -> Tensor:
    """Return the cross-entropy summed over the batch's answer tokens, in nats; see `answer_logits`."""
    answers = batch.inputs["input_ids"][:, 1:][batch.answer_mask[:, 1:]]
    return F.cross_entropy(answer_logits(logits, batch), answers, reduction="sum")


def distillation_loss_sum(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(teacher || student), both softened by the temperature T, summed over tokens, in nats.

    Learning without Forgetting (Li & Hoiem, arXiv 1606.09282); T^2 keeps the gradient's size, which softening
    divides by it (Hinton et al., arXiv 1503.02531).

    Args:
        student: Logits `[A, V]` of the model that is trained.
        teacher: Logits `[A, V]` of the base.
        temperature: What logits are divided by; above 0.
    """
    target = (teacher / temperature).log_softmax(-1)
    learnt = (student / temperature).log_softmax(-1)
    return temperature**2 * F.kl_div(learnt, target, reduction="sum", log_target=True)
