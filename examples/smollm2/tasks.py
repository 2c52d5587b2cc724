"""From BIG-bench's examples to tasks of a study: JSON Lines files with three splits.

SmolLM2-135M answers in whole sentences and seldom keeps to another form, so each question is put in words to
which its untouched answer is such a sentence. An answer counts if the whole sentence is right to its end.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

# Samples of the splits that are scored; what is left over is for training and replay.
SCORED: Final = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Examples of one BIG-bench file, put in words.

    Attributes:
        file: The file's folder in BIG-bench.
        pattern: Expression that an example's whole input matches, or the example is left out.
        kind: What the examples call their kind (`comment`); None takes all kinds.
        prompt: The user's turn; `{0}`, `{1}`, ... are the groups of the pattern.
        answer: The answer's sentence, with `{answer}` for the example's own.
    """

    file: str
    pattern: str = "(.+)"
    kind: str | None = None
    prompt: str
    answer: str

    def put(self, example: Mapping[str, Any]) -> tuple[str, str] | None:
        """Return prompt and answer, or None where the example is not of the kind or has several answers."""
        match = re.fullmatch(self.pattern, example["input"].strip())
        if match is None or not isinstance(example["target"], str):
            return None
        if self.kind not in (None, example.get("comment")):
            return None
        return (
            self.prompt.format(*match.groups()),
            self.answer.format(*match.groups(), answer=example["target"].strip()),
        )


def _of_wikidata(relation: str) -> tuple[Source, ...]:
    return (
        Source(
            file="qa_wikidata",
            pattern=f"(The {relation} of .+ is)",
            prompt="Complete the sentence: {0}",
            answer="{0} {answer}.",
        ),
    )


TASKS: Final[dict[str, tuple[Source, ...]]] = {
    "german_participle": (
        Source(
            file="linguistic_mappings/de_past_tense_json",
            # What BIG-bench gives as the past of its irregular verbs is another form, the preterite.
            kind="regular",
            prompt="What is the German past participle of {0}?",
            answer="The German past participle of {0} is {answer}.",
        ),
    ),
    "past_tense": (
        Source(
            file="linguistic_mappings/past_tense_json",
            prompt="Complete the sentence: Today I {0}. Yesterday I",
            answer="Today I {0}. Yesterday I {answer}.",
        ),
    ),
    "plural": (
        Source(
            file="linguistic_mappings/plural_json",
            prompt="What is the plural of {0}?",
            answer="The plural of {0} is {answer}.",
        ),
    ),
    "arithmetic": tuple(
        Source(
            file=f"arithmetic/1_digit_{operation}",
            pattern=rf"What is (\d) {word} (\d)\?",
            prompt=f"What is {{0}} {sign} {{1}}? Answer with the number only.",
            answer=f"{{0}} {sign} {{1}} = {{answer}}",
        )
        for operation, word, sign in (
            ("addition", "plus", "+"),
            ("subtraction", "minus", "-"),
            ("multiplication", "times", "x"),
        )
    ),
    "capital": _of_wikidata("capital"),
    "official_language": _of_wikidata("official language"),
}


def files_needed() -> set[str]:
    """Return the folders of all BIG-bench files that the tasks come from."""
    return {source.file for sources in TASKS.values() for source in sources}


def put_in_words(
    sources: Iterable[Source], examples: Mapping[str, list[dict[str, Any]]]
) -> list[tuple[str, str]]:
    """Return a task's prompts and answers; a question that has two answers is left out.

    Args:
        sources: Where the task comes from.
        examples: BIG-bench's examples, by file.
    """
    answers: dict[str, set[str]] = {}
    for source in sources:
        for example in examples[source.file]:
            if (pair := source.put(example)) is not None:
                answers.setdefault(pair[0], set()).add(pair[1])
    return [(prompt, *found) for prompt, found in answers.items() if len(found) == 1]


def split(pairs: Iterable[tuple[str, str]], scored: int = SCORED) -> dict[str, list[tuple[str, str]]]:
    """Divide questions into `search`, `confirm` and `train`, in an order that their text alone decides.

    Args:
        pairs: Prompts, each once, and answers.
        scored: Samples of `search`, and of `confirm`.

    Raises:
        ValueError: There are too few questions.
    """
    ordered = sorted(pairs, key=lambda pair: hashlib.sha256(pair[0].encode()).hexdigest())
    if len(ordered) <= 2 * scored:
        raise ValueError(f"{len(ordered)} questions are too few for two splits of {scored} and training")
    return {
        "search": ordered[:scored],
        "confirm": ordered[scored : 2 * scored],
        "train": ordered[2 * scored :],
    }


def write_tasks(examples: Mapping[str, list[dict[str, Any]]], folder: Path, scored: int = SCORED) -> None:
    """Write `<task>-<split>.jsonl` for every task and split.

    Args:
        examples: BIG-bench's examples, by file.
        folder: Where to, made if need be.
        scored: Samples of `search`, and of `confirm`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, sources in TASKS.items():
        for part, pairs in split(put_in_words(sources, examples), scored).items():
            lines = [
                json.dumps({"prompt": prompt, "answer": answer}, ensure_ascii=False)
                for prompt, answer in pairs
            ]
            (folder / f"{name}-{part}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
