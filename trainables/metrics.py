"""Metrics: how an answer is scored, with its direction and its source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from trainables.data.bad_samples import SampleError
from trainables.data.samples import Sample
from trainables.scoring.evaluation import Direction
from trainables.scoring.letter_metrics import choice_letter, is_letter, letter_or_text
from trainables.scoring.number_metrics import clock_time, number_in, numeric, relaxed_accuracy, time_in
from trainables.scoring.text_metrics import anls, bleu, contains, normalized_exact_match, token_f1
from trainables.scoring.vqa_metric import vqa_accuracy

Measured = Literal["teacher_forcing", "generation", "likelihood"]

Score = Callable[[str, Sequence[str], Mapping[str, float]], float]
"""What was written, the answers that count as right, and the options -> points, 0 to 100."""


Unfit = Callable[[Sample], str | None]
"""Says what a sample lacks for being scored; None where it lacks nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One way to score answers.

    Attributes:
        measured: What the model does for it: go along with the reference answer, write an answer greedily, or
            weigh the choices.
        source: Where the definition comes from.
        direction: Whether a higher or a lower value is better.
        options: Names of its options -> their defaults.
        score: Scores what was written; None where nothing needs to be.
        unfit: Finds samples that it can't score.
        per_byte: Whether a choice's log-probability is divided by its length in bytes.
    """

    measured: Measured
    source: str
    direction: Direction = "higher"
    options: Mapping[str, float] = field(default_factory=dict)
    score: Score | None = None
    unfit: Unfit = lambda sample: None
    per_byte: bool = False


def _without_choices(sample: Sample) -> str | None:
    if not sample.choices:
        return "it weighs the choices of a sample, and there are none"
    if not set(sample.accepted) & set(sample.choices):
        return f"the answer {sample.answer!r} is none of the choices"
    return None


def _unless(is_one: Callable[[str], bool], what: str) -> Unfit:
    """Return what finds samples none of whose answers is what the metric reads."""
    return lambda sample: (
        None if any(map(is_one, sample.accepted)) else f"it reads {what}, and the answer is {sample.answer!r}"
    )


METRICS: Final[dict[str, Metric]] = {
    "exact_match": Metric(
        measured="teacher_forcing",
        source="the answer's tokens are what greedy decoding writes, their end included",
    ),
    "normalized_exact_match": Metric(
        measured="generation",
        source="SQuAD (arXiv 1606.05250)",
        score=normalized_exact_match,
    ),
    "multiple_choice": Metric(
        measured="likelihood",
        source="lm-evaluation-harness, `acc`",
        unfit=_without_choices,
    ),
    "multiple_choice_norm": Metric(
        measured="likelihood",
        source="lm-evaluation-harness, `acc_bytes`",
        unfit=_without_choices,
        per_byte=True,
    ),
    "choice_letter": Metric(
        measured="generation",
        source="lmms-eval's MMStar and SEEDBench",
        score=choice_letter,
        unfit=_unless(is_letter, "a choice's letter"),
    ),
    "letter_or_text": Metric(
        measured="generation",
        source="lmms-eval's RealWorldQA",
        score=letter_or_text,
    ),
    "vqa_accuracy": Metric(
        measured="generation",
        source="VQA (arXiv 1505.00468), with EvalAI's form of answers",
        score=vqa_accuracy,
    ),
    "anls": Metric(
        measured="generation",
        source="ST-VQA (arXiv 1905.13648)",
        score=anls,
    ),
    "relaxed_accuracy": Metric(
        measured="generation",
        source="ChartQA (arXiv 2203.10244)",
        options={"tolerance": 0.05},
        score=relaxed_accuracy,
    ),
    "numeric": Metric(
        measured="generation",
        source="lmms-eval's PixmoCount and CountBench",
        options={"tolerance": 0.0},
        score=numeric,
        unfit=_unless(lambda answer: number_in(answer) is not None, "a number"),
    ),
    "clock_time": Metric(
        measured="generation",
        source="our own rule",
        options={"minutes": 1.0},
        score=clock_time,
        unfit=_unless(lambda answer: time_in(answer) is not None, "a time such as 3:45"),
    ),
    "token_f1": Metric(
        measured="generation",
        source="SQuAD (arXiv 1606.05250)",
        score=token_f1,
    ),
    "contains": Metric(
        measured="generation",
        source="OCRBench (arXiv 2305.07895)",
        score=contains,
    ),
    "bleu": Metric(
        measured="generation",
        source="sacreBLEU (arXiv 1804.08771), `sentence_bleu`",
        score=bleu,
    ),
}


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """A task's metric with its options.

    Attributes:
        name: A key of `METRICS`.
        options: Pairs of an option's name and its value; what is not named has its default.
    """

    name: str
    options: tuple[tuple[str, float], ...] = ()

    @property
    def metric(self) -> Metric:
        """The metric of this name."""
        return METRICS[self.name]

    def score(self, prediction: str, accepted: Sequence[str]) -> float:
        """Return the points of what was written, 0 to 100.

        Args:
            prediction: What was written.
            accepted: The answers that count as right.
        """
        assert self.metric.score is not None
        return self.metric.score(prediction, accepted, {**self.metric.options, **dict(self.options)})

    def check(self, task: str, samples: Iterable[Sample]) -> None:
        """Refuse samples that the metric can't score.

        Args:
            task: Name of their task.
            samples: What is to be scored.

        Raises:
            SampleError: There is one; the message names the first.
        """
        for sample in samples:
            if (reason := self.unfit(sample)) is not None:
                raise SampleError(sample.label_in(task), reason)

    def unfit(self, sample: Sample) -> str | None:
        """Say why a sample can't be scored; None where it can."""
        reason = self.metric.unfit(sample)
        return None if reason is None else f"the metric {self.name!r} does not fit: {reason}"

    def __str__(self) -> str:
        """Write the metric as `clock_time(minutes=1)`."""
        options = ", ".join(f"{name}={value:g}" for name, value in self.options)
        return f"{self.name}({options})" if options else self.name


EXACT_MATCH: Final = MetricSpec("exact_match")


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How answers are written for metrics that need it; always greedily.

    Attributes:
        max_new_tokens: Tokens at most; None takes the longest accepted answer's and some more.
        stop: Texts before which an answer ends, besides at the end of the turn.
    """

    max_new_tokens: int | None = None
    stop: tuple[str, ...] = ()


DEFAULT_DECODING: Final = Decoding()
