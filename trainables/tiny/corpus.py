"""The pretraining corpus: every held-out skill's training material, rendered once into arrays.

Legend: N = items, L = longest question with its answer in tokens, S = answer words at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainables.tiny.canvas import SIZE
from trainables.tiny.splits import pretraining_items
from trainables.tiny.tasks import TASKS
from trainables.tiny.vocabulary import ASSISTANT, BOS, EOS, IMAGE, PAD, USER, VOCABULARY

IMAGE_TOKENS = 16
SLOTS = 3
"""Answer words at most, a time of day: hour, colon, minute."""

TOKEN_ID = {word: index for index, word in enumerate(VOCABULARY)}
HELD_OUT = tuple(name for name, task in TASKS.items() if task.role == "held_out")


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskCorpus:
    """One skill's items.

    Attributes:
        images: `[N, 32, 32, 3]` uint8, or None for a text-only skill.
        prompts: Token ids of the user's words `[N, L]`, right-padded.
        answers: Token ids of the answer's words `[N, S]`, right-padded.
    """

    images: npt.NDArray[np.uint8] | None
    prompts: npt.NDArray[np.int64]
    answers: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.prompts)


def load_corpus(name: str, size: int, cache: Path | None) -> TaskCorpus:
    """Render `size` items of a held-out skill, or read them from the cache folder."""
    file = cache / f"{name}-{size}.npz" if cache else None
    if file is not None and file.is_file():
        with np.load(file) as arrays:
            images = arrays.get("images")
            return TaskCorpus(images=images, prompts=arrays["prompts"], answers=arrays["answers"])
    corpus = _render(name, size)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        arrays = {"prompts": corpus.prompts, "answers": corpus.answers}
        if corpus.images is not None:
            arrays["images"] = corpus.images
        np.savez(file, **arrays)
    return corpus


def conversation(prompt: npt.NDArray[np.int64], answer: npt.NDArray[np.int64], with_image: bool) -> list[int]:
    """Return the token ids of `<s><user>`, image places, question, `<assistant>`, answer and `</s>`."""
    places = [TOKEN_ID[IMAGE]] * IMAGE_TOKENS if with_image else []
    words = [int(t) for t in prompt if t != TOKEN_ID[PAD]]
    reply = [int(t) for t in answer if t != TOKEN_ID[PAD]]
    return [TOKEN_ID[BOS], TOKEN_ID[USER], *places, *words, TOKEN_ID[ASSISTANT], *reply, TOKEN_ID[EOS]]


def words_to_ids(text: str, length: int) -> list[int]:
    """Return the ids of a text whose words and marks are separated by blanks, padded to `length`."""
    ids = [TOKEN_ID[word] for word in text.split()]
    assert len(ids) <= length, f"{text!r} has more than {length} words"
    return ids + [TOKEN_ID[PAD]] * (length - len(ids))


def _render(name: str, size: int) -> TaskCorpus:
    images = np.empty((size, SIZE, SIZE, 3), np.uint8)
    prompts, answers, pictured = [], [], False
    for row, (image, prompt, answer) in enumerate(pretraining_items(name, 0, size)):
        if image is not None:
            images[row], pictured = image, True
        prompts.append(words_to_ids(prompt, 16))
        answers.append(words_to_ids(answer, SLOTS))
    return TaskCorpus(
        images=images if pictured else None,
        prompts=np.asarray(prompts, np.int64),
        answers=np.asarray(answers, np.int64),
    )
