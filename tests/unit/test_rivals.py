from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made_table import made_table
from small_rivals import write_study

from benchmarks.rivals.figures import Run, Truth, figures_of, ratios, where_of
from benchmarks.rivals.handed import Handed
from benchmarks.rivals.hf_trainer import (
    GenerateScorer,
    RecipeTrainer,
    Rungs,
    freeze_all_but,
    load_tokenizer,
    training_arguments,
)
from benchmarks.rivals.page import PAGE, RESULT, page_with_table
from benchmarks.rivals.problem import STUDY, Problem, trained_names
from benchmarks.rivals.sides import Found
from benchmarks.rivals.sweeps import at_random, grid
from benchmarks.rivals.trace import (
    Arrival,
    Reported,
    append,
    arrival,
    incumbents,
    read,
    steps_of,
    turn_rounds,
)
from benchmarks.rivals.truth import by_table, promising
from benchmarks.rivals.usage import Usage, run
from search.data.inputs import load_data
from search.settings.study_file import load_study
from trainables.collate import Encoder
from trainables.data.tasks import EmbeddedTask
from trainables.evaluate import evaluate_task
from trainables.loop import learning_rate_at
from trainables.manifest import build_manifest
from trainables.metrics import EXACT_MATCH


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return Problem.load(write_study(tmp_path_factory.mktemp("study")))


@pytest.fixture(scope="module")
def scorer(problem: Problem) -> GenerateScorer:
    made = GenerateScorer(problem, load_tokenizer(problem))
    made.measure_base(problem.base_model())
    return made


def trainer_of(problem: Problem, scorer: GenerateScorer, subset: str, folder: Path) -> RecipeTrainer:
    recipe = problem.recipe(subset, 1e-3)
    return RecipeTrainer(
        problem,
        scorer,
        Rungs(problem.rungs, saves=False),
        model=freeze_all_but(problem.base_model(), recipe),
        args=training_arguments(problem, folder, 0, recipe.learning_rate),
        processing_class=scorer.tokenizer,
    )


# The last norm of the vision tower is a part of no gradient: see docs/tiny-llava.md.
@pytest.mark.parametrize("subset", ["sa_proj", "vision", "full"])
def test_the_trainer_trains_what_the_manifest_names(
    problem: Problem, scorer: GenerateScorer, subset: str, tmp_path: Path
) -> None:
    base = problem.base_model().state_dict()
    trainer = trainer_of(problem, scorer, subset, tmp_path)
    names = set(build_manifest(problem.base_model(), subset).names)
    trainer.train()
    model = trainer.model
    assert model is not None
    assert {name for name, p in model.named_parameters() if p.requires_grad} == names
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, base[name])}
    without_gradient = {name for name in names if "post_layernorm" in name}
    assert (subset == "sa_proj") == (not without_gradient)
    assert changed == names - without_gradient


def test_the_trainer_scores_at_the_rungs_and_follows_the_studys_schedule(
    problem: Problem, scorer: GenerateScorer, tmp_path: Path
) -> None:
    trainer = trainer_of(problem, scorer, "projector", tmp_path)
    rates: list[float] = []

    class Rates(Rungs):
        def on_optimizer_step(self, *_: Any, **__: Any) -> None:
            rates.append(trainer.optimizer.param_groups[0]["lr"])

    trainer.add_callback(Rates((), saves=False))
    trainer.train()
    recipe = problem.recipe("projector", 1e-3)
    assert rates == pytest.approx([learning_rate_at(step, recipe) for step in range(40)])
    scored = [log["step"] for log in trainer.state.log_history if "eval_score" in log]
    assert scored == [20, 40]


def test_what_generate_writes_is_scored_as_the_study_scores(problem: Problem, scorer: GenerateScorer) -> None:
    """The base answers some icons rightly and some wrongly."""
    task = EmbeddedTask(name="icons")
    samples = task.load("search", 12)
    encoder = Encoder.load(problem.model)
    output = evaluate_task(
        problem.base_model(),
        encoder.tokenizer,
        [encoder.encode(sample) for sample in samples],
        samples=samples,
        metric=EXACT_MATCH,
        batch_size=12,
        keep=0,
    )
    assert 0 < sum(output.scores) < 1200
    correct = scorer.correct(problem.base_model(), "icons")
    assert [100.0 * each for each in correct] == output.scores


def test_a_score_at_an_early_rung_is_of_its_samples_alone(problem: Problem, scorer: GenerateScorer) -> None:
    """The base's own score is 0 on whichever samples, for it is compared with itself on them."""
    for step in problem.rungs:
        assert scorer.metrics(problem.base_model(), step)["score"] == 0


def test_the_sides_get_the_studys_data_and_recipes() -> None:
    config = load_study(STUDY)
    problem = Problem.load()
    tasks = {task.name: task for task in load_data(config).tasks}
    assert [*tasks] == [*problem.targets, *problem.held_out]
    for name, task in tasks.items():
        assert [sample.answer for sample in task.search] == list(problem.answers[name])
    assert len(problem.train) == len(tasks["counting"].train)
    assert problem.rungs == config.rungs == (25, 50, 100)
    wanted = config.recipe_space().recipe({"subset": "mlp", "learning_rate": 1e-3})
    assert problem.recipe("mlp", 1e-3) == wanted
    assert trained_names(problem.base_model(), wanted)


