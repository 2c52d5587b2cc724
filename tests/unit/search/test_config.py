"""StudyConfig: what a study file may say, and what follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from search.config import StudyConfig
from search.settings.selection_config import FinalistsConfig
from search.settings.study_file import InputError, dump_study, load_study, parse_study, resolve_paths
from spaces.recipe import Recipe
from spaces.space import Bounds, RecipeSpace
from spaces.subsets import SUBSETS
from trainables.sources.source_task import SourceTask


def content(**changes: Any) -> dict[str, Any]:
    own = {"train": "train.jsonl", "search": "search.jsonl"}
    return {
        "name": "lesson",
        "model": {"path": "tiny-llava"},
        "tasks": {"birds": own, "bees": own},
        "targets": ["birds"],
        "held_out": ["bees"],
        "space": {"subsets": ["gate_up", "full"], "learning_rate": [1e-5, 1e-2]},
        "training": {"steps": 40, "batch_size": 8},
        "finalists": None,
        "search": {"trials": 4},
    } | changes


def study(**changes: Any) -> StudyConfig:
    return parse_study(content(**changes), "test")


class TestRungs:
    @pytest.mark.parametrize(
        ("steps", "first_rung", "factor", "expected"),
        [
            (40, 10, 2, (10, 20, 40)),
            (40, 10, 3, (10, 30, 40)),
            (100, 30, 2, (30, 60, 100)),
            (40, 40, 2, (40,)),
            (41, 40, 2, (40, 41)),
            (1, 1, 4, (1,)),
        ],
    )
    def test_are_a_factor_apart_and_end_at_the_end(
        self, steps: int, first_rung: int, factor: int, expected: tuple[int, ...]
    ) -> None:
        config = study(
            training={"steps": steps, "batch_size": 8},
            search={"trials": 4, "pruning": {"first_rung": first_rung, "reduction_factor": factor}},
        )
        assert config.rungs == expected

    def test_without_pruning_there_is_the_end_alone(self) -> None:
        assert study().rungs == (40,)

    @settings(deadline=None)
    @given(
        steps=st.integers(1, 10_000),
        first_share=st.floats(0.001, 1.0),
        factor=st.integers(2, 10),
    )
    def test_rise_and_end_at_the_end(self, steps: int, first_share: float, factor: int) -> None:
        first = max(1, int(steps * first_share))
        config = study(
            training={"steps": steps, "batch_size": 8},
            search={"trials": 4, "pruning": {"first_rung": first, "reduction_factor": factor}},
        )
        rungs = config.rungs
        assert rungs[0] == first
        assert rungs[-1] == steps
        assert list(rungs) == sorted(set(rungs))


class TestRecipeSpace:
    def test_takes_every_setting(self) -> None:
        config = study(
            space={
                "subsets": ["gate_up", "full"],
                "learning_rate": [1e-5, 1e-2],
                "learning_rate_of": {"full": [1e-6, 1e-4]},
                "warmup_ratio": [0.0, 0.1],
            },
            training={
                "steps": 40,
                "batch_size": 8,
                "schedule": "linear",
                "weight_decay": 0.1,
                "max_grad_norm": 0.5,
            },
        )
        space = config.recipe_space()
        assert space.bounds("gate_up") == Bounds(1e-5, 1e-2)
        assert space.bounds("full") == Bounds(1e-6, 1e-4)
        recipe = space.recipe({"subset": "full", "learning_rate": 1e-5, "warmup_ratio": 0.1})
        assert recipe == Recipe(
            subset="full",
            learning_rate=1e-5,
            steps=40,
            batch_size=8,
            warmup_ratio=0.1,
            schedule="linear",
            weight_decay=0.1,
            max_grad_norm=0.5,
        )

    def test_every_dimension_reaches_the_space(self) -> None:
        config = study(
            tasks={"birds": {"train": "t", "search": "s"}, "bees": {"search": "s"}, "news": {"train": "n"}},
            space={
                "subsets": [" gate_up + attn.v "],
                "layers": ["all", 3],
                "methods": ["selective", "lora"],
                "learning_rate": [1e-5, 1e-2],
                "learning_rate_of": {"gate_up + attn.v/lora": [1e-4, 1e-1]},
                "lora": {"rank": [4, 8], "alpha": [None, 8], "dropout": [0.1], "variant": ["dora"]},
                "lwf": {"weight": [0, 1], "temperature": [3]},
                "l2sp_weight": [0.01],
                "replay_ratio": [0, 0.25],
                "batch_size": [8, 16],
                "warmup_ratio": [0.1],
                "schedule": ["linear"],
                "weight_decay": [0.1],
                "max_grad_norm": [0.5],
            },
            training={"steps": 40, "batch_size": 4, "replay": ["news"]},
        )
        assert config.recipe_space() == RecipeSpace(
            subsets=("gate_up+attn.v",),
            layers=("all", "3"),
            methods=("selective", "lora"),
            learning_rate=Bounds(1e-5, 1e-2),
            learning_rate_of={"gate_up+attn.v/lora": Bounds(1e-4, 1e-1)},
            lora_rank=(4, 8),
            lora_alpha=(None, 8.0),
            lora_dropout=(0.1,),
            lora_variant=("dora",),
            lwf_weight=(0.0, 1.0),
            lwf_temperature=(3.0,),
            l2sp_weight=(0.01,),
            replay_ratio=(0.0, 0.25),
            batch_size=(8, 16),
            warmup_ratio=(0.1,),
            schedule=("linear",),
            weight_decay=(0.1,),
            max_grad_norm=(0.5,),
            steps=40,
        )
        assert list(config.replay_tasks()) == ["news"]
        assert list(config.resolved_tasks()) == ["birds", "bees"]

    def test_without_dimensions_a_space_has_the_training_s_values(self) -> None:
        config = study(
            space={"subsets": ["vo"], "learning_rate": [1, 2], "methods": ["lora"]},
            training={"steps": 40, "batch_size": 8, "schedule": "constant", "weight_decay": 0.1},
        )
        recipe = config.recipe_space().recipe({"subset": "vo", "learning_rate": 1.0})
        assert recipe == Recipe(
            subset="vo",
            method="lora",
            learning_rate=1.0,
            steps=40,
            batch_size=8,
            schedule="constant",
            weight_decay=0.1,
            lora_rank=16,
            lora_alpha=32.0,
            lora_dropout=0.0,
            lora_variant="lora",
        )


class TestTasks:
    def test_targets_come_first(self) -> None:
        assert list(study(targets=["bees", "birds"], held_out=["digits"]).resolved_tasks()) == [
            "bees",
            "birds",
            "digits",
        ]

    def test_own_task_goes_before_the_embedded_one(self) -> None:
        config = study(tasks={"digits": {"search": "mine.jsonl"}}, targets=["counting"], held_out=["digits"])
        task = config.resolved_tasks()["digits"]
        assert isinstance(task, SourceTask)
        assert task.spec.origins["search"].source == "mine.jsonl"

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"held_out": ["bee"]}, "held_out: unknown task 'bee': did you mean 'bees'?"),
            ({"targets": ["bird"]}, "targets: unknown task 'bird': did you mean 'birds'?"),
            ({"held_out": ["digitz"]}, "held_out: unknown task 'digitz': did you mean 'digits'?"),
        ],
    )
    def test_unknown_task(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match="unknown task") as caught:
            study(**changes).resolved_tasks()
        assert str(caught.value) == message


class TestPaths:
    def test_data_files_are_beside_the_study_file(self, tmp_path: Path) -> None:
        config = study(
            tasks={"birds": {"train": "a/t.jsonl", "search": "/data/s.jsonl"}}, held_out=["digits"]
        )
        task = resolve_paths(config, tmp_path).tasks["birds"]
        assert task.train == str(tmp_path / "a" / "t.jsonl")
        assert task.search == "/data/s.jsonl"
        assert task.confirm is None

    def test_a_model_folder_beside_the_study_file(self, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        assert resolve_paths(study(model={"path": "mine"}), tmp_path).model.path == str(tmp_path / "mine")

    def test_a_model_that_is_no_folder_is_a_hub_id(self, tmp_path: Path) -> None:
        assert resolve_paths(study(model={"path": "org/mine"}), tmp_path).model.path == "org/mine"

    def test_the_studys_folder(self) -> None:
        assert study(output="out").folder == Path("out/lesson")


@pytest.mark.parametrize(
    ("points", "most"),
    [
        (None, 0),
        ({"alpha": [], "soup": None}, 1),  # WiSE-FT on the MLPs
        ({"top": 3, "alpha": [0.5], "keep": [0.1, 0.2], "soup": 2}, 3 * 3 + 1 + 1),
        ({"top": 9, "alpha": [0.5], "soup": None}, 4 * 1 + 1),  # of four trials
    ],
)
def test_most_points(points: dict[str, Any] | None, most: int) -> None:
    space = {"subsets": ["mlp", "full"], "learning_rate": [1e-5, 1e-2]}
    assert study(space=space, search={"trials": 4}, points=points).most_points == most


class TestRoundTrip:
    @settings(max_examples=30, deadline=None)
    @given(
        subsets=st.lists(st.sampled_from(sorted(SUBSETS)), min_size=1, unique=True),
        bounds=st.tuples(st.floats(1e-9, 1.0), st.floats(1e-9, 1.0)).map(sorted),
        weight=st.floats(0, 100),
        bound=st.none() | st.floats(-100, 100),
        pruned=st.none() | st.integers(1, 40).map(lambda rung: {"first_rung": rung}),
        warmup=st.lists(st.floats(0, 0.99), min_size=1, unique=True),
        lora=st.none() | st.just({"rank": [4], "alpha": [None, 8.0]}),
        batches=st.none() | st.lists(st.integers(1, 64), min_size=1, unique=True),
    )
    def test_what_is_dumped_loads_as_the_same_study(
        self,
        subsets: list[str],
        bounds: list[float],
        weight: float,
        bound: float | None,
        pruned: dict[str, int] | None,
        warmup: list[float],
        lora: dict[str, Any] | None,
        batches: list[int] | None,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> None:
        config = study(
            space={
                "subsets": subsets,
                "learning_rate": bounds,
                "learning_rate_of": {subsets[0]: [bounds[0], bounds[0]]},
                "warmup_ratio": warmup,
                "layers": ["all", "last:1/2", "0-3,8"] if "full" in subsets else ["all"],
                "methods": ["selective", "lora"],
                "lora": lora,
                "batch_size": batches,
            },
            objective={"forgetting_weight": weight, "max_forgetting": bound},
            search={"trials": 4, "pruning": pruned},
        )
        config = resolve_paths(config, Path("/data"))
        file = tmp_path_factory.mktemp("dumped") / "study.yaml"
        file.write_text(dump_study(config), encoding="utf-8")
        assert load_study(file) == config

    def test_a_study_cannot_be_changed(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            study().training.steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("search", "startup"),
    [
        ({"trials": 24}, 8),
        ({"trials": 60}, 10),
        ({"trials": 24, "sampler": "nsga2"}, 6),
        ({"trials": 8, "sampler": "nsga3"}, 4),
        ({"trials": 400, "sampler": "nsga2"}, 50),
        ({"trials": 24, "sampler": "nsga2", "population": 5}, 5),
        ({"trials": 24, "sampler": "random"}, 24),
    ],
)
def test_trials_before_the_sampler_takes_over(search: dict[str, Any], startup: int) -> None:
    """TPE's model after a third, at most 10; NSGA breeds after a generation, a quarter of 4 to 50."""
    assert study(search=search).startup_trials == startup


