from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from made_study import BASE, config, record, trial

from search import findings, wording
from search.config import StudyConfig
from search.report import render_report
from search.results import StudyRecord, TrialResult, TrialState
from search.selection import select

ATTACK = "<script>alert(1)</script>"

# Gain (30 + 20) / 2 = 25, forgetting (2 + 4) / 2 = 3, worst 4, score 22.
GOOD = {"count": 40.0, "clock": 40.0, "colour": 88.0, "shape": 76.0}
# Gain (20 + 0) / 2 = 10, forgetting 0, score 10.
MODEST = {"count": 30.0}
# Gain 0, forgetting (40 + 0) / 2 = 20, score -20.
HARMFUL = {"colour": 50.0}


def render(study: StudyRecord) -> str:
    return render_report(study, select(study.trials, study.objective))


class Page(HTMLParser):
    """The texts of a page by the tag around them, scripts and styles left out of `text`."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.attributes = "", [], []
        self._skipping = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._skipping = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._skipping = False

    def handle_data(self, data: str) -> None:
        if not self._skipping:
            self.text += f"{data} "


def text_of(study: StudyRecord) -> str:
    return " ".join(Page(render(study)).text.split())


def plot_data(html: str) -> Any:
    found = re.search(r'<script id="plot-data" type="application/json">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_standard_errors_by_hand() -> None:
    """With n = 100 samples of 0 or 100 points, a mean v has a variance of v (100 - v) / 99.

    count: 10 x 90 = 900 at the base and 40 x 60 = 2400 tuned; clock: 1600 and 2400; colour: 900 and 1056;
    shape: 1600 and 1824.
    """
    made = record([trial(0, [GOOD])])
    rung = made.trials[0].last
    count = findings.changes(made, rung)[0]
    assert (count.task, count.target, count.n, count.base, count.tuned, count.change) == (
        "count",
        True,
        100,
        10,
        40,
        30,
    )
    assert count.base_stderr == pytest.approx(math.sqrt(900 / 99))
    assert count.stderr == pytest.approx(math.sqrt(3300 / 99))
    gain = math.sqrt((3300 + 4000) / 99) / 2
    forgetting = math.sqrt((1956 + 3424) / 99) / 2
    assert findings.gain_stderr(made, rung) == pytest.approx(gain)
    assert findings.forgetting_stderr(made, rung) == pytest.approx(forgetting)
    assert findings.score_stderr(made, rung) == pytest.approx(math.sqrt(gain**2 + forgetting**2))


LORA = {"method": "lora", "lora_rank": 8, "lora_alpha": 16.0, "lora_dropout": 0.0, "lora_variant": "lora"}


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
    assert titles == ["gate_up last:1/2", "gate_up", "gate_up last:1/2<br>lora"]


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
    """16 layer ranges with one trial each: 12 have a panel and a place in the sentence."""
    trials = [trial(n, [{"count": 30.0 + n}], layers=f"{n}") for n in range(16)]
    html = render(record(trials))
    text = " ".join(Page(html).text.split())
    assert len(plot_data(html)["plots"]["learning_rates"]["layout"]["annotations"]) == 12
    assert "The best 12 of 16, each at the best of its own learning rates: gate_up 15 +17.5, " in text
    # The subsets that were not tried are of those with too few trials, too.
    assert "gate_up 4 (1) and 6 others. Each of them may be better" in text


def test_the_rate_of_adapters_is_judged_by_their_own_bounds() -> None:
    study = config()
    bounds = {"gate_up": (1e-5, 1e-3), "lora": (1e-3, 1e-1)}
    space = study.space.model_copy(update={"learning_rate_of": bounds, "methods": ("selective", "lora")})
    study = study.model_copy(update={"space": space})
    made = record([], study=study)
    assert findings.rate_edge(made, trial(0, [GOOD], learning_rate=1e-3)) == "upper"
    assert findings.rate_edge(made, trial(0, [GOOD], learning_rate=1e-3, **LORA)) == "lower"


def test_the_verdict_in_words() -> None:
    """The errors are those of the test above: 4.29 for the gain, 3.69 for forgetting, 5.66 for the score."""
    text = text_of(record([trial(0, [GOOD]), trial(1, [MODEST], subset="full", learning_rate=2e-4)]))
    assert "Train gate_up at learning rate 1.0e-3" in text
    assert (
        "Train gate_up with a learning rate of 1.0e-3 for 40 steps. Over the base model it gains "
        "+25.0 ± 4.3 points on average over the targets (n = 100) and loses 3.0 ± 3.7 points on average over "
        "2 held-out tasks (n = 100), the most on shape (-4.0), a score of +22.0."
    ) in text
    assert (
        "The runner-up, trial 1 (full at 2.0e-4), scored +10.0; the lead of 12.0 is more than the rough "
        "standard error of one score, 5.7."
    ) in text
    assert "Each subset at the best of its own learning rates: gate_up +22.0, full +10.0." in text


def test_a_small_lead_is_called_a_tie() -> None:
    text = text_of(record([trial(0, [GOOD]), trial(1, [{**GOOD, "count": 39.0}])]))
    assert "the lead of 0.5 is less than the rough standard error" in text
    assert "practically tied" in text


def test_a_recipe_that_improves_held_out_tasks() -> None:
    text = text_of(record([trial(0, [{"count": 40.0, "colour": 94.0}])]))
    assert "and also gains 2.0 ± " in text


def test_subsets_are_compared_at_their_own_best_rate() -> None:
    made = record(
        [
            trial(0, [MODEST], learning_rate=1e-3),
            trial(1, [GOOD], learning_rate=8e-2),
            trial(2, [HARMFUL], subset="full"),
            trial(3, [MODEST], subset="full", state=TrialState.PRUNED),
        ]
    )
    rows = findings.group_bests(made, select(made.trials, made.objective))
    assert [row.group for row in rows] == ["gate_up", "full", "projector"]
    assert [row.best.number if row.best else None for row in rows] == [1, 2, None]
    assert [(row.complete, row.trials) for row in rows] == [(2, 2), (1, 2), (0, 0)]


@pytest.mark.parametrize(
    ("rate", "edge"), [(1e-5, "lower"), (2e-5, "lower"), (3e-5, None), (3e-2, None), (5e-2, "upper")]
)
def test_a_rate_within_a_tenth_of_an_end_is_at_the_edge(rate: float, edge: str | None) -> None:
    """The bounds 1e-5 and 1e-1 are four decades apart: a tenth is 0.4, a factor of 2.5."""
    assert findings.rate_edge(record(), trial(0, [GOOD], learning_rate=rate)) == edge


def test_a_feasible_best_comes_before_a_higher_infeasible_score() -> None:
    study = config(max_forgetting=1)
    made = record([trial(0, [GOOD], study=study), trial(1, [MODEST], study=study)], study=study)
    row = findings.group_bests(made, select(made.trials, made.objective))[0]
    assert row.best is not None
    assert (row.best.number, row.feasible) == (1, True)


def test_cost_counts_every_trial_once_up_to_its_last_rung() -> None:
    """10 s for a whole run and 5 s up to half of it; 2 s for each of three evaluations."""
    made = record(
        [
            trial(0, [MODEST, GOOD]),
            trial(1, [MODEST], state=TrialState.PRUNED),
            trial(2, state=TrialState.FAILED, error="broke"),
        ]
    )
    assert findings.cost(made) == findings.Cost(wall=100, train=15, evaluation=6)


def test_the_caveats_are_those_that_apply() -> None:
    made = record([trial(0, [GOOD], learning_rate=1e-1), trial(1, [MODEST], learning_rate=1e-1)])
    notes = " ".join(findings.caveats(made, select(made.trials, made.objective)))
    assert "search split" in notes
    assert "seed 5" in notes
    assert "The best of 2 noisy scores" in notes
    assert "at the upper end of the interval searched for gate_up" in notes
    assert "full (0), projector (0)" in notes
    alone = record([trial(0, [GOOD])])
    assert "winner's curse" not in " ".join(findings.caveats(alone, select(alone.trials, alone.objective)))
    assert findings.caveats(record(), select([], record().objective)) == ()


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


def test_all_infeasible_is_said() -> None:
    study = config(max_forgetting=1.5)
    text = text_of(record([trial(0, [GOOD], study=study)], study=study))
    assert "all 1 complete trials forget more than the allowed 1.5 points; the nearest forgets 3.0" in text
    assert "A recipe that forgets more than 1.5 points is infeasible." in text
    assert "the best recipe tried (trial 0)" in text


def test_one_trial_of_a_single_subset_renders() -> None:
    study = config(subsets=["gate_up"], held_out=["colour"])
    text = text_of(record([trial(0, [GOOD], study=study)], study=study))
    assert "loses 2.0 ± 4.4 points on the held-out task colour (n = 100)" in text
    assert "runner-up" not in text
    assert "Each subset at the best" not in text


def test_a_single_sample_has_no_standard_error() -> None:
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
    assert set(re.findall(r'data-plot="(\w+)"', html)) == set(plots)


def test_how_to_run_it_again() -> None:
    text = text_of(record([trial(0, [GOOD])], versions={"torch": "2.13.0", "git_commit": "abc123"}))
    assert "recipe-search run runs/made/study.yaml name=made-again" in text
    assert "path: tiny-llava" in text
    assert "learning_rate: 0.001" in text
    assert "git_commit abc123" in text
    assert "side by side" in text


def test_passwords_are_not_shown() -> None:
    study = config()
    tracking = study.tracking.model_copy(update={"uri": "https://ann:secret@host/x"})
    html = render(record([trial(0, [GOOD])], study=study.model_copy(update={"tracking": tracking})))
    assert "secret" not in html
    assert "https://***@host/x" in html


@pytest.mark.parametrize(
    ("value", "text"), [(3.14e-4, "3.1e-4"), (1e-10, "1.0e-10"), (0.5, "5.0e-1"), (12.0, "1.2e1")]
)
def test_rates(value: float, text: str) -> None:
    assert wording.rate(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4s"), (9.96, "10s"), (59.6, "1m 00s"), (100, "1m 40s"), (7500, "2h 05m"), (math.nan, "–")],  # noqa: RUF001
)
def test_durations(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(812, "812"), (12_400, "12.4 K"), (3_140_000, "3.14 M"), (6.74e9, "6.74 B")]
)
def test_counts(value: float, text: str) -> None:
    assert wording.count(value) == text


def test_points_have_no_negative_zero() -> None:
    assert wording.points(-0.04) == "+0.0"


def test_a_long_ranking_opens_with_its_first_rows() -> None:
    """60 trials and the base are 61 rows: 50 and 11 more, best first throughout."""
    trials = [trial(number, [{**GOOD, "count": 70.0 - number}]) for number in range(60)]
    html = render(record(trials))
    head, folded = html.split("<summary>11 more</summary>")
    assert head.count('<tr class="') == 50
    assert folded.partition("</details>")[0].count('<tr class="') == 11
    assert "more</summary>" not in render(record(trials[:49]))
