"""The report: what is on its page, and that nothing on it runs or leaks."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_study import (
    BASE,
    GOOD,
    HARMFUL,
    LORA,
    MODEST,
    Answered,
    config,
    estimates,
    finalist,
    record,
    trial,
    with_answers,
)
from report_texts import Page, render, text_of

from search.config import StudyConfig
from search.decision.choices import Choice
from search.decision.evidence import Finalist, FinalistRun
from search.findings import study_findings as findings
from search.records.study_folder import StudyFolder
from search.records.study_record import Predictions, StudyRecord
from search.report import render_report
from search.report_files import write_report
from search.report_sections.choices import choice_cards
from search.report_sections.confirmed import finalist_rows
from search.report_sections.ranking import formula, ranking_rows
from search.report_sections.whiskers import Whisker
from search.results import TrialResult, TrialState
from search.selection import select
from search.wording import UNKNOWN
from trainables.data.samples import Sample
from trainables.metrics import METRICS, MetricSpec
from trainables.scoring.lm_eval_task import LmEvalTask

ATTACK = "<script>alert(1)</script>"


def plot_data(html: str) -> Any:
    found = re.search(r'<script id="plot-data" type="application/json">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_groups_are_told_apart_by_layers_and_method_and_not_by_the_rest() -> None:
    study = config(subsets=("gate_up", "full"))
    made = record(
        [
            trial(0, [MODEST], study=study),
            trial(1, [GOOD], study=study, layers="last:1/2", lwf_weight=1.0),
            trial(2, [MODEST], study=study, layers="last:1/2"),
            trial(3, [HARMFUL], study=study, layers="last:1/2", **LORA),
        ],
        study=study,
    )
    rows = findings.group_bests(made, select(made.trials, made.objective))
    assert [(row.group, row.best.number if row.best else None, row.trials) for row in rows] == [
        ("gate_up last:1/2", 1, 2),
        ("gate_up", 0, 1),
        ("gate_up last:1/2 lora", 3, 1),
        ("full", None, 0),  # not tried: one row, whatever its layers and method
    ]
    html = render(made)
    text = " ".join(Page(html).text.split())
    assert "Train gate_up in layers last:1/2 under distillation (weight 1, temperature 2) at learning" in text
    assert "gate_up last:1/2 lora r=8" in text
    titles = [note["text"] for note in plot_data(html)["plots"]["learning_rates"]["layout"]["annotations"]]
    assert titles == ["gate_up last:1/2", "gate_up", "gate_up last:1/2 lora"]


def test_settings_of_the_optimiser_are_named_where_they_are_searched() -> None:
    searched = config().model_dump()
    searched["space"] = {
        "subsets": ["gate_up"],
        "learning_rate": [1e-5, 1e-1],
        "batch_size": [8, 16],
        "weight_decay": [0.0, 0.1],
    }
    study = StudyConfig.model_validate(searched)
    made = [trial(0, [MODEST], study=study, weight_decay=0.1, preset="paper_gate_up")]
    assert "gate_up batch 8, decay 0.1, paper_gate_up" in text_of(record(made, study=study))
    assert "batch 8" not in text_of(record(made, study=config()))


def test_of_many_groups_the_best_are_named() -> None:
    """16 layer ranges with one trial each: 12 have a panel of their own."""
    trials = [trial(n, [{"count": 30.0 + n}], layers=f"{n}") for n in range(16)]
    html = render(record(trials))
    text = " ".join(Page(html).text.split())
    assert len(plot_data(html)["plots"]["learning_rates"]["layout"]["annotations"]) == 12
    assert "The best 12 of 16, each at its own learning rates" in text
    # The subsets that were not tried are of those with too few trials, too.
    assert "gate_up 4 (1) and 6 others. Each of them may be better" in text


def test_the_ranking_puts_the_base_where_it_belongs() -> None:
    html = render(
        record(
            [
                trial(0, [GOOD]),
                trial(1, [HARMFUL], subset="full"),
                trial(2, [MODEST], state=TrialState.PRUNED, preset="paper_gate_up"),
                trial(3, state=TrialState.FAILED, error="broke"),
            ]
        )
    )
    rows = re.findall(r'<tr class="(\w*)"><th scope="row" class="first">(\w+)</th>', html)
    assert rows == [("chosen", "0"), ("base", "base"), ("", "1"), ("out", "2"), ("out", "3")]


def test_the_ranking_shows_intervals_ties_and_choices() -> None:
    """Scores 22 and 10, each 2 points to both sides; the bars' scale holds 0 to 24 and 0.96 at both ends."""
    study = record([trial(0, [GOOD]), trial(1, [MODEST])])
    known = {"trial 0": estimates(GOOD, half=2), "trial 1": estimates(MODEST, half=2)}
    choice = Choice(name="cautious", candidate="trial 1", title="Forgets nothing", sentence="Gains 10.")
    selection = replace(
        select(study.trials, study.objective),
        estimates=known,
        tied=("trial 0", "trial 1"),
        choices=(choice,),
    )
    best, second, base = ranking_rows(study, selection)
    assert (best["interval"], second["interval"], base["interval"]) == ("[20.0, 24.0]", "[8.0, 12.0]", "")
    gains, forgotten = (
        [row[name] for row in (best, second, base)] for name in ("gain_interval", "forgetting_interval")
    )
    assert gains == ["[23.0, 27.0]", "[8.0, 12.0]", ""]
    assert forgotten == ["[1.0, 5.0]", "[-2.0, 2.0]", ""]
    assert (best["said"], second["said"]) == ("selected", "tied")
    assert second["tag"] == "cautious"
    # From -0.96 to 24.96 are 25.92 points: 0 lies at 3.7 %, 10 at 42.3 %, 8 at 34.6 % and 12 at 50 %.
    assert second["mark"] == Whisker(zero=3.7, dot=42.3, start=34.6, width=15.4)
    text = " ".join(Page(render_report(study, selection)).text.split())
    assert "Forgets nothing" in text
    assert "recipe-search select runs/made --choice cautious" in text
    assert "+10.0 [8.0, 12.0]" in text
    assert "+25.0 [23.0, 27.0] +3.0 [1.0, 5.0] +4.0" in text
    assert "Those of pruned trials" not in text