class TestConfirmSplits:
    """Finalists are scored on samples that the search never saw: each task must have some."""

    def test_one_that_is_missing_is_named_with_the_ways_out(self) -> None:
        with pytest.raises(InputError) as caught:
            study(finalists={})
        assert str(caught.value) == (
            "test: tasks.birds.confirm: the finalists are scored on samples that the search never saw; name "
            "some, or the same as under tasks.birds.search, which are then divided by tasks.birds.divide, or "
            "train no finalists with finalists: null"
        )

    def test_each_of_the_ways_leads_out(self) -> None:
        own = {"train": "train.jsonl", "search": "search.jsonl"}
        for confirm in ("confirm.jsonl", "search.jsonl"):
            made = study(finalists={}, tasks={name: own | {"confirm": confirm} for name in ("birds", "bees")})
            assert made.finalists is not None
        assert study(finalists=None).finalists is None

    def test_finalists_are_trained_unless_they_are_switched_off(self) -> None:
        assert StudyConfig.model_fields["finalists"].default == FinalistsConfig()

    def test_a_task_of_lm_eval_gives_a_share_unless_it_is_0(self) -> None:
        def tasks(**harness: Any) -> dict[str, Any]:
            return {name: {"lm_eval": {"task": "arc_easy", **harness}} for name in ("birds", "bees")}

        assert study(finalists={}, tasks=tasks()).finalists is not None
        with pytest.raises(InputError, match=r"tasks\.birds\.lm_eval\.confirm: .* a share of 0 leaves none"):
            study(finalists={}, tasks=tasks(confirm=0))

    def test_the_steps_that_finalists_may_take(self) -> None:
        """A share of 0.3 of 4 trials of 40 steps."""
        own = {"train": "train.jsonl", "search": "search.jsonl", "confirm": "confirm.jsonl"}
        made = study(finalists={"budget": 0.3}, tasks={"birds": own, "bees": own})
        assert (made.finalist_steps, study().finalist_steps) == (48, 0)
