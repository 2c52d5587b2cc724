"""The model card of selected weights: measured values alone, with what limits them.

Its head is Hugging Face's: tools read base model, licence and values from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final

from huggingface_hub import EvalResult, ModelCardData

from search.config import StudyConfig
from search.decision.evidence import Estimate, Estimates
from search.handover.recipe_document import RecipeDocument
from search.labels import approach_sentence, recipe_label
from search.wording import points, rate
from trainables.sources.data_sets import FILE_TYPES, is_hub_id

_MARKS: Final = re.compile(r"([\\`*_{}\[\]<>#|~!])")
_LICENCE_UNKNOWN: Final = "unknown: see the base model"

_LOAD: Final = """```python
from pathlib import Path

import torch

from trainables.checkpoint import apply_delta
from trainables.model import load_model

model = load_model({path!r}, dtype=torch.{dtype})
apply_delta(model, Path("selected"))
```

`recipe-search export STUDY --to transformers` writes the merged model, which transformers loads alone."""


def model_card(
    name: str,
    document: RecipeDocument,
    *,
    estimates: Estimates | None = None,
    confirmed: Estimates | None = None,
    licence: str | None = None,
    data_sets: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> str:
    """Return the card of a selected recipe's weights, in Markdown.

    Args:
        name: What the study is called.
        document: The recipe with its evidence.
        estimates: What it is worth on the search split, with intervals, where that is known.
        confirmed: The same on the confirm split.
        licence: The base's licence, where that is known.
        data_sets: Ids on the hub of what it was trained on.
        notes: What limits the verdict.
    """
    assert document.recipe is not None
    head = _head(name, document, licence, data_sets).to_yaml(line_break="\n").strip()
    base = document.model.path if document.model else "a base model"
    sections = [
        f"# {plain(name)}",
        f"{plain(base)}, fine-tuned by recipe-search: {plain(approach_sentence(document.recipe))}. "
        f"{plain(document.reason)}.",
        "## What was measured",
        _values(document, estimates, confirmed),
        "## What it lost",
        _lost(document, estimates),
        "## Recipe",
        _recipe(document),
        "## Use",
        _LOAD.format(path=base, dtype=document.model.dtype if document.model else "float32"),
        "## Limits",
        _limits(document, licence, notes, confirmed),
        "## Made with",
        _made_with(document),
    ]
    return f"---\n{head}\n---\n\n" + "\n\n".join(sections) + "\n"


def plain(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))


def hub_data_sets(config: StudyConfig) -> tuple[str, ...]:
    """Return the ids on the hub of the data sets that a study trains on; files of one's own have none."""
    sources = (config.tasks[task].source for task in config.targets if task in config.tasks)
    return tuple(
        dict.fromkeys(
            source
            for source in sources
            # A path is absolute in a study that runs.
            if source is not None and is_hub_id(source) and Path(source).suffix not in FILE_TYPES
        )
    )


def _head(
    name: str, document: RecipeDocument, licence: str | None, data_sets: Sequence[str]
) -> ModelCardData:
    evidence = document.evidence or {}
    path = document.model.path if document.model else ""
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=task,
            dataset_name=task,
            dataset_split=split,
            metric_type="score",
            metric_name=f"points (0 to 100), {role}, {split} split; the base has {values['base']:g}",
            metric_value=values["tuned"],
        )
        for split, found in (_unseen(evidence),)
        for role, task, values in found
    ]
    return ModelCardData(
        # A folder of this machine means nothing elsewhere.
        base_model=PurePath(path).name if PurePath(path).is_absolute() else path or None,
        license=licence or "other",
        license_name=None if licence else "unknown",
        library_name="transformers",
        tags=["recipe-search", "fine-tuned"],
        datasets=list(data_sets) or None,
        model_name=name,
        eval_results=results or None,
    )


def _unseen(evidence: Mapping[str, Any]) -> tuple[str, list[tuple[str, str, Mapping[str, Any]]]]:
    """Return a split and its tasks' values: the confirm split where the weights were scored there.

    On the search split they were chosen as the best, so its values flatter.
    """
    confirm, own = evidence.get("confirm") or {}, evidence.get("selected")
    if not confirm.get("targets") or (own is not None and not own["confirm"]):
        return str(evidence.get("split", "search")), _tasks(evidence)
    # Without a run of its own, as after `apply`, these are the weights' values.
    return "confirm", _tasks({**confirm, "selected": {"search": own["confirm"] if own else {}}})