def test_a_pruned_trial_has_intervals_of_its_own() -> None:
    """It scored 10 when it was stopped, on fewer samples: 6 points to both sides."""
    study = record([trial(0, [GOOD]), trial(1, [MODEST], state=TrialState.PRUNED)])
    known = {"trial 0": estimates(GOOD, half=2), "trial 1": estimates(MODEST, half=6)}
    selection = replace(select(study.trials, study.objective), estimates=known)
    *_, pruned = ranking_rows(study, selection)
    assert (pruned["interval"], pruned["gain_interval"]) == ("[4.0, 16.0]", "[4.0, 16.0]")
    assert pruned["forgetting_interval"] == "[-6.0, 6.0]"
    assert "Those of pruned trials are of the samples that they were scored on" in formula(study, selection)


def test_the_finalists_are_shown_with_their_regret() -> None:
    """GOOD scored 22 in the search; its seeds confirmed 18 and 22, mean 20: a regret of 2."""
    less = {"count": 30.0, "clock": 40.0, "colour": 86.0}
    last = finalist("trial 0", less, GOOD, half=3)
    dropped = replace(finalist("trial 1", MODEST), dropped=True)
    study = record([trial(0, [GOOD]), trial(1, [MODEST])])
    study = replace(study, finalists=(last, dropped), finalists_seconds=90.0, confirm_base=study.base)
    selection = replace(select(study.trials, study.objective), finalist=last)
    first, second = finalist_rows(study, selection)
    assert (first["searched"], first["confirmed"], first["interval"], first["regret"]) == (
        "+22.0",
        "+20.0",
        "[17.0, 23.0]",
        "+2.0",
    )
    assert first["seeds"] == "100: +18.0, 101: +22.0"
    assert (first["note"], second["note"]) == ("selected", "dropped, clearly behind")
    text = " ".join(Page(render_report(study, selection)).text.split())
    assert "Confirmed on data that the search never saw" in text
    assert "3 runs of 2 finalists in 1m 30s" in text
    # Confirmed changes of the tasks: count (20 + 30) / 2 = 25.
    assert "+25.0 [22.0, 28.0]" in text


def test_a_recipe_that_is_offered_under_two_names_has_one_card() -> None:
    study = record([trial(0, [GOOD]), trial(1, [MODEST])])
    choices = tuple(
        Choice(name=name, candidate=key, title=name.upper(), sentence="")
        for name, key in (("cautious", "trial 1"), ("balanced", "trial 0"), ("bold", "trial 0"))
    )
    selection = replace(select(study.trials, study.objective), choices=choices)
    cautious, other = choice_cards(study, selection, study.config.folder)
    assert (cautious["name"], cautious["gain"], cautious["selected"]) == ("cautious", "+10.0", False)
    assert cautious["command"] == "recipe-search select runs/made --choice cautious"
    assert (other["name"], other["title"]) == ("balanced and bold", "BALANCED; BOLD")
    assert (other["selected"], other["command"]) == (True, "")


def test_a_finalist_that_failed_has_no_regret() -> None:
    run = FinalistRun(seed=7, rung=None, confirm={}, confirmed=None, folder="", error="out of memory")
    study = record([trial(0, [GOOD])])
    study = replace(study, finalists=(Finalist(candidate="trial 0", runs=(run,)),))
    (row,) = finalist_rows(study, select(study.trials, study.objective))
    assert (row["confirmed"], row["regret"], row["seeds"]) == (UNKNOWN, UNKNOWN, "7: failed (out of memory)")
    assert row["mark"] is None