def test_sweeps_stay_in_the_space(problem: Problem) -> None:
    """Four rates a subset; each is (5e-3 / 1e-4) ** (1 / 3) = 3.684 times the one before."""
    rates = [rate for subset, rate in grid(problem) if subset == "projector"]
    assert rates == pytest.approx([1e-4, 3.684e-4, 1.3572e-3, 5e-3], rel=1e-4)
    assert len(grid(problem)) == 8
    drawn = [recipe for recipe, _ in zip(at_random(problem, 0), range(100), strict=False)]
    assert {subset for subset, _ in drawn} == {"sa_proj", "projector"}
    assert all(1e-4 <= rate <= 5e-3 for _, rate in drawn)


def reported(
    at: float, trial: int, subset: str, step: int, score: float, began: float | None = None
) -> Reported:
    return Reported(
        at=at, trial=trial, subset=subset, learning_rate=1e-3, step=step, score=score, started_at=began
    )


TRACE = [
    reported(10, 0, "full", 50, 30, began=5),
    reported(20, 0, "full", 100, 10, began=5),
    reported(24, 1, "mlp", 50, 5, began=21),
    reported(35, 2, "vision", 100, 12, began=25),
    reported(50, 3, "sa_proj", 100, 11, began=36),
    reported(70, 4, "llm", 100, 20, began=52),
]
WORTH = {"full": 8.0, "vision": 14.5, "sa_proj": 15.0, "llm": 13.9, "mlp": 0.0}


def worth(subset: str, learning_rate: float) -> float:
    return WORTH[subset]


def test_incumbents_are_whole_trials_that_scored_best_so_far() -> None:
    """30 points at step 50 do not count, and the 11 of sa_proj are below the 12 before."""
    held = incumbents(TRACE, steps=100)
    assert held == [(20, ("full", 1e-3)), (35, ("vision", 1e-3)), (70, ("llm", 1e-3))]


def test_a_side_arrives_when_what_it_holds_is_truly_good() -> None:
    """Good is from 15 - 1 on: vision at 35 s is, llm at 70 s, which takes its place, is not."""
    held = incumbents(TRACE, steps=100)
    assert arrival(held, worth, 14.0) == Arrival(seconds=35, kept=False)
    assert arrival(held, worth, 13.9) == Arrival(seconds=35, kept=True)
    assert arrival(held, worth, 8.0) == Arrival(seconds=20, kept=True)
    assert arrival(held, worth, 15.0) is None
    assert arrival([], worth, 0.0) is None


def test_a_recipe_is_worth_what_the_table_says() -> None:
    """Means of two seeds at the last step: mlp at 0.1 has (30 + 60) / 2, mlp at 0.01 (10 + 14) / 2."""
    truth = by_table(made_table())
    assert truth.best == 45
    assert truth.score("mlp", 1e-2) == 12
    held = [(3.0, ("mlp", 1e-2)), (7.0, ("mlp", 1e-1))]
    assert arrival(held, truth.score, truth.best - truth.within) == Arrival(seconds=7, kept=True)


def test_only_recipes_that_may_be_good_are_trained_again() -> None:
    """Held are full with 10, vision with 12, llm with 20 and another side's mlp with 21; 11 below is far."""
    other = [reported(5, 0, "mlp", 100, 21)]
    found = promising([run_of("a", 0, 100, TRACE), run_of("b", 0, 100, other)], 100)
    assert [each.recipes[0][0] for each in found] == ["llm", "mlp", "vision"]


def test_turn_rounds_are_between_a_trials_end_and_the_next_ones_begin() -> None:
    """One at a time: 20 to 21, 24 to 25, 35 to 36, 50 to 52. Of two: 20 to 25, 24 to 36, 35 to 52."""
    assert turn_rounds(TRACE, 1) == [1, 1, 1, 2]
    assert turn_rounds(TRACE, 2) == [5, 12, 17]


def test_steps_are_those_of_each_trials_last_report() -> None:
    assert steps_of(TRACE) == 100 + 50 + 100 + 100 + 100


