"""Which setting matters: how much each field of a recipe decides whether a trial is among the best.

Optuna's PED-ANOVA evaluator compares where the best fifth of the trials lie with where all do, field by field
(Watanabe, Bansal and Hutter, 2023). It reads trials, however they were proposed: here an Optuna study is made
in memory from the record's complete ones. A pruned trial was not trained to its end and is left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Final

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, create_trial
from optuna.visualization import plot_param_importances

from search.plots import plot_theme
from search.plots.plot_marks import Plot, finish
from search.records.study_record import StudyRecord
from search.results import TrialResult, TrialState
from search.selection import Selection
from search.wording import counted

FEWEST: Final = 30
"""Complete trials below which the best fifth would be fewer than six."""
_BEST: Final = 0.2
_CHOICES: Final = 8  # more different values than that are a range
_HATCHED: Final = {"fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.75)", "size": 6, "solidity": 0.2}
_GOALS: Final = (
    ("a high score", plot_theme.BLUE, ""),
    ("a high gain", plot_theme.SKY, "/"),
    ("little forgetting", plot_theme.PURPLE, "x"),
)


def too_few(record: StudyRecord) -> str:
    """Say why no importance is told; empty where it is."""
    complete = _complete(record)
    if len(complete) < FEWEST:
        return (
            f"With {counted(len(complete), 'complete trial')} that can't be told from chance; "
            f"it takes {FEWEST} at least."
        )
    if len(varied(complete)) < 2:
        return "Fewer than two settings were searched, so there is nothing to compare."
    return ""


def importance(record: StudyRecord, selection: Selection) -> Plot | None:
    """Bars: each searched setting's share in what tells the best trials from all."""
    if too_few(record):
        return None
    with warnings.catch_warnings():
        # It warns that low values are taken for good ones, as those of `in_memory` are.
        warnings.simplefilter("ignore", UserWarning)
        figure = plot_param_importances(
            in_memory(_complete(record)),
            evaluator=PedAnovaImportanceEvaluator(target_quantile=_BEST),
        )
    for trace, (name, colour, pattern) in zip(figure.data, _GOALS, strict=True):
        trace.update(
            name=f"for {name}",
            marker={"color": colour, "pattern": {"shape": pattern, **_HATCHED}},
            y=[field.replace("_", " ") for field in trace.y],
            hovertemplate="%{y}: %{x:.0%} of what decides " + name + "<extra></extra>",
            texttemplate="%{x:.0%}",
            cliponaxis=False,
        )
    fields = len(figure.data[0].y)
    figure.update_layout(title=None, barmode="group", legend={"traceorder": "reversed"})
    figure.update_xaxes(title="share", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(title=None)
    finish(figure, height=130 + 62 * fields)
    caption = (
        f"Share of each searched setting in what tells the best fifth of the {len(_complete(record))} "
        "complete trials from the others (PED-ANOVA). Small shares can't be told from 0, and the sampler's "
        "own preferences colour them all."
    )
    return Plot(name="importance", title="Which setting matters", caption=caption, figure=figure)


def in_memory(trials: Sequence[TrialResult]) -> optuna.Study:
    """Return the trials as an Optuna study of three goals, each the better the lower it is."""
    fields = varied(trials)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=optuna.storages.InMemoryStorage(), study_name="record", directions=["minimize"] * len(_GOALS)
    )
    study.add_trials([_frozen(trial, fields) for trial in trials])
    return study


def varied(trials: Sequence[TrialResult]) -> dict[str, BaseDistribution]:
    """Return the fields of the recipes that differ between trials, each with the values that it takes.

    A number of many values is a range, on a logarithmic scale where it spans more than a decade. That a field
    is absent, such as a LoRA rank without LoRA, is no value: the field that decides it has its own share.
    """
    found: dict[str, BaseDistribution] = {}
    for name in trials[0].recipe.to_dict() if trials else ():
        values = sorted({value for trial in trials if (value := trial.recipe.to_dict()[name]) is not None})
        if len(values) < 2:
            continue
        if len(values) > _CHOICES and all(isinstance(value, int | float) for value in values):
            low, high = float(values[0]), float(values[-1])
            found[name] = FloatDistribution(low, high, log=low > 0 and high > 10 * low)
        else:
            found[name] = CategoricalDistribution(values)
    return found


def _frozen(trial: TrialResult, fields: Mapping[str, BaseDistribution]) -> FrozenTrial:
    values = {name: value for name, value in trial.recipe.to_dict().items() if value is not None}
    score = trial.last.score
    return create_trial(
        params={name: values[name] for name in fields if name in values},
        distributions={name: fields[name] for name in fields if name in values},
        values=[-score.score, -score.target_gain, score.held_out_forgetting],
    )


def _complete(record: StudyRecord) -> list[TrialResult]:
    return [trial for trial in record.trials if trial.state is TrialState.COMPLETE]