def all_failed() -> list[TrialResult]:
    return [trial(n, state=TrialState.FAILED, error=f"broke {n}", seconds=math.nan) for n in range(2)]


def pruned_only() -> list[TrialResult]:
    return [trial(0, [MODEST], state=TrialState.PRUNED), *all_failed()[1:]]


@pytest.mark.parametrize(
    ("trials", "finding"),
    [
        ([], "no trial finished"),
        (all_failed(), "no trial finished"),
        (pruned_only(), "no trial finished"),
        ([trial(0, [HARMFUL])], "scores -20.0 points, and doing nothing scores 0"),
        ([trial(0, [HARMFUL]), *all_failed()[1:]], "scores -20.0 points"),
    ],
    ids=["no trial", "all failed", "pruned only", "one harmful", "harmful and failed"],
)
def test_keeping_the_base_is_a_verdict(trials: list[TrialResult], finding: str) -> None:
    text = text_of(record(trials))
    assert "Keep the base model" in text
    assert finding in text
    assert "Nothing" not in text
    for failed in (found for found in trials if found.error):
        assert str(failed.error) in text


def test_a_study_that_has_not_finished_says_so() -> None:
    assert "0 pruned, 0 failed, not finished" in text_of(replace(record([trial(0, [GOOD])]), finished=False))


def test_all_infeasible_is_said() -> None:
    study = config(max_forgetting=1.5)
    text = text_of(record([trial(0, [GOOD], study=study)], study=study))
    assert "all 1 complete trial forget more than the allowed 1.5 points; the nearest, " in text
    assert ", forgets 3.0, 1.5 too much" in text
    assert "A recipe that forgets more than 1.5 points is infeasible." in text
    assert "the best recipe tried (trial 0)" in text


def test_one_trial_of_a_single_subset_renders() -> None:
    study = config(subsets=["gate_up"], held_out=["colour"])
    text = text_of(record([trial(0, [GOOD], study=study)], study=study))
    assert "loses 2.0 points on the held-out task colour (n = 100)" in text


def test_a_single_sample_renders() -> None:
    base = dict.fromkeys(BASE, 0.0)
    study = config()
    made = record([trial(0, [{"count": 100.0}], base=base)], study=study, base=base, samples=1)
    html = render(made)
    text = " ".join(Page(html).text.split())
    assert "it gains +50.0 points on average over the targets (n = 1)" in text
    assert "nan" not in text.lower()
    assert plot_data(html)["plots"]["trade_off"]


def test_missing_metrics_render_as_no_value() -> None:
    made = trial(0, [GOOD], kl=math.nan, parameters=math.nan, seconds=math.nan)
    text = text_of(record([made, trial(1, [MODEST])]))
    assert "nan" not in text.lower()


def attacked() -> StudyRecord:
    base = {"count": 10.0, "clock": 20.0, ATTACK: 90.0}
    study = config(held_out=[ATTACK]).model_copy(update={"name": ATTACK})
    trials = [
        trial(0, [{"count": 40.0}, {"count": 40.0, ATTACK: 80.0}], study=study, base=base, preset=ATTACK),
        trial(1, study=study, base=base, state=TrialState.FAILED, error=f"{ATTACK} & 'quotes'"),
    ]
    return record(trials, study=study, base=base, versions={ATTACK: ATTACK})


def test_texts_of_the_user_stay_text() -> None:
    html = render(attacked())
    page = Page(html)
    assert ATTACK not in html
    assert page.tags.count("script") == 3
    assert page.text.count(ATTACK) >= 5
    assert f"{ATTACK} & 'quotes'" in page.text
    # In the plots' data the text is escaped twice: for the script element, and for plotly's own tags.
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in plot_data(html)["plots"]["held_out"]["data"][0]["x"]


def test_the_page_is_one_file() -> None:
    html = render(record([trial(0, [GOOD])]))
    page = Page(html)
    assert "link" not in page.tags
    assert "img" not in page.tags
    assert [value for name, value in page.attributes if name in ("src", "href", "action")] == []
    assert html.count("plotly.js v") == 1
    assert "default-src 'none'" in html


def test_every_plot_has_a_place_on_the_page() -> None:
    made = record([trial(0, [MODEST, GOOD]), trial(1, [GOOD, MODEST], subset="full")])
    html = render(made)
    plots = plot_data(html)["plots"]
    assert len(plots) == 7
    assert "With 2 complete trials that can't be told from chance" in html.replace("&#39;", "'")
    assert set(re.findall(r'data-plot="(\w+)"', html)) == set(plots)


