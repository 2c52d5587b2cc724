"""What a person sees in the MLflow UI of a store that StudyTracker filled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from devtools import devtools
from made_study import config, record, trial
from mlflow.tracking import MlflowClient
from mlflow_server import mlflow_server

from search.report import render_report
from search.results import PointResult, TrialState
from search.selection import select
from search.stores.mlflow_view import share_view
from search.stores.study_note import verdict_tags
from search.tracking import StudyTracker, prepare_store
from spaces.points import Interpolation, Point

HALF = {"count": 50.0, "clock": 40.0, "colour": 85.0, "shape": 80.0}
STUDY = record(
    [
        trial(0, [HALF, HALF], learning_rate=3.1e-4),
        trial(1, [HALF], subset="full", state=TrialState.PRUNED),
    ],
    study=config("lesson"),
)


BEST = STUDY.trials[0]
POINT = PointResult(number=0, point=Point(0, 40, Interpolation(0.9)), trial=BEST, rung=BEST.last)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store with one study: the base, a complete trial, a pruned one and a point."""
    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    report = database.with_name("report.html")
    report.write_text(render_report(STUDY, select(STUDY.trials, STUDY.objective)), encoding="utf-8")
    uri = f"sqlite:///{database}"
    prepare_store(uri)
    with StudyTracker(uri, "ui") as tracker:
        tracker.start_study(STUDY.config, tags={}, fingerprints={}, study_id="a1b2")
        tracker.log_base(STUDY.base, cached=False)
        for result in STUDY.trials:
            tracker.start_trial(result.trial_id, result.number, result.recipe, result.preset)
            for rung in result.rungs:
                tracker.log_rung(result.trial_id, rung.step, rung.metrics)
            tracker.end_trial(result)
        tracker.log_point(POINT)
        tracker.log_artifacts([report])
        tracker.finish(True, tags=verdict_tags(STUDY, select(STUDY.trials, STUDY.objective)))
    assert tracker.warnings == []
    return database


@pytest.fixture(scope="module")
def ui(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("server"), store) as (uri, _):
        yield f"{uri}/#/experiments/{experiment(store)}/runs"


def client(store: Path) -> Any:
    return MlflowClient(f"sqlite:///{store}")


def experiment(store: Path) -> str:
    return str(client(store).get_experiment_by_name("ui").experiment_id)


def run_id(store: Path, name: str) -> str:
    (run,) = client(store).search_runs([experiment(store)], f"attributes.run_name = '{name}'")
    return str(run.info.run_id)


def seen(browser: Any, page: str, *texts: str) -> str:
    """Look at a page until it shows every text, at most five times: it draws itself from many answers."""
    for _ in range(5):
        document: str = browser.dump_dom(page)
        if all(text in document for text in texts):
            return document
    missing = [text for text in texts if text not in document]
    pytest.fail(f"{page} does not show {missing}:\n{document[-3000:]}")


def test_the_table_of_runs_shows_the_study(ui: str, browser: Any) -> None:
    document = seen(browser, ui, ">lesson<")
    # The nested runs are folded under it.
    assert "000 gate_up" not in document


def test_the_study_page_shows_its_verdict_and_configuration(ui: str, store: Path, browser: Any) -> None:
    seen(
        browser,
        f"{ui}/{run_id(store, 'lesson')}",
        "lesson",
        "Train gate_up at learning rate 3.1e-4",
        "space.subsets",
        "gate_up, full, projector",
    )


def test_a_trial_page_shows_recipe_score_and_parent(ui: str, store: Path, browser: Any) -> None:
    # Gain: mean of 50 - 10 and 40 - 20 is 30. Forgetting: mean of 90 - 85 and 80 - 80 is 2.5. Score 27.5.
    name = "000 gate_up lr=3.1e-04"
    document = seen(
        browser, f"{ui}/{run_id(store, name)}", name, "learning_rate", "0.00031", "27.5", "lesson"
    )
    assert "Finished" in document
    assert "COMPLETE" in document


def test_a_pruned_trial_is_not_shown_as_finished(ui: str, store: Path, browser: Any) -> None:
    name = "001 full lr=1.0e-03"
    document = seen(browser, f"{ui}/{run_id(store, name)}", name, "PRUNED", "Killed")
    assert "Finished" not in document


def test_a_point_page_shows_what_was_made_of_which_trial(ui: str, store: Path, browser: Any) -> None:
    name = "000 gate_up alpha 0.9"
    seen(browser, f"{ui}/{run_id(store, name)}", name, "interpolation", "transform", "27.5", "Finished")


def test_the_report_is_drawn_among_the_artifacts(ui: str, store: Path, browser: Any, tmp_path: Path) -> None:
    """MLflow shows it in a frame that may run scripts and nothing else."""
    with devtools(browser.executable, tmp_path / "profile") as tab:
        tab.open(f"{ui}/{run_id(store, 'lesson')}/artifacts/report.html")
        tab.enter_frame()
        tab.wait_for("document.querySelectorAll('.plot .main-svg').length")
        assert tab.ask("document.querySelector('h1').textContent").startswith("Train gate_up")
        drawn = "document.querySelectorAll('#plot-trade_off .scatterlayer .point').length"
        assert tab.ask(drawn) > 2


def test_the_shared_view_lists_the_studys_runs_best_first_with_their_scores(
    ui: str, store: Path, tmp_path: Path, browser: Any
) -> None:
    # Both the trial's and the point's score are 27.5; the pruned trial's one rung scores so too.
    server = ui.partition("/#/")[0]
    with devtools(browser.executable, tmp_path / "tab") as tab:
        page = share_view(f"sqlite:///{store}", experiment(store), run_id(store, "lesson"))
        tab.open(f"{server}{page}")
        for text in ("held_out_forgetting", "learning_rate", "27.5", "000 gate_up alpha 0.9"):
            tab.wait_for(f"document.body.innerText.includes({text!r})", 90)
        assert not tab.ask("document.body.innerText.includes('worst_forgetting')")
