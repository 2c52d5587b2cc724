"""From a study file's names to tasks: own definitions, folders, cards; merging; paths; what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from search.config import StudyConfig
from search.data.inputs import load_data
from search.settings import task_resolution
from search.settings.study_file import InputError, dump_study, load_study
from trainables import tiny
from trainables.data.task_spec import Origin, TaskSpec
from trainables.data.tasks import EmbeddedTask
from trainables.metrics import METRICS, Metric, MetricSpec
from trainables.sources.source_task import SourceTask

OWN = {"train": "train.jsonl", "search": "search.jsonl"}


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of cards in place of the shipped ones."""
    folder = tmp_path / "cards"
    folder.mkdir()
    monkeypatch.setattr(task_resolution, "CARDS", folder)
    put(
        folder / "owls.yaml",
        about={"title": "Owls", "needs": "the owls' pictures"},
        source="birds/owls",
        train="train",
        search="test",
        columns={"question": "q", "answer": "a"},
        divide={"train": 5, "search": 1},
        metric={"name": "normalized_exact_match"},
    )
    return folder


def put(file: Path, **values: Any) -> Path:
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return file


def study_file(folder: Path, **changes: Any) -> Path:
    values = {
        "name": "lesson",
        "model": {"path": "tiny-llava"},
        "targets": ["birds"],
        "held_out": ["digits"],
        "space": {"subsets": ["full"], "learning_rate": [1e-5, 1e-2]},
        "training": {"steps": 4, "batch_size": 8},
        "finalists": None,
        "search": {"trials": 4},
        **changes,
    }
    return put(folder / "study.yaml", **values)


def load(folder: Path, **changes: Any) -> StudyConfig:
    return load_study(study_file(folder, **changes))


def spec(config: StudyConfig, name: str = "birds") -> TaskSpec:
    task = config.resolved_tasks()[name]
    assert isinstance(task, SourceTask)
    return task.spec


