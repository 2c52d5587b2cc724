"""Code that a model, a data set or a folder of tasks brings: run only if the study file asks for it."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from hostile_input import models
from hostile_input.cases import refused, write_study
from PIL import Image

from search.settings.study_file import dump_study, load_study
from search.settings.trust import trust_warnings
from trainables.data.task_spec import Origin
from trainables.model import ModelError, load_config, load_model, load_processor, load_skeleton
from trainables.sources.data_sets import data_files

ROOT = Path(__file__).parents[3]
SOURCES = [file for package in ("search", "spaces", "trainables") for file in (ROOT / package).rglob("*.py")]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model with code of its own, which leaves a file named `hacked` where it is run."""
    import shutil

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tmp_path / f"own_{tmp_path.name[-6:]}"
    shutil.copytree(models.model(), folder)
    models.own_code(folder)
    models.own_tokenizer(folder)
    return str(folder)


class TestModels:
    @pytest.mark.parametrize(
        "load",
        [
            load_config,
            load_processor,
            lambda path: load_skeleton(path, dtype=torch.float32),
            lambda path: load_model(path, dtype=torch.float32),
        ],
    )
    def test_their_code_is_not_run(self, own: str, load: object) -> None:
        with pytest.raises(ModelError, match=re.escape("model.trust_remote_code: true")):
            load(own)  # type: ignore[operator]
        assert not Path("hacked").exists()

    def test_their_code_is_run_where_it_is_asked_for(self, own: str) -> None:
        assert type(load_config(own, trust=True)).__name__ == "OwnConfig"
        assert Path("hacked").exists()
        model = load_model(own, dtype=torch.float32, trust=True)
        assert type(model).__name__ == "OwnModel"
        assert type(load_skeleton(own, dtype=torch.float32, trust=True)).__name__ == "OwnModel"
        assert load_processor(own, trust=True)("x")

    def test_pickled_weights_are_not_loaded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import shutil

        monkeypatch.chdir(tmp_path)
        shutil.copytree(models.model(), "model")
        models.pickled(Path("model"))
        for trust in (False, True):
            with pytest.raises(ModelError, match="pickled"):
                load_model("model", dtype=torch.float32, trust=trust)
        assert not Path("hacked").exists()
        # What is not run here would be by torch.
        torch.load(Path("model", "model.pt"), weights_only=False)
        assert Path("hacked").exists()

    def test_all_that_is_loaded_by_transformers_is_told_whom_to_trust(self) -> None:
        """Every call of a class's `from_pretrained` or `from_config`, but of models of this project's own."""
        asked = 0
        for file in SOURCES:
            if "tiny" in file.parts:
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in ("from_pretrained", "from_config")
                ):
                    asked += 1
                    given = {keyword.arg for keyword in node.keywords}
                    assert "trust_remote_code" in given, f"{file}:{node.lineno}"
        assert asked >= 4


class TestWhatAStudyTrusts:
    def test_nothing_by_default(self, tmp_path: Path) -> None:
        config = load_study(write_study(tmp_path))
        assert not config.model.trust_remote_code
        assert not config.data.allow_outside
        assert trust_warnings(config) == ()

    def test_is_told_and_resolved(self, tmp_path: Path) -> None:
        asked = ("model.trust_remote_code=true", "data.allow_outside=true")
        config = load_study(write_study(tmp_path), asked)
        assert [line.partition(":")[0] for line in trust_warnings(config)] == [
            "model.trust_remote_code",
            "data.allow_outside",
        ]
        assert "trust_remote_code: true" in dump_study(config)

    def test_a_folder_of_lm_eval_s_tasks_must_be_asked_for(self, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "a.yaml").write_text("task: a\ndoc_to_text: !function own.text\n")
        (tmp_path / "mine" / "own.py").write_text("open('hacked', 'w')\n")
        task = {"lm_eval": {"task": "a", "task_folder": "mine"}}
        study = write_study(
            tmp_path,
            tasks={"kept": task, "birds": {"train": "train.jsonl", "search": "search.jsonl"}},
            held_out=["kept"],
        )
        refused(tmp_path, ["run", study]).check("tasks.kept.lm_eval.run_code: true")
        assert not list(tmp_path.rglob("hacked"))
        config = load_study(study, ["tasks.kept.lm_eval.run_code=true"])
        assert trust_warnings(config)[0].startswith("tasks.kept.lm_eval.run_code: ")


class TestData:
    def test_images_outside_are_read_where_it_is_asked_for(self, tmp_path: Path) -> None:
        Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
        data = tmp_path / "data"
        data.mkdir()
        rows = [
            {"prompt": "p", "answer": "1", "image": name} for name in ("../x.png", str(tmp_path / "x.png"))
        ]
        (data / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:1]))
        study = write_study(tmp_path, tasks={"birds": {"train": "data/a.jsonl", "search": "search.jsonl"}})
        with pytest.raises(ValueError, match=r"data\.allow_outside: true"):
            load_study(study).resolved_tasks()["birds"].load("train")
        (sample,) = load_study(study, ["data.allow_outside=true"]).resolved_tasks()["birds"].load("train")
        assert len(sample.images) == 1

    @pytest.mark.parametrize(
        "place", ["../secret.csv", "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:9/a.csv"]
    )
    def test_a_card_can_t_name_files_outside(self, tmp_path: Path, place: str) -> None:
        folder = tmp_path / "set"
        folder.mkdir()
        (tmp_path / "secret.csv").write_text("prompt,answer\nx,1\n")
        (folder / "README.md").write_text(
            "---\nconfigs:\n- config_name: default\n  data_files:\n"
            f"  - split: train\n    path: {place!r}\n---\n"
        )
        with pytest.raises(ValueError, match=r"outside|Unable|find|reach") as caught:
            list(data_files(Origin(source=str(folder)), None))
        if place == "../secret.csv":
            assert "lies outside of the data set" in str(caught.value)


@cache
def all_calls() -> list[tuple[Path, str, ast.Call]]:
    """Return each call in the sources: the file, the dotted name of what is called, and the call."""
    nodes = ((file, node) for file in SOURCES for node in ast.walk(ast.parse(file.read_text("utf-8"))))
    return [
        (file, ast.unparse(node.func), node)
        for file, node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)
    ]


def calls(*names: str) -> list[str]:
    """Return where the sources call what has one of these dotted names."""
    return [
        f"{file.relative_to(ROOT)}: {ast.unparse(node)[:80]}"
        for file, name, node in all_calls()
        if name in names
    ]


class TestSources:
    def test_yaml_is_read_safely(self) -> None:
        loaders = calls("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load")
        assert loaders == ["search/settings/safe_yaml.py: yaml.load(text, _Loader)"]
        # What Ray's own autoscaler was started with.
        assert {place.partition(":")[0] for place in calls("yaml.safe_load", "yaml.safe_load_all")} == {
            "search/clusters/autoscaler.py"
        }

    def test_nothing_is_unpickled_but_what_this_program_wrote(self) -> None:
        """Tune saves the searcher in the study's folder; the embedded model's training has a checkpoint."""
        unpickling = calls(
            "pickle.load",
            "pickle.loads",
            "cloudpickle.load",
            "cloudpickle.loads",
            "joblib.load",
            "torch.load",
        )
        assert {place.partition(":")[0] for place in unpickling} <= {
            "search/sampler.py",
            "trainables/tiny/pretrain.py",
        }
        assert all("weights_only=True" in place for place in unpickling if "torch.load" in place)
        assert not [place for place in calls("np.load", "numpy.load") if "allow_pickle" in place]