def test_a_trace_comes_back_by_seconds_since_the_start(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    for each in (TRACE[1], TRACE[0]):
        append(file, each)
    assert [(each.at, each.started_at) for each in read(file, start=4.0)] == [(6, 1), (16, 1)]
    assert read(tmp_path / "none", start=4.0) == []


def run_of(side: str, turn: int, seconds: float, trace: list[Reported], planned: int = 5) -> Run:
    usage = Usage(
        start=0,
        seconds=seconds,
        cpu_seconds=2 * seconds,
        bytes=3_000_000,
        weight_bytes=1_000_000,
        load=0.5,
        status=0,
    )
    held = incumbents(trace, 100)
    handed = Handed.plain(held[-1][1], 100) if held else None
    found = Found(trace=trace, handed_over=handed, turn_rounds=turn_rounds(trace, 1))
    return Run(side=side, turn=turn, planned=planned, at_a_time=1, usage=usage, found=found)


TRUTH = Truth(source="by hand", best=14.8, score=worth)


def confirmed(handed: Handed) -> list[float]:
    return [worth(*handed.recipes[0]) - 1, worth(*handed.recipes[0]) + 2]


def figures(runs: list[Run]) -> dict[str, Any]:
    return figures_of(runs, 100, TRUTH, confirmed)


def test_figures_of_a_side_are_right_by_hand() -> None:
    """Handed over is llm, at 13.9 + 0.5. 5 trials in 100 s are 180 an hour, in 300 s 60, in 200 s 90."""
    found = figures([run_of("a", turn, seconds, TRACE) for turn, seconds in enumerate((100, 300, 200))])
    assert found["seconds"] == {"n": 3, "median": 200, "min": 100, "max": 300}
    assert found["trials_per_hour"] == {"n": 3, "median": 90, "min": 60, "max": 180}
    assert found["seconds_to_good_recipe"]["median"] == 35
    assert (found["seconds_to_good_recipe"]["reached"], found["seconds_to_good_recipe"]["kept"]) == (3, 3)
    assert found["confirmed_score"]["median"] == pytest.approx(14.4)
    assert found["megabytes_of_weights_per_trial"]["median"] == 0.2
    assert found["turn_round_seconds"]["median"] == 1
    assert found["seconds_of_whole_plan"] is None


def test_what_was_not_confirmed_has_no_confirmed_score() -> None:
    """Of two runs that hand over llm and full, llm alone is known."""
    runs = [run_of("a", 0, 100, TRACE), run_of("a", 1, 100, TRACE[:2])]
    found = figures_of(runs, 100, TRUTH, lambda handed: confirmed(handed) if "llm" in handed.key else [])
    assert found["confirmed_score"] == {"n": 1, "median": 14.4, "min": 14.4, "max": 14.4}
    assert figures_of(runs[1:], 100, TRUTH, lambda handed: [])["confirmed_score"] is None


def test_a_plan_that_was_cut_short_is_extrapolated_and_says_so() -> None:
    """5 of 20 trials in 100 s make 400 s."""
    found = figures([run_of("a", 0, 100, TRACE, planned=20)])
    assert found["seconds_of_whole_plan"] == {
        "extrapolated": True,
        "measured_trials": [5],
        **{"n": 1, "median": 400, "min": 400, "max": 400},
    }


def test_where_a_runs_time_went() -> None:
    """Steps begin at 5; in trials 15 + 3 + 10 + 14 + 18 = 60 of the 65 to 70; the program ends at 100.

    Two at a time these are 30 each, and 35 in which one place of the two was empty on average.
    """
    one = run_of("a", 0, 100, TRACE)
    assert where_of(one) == {"before": 5, "in_trials": 60, "between_trials": 5, "after": 30}
    two = replace(one, at_a_time=2)
    assert where_of(two) == {"before": 5, "in_trials": 30, "between_trials": 35, "after": 30}


def test_ratios_are_of_medians_and_only_of_what_was_reached() -> None:
    """A side that holds nothing good in one of two runs has no ratio of the time to it."""
    slow = [reported(10 * each.at, each.trial, each.subset, each.step, each.score) for each in TRACE]
    sides = {
        "ours": figures([run_of("ours", 0, 100, TRACE)]),
        "slow": figures([run_of("slow", 0, 1000, slow)]),
        "never": figures([run_of("never", 0, 300, TRACE[:2]), run_of("never", 1, 300, TRACE)]),
    }
    found = ratios(sides, "ours")
    assert found["slow"]["seconds_to_good_recipe"] == 10
    assert found["slow"]["seconds"] == 10
    assert found["slow"]["turn_round_seconds"] is None
    assert found["never"]["seconds_to_good_recipe"] is None


def test_what_a_program_takes_is_measured_with_its_children(tmp_path: Path) -> None:
    """A child is busy for 1.5 s, and its parent sleeps; 1,000 bytes stay, 400 of them weights."""
    busy = "import time; end = time.process_time() + 1.5\nwhile time.process_time() < end: pass"
    parent = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}]);"
        f"open({str(tmp_path / 'a.safetensors')!r}, 'w').write('x' * 400);"
        f"open({str(tmp_path / 'b.txt')!r}, 'w').write('x' * 600)"
    )
    began = time.time()
    usage = run([sys.executable, "-c", parent], tmp_path, {})
    assert usage.status == 0
    assert 0.9 < usage.cpu_seconds < usage.seconds + 0.5
    assert usage.seconds <= time.time() - began
    assert (usage.bytes, usage.weight_bytes) == (1000, 400)


@pytest.mark.skipif(not RESULT.exists(), reason="nothing was measured")
def test_the_page_shows_the_figures_that_were_measured() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == page_with_table(page), "run: python -m benchmarks.rivals.page"