def refusal(folder: Path, **changes: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(folder, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(folder), "<folder>")


class TestOrigins:
    def test_each_split_a_file(self, tmp_path: Path) -> None:
        made = spec(load(tmp_path, tasks={"birds": {**OWN, "images": "pictures"}}))
        assert made.origins == {
            "train": Origin(source=str(tmp_path / "train.jsonl")),
            "search": Origin(source=str(tmp_path / "search.jsonl")),
        }
        assert made.images == str(tmp_path / "pictures")

    def test_a_source_of_which_no_split_is_named_is_divided(self, tmp_path: Path) -> None:
        task = {"source": "all.csv", "divide": {"train": 3, "search": 1, "seed": 7}}
        made = spec(load(tmp_path, tasks={"birds": task}))
        origin = Origin(source=str(tmp_path / "all.csv"))
        assert made.origins == {"train": origin, "search": origin, "confirm": origin}
        assert (made.shares, made.division_seed) == ({"train": 3, "search": 1, "confirm": 0.1}, 7)

    def test_a_split_without_a_share_is_none_of_it(self, tmp_path: Path) -> None:
        made = spec(load(tmp_path, tasks={"birds": {"source": "all.csv", "divide": {"confirm": 0}}}))
        assert list(made.origins) == ["train", "search"]
        assert refusal(tmp_path, tasks={"birds": {"source": "all.csv", "divide": {"train": 0}}}) == (
            "<folder>/study.yaml: tasks.birds.train: a target needs training samples"
        )

    def test_a_source_s_own_splits(self, tmp_path: Path) -> None:
        task = {
            "source": "birds/owls",
            "configuration": "big",
            "revision": "v2",
            "train": "train",
            "search": "validation",
        }
        made = spec(load(tmp_path, tasks={"birds": task}))
        hub = {"source": "birds/owls", "configuration": "big", "revision": "v2"}
        assert made.origins == {
            "train": Origin(split="train", **hub),
            "search": Origin(split="validation", **hub),
        }

    @pytest.mark.parametrize("source", ["owls", "birds/owls", "birds/owls.v2"])
    def test_an_id_on_the_hub_is_left(self, tmp_path: Path, source: str) -> None:
        task = {"birds": {"source": source}}
        assert spec(load(tmp_path, tasks=task)).origins["train"].source == source
        # A folder of that name comes before.
        (tmp_path / source).mkdir(parents=True)
        assert spec(load(tmp_path, tasks=task)).origins["train"].source == str(tmp_path / source)

    @pytest.mark.parametrize("source", ["owls.csv", "birds/owls.parquet", "./owls", "a/b/c", "../owls"])
    def test_a_path_is_one_even_where_nothing_is(self, tmp_path: Path, source: str) -> None:
        made = spec(load(tmp_path, tasks={"birds": {"source": source}}))
        assert Path(made.origins["train"].source) == (tmp_path / source).resolve()


class TestFolder:
    def test_a_file_is_a_task(self, tmp_path: Path) -> None:
        put(tmp_path / "mine" / "birds.yaml", **OWN, metric="normalized_exact_match", limit=7)
        config = load(tmp_path, data={"tasks": "mine"})
        made = spec(config)
        # Its paths are beside it.
        assert made.origins["train"].source == str(tmp_path / "mine" / "train.jsonl")
        assert (made.name, made.metric, made.limit) == ("birds", MetricSpec("normalized_exact_match"), 7)

    def test_own_definitions_come_first_and_cards_last(self, tmp_path: Path, cards: Path) -> None:
        names = {"held_out": ["owls"], "targets": ["birds"], "tasks": {"birds": OWN}}
        assert spec(load(tmp_path, **names), "owls").origins["search"].source == "birds/owls"
        put(tmp_path / "mine" / "owls.yaml", search="a.csv")
        put(tmp_path / "mine" / "birds.yaml", source="a.csv")
        folder = load(tmp_path, data={"tasks": "mine"}, **names)
        assert spec(folder, "owls").origins["search"].source == str(tmp_path / "mine" / "a.csv")
        assert spec(folder, "birds").origins["search"].source == str(tmp_path / "search.jsonl")

    def test_a_file_may_start_from_a_card(self, tmp_path: Path, cards: Path) -> None:
        put(tmp_path / "mine" / "birds.yaml", card="owls", limit=3)
        made = spec(load(tmp_path, data={"tasks": "mine"}))
        assert (made.origins["train"].source, made.limit) == ("birds/owls", 3)

    def test_what_is_wrong_names_the_file_and_the_key(self, tmp_path: Path) -> None:
        file = put(tmp_path / "mine" / "birds.yaml", train="a", serach="b")
        assert refusal(tmp_path, data={"tasks": "mine"}) == (
            "<folder>/mine/birds.yaml: unknown key 'serach': did you mean 'search'?"
        )
        put(file, train="a", search="b", decoding={"stpo": ["x"]})
        assert refusal(tmp_path, data={"tasks": "mine"}) == (
            "<folder>/mine/birds.yaml: unknown key 'decoding.stpo': did you mean 'stop'?"
        )
        put(file, train="a", search="b", limit=0)
        assert refusal(tmp_path, data={"tasks": "mine"}).startswith("<folder>/mine/birds.yaml: limit: ")
        file.write_text("- a\n")
        assert refusal(tmp_path, data={"tasks": "mine"}) == (
            "<folder>/mine/birds.yaml: a task file is a mapping of keys, got list"
        )
        file.write_text("a: [\n")
        assert refusal(tmp_path, data={"tasks": "mine"}).startswith(
            "<folder>/mine/birds.yaml: not valid YAML: "
        )

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        assert refusal(tmp_path, data={"tasks": "mine"}) == (
            "<folder>/study.yaml: data.tasks: no such folder: <folder>/mine"
        )

    def test_the_splits_that_the_study_needs(self, tmp_path: Path) -> None:
        put(tmp_path / "mine" / "birds.yaml", search="a.csv")
        assert refusal(tmp_path, data={"tasks": "mine"}) == (
            "<folder>/study.yaml: tasks.birds.train: a target needs training samples"
        )

    def test_files_that_no_name_asks_for_are_not_read(self, tmp_path: Path) -> None:
        put(tmp_path / "mine" / "wrong.yaml", nonsense=1)
        put(tmp_path / "mine" / "birds.yaml", **OWN)
        assert list(load(tmp_path, data={"tasks": "mine"}).tasks) == ["birds"]


class TestCards:
    def test_keys_replace_the_card_s_and_sections_merge(self, tmp_path: Path, cards: Path) -> None:
        own = {
            "card": "owls",
            "columns": {"answer": "reply"},
            "divide": {"search": 2},
            "metric": {"name": "exact_match"},
            "search": "validation",
        }
        made = spec(load(tmp_path, tasks={"birds": own}))
        assert {split: origin.split for split, origin in made.origins.items()} == {
            "train": "train",
            "search": "validation",
        }
        assert made.columns == {"question": ("q",), "answer": ("reply",)}
        assert made.shares == {"train": 5, "search": 2, "confirm": 0.1}
        assert made.metric == MetricSpec("exact_match")

    def test_a_card_s_source_is_not_a_folder_beside_the_study(self, tmp_path: Path, cards: Path) -> None:
        (tmp_path / "birds" / "owls").mkdir(parents=True)
        made = spec(load(tmp_path, tasks={"birds": {"card": "owls"}}))
        assert made.origins["train"] == Origin(source="birds/owls", split="train")

    def test_null_takes_the_card_s_away(self, tmp_path: Path, cards: Path) -> None:
        own = {"card": "owls", "source": None, **OWN}
        made = spec(load(tmp_path, tasks={"birds": own}))
        assert made.origins["train"] == Origin(source=str(tmp_path / "train.jsonl"))

    def test_a_metric_is_replaced_as_a_whole(
        self, tmp_path: Path, cards: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        near = Metric(measured="generation", source="a test's", options={"tolerance": 0.0})
        monkeypatch.setitem(METRICS, "near", near)
        put(cards / "owls.yaml", search="a", metric={"name": "near", "tolerance": 0.1})

        def metric(**own: Any) -> MetricSpec:
            tasks = {"birds": OWN, "owls": {"card": "owls", **own}}
            return spec(load(tmp_path, tasks=tasks, held_out=["owls"]), "owls").metric

        assert metric() == MetricSpec("near", (("tolerance", 0.1),))
        assert metric(metric="exact_match") == MetricSpec("exact_match")

    def test_what_does_not_fit_together_is_told_of_the_task(self, tmp_path: Path, cards: Path) -> None:
        wrong = {"card": "owls", "search": "train", "divide": {"train": 0}}
        assert refusal(tmp_path, tasks={"birds": wrong}) == (
            "tasks.birds: divide.train: a share of 0 leaves the split nothing of birds/owls"
        )
        assert refusal(tmp_path, tasks={"birds": {"card": "owls", "source": None, "revision": "v2"}}) == (
            "tasks.birds: revision: only a data set under `source` has one"
        )

    def test_an_unknown_card(self, tmp_path: Path, cards: Path) -> None:
        assert refusal(tmp_path, tasks={"birds": {"card": "owl"}}) == (
            "<folder>/study.yaml: tasks.birds.card: unknown card 'owl': did you mean 'owls'?"
        )

    def test_a_card_s_splits_must_do(self, tmp_path: Path, cards: Path) -> None:
        put(cards / "owls.yaml", search="a")
        assert refusal(tmp_path, tasks={"birds": {"card": "owls"}}) == (
            "<folder>/study.yaml: tasks.birds.train: a target needs training samples"
        )

    def test_what_must_be_supplied_is_told_where_the_data_are_missing(
        self, tmp_path: Path, cards: Path
    ) -> None:
        put(cards / "owls.yaml", about={"title": "Owls", "needs": "the owls"}, search="gone.csv")
        with pytest.raises(InputError, match=r"gone\.csv; the task needs the owls$"):
            load_data(load(tmp_path, held_out=["owls"], targets=["digits"]))


class TestEmbedded:
    def test_they_need_no_definition_and_an_own_one_hides_them(self, tmp_path: Path) -> None:
        config = load(tmp_path, tasks={"birds": OWN, "counting": OWN}, held_out=["digits", "counting"])
        assert config.resolved_tasks()["digits"] == EmbeddedTask(name="digits")
        assert spec(config, "counting").origins["train"].source == str(tmp_path / "train.jsonl")
        assert list(config.resolved_tasks()) == ["birds", "digits", "counting"]

    def test_all_of_them_are_known(self, tmp_path: Path) -> None:
        names = list(tiny.TASKS)
        config = load(tmp_path, tasks={"birds": OWN}, held_out=names)
        assert list(config.resolved_tasks()) == ["birds", *names]


class TestUnknown:
    def test_the_nearest_name_of_any_kind(self, tmp_path: Path, cards: Path) -> None:
        put(tmp_path / "mine" / "thrushes.yaml", **OWN)
        for wrong, right in (
            ("bird", "birds"),
            ("trushes", "thrushes"),
            ("owl", "owls"),
            ("digitz", "digits"),
        ):
            told = refusal(tmp_path, tasks={"birds": OWN}, data={"tasks": "mine"}, held_out=[wrong])
            assert told == (f"<folder>/study.yaml: held_out: unknown task {wrong!r}: did you mean {right!r}?")

    def test_a_task_of_replay(self, tmp_path: Path) -> None:
        training = {"steps": 4, "batch_size": 8, "replay": ["brids"]}
        space = {"subsets": ["full"], "learning_rate": [1e-5, 1e-2], "replay_ratio": [0.5]}
        assert refusal(tmp_path, tasks={"birds": OWN}, training=training, space=space) == (
            "<folder>/study.yaml: training.replay: unknown task 'brids': did you mean 'birds'?"
        )


def test_the_resolved_study_stands_by_itself(
    tmp_path: Path, cards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "mine" / "jays.yaml", source="jays.csv", prompt="Which?")
    config = load(
        tmp_path,
        tasks={"birds": {"card": "owls", "limit": 5}},
        targets=["birds", "jays"],
        held_out=["owls", "digits"],
        data={"tasks": "mine", "mirror": "copies"},
    )
    assert set(config.tasks) == {"birds", "jays", "owls"}
    assert config.data.mirror == str(tmp_path / "copies")
    written = tmp_path / "runs" / "lesson" / "study.yaml"
    written.parent.mkdir(parents=True)
    written.write_text(dump_study(config), encoding="utf-8")
    # What the definitions came from may have changed since.
    put(cards / "owls.yaml", search="other")
    put(tmp_path / "mine" / "jays.yaml", search="other")
    again = load_study(written)
    assert again == config
    assert again.resolved_tasks() == config.resolved_tasks()


def test_every_shipped_card_is_a_task(tmp_path: Path) -> None:
    names = sorted(path.stem for path in task_resolution.CARDS.glob("*.yaml"))
    assert len(names) >= 15
    assert not set(names) & set(tiny.TASKS)
    config = load(tmp_path, tasks={"birds": OWN}, held_out=names)
    assert {str(spec(config, name).metric.name) for name in names} <= set(METRICS)
    assert all("search" in spec(config, name).origins for name in names)


def test_samples_of_a_folder_s_task(tmp_path: Path) -> None:
    put(tmp_path / "mine" / "birds.yaml", source="all.jsonl", divide={"train": 1, "search": 1})
    rows = [json.dumps({"prompt": f"bird {i}?", "answer": "yes"}) for i in range(40)]
    (tmp_path / "mine" / "all.jsonl").write_text("\n".join(rows), encoding="utf-8")
    task, _ = load_data(load(tmp_path, data={"tasks": "mine"}, evaluation={"samples": 30})).tasks
    texts = [sample.prompt for sample in (*task.train, *task.search)]
    assert len(set(texts)) == len(texts)
    assert 25 < len(texts) < 40  # Binomial(40, 20/21): the rest is kept to confirm.
