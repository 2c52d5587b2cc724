"""A task of EleutherAI's lm-eval: its documents as samples, and what is asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from trainables.data.bad_samples import SampleError
from trainables.data.division import part_of
from trainables.data.samples import Sample, Split
from trainables.metrics import DEFAULT_DECODING, EXACT_MATCH, Decoding, MetricSpec
from trainables.scoring.lm_eval_library import (
    OTHER_SEED,
    LmEvalError,
    definition_digest,
    find_task,
    open_task,
    quiet,
)

# lm-eval evaluates one split, which is divided where there is something to confirm.
LM_EVAL_SPLITS: Final[tuple[Split, ...]] = ("train", "search", "confirm")

_GREEDY: Final = {"do_sample": False, "temperature": 0.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class LmEvalTask:
    """A task that lm-eval defines and scores; see `find_task` for the fields that name it.

    Its training samples are lm-eval's training documents, and its search samples those that lm-eval
    evaluates: of its test split, or of its validation split where it has none. A share of these may be kept
    to confirm with; which, the documents' text alone decides.

    Attributes:
        name: Name of the task in the study.
        task: lm-eval's name.
        file: The file that defines it.
        digest: Hash of its definition and of lm-eval's version.
        num_fewshot: Examples before each question; None is what the task says, else none.
        chat_template: Whether the model's chat template writes the questions.
        chosen: Name of lm-eval's metric, `exact_match` or with its filter `exact_match,strict-match`; None
            takes the first that can be used.
        limit: Samples per split; None takes all.
        confirm: Share of the evaluated documents that is its confirm split.
    """

    name: str
    task: str
    file: str
    digest: str
    num_fewshot: int | None = None
    chat_template: bool = False
    chosen: str | None = None
    limit: int | None = None
    confirm: float = 0.0

    @classmethod
    def find(cls, name: str, task: str, folder: Path | None = None, **options: Any) -> LmEvalTask:
        """Return the task that lm-eval knows as `task`.

        Args:
            name: Name in the study.
            task: lm-eval's name.
            folder: Folder of definitions of the user's own; None is lm-eval's.
            options: Further fields.

        Raises:
            LmEvalError: lm-eval is not installed, or there is no such folder or task.
        """
        file = find_task(task, folder)
        return cls(name=name, task=task, file=file, digest=definition_digest(file), **options)

    @property
    def metric(self) -> MetricSpec:
        """What the passes that measure drift compare; its scores are lm-eval's."""
        return EXACT_MATCH

    @property
    def decoding(self) -> Decoding:
        """Of no meaning: lm-eval's definition says how answers are written."""
        return DEFAULT_DECODING

    @property
    def splits(self) -> tuple[Split, ...]:
        """Those that it may have; whether there are training documents shows when they are read."""
        return LM_EVAL_SPLITS if self.confirm else LM_EVAL_SPLITS[:-1]

    def open(self) -> Any:
        """Open lm-eval's task, with the examples that were asked for.

        Raises:
            LmEvalError: It is not what the study was checked with, can't be opened, has no such metric or
                fewer examples, or does not decode greedily.
        """
        task = open_task(self.task, self.file)
        defined = task.config.num_fewshot
        if self.num_fewshot and defined == 0:
            raise LmEvalError(
                f"lm-eval's task {self.task!r} is defined without examples: num_fewshot must be 0"
            )
        if self.num_fewshot is not None or defined is None:
            task.set_config("num_fewshot", self.num_fewshot or 0)
        self._check_examples(task)
        task.set_fewshot_seed(OTHER_SEED)
        decoding = task.config.generation_kwargs if task.OUTPUT_TYPE == "generate_until" else {}
        if any(decoding.get(key, greedy) != greedy for key, greedy in _GREEDY.items()):
            raise LmEvalError(
                f"lm-eval's task {self.task!r} draws its answers by chance, and can't be compared"
            )
        self.metric_of(task)
        return task

    def _check_examples(self, task: Any) -> None:
        """Refuse more examples than there are; lm-eval would ask for them once a model is scored."""
        shots = task.config.num_fewshot
        if not shots:
            return
        # Where examples are evaluated documents, one more is drawn, as the question may be among them.
        own = int(task.fewshot_cfg.split == task.config.test_split)
        there = len(task.sampler.df)
        if shots + own > there:
            beside = " beside the question" if own else ""
            raise LmEvalError(
                f"lm-eval's task {self.task!r} has {there - own} examples{beside}: "
                f"num_fewshot can't be {shots}"
            )

    def metric_of(self, task: Any) -> tuple[str, str]:
        """Return the metric that is scored, and the filter that answers go through before.

        Args:
            task: lm-eval's task.

        Raises:
            LmEvalError: The chosen one can't be used, or none can: its value must be a mean over the
                documents, of which more is better.
        """
        from lm_eval.api.metrics import mean

        higher = task.higher_is_better()
        usable = [
            key
            for key, aggregation in task.aggregation().items()
            if aggregation is mean and higher.get(key) and key not in ("likelihood", "bypass")
        ]
        filters = [ensemble.name for ensemble in task._filters]
        if self.chosen is None and usable:
            return usable[0], filters[0]
        name, _, filter_name = (self.chosen or "").partition(",")
        if name in usable and filter_name in ("", *filters):
            return name, filter_name or filters[0]
        known = [f"{key},{each}" if len(filters) > 1 else key for key in usable for each in filters]
        told = f"can be scored by: {', '.join(known)}" if known else "has no metric that can be used"
        raise LmEvalError(
            f"lm-eval's task {self.task!r} {told}"
            + (f", not by {self.chosen!r}" if self.chosen else "")
            + " (the value must be a mean over the documents, of which more is better)"
        )

    def load(
        self, split: Split, limit: int | None = None, bad: list[SampleError] | None = None
    ) -> list[Sample]:
        """Return a split's first `limit` documents as samples, or all of them.

        Args:
            split: One of `splits`.
            limit: Samples at most.
            bad: Takes the documents that can't be used; without it the first is raised.

        Raises:
            LmEvalError: The task can't be opened, or has no documents for the split.
            SampleError: A document can't be used.
        """
        task = self.open()
        has_any = task.has_training_docs() if split == "train" else split in self.splits
        if not has_any:
            kind = "training documents" if split == "train" else f"split {split!r}"
            raise LmEvalError(f"tasks.{self.name}: lm-eval's task {self.task!r} has no {kind}")
        documents = task.training_docs() if split == "train" else task.eval_docs
        most = min(each for each in (len(documents), limit, self.limit) if each is not None)
        samples: list[Sample] = []
        taken = number = 0
        while taken < most and number < len(documents):
            try:
                sample = self.sample(task, documents[number], split, number)
                if split == "train" or self._part_of(sample) == split:
                    samples.append(sample)
                    taken += 1
            except SampleError as error:
                # What can't be read can't be divided either: it counts to what is searched on.
                if split != "confirm":
                    if bad is None:
                        raise
                    bad.append(error)
                    taken += 1
            number += 1
        if not taken and self.confirm:
            raise LmEvalError(
                f"tasks.{self.name}.lm_eval.confirm: a share of {self.confirm:g} leaves none of the "
                f"{len(documents)} documents of lm-eval's task {self.task!r} to the split {split!r}"
            )
        return samples

    def _part_of(self, sample: Sample) -> Split:
        shares: dict[Split, float] = {"search": 1 - self.confirm, "confirm": self.confirm}
        return part_of(sample, shares, seed=0)

    def sample(self, task: Any, document: Any, split: Split, number: int) -> Sample:
        """Return a document as a sample: the question as lm-eval writes it without examples, and its target.

        Args:
            task: What `open` returned.
            document: One of its documents.
            split: The document's split.
            number: Its place in the split, from 0.

        Raises:
            SampleError: It has no target, or one that is none of its choices.
        """
        where = f"lm-eval's {self.task} {split} document {number}"
        with quiet():
            prompt = task.fewshot_context(document, num_fewshot=0, gen_prefix=task.doc_to_prefix(document))
            target = task.doc_to_target(document)
            choices = task.doc_to_choice(document) if task.config.doc_to_choice is not None else []
            if task.multiple_input:
                # The choices fill the question's blank, and what is weighed follows all of them.
                prompt, choices = prompt[task.doc_to_text(document)], []
        targets = [_text(each, choices, where) for each in (target if isinstance(target, list) else [target])]
        targets = [text for text in targets if text.strip()]
        if not targets:
            raise SampleError(where, "it has no answer")
        lead = self._lead(task)
        answers = tuple(lead + text for text in targets)
        return Sample(
            id=f"{split}-{number}",
            prompt=prompt,
            answer=answers[0],
            references=answers if len(answers) > 1 else (),
            choices=tuple(lead + choice for choice in choices),
            where=where,
        )

    def _lead(self, task: Any) -> str:
        """Return what lm-eval writes between question and answer; a chat template writes its own."""
        delimited = task.OUTPUT_TYPE != "loglikelihood" and not self.chat_template
        return str(task.config.target_delimiter) if delimited else ""


def _text(target: Any, choices: list[str], where: str) -> str:
    if not choices or not isinstance(target, int):
        return str(target)
    if not 0 <= target < len(choices):
        raise SampleError(where, f"its answer is choice {target} of {len(choices)}, counted from 0")
    return choices[target]


def document_of(sample: Sample) -> tuple[Split, int]:
    """Return which document of which split a sample was made of."""
    split, _, number = sample.id.rpartition("-")
    return cast(Split, split), int(number)
