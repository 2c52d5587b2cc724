"""Scoring the model that is in memory by a task of lm-eval, without loading it again or changing it."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from torch import Tensor, nn

from trainables.collate import Encoder
from trainables.data.samples import Sample
from trainables.evaluate import TaskOutput
from trainables.scoring.lm_eval_library import LmEvalError, definition_digest, quiet, seeded
from trainables.scoring.lm_eval_task import LmEvalTask, document_of
from trainables.training.parallel import Share

# What a choice's log-likelihood is divided by, where that is not 1.
_LENGTHS: Final[Mapping[str, Callable[[str], int]]] = {
    "acc_norm": len,
    "acc_bytes": lambda choice: len(choice.encode()),
}


class LmEvalScorer:
    """Scores one model on one task, each process its share of the documents.

    The questions, examples included, are written once. Each process scores every size-th document. Of a
    sharded model, whose every pass needs all processes, each process answers all documents, so that they make
    the same passes.

    Args:
        harness: The task.
        samples: Its search samples, as the study was checked with them.
        model: The model; what is scored is what it is at the time.
        encoder: The model's.
        share: This process's share.
        batch_size: Texts per forward pass.

    Raises:
        LmEvalError: The task can't be opened, or is another than the study was checked with.
    """

    def __init__(
        self,
        harness: LmEvalTask,
        samples: Sequence[Sample],
        model: nn.Module,
        encoder: Encoder,
        share: Share,
        batch_size: int,
    ) -> None:
        with quiet():
            from lm_eval.models.huggingface import HFLM

            self._task = harness.open()
            self._metric, self._filter = harness.metric_of(self._task)
            self._model = _Borrowed(model, waits=share.sharded)
            self._lm = HFLM(
                self._model,
                backend="causal",
                # A copy: lm-eval changes the side of the padding, and sets a padding token.
                tokenizer=copy.deepcopy(encoder.tokenizer),
                batch_size=batch_size,
                softmax_dtype="float32",
            )
            numbers = [document_of(sample)[1] for sample in samples]
            self._check(harness, samples)
            written = self._written(harness, max(numbers) + 1, encoder)
        self._requests = [written[number] for number in numbers]
        self._share = share

    def score(self, log_probs: Sequence[Tensor] = (), first: int | None = None) -> TaskOutput:
        """Score this process's documents.

        Args:
            log_probs: Handed on with the scores.
            first: Number of leading documents that are scored, by all processes together; None is all.

        Returns:
            Scores and predictions: what the model wrote, after lm-eval's filters, or the choice that it found
            likeliest.

        Raises:
            LmEvalError: The metric's value for a document is not between 0 and 1.
        """
        answered, own = self._requests[:first], self._requests[self._share.rank : first : self._share.size]
        if not self._share.sharded:
            answered = own
        everything = [request for requests in answered for request in requests]
        by_kind = defaultdict(list)
        for request in everything:
            request.resps, request.filtered_resps = [], {}
            by_kind[request.request_type] += [request] * request.repeats
        with quiet(), seeded(self._model.device):
            for kind, requests in by_kind.items():
                answers = getattr(self._lm, kind)(requests, disable_tqdm=True)
                for request, answer in zip(requests, answers, strict=True):
                    request.resps.append(answer)
            self._task._instances = everything
            if everything:
                self._task.apply_filters()
            return TaskOutput(
                [self._points(each) for each in own], list(log_probs), [self._answer(each) for each in own]
            )

    def _points(self, requests: Sequence[Any]) -> float:
        filtered = [request.filtered_resps[self._filter] for request in requests]
        value = float(self._task.process_results(requests[0].doc, filtered)[self._metric])
        if not 0 <= value <= 1:
            raise LmEvalError(
                f"lm-eval's task {self._task.task_name!r}: the metric {self._metric!r} is {value:g} for a "
                "document, and only values from 0 to 1 can be scored"
            )
        return 100 * value

    def _answer(self, requests: Sequence[Any]) -> str:
        if self._task.OUTPUT_TYPE == "generate_until":
            return str(requests[0].filtered_resps[self._filter])
        texts = [request.args[1] for request in requests]
        if len(requests) == 1:
            _, greedy = requests[0].resps[0]
            return texts[0] if greedy else ""
        # Where a metric weighs the choices by themselves, too, those requests come behind.
        choices = self._task.doc_to_choice(requests[0].doc)
        length = _LENGTHS.get(self._metric, lambda _: 1)
        weighed = zip(choices, requests[: len(choices)], strict=True)
        return str(max(weighed, key=lambda pair: pair[1].resps[0][0] / length(pair[0]))[0])

    def _written(self, harness: LmEvalTask, count: int, encoder: Encoder) -> dict[int, list[Any]]:
        """Return the requests of each of the first `count` documents."""
        with seeded(self._model.device):
            self._task.build_all_requests(
                limit=count,
                apply_chat_template=harness.chat_template,
                fewshot_as_multiturn=True,
                chat_template=_chat_writer(encoder.processor) if harness.chat_template else None,
            )
        written = defaultdict(list)
        for request in sorted(self._task.instances, key=lambda each: (each.doc_id, each.idx)):
            written[request.doc_id].append(request)
        return written

    def _check(self, harness: LmEvalTask, samples: Sequence[Sample]) -> None:
        documents = self._task.eval_docs
        if definition_digest(harness.file) != harness.digest or any(
            number >= len(documents) or harness.sample(self._task, documents[number], split, number) != sample
            for sample, (split, number) in ((sample, document_of(sample)) for sample in samples)
        ):
            raise LmEvalError(
                f"lm-eval's task {harness.task!r} is not the same in this worker as where the study began"
            )


class _Borrowed:
    """A model as lm-eval may use it: it would also set its mode and tie its weights."""

    def __init__(self, model: Any, *, waits: bool) -> None:
        self._model = model
        self._waits = waits
        self.config = model.config
        self.name_or_path = model.name_or_path

    @property
    def device(self) -> Any:
        return next(self._model.parameters()).device

    def __call__(self, input_ids: Tensor) -> Any:
        return self._model(input_ids, use_cache=False)

    def generate(self, **inputs: Any) -> Tensor:
        """Write answers; the processes of a sharded model go on until all have written theirs."""
        written: Tensor = self._model.generate(**inputs, synced_gpus=self._waits)
        return written


def _chat_writer(processor: Any) -> Callable[..., str]:
    """Return what writes a conversation with a model's chat template.

    Raises:
        LmEvalError: It has none.
    """
    if getattr(processor, "chat_template", None) is None:
        raise LmEvalError("lm_eval.chat_template: the model has no chat template")

    def write(messages: list[dict[str, Any]], add_generation_prompt: bool = True) -> str:
        if hasattr(processor, "tokenizer"):
            messages = [
                {**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages
            ]
        written: str = processor.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return written

    return write