def _tasks(evidence: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Return role, name and values of each task, tuned by the very weights that are handed over."""
    own = evidence.get("selected", {}).get("search", {})
    return [
        (role, task, {**values, "tuned": own.get(task, values["tuned"])})
        for role, key in (("target", "targets"), ("held-out", "held_out"))
        for task, values in evidence.get(key, {}).items()
    ]


def _values(document: RecipeDocument, estimates: Estimates | None, confirmed: Estimates | None) -> str:
    evidence = document.evidence
    if evidence is None:
        return "Nothing: this recipe came without evidence."
    retrained = "selected" in evidence
    # The intervals are of the training that was found, not of its repetition on another seed.
    changes = {} if estimates is None or retrained else estimates.changes
    again = {} if confirmed is None else confirmed.changes
    rows = [
        [
            plain(task),
            role,
            f"{values['base']:.1f}",
            f"{values['tuned']:.1f}",
            _change(values["tuned"] - values["base"], changes.get(task)),
            *([_estimate(again[task])] if task in again else ["-"] if again else []),
            str(values["n"]),
        ]
        for role, task, values in _tasks(evidence)
    ]
    names = [
        "task",
        "role",
        "base",
        "tuned",
        "change",
        *(["on the confirm split"] if again else []),
        "samples",
    ]
    totals = [["", "search split", *(["confirm split"] if confirmed else [])]]
    for title, key in (
        ("target gain", "target_gain"),
        ("held-out forgetting", "held_out_forgetting"),
        ("worst forgetting", "worst_forgetting"),
        ("score", "score"),
    ):
        if key in evidence:
            own = None if estimates is None else getattr(estimates, key)
            cells = [title, _change(evidence[key], own)]
            totals.append([*cells, *([_estimate(getattr(confirmed, key))] if confirmed else [])])
    told = " In brackets: the interval of a paired bootstrap over samples." if estimates or confirmed else ""
    if retrained:
        told += (
            f" The weights are of a training on the new seed {evidence['selected']['seed']}: the first table "
            "is of these, its column of the confirm split and the second table of the recipe."
        )
    return (
        f"In points from 0 to 100, on the {evidence['split']} split.{told}\n\n"
        f"{_table([names, *rows])}\n\n{_table(totals)}"
    )


def _change(value: float, estimate: Estimate | None) -> str:
    return points(value) if estimate is None else f"{points(value)} {_interval(estimate)}"


def _estimate(estimate: Estimate) -> str:
    return f"{points(estimate.value)} {_interval(estimate)}"


def _interval(estimate: Estimate) -> str:
    return f"({points(estimate.low)} to {points(estimate.high)})"


def _lost(document: RecipeDocument, estimates: Estimates | None) -> str:
    evidence = document.evidence or {}
    changes = {} if estimates is None or "selected" in evidence else estimates.changes
    held_out = {task: values for role, task, values in _tasks(evidence) if role != "target"}
    drops = sorted((values["base"] - values["tuned"], task) for task, values in held_out.items())
    lines = [
        f"- {plain(task)}: {_change(-drop, changes.get(task))} points"
        for drop, task in reversed(drops)
        if drop > 0
    ]
    if not held_out:
        return "No held-out task was measured."
    rest = f"Of {len(held_out)} held-out tasks, {len(lines)} scored less than the base did"
    return f"{rest}.\n\n" + "\n".join(lines) if lines else f"{rest}."


def _recipe(document: RecipeDocument) -> str:
    recipe = document.recipe
    assert recipe is not None
    rows = [
        [name.replace("_", " "), plain(rate(value) if name == "learning_rate" else str(value))]
        for name, value in recipe.to_dict().items()
        if value is not None
    ]
    made = {key: value for key, value in document.made.to_dict().items() if key != "trial"}
    rows.append(["then", plain(", ".join(f"{key} {value}" for key, value in made.items()))])
    if document.trained is not None:
        rows.append(["trained", f"{document.trained.parameters:,} parameters"])
    return _table([["field", "value"], *rows])


def _limits(
    document: RecipeDocument, licence: str | None, notes: Sequence[str], confirmed: Estimates | None
) -> str:
    tried = sum(document.trials.values())
    lines = [
        "Only the tasks above were measured; what else the base could do may have changed.",
        f"The licence is the base's: {licence or _LICENCE_UNKNOWN}.",
    ]
    if tried and confirmed is None:
        lines.insert(
            0,
            f"The values are the best of {tried} trials on the samples that they were chosen by, so expect "
            "somewhat less on others.",
        )
    return "\n".join(f"- {line}" for line in [*lines, *map(plain, notes)])


def _made_with(document: RecipeDocument) -> str:
    rows = [["package", "version"], *([plain(k), plain(v)] for k, v in document.versions.items())]
    data = [["data", "SHA-256"], *([plain(k), f"`{v}`"] for k, v in document.data.items())]
    base = document.model.fingerprint if document.model else ""
    seed = "unknown" if (document.evidence or {}).get("seed") is None else document.seed
    lines = [f"Base model's SHA-256: `{base or 'unknown'}`. Seed: {seed}."]
    assert document.recipe is not None
    lines.append(f"Recipe in a word: {plain(recipe_label(document.recipe))}.")
    return "\n\n".join([*lines, *(_table(each) for each in (rows, data) if len(each) > 1)])


def _table(rows: Iterable[Sequence[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)
