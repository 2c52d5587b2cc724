"""How MLflow's table of runs is first shown: a study's own runs, the best score on top, in few columns.

MLflow keeps what its "Share" button makes as a tag of the experiment, and its pages take the key of such a
view in their address. Filter and order could stand in the address itself, the columns could not.
"""

from __future__ import annotations

import json
from typing import Final

from search.stores.mlflow_store import quiet, refusing_store

_COLUMNS: Final = (
    "metrics.`score`",
    "metrics.`target_gain`",
    "metrics.`held_out_forgetting`",
    "params.`subset`",
    "params.`learning_rate`",
    "attributes.`Created`",
)


def view_of(run_id: str) -> dict[str, object]:
    """Return the view of the runs nested in a study's run, as MLflow's pages keep it."""
    return {
        "searchFilter": f"tags.`mlflow.parentRunId` = '{run_id}'",
        "orderByKey": "metrics.`score`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(_COLUMNS),
    }


def share_view(uri: str, experiment_id: str, run_id: str) -> str:
    """Keep the view of a study's runs in the store.

    Returns:
        The path of the page that shows it.

    Raises:
        InputError: The store refuses; one line that names the URI.
    """
    with refusing_store(uri), quiet():
        from mlflow.tracking import MlflowClient

        tag = f"mlflow.sharedViewState.{run_id}"
        MlflowClient(uri).set_experiment_tag(experiment_id, tag, json.dumps(view_of(run_id)))
    return f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={run_id}"
