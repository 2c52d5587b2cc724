"""Running a study from outside a cluster, through Ray Client: `RAY_ADDRESS=ray://head:10001`.

Tune's loop, its callbacks and the study's files belong on the cluster. So the working directory is sent to
it, and `search.submit` runs there on the head; what it says is shown here as it comes. The project comes
along where the working directory is a checkout; otherwise the nodes must have it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from search.settings.study_file import InputError

# What is made here, and what the cluster makes for itself.
_LEFT_HERE = (".git", ".venv", "__pycache__", "runs", "mlruns", "mlartifacts", "mlflow.db*", "*.egg-info")
# Ray's workers block the signal of Ctrl-C, and what they start inherits that.
_SUBMIT = """
import runpy, signal
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
runpy.run_module("search.submit", run_name="__main__", alter_sys=True)
"""
# On the head, where its nodes do not say what they share.
_RESULTS = "recipe-search-results"


class Launcher:
    """An actor on the head: runs `search.submit` in the directory that was sent.

    Args:
        words: Arguments of `search.submit`.
    """

    def __init__(self, words: Sequence[str]) -> None:
        import ray

        context = ray.get_runtime_context()
        sent = context.runtime_env["working_dir"]
        results = Path.home() / _RESULTS
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-c", _SUBMIT, *words],
            env={
                "RECIPE_SEARCH_SHARED": str(results),
                "MLFLOW_TRACKING_URI": f"sqlite:///{results}/mlflow.db",
                **os.environ,
                "RAY_ADDRESS": context.gcs_address,
                # Ray's own way to hand a job's environment to a driver that it starts.
                "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"runtime_env": {"working_dir": sent}}),
                "PYTHONPATH": os.pathsep.join(filter(None, (os.getcwd(), os.environ.get("PYTHONPATH")))),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # In this process's group, which Ray ends as a whole when the connection is gone.
            stderr=subprocess.STDOUT,
        )

    def more(self) -> tuple[bytes, int | None]:
        """Wait for output and return it; at its end nothing, and the exit status."""
        assert self._process.stdout is not None
        text = os.read(self._process.stdout.fileno(), 65536)
        return text, None if text else self._process.wait()

    def interrupt(self) -> None:
        """Interrupt the command, as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)


def run_on_head(address: str, study: Path, words: Sequence[str]) -> int:
    """Run a study on the head of a cluster and show its output; return its exit status.

    Args:
        address: `ray://host:port` of the cluster.
        study: The study file, in the working directory or below.
        words: Overrides and options.

    Raises:
        InputError: The study lies elsewhere, or the cluster can't be reached or does not take the directory.
    """
    here = Path.cwd().resolve()
    if not study.resolve().is_relative_to(here):
        raise InputError(
            f"{study}: with RAY_ADDRESS={address} the working directory is sent to the cluster, so the study "
            "and its data must lie in it"
        )
    from search.clusters.cluster_check import fix_of
    from search.clusters.cluster_probe import knock

    try:
        knock(address)
    except (OSError, ValueError) as error:
        raise InputError(f"RAY_ADDRESS: {address}: {error}: {fix_of(str(error))}") from None
    import ray

    # The head need not have this module.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        ray.init(
            address,
            namespace="recipe-search",
            runtime_env={"working_dir": str(here), "excludes": list(_LEFT_HERE)},
            log_to_driver=False,
            logging_level="error",
        )
        on_head = ray.remote(num_cpus=0, max_concurrency=2, resources={"node:__internal_head__": 0.001})
        launcher = on_head(Launcher).remote([str(study.resolve().relative_to(here)), *words])
        ray.get(launcher.__ray_ready__.remote())
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise InputError(f"RAY_ADDRESS: {address}: {' '.join(str(error).split())[:500]}") from None
    print(f"running on the head of {address}", flush=True)
    while True:
        try:
            text, status = ray.get(launcher.more.remote())
        except KeyboardInterrupt:
            ray.get(launcher.interrupt.remote())
            continue
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
        if status is not None:
            ray.shutdown()
            return int(status)
