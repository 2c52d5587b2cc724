"""The launcher: what arrives through `ray submit`'s shell, and the defaults that a cluster adds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.command_runner import SSHCommandRunner

from search.settings.study_file import InputError, load_study
from search.submit import SERVER, SHARED, command_line, find_study, rejoin

ROOT = Path(__file__).resolve().parents[3]
QUICKSTART = "examples/quickstart.yaml"
CLUSTER = {SHARED: "/mnt/shared", SERVER: "http://127.0.0.1:5000"}


class Loopback:
    """Runs what Ray hands to ssh as sshd would: the words after the host, joined, in the user's shell."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def check_call(self, command: list[str], **_: object) -> None:
        words = command[command.index("me@head") + 1 :]
        subprocess.run(
            ["bash", "-c", " ".join(words)],
            env={**os.environ, "HOME": str(self.home)},
            cwd=self.home,
            check=True,
        )


class Head:
    """A node with an address; all that Ray's command runner asks of a provider."""

    def external_ip(self, _: str) -> str:
        return "head"


def arrived(home: Path, *script_args: str) -> list[str]:
    """Return the arguments that a script on the head finds, sent by Ray's own command runner."""
    script = home / "submit.py"
    script.write_text(
        "import sys, pathlib\npathlib.Path('words').write_text('\\0'.join(sys.argv[1:]))\n", encoding="utf-8"
    )
    auth = {"ssh_user": "me"}
    runner = SSHCommandRunner("", "head", Head(), auth, "unit", Loopback(home), False)
    runner.ssh_control_path = None
    # As `ray submit` joins them: ray/scripts/scripts.py, submit().
    runner.run(" ".join([sys.executable, "~/submit.py", *script_args]))
    return (home / "words").read_text(encoding="utf-8").split("\0")


def test_spaces_inside_a_setting_come_back(tmp_path: Path) -> None:
    words = arrived(tmp_path, "study.yaml", "name=two words", "space.subsets=[llm, mlp]", "--overwrite")
    assert words == ["study.yaml", "name=two", "words", "space.subsets=[llm,", "mlp]", "--overwrite"]
    assert rejoin(words) == ["study.yaml", "name=two words", "space.subsets=[llm, mlp]", "--overwrite"]


def test_a_line_quoted_once_more_arrives_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").touch()  # what an unquoted `*` would become
    line = """plan study.yaml 'tracking.uri=http://h/?a=1&b=$HOME' 'name=a  b * "c"' 'x=a b=c'"""
    assert rejoin(arrived(tmp_path, line)) == [
        "plan",
        "study.yaml",
        "tracking.uri=http://h/?a=1&b=$HOME",
        'name=a  b * "c"',
        "x=a b=c",
    ]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("study.yaml", ["study.yaml"]),
        ("my study.yaml a=1", ["my study.yaml", "a=1"]),
        ("run my study.yaml", ["run", "my study.yaml"]),
        ("study.yaml --overwrite a.b=x y z c=2", ["study.yaml", "--overwrite", "a.b=x y z", "c=2"]),
        ("study.yaml a=[1, -2] b=3 - 4", ["study.yaml", "a=[1, -2]", "b=3 - 4"]),
        ("study.yaml tasks.my-task.search=a b.jsonl", ["study.yaml", "tasks.my-task.search=a b.jsonl"]),
        ("study.yaml --overwrite stray", ["study.yaml", "--overwrite", "stray"]),
        ("doctor --json", ["doctor", "--json"]),
        ("", []),
    ],
)
def test_words_belong_to_the_argument_before_them(words: str, meant: list[str]) -> None:
    assert rejoin(words.split()) == meant


def test_a_study_for_one_machine_moves_onto_the_cluster() -> None:
    command = command_line([QUICKSTART, "--overwrite", "search.trials=3"], CLUSTER)
    assert command[:2] == ["run", str(ROOT / QUICKSTART)]
    config = load_study(Path(command[1]), [word for word in command[2:] if not word.startswith("-")])
    assert "--overwrite" in command
    assert config.search.trials == 3
    assert config.output == "/mnt/shared/runs"
    assert config.tracking.uri == "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("overrides", "defaults"),
    [
        (["output=mine"], ['output="/mnt/shared/mine"', 'tracking.uri="http://127.0.0.1:5000"']),
        (["output=/data/runs", "tracking.uri=sqlite:///x.db"], []),
        (["tracking.uri=http://other:80"], ['output="/mnt/shared/runs"']),
    ],
)
def test_what_the_command_line_says_stays(overrides: list[str], defaults: list[str]) -> None:
    assert command_line(["plan", QUICKSTART, *overrides], CLUSTER)[2:] == overrides + defaults


def test_the_password_of_the_cluster_s_server_is_used_and_not_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = command_line([QUICKSTART], {SERVER: "http://me:secret@mlflow:5000"})
    assert command[2:] == ['tracking.uri="http://me:secret@mlflow:5000"']
    assert capsys.readouterr().out == 'on this cluster: tracking.uri="http://me:***@mlflow:5000"\n'


def test_the_value_of_an_option_is_no_override() -> None:
    words = [QUICKSTART, "--gpus", "4", "output=/data/runs", "--gpu-memory-gib=80"]
    assert command_line(["plan", *words], {SHARED: "/mnt/shared"}) == [
        "plan", str(ROOT / QUICKSTART), *words[1:],
    ]  # fmt: skip


def test_a_study_that_names_places_all_nodes_reach_is_left_alone(tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / QUICKSTART).read_text(encoding="utf-8"))
    content |= {"output": "/data/runs", "tracking": {"uri": "postgresql://db/mlflow"}}
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert command_line([str(study)], CLUSTER) == ["run", str(study)]


def test_without_a_cluster_nothing_is_added() -> None:
    assert command_line([QUICKSTART], {}) == ["run", str(ROOT / QUICKSTART)]


def test_a_study_is_found_in_the_shared_folder_too(tmp_path: Path) -> None:
    shutil.copy(ROOT / QUICKSTART, tmp_path / "mine.yaml")
    assert find_study("mine.yaml", {SHARED: str(tmp_path)}) == tmp_path / "mine.yaml"


def test_a_missing_study_is_told_with_the_places_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"nope\.yaml: no such study file") as raised:
        find_study("nope.yaml", {SHARED: "/mnt/shared"})
    assert f"looked in {tmp_path}, {ROOT}, /mnt/shared" in str(raised.value)


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("plan --help", 0, "exit status 0, done"),
        ("plan examples/quickstart.yaml nonsense=two words", 2, "unknown key 'nonsense'"),
        ("plan examples/quickstart.yaml --nonsense", 2, "exit status 2, the input is wrong"),
    ],
)
def test_the_copy_on_the_head_runs_the_installed_project(
    tmp_path: Path, line: str, status: int, said: str
) -> None:
    shutil.copy(ROOT / "search" / "submit.py", tmp_path)
    (tmp_path / "search").mkdir()  # a package of the user's own
    (tmp_path / "search" / "__init__.py").touch()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, tmp_path / "submit.py", *line.split()],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert said in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"recipe-search: exit status {status}")


def test_without_the_project_the_script_says_what_is_missing(tmp_path: Path) -> None:
    shutil.copy(ROOT / "search" / "submit.py", tmp_path)
    done = subprocess.run(
        [sys.executable, "-S", tmp_path / "submit.py", QUICKSTART],
        cwd=tmp_path, env={}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "recipe-search is not installed here" in done.stderr
