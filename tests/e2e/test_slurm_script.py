"""docs/cluster/slurm.sh for real, with two Ray nodes; only SLURM's own commands are stand-ins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cluster_files import FOLDER, ROOT

SCRIPT = FOLDER / "slurm.sh"
# srun runs a command on a node of the job: here, always on this machine.
SRUN = '#!/usr/bin/env bash\nwhile [[ $1 == --* ]]; do shift; done\nexec "$@"\n'
SCONTROL = "#!/usr/bin/env bash\nprintf 'node-1\\nnode-2\\n'\n"


@pytest.fixture
def job(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a job of two nodes that was submitted from `submitted/`."""
    stand_ins = tmp_path / "bin"
    stand_ins.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (stand_ins / name).write_text(text, encoding="utf-8")
        (stand_ins / name).chmod(0o755)
    (tmp_path / "submitted").mkdir()
    (tmp_path / "submitted" / ".venv").symlink_to(sys.prefix)
    sockets = tempfile.mkdtemp(prefix="slurm")  # a short path: a socket's name has at most 107 bytes
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    yield {
        **kept,
        "PATH": f"{stand_ins}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "RAY_TMPDIR": sockets,
        "SLURM_SUBMIT_DIR": str(tmp_path / "submitted"),
        "SLURM_JOB_NODELIST": "node-[1-2]",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_CPUS_PER_TASK": "1",
    }
    shutil.rmtree(sockets, ignore_errors=True)


def run(job: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", SCRIPT, *arguments], env=job, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip


def test_the_script_asks_for_a_study(job: dict[str, str]) -> None:
    done = run(job)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: sbatch docs/cluster/slurm.sh STUDY.yaml")


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_a_study_runs_on_two_nodes(job: dict[str, str]) -> None:
    small = [
        "search.trials=2",
        "training.steps=30",
        "evaluation.samples=10",
        "space.subsets=[llm, mlp]",
        "finalists=null",
    ]
    done = run(job, "examples/quickstart.yaml", "name=slurm", *small)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "recipe-search: exit status 0, done" in done.stdout
    submitted = Path(job["SLURM_SUBMIT_DIR"])
    # Each node has one core, so two trials at a time take both.
    assert len(list((submitted / "runs" / "slurm" / "trials").iterdir())) == 2
    study = yaml.safe_load((submitted / "runs" / "slurm" / "study.yaml").read_text(encoding="utf-8"))
    assert study["tracking"]["uri"] == f"sqlite:///{submitted}/mlflow-{job['SLURM_JOB_ID']}.db"


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_a_wrong_study_is_the_jobs_exit_status(job: dict[str, str]) -> None:
    done = run(job, "examples/quickstart.yaml", "nonsense=1")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "unknown key 'nonsense'" in done.stderr
