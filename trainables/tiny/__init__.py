"""The embedded base model `tiny-llava` and its tasks; importing this loads neither torch nor transformers."""

from __future__ import annotations

from pathlib import Path

from trainables.data.samples import Sample, Split
from trainables.tiny.tasks import TASKS, TinyTask

MODEL_DIR: Path = Path(__file__).resolve().parent / "model"

__all__ = ["MODEL_DIR", "TASKS", "TinyTask", "load_split"]


def load_split(name: str, split: Split, limit: int | None = None) -> list[Sample]:
    """Return a task's split, always the same samples in the same shuffled order.

    Args:
        name: A key of `TASKS`.
        split: `train`, `search` or `confirm`.
        limit: Return only the first `limit` samples; only these are rendered.

    Raises:
        ValueError: The task or the split is unknown, or the limit is negative.
    """
    from trainables.tiny.splits import render_split

    return render_split(name, split, limit)
