"""Dialogue: what a row says, turn by turn, and the samples that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainables.data.samples import IMAGE_MARK, ImageSource, Sample, Split, Turn


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialogue:
    """What a row says; an assistant's turn is last.

    Attributes:
        turns: A system turn, if any, then the user's and the assistant's by turns.
        images: In the order of their marks, as the row writes them; without marks they come first.
        references: Answers that count as right; empty where the last turn alone does.
        choices: Answers to choose from.
    """

    turns: tuple[Turn, ...]
    images: tuple[Any, ...] = ()
    references: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()


class Images:
    """Hands a row's images to the marks in its texts, in order.

    Args:
        loose: The images that stand in columns of their own, not in a turn.
    """

    def __init__(self, loose: Sequence[Any]) -> None:
        self._loose = loose
        self._used = 0
        self._placed: list[Any] = []

    def place(self, image: Any) -> str:
        """Take an image that stands in a turn; return its mark."""
        self._placed.append(image)
        return IMAGE_MARK

    def marked(self, text: str) -> str:
        """Take an image for each mark in a text; return the text."""
        for _ in range(text.count(IMAGE_MARK)):
            # Beyond the last, the count below tells.
            if self._used < len(self._loose):
                self._placed.append(self._loose[self._used])
            self._used += 1
        return text

    def in_order(self) -> tuple[Any, ...]:
        """Return all images in the order of their marks.

        Raises:
            ValueError: There are more or fewer marks than images.
        """
        if not self._placed and not self._used:
            return tuple(self._loose)
        if self._used != len(self._loose):
            inside = len(self._placed) - min(self._used, len(self._loose))
            raise ValueError(
                f"marks {IMAGE_MARK} in its texts: {self._used + inside}, "
                f"and its images: {len(self._loose) + inside}; there must be one for each image, or none"
            )
        return tuple(self._placed)


def check_turns(turns: Sequence[Turn]) -> None:
    """Refuse what is no dialogue.

    Raises:
        ValueError: The sides don't speak by turns, the user first and the assistant last, a turn is empty, or
            a turn that is not the user's marks an image.
    """
    said = turns[1:] if turns and turns[0].role == "system" else turns
    for place, turn in enumerate(turns):
        if not turn.text.strip():
            raise ValueError(f"turn {place + 1} ({turn.role}) is empty")
        if turn.role != "user" and IMAGE_MARK in turn.text:
            raise ValueError(f"turn {place + 1} ({turn.role}) has {IMAGE_MARK}, which only a user's may have")
    for place, turn in enumerate(said):
        due = ("user", "assistant")[place % 2]
        if turn.role != due:
            number = place + 1 + len(turns) - len(said)
            raise ValueError(f"turn {number} is the {turn.role}'s, where the {due}'s is due")
    if not said:
        raise ValueError("it has no turn of a user and an assistant")
    if said[-1].role == "user":
        raise ValueError("it ends with the user's turn: there is no answer to learn or to score")


def samples_of(
    dialogue: Dialogue, images: Sequence[ImageSource], *, id: str, where: str, split: Split
) -> list[Sample]:
    """Return a dialogue's samples: for scoring its last answer alone, for training every answer once.

    An answer's place can be told after the last image alone, so training gets a sample for each part that an
    image begins; its history is all before, of which the answers of that part are taught with the last.

    Args:
        dialogue: What is said.
        images: Its images.
        id: The sample's id; of several, followed by `#1`, `#2` and so on. Empty where there is none.
        where: File and row.
        split: What the samples are for.
    """
    turns = dialogue.turns
    ends = [len(turns) - 1]
    if split == "train":
        ends = [
            place
            for place, turn in enumerate(turns)
            if turn.role == "assistant" and (place == len(turns) - 1 or IMAGE_MARK in turns[place + 1].text)
        ]
    made = []
    marked = any(IMAGE_MARK in turn.text for turn in turns)
    for number, end in enumerate(ends, start=1):
        shown = sum(turn.text.count(IMAGE_MARK) for turn in turns[:end])
        history = turns[: end - 1]
        made.append(
            Sample(
                id=id if len(ends) == 1 or not id else f"{id}#{number}",
                prompt=turns[end - 1].text,
                answer=turns[end].text,
                images=tuple(images[:shown] if marked else images),
                references=dialogue.references,
                choices=dialogue.choices,
                history=history,
                teaches_history=split == "train" and any(turn.role == "assistant" for turn in history),
                where=where,
            )
        )
    return made