def test_how_to_run_it_again() -> None:
    text = text_of(record([trial(0, [GOOD])], versions={"torch": "2.13.0", "git_commit": "abc123"}))
    assert "recipe-search run runs/made/study.yaml name=made-again" in text
    assert "path: tiny-llava" in text
    assert "learning_rate: 0.001" in text
    assert "git_commit abc123" in text
    assert "side by side" in text


def test_the_commands_name_the_folder_where_the_study_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = record([trial(0, [GOOD]), trial(1, [MODEST])])
    choice = Choice(name="bold", candidate="trial 1", title="", sentence="")
    selection = replace(select(study.trials, study.objective), choices=(choice,))
    monkeypatch.chdir(tmp_path)
    moved = StudyFolder(tmp_path / "moved here")
    write_report(moved, study, selection)
    text = Page(moved.report.read_text()).text
    assert f"recipe-search run '{moved.study}' name=made-again" in text
    assert f"recipe-search select '{moved.root}' --choice bold" in text
    assert "runs/made" not in text
    write_report(ran := StudyFolder(tmp_path / "runs" / "made"), study, selection)
    assert "recipe-search run runs/made/study.yaml" in Page(ran.report.read_text()).text


def test_passwords_are_not_shown() -> None:
    study = config()
    tracking = study.tracking.model_copy(update={"uri": "https://ann:secret@host/x"})
    html = render(record([trial(0, [GOOD])], study=study.model_copy(update={"tracking": tracking})))
    assert "secret" not in html
    assert "https://***@host/x" in html


def test_a_long_ranking_opens_with_its_first_rows() -> None:
    """60 trials and the base are 61 rows: 50 and 11 more, best first throughout."""
    trials = [trial(number, [{**GOOD, "count": 70.0 - number}]) for number in range(60)]
    html = render(record(trials))
    head, folded = html.split("<summary>11 more</summary>")
    assert head.count('<tr class="') == 50
    assert folded.partition("</details>")[0].count('<tr class="') == 11
    assert "more</summary>" not in render(record(trials[:49]))


def test_each_task_names_its_metric_and_each_metric_is_told_once() -> None:
    sample = Sample(id="a", prompt="?", answer="1")
    free = MetricSpec("normalized_exact_match")
    study = with_answers(
        record([trial(0, [GOOD])]),
        *(Answered(task, [sample], [("1", 100.0)], [("2", 0.0)]) for task in ("count", "clock", "colour")),
        Answered("shape", [sample], [("1", 100.0)], [("2", 0.0)], free),
    )
    html = render(study)
    rows = re.findall(
        r'<tr><th scope="row" class="first">(\w+)</th>.*?<td class="text">(\w+)</td></tr>', html, re.DOTALL
    )
    assert rows == [
        ("count", "exact_match"),
        ("clock", "exact_match"),
        ("colour", "exact_match"),
        ("shape", "normalized_exact_match"),
    ]
    text = " ".join(Page(html).text.split())
    for name in ("exact_match", "normalized_exact_match"):
        assert text.count(f" {name} (higher is better): {METRICS[name].source}.") == 1


def test_samples_that_score_otherwise_the_second_time_are_told() -> None:
    made = record([trial(0, [GOOD])])
    warned = replace(made, predictions=Predictions(models={}, warnings=("task 'count': 2 of 9 samples",)))
    assert "task 'count': 2 of 9 samples" in text_of(warned)
    assert "won and lost" not in text_of(made)


def test_the_tables_of_predictions_are_named_with_the_time_that_they_took() -> None:
    study = with_answers(
        record([trial(0, [GOOD])]),
        Answered("count", [Sample(id="a", prompt="?", answer="1")], [("1", 100.0)], [("2", 0.0)]),
    )
    assert "predictions/base.parquet, predictions/selected.parquet in 12s" in text_of(study)


def test_the_metric_of_a_task_of_lm_eval_is_lm_evals() -> None:
    sample = Sample(id="a", prompt="?", answer="1")
    study = with_answers(
        record([trial(0, [GOOD])]),
        *(Answered(task, [sample], [("1", 100.0)], [("2", 0.0)]) for task in ("count", "colour", "shape")),
    )
    task = LmEvalTask(name="colour", task="hues", file="hues.yaml", digest="d")
    count, colour, shape = study.tasks
    named = replace(shape, harness=replace(task, name="shape", chosen="acc_norm"))
    text = text_of(replace(study, tasks=(count, replace(colour, harness=task), named)))
    assert "lm-eval (higher is better): the first metric of the task, as lm-eval defines" in text
    assert "lm-eval (acc_norm) (higher is better): the named metric of the task, as lm-eval" in text
    assert text.count("exact_match (higher") == 1
