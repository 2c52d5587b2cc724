"""Make the screenshots of the tour through MLflow, and of a report, from the store of a real study.

    PYTHONPATH=.:tests python docs/images/make_screenshots.py mlflow.db runs/quickstart/report.html

A Chromium opens each page as a person would; the pictures come to lie beside this file.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from devtools import DevTools, devtools
from mlflow.tracking import MlflowClient
from mlflow_server import mlflow_server

from search.stores.mlflow_store import newest_study
from search.stores.mlflow_view import share_view

HERE = Path(__file__).parent
# Where the store lies on the machine that made the pictures tells nobody anything.
SHORTEN_PATHS = """
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replace(/file:\\S*(?=mlruns)/, '');
"""
PATIENCE = 90.0  # seconds; MLflow's first page is slow on a busy machine


def main() -> None:
    """Make them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path, help="SQLite store, such as mlflow.db")
    parser.add_argument("report", type=Path, nargs="?", help="report.html to be pictured as well")
    parser.add_argument("--browser", default=shutil.which("chromium") or "chromium")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("server", "profile"):
            (Path(folder) / name).mkdir()
        with devtools(arguments.browser, Path(folder) / "profile") as tab:
            if arguments.report:
                _report(tab, arguments.report.resolve())
            with mlflow_server(Path(folder) / "server", arguments.store.resolve()) as (address, _):
                _mlflow(tab, address, f"sqlite:///{arguments.store.resolve()}")


def _report(tab: DevTools, page: Path) -> None:
    """Show the first screen of the report, the verdict, and from the trade-off on what follows."""
    tab.open(page.as_uri(), width=1100, height=1000)
    tab.wait_for("document.querySelectorAll('.plot .main-svg').length", PATIENCE)
    _save(tab, "report", 1100, 700)
    top = tab.ask("document.querySelector('#plot-trade_off').closest('section').getBoundingClientRect().top")
    tab.screenshot(HERE / "report-trade-off.png", top=int(top) - 8, width=1100, height=760)


def _mlflow(tab: DevTools, address: str, uri: str) -> None:
    found = newest_study(uri)
    assert found is not None, f"{uri} holds no study"
    experiment, study = found
    client = MlflowClient(uri)
    nested = client.search_runs(
        [experiment], f"tags.`mlflow.parentRunId` = '{study}'", order_by=["metrics.score DESC"]
    )
    trial = next(run for run in nested if run.data.tags["kind"] == "trial").info.run_id
    runs = f"{address}/#/experiments/{experiment}/runs"
    tab.open(address)
    # MLflow's assistant opens by itself at the first visit, over a quarter of the page.
    tab.ask("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
    tab.ask("localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false')")
    _page(
        tab, f"{address}{share_view(uri, experiment, study)}", "mlflow-runs", "held_out_forgetting", "0.000"
    )
    training = "?workflowType=machine_learning"
    _page(tab, f"{runs}/{study}{training}", "mlflow-study", "Description")
    _page(tab, f"{runs}/{trial}{training}", "mlflow-trial", "held_out_forgetting")
    _page(tab, f"{runs}/{study}/artifacts/report.html{training}", "mlflow-report", "report.html", settle=15)
    models = client.search_registered_models()
    if models:
        _page(tab, f"{address}/#/models/{models[0].name}", "mlflow-model", "champion")


def _page(tab: DevTools, page: str, name: str, *texts: str, settle: int = 3) -> None:
    """Open a page, wait until it shows every text, and save it."""
    width, height = 1440, 800
    tab.open("about:blank")
    tab.open(page, width=width, height=height)
    for text in texts:
        tab.wait_for(f"document.body.innerText.includes({text!r})", PATIENCE)
    tab.ask(f"new Promise(done => setTimeout(() => done(true), {settle * 1000}))")
    tab.ask(SHORTEN_PATHS)
    _save(tab, name, width, height)


def _save(tab: DevTools, name: str, width: int, height: int) -> None:
    """Save what the window shows."""
    tab.screenshot(HERE / f"{name}.png", width=width, height=height)


if __name__ == "__main__":
    main()
