"""A recipe as a file: what was written is read back, and what is wrong is one line."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from made_study import LORA, record, trial

from search.handover.recipe_document import (
    KEEP_THE_BASE,
    USE,
    Architecture,
    BaseModelFacts,
    RecipeDocument,
    TrainedFacts,
    read_recipe,
    recipe_yaml,
)
from search.handover.study_files import recipe_document
from search.selection import select
from search.settings.user_input import InputError, read_mapping
from spaces.points import Identity, Interpolation, Member, Point, Pruning, Soup
from spaces.recipe import SCHEDULES, Recipe

STEPS = 40
RECIPE = Recipe(subset="sa_proj", learning_rate=1e-4, steps=STEPS, batch_size=8)

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=8)
recipes = st.builds(
    Recipe,
    subset=st.sampled_from(["full", "sa_proj", "mlp-down", "random(sa_proj,1)"]),
    layers=st.sampled_from(["all", "last:1/2", "0-1"]),
    learning_rate=st.floats(1e-12, 1.0),
    steps=st.just(STEPS),
    batch_size=st.integers(1, 512),
    schedule=st.sampled_from(SCHEDULES),
    warmup_ratio=st.floats(0, 0.99),
) | st.builds(lambda rank: dataclasses.replace(RECIPE, **LORA | {"lora_rank": rank}), st.integers(1, 64))
steps = st.integers(1, STEPS)
shares = st.floats(0.01, 1.0)
transforms = st.just(Identity()) | shares.map(Interpolation) | shares.map(Pruning)
numbers = st.lists(st.integers(0, 99), min_size=2, max_size=4, unique=True)


@st.composite
def documents(draw: st.DrawFn) -> RecipeDocument:
    soup = {number: draw(recipes) for number in draw(numbers)} if draw(st.booleans()) else {}
    if soup:
        members = tuple(Member(number, draw(steps)) for number in soup)
        point: Point | None = Point(members[0].trial, members[0].step, Soup(members))
    else:
        point = draw(st.none() | st.builds(Point, st.integers(0, 99), steps, transforms))
    trained = draw(st.dictionaries(st.sampled_from(["attn.q", "mlp.up"]), st.integers(1, 10**12)))
    return RecipeDocument(
        recipe=soup[next(iter(soup))] if soup else draw(recipes),
        reason=draw(texts),
        point=point,
        soup_recipes=soup,
        model=draw(
            st.none() | st.builds(BaseModelFacts, path=texts, dtype=st.just("bfloat16"), fingerprint=texts)
        ),
        architecture=draw(
            st.none()
            | st.builds(Architecture, model_type=texts, family=texts, parameters=st.integers(1, 10**12))
        ),
        trained=TrainedFacts(roles=trained, parameters=sum(trained.values())) if trained else None,
        evidence=draw(st.none() | st.fixed_dictionaries({"seed": st.integers(0, 2**32), "score": shares})),
        trials={"COMPLETE": draw(st.integers(0, 99))},
        data=draw(st.dictionaries(texts, texts, max_size=2)),
    )


@settings(max_examples=60, deadline=None)
@given(documents())
def test_a_file_reads_back_to_the_same_document(document: RecipeDocument) -> None:
    plain = yaml.safe_load(recipe_yaml(document))
    assert RecipeDocument.from_dict(plain, "recipe.yaml") == document


def test_a_large_model_s_size_is_more_than_a_count_of_samples_may_be() -> None:
    large = Architecture(model_type="qwen2", family="qwen2", parameters=7_615_616_512)
    plain = yaml.safe_load(recipe_yaml(RecipeDocument(recipe=RECIPE, architecture=large)))
    assert RecipeDocument.from_dict(plain, "recipe.yaml").architecture == large


def test_what_a_study_writes_is_read(tmp_path: Path) -> None:
    study = record([trial(3, [{"count": 50.0}])])
    plain = recipe_document(study, select(study.trials, study.objective))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(plain))
    document = read_recipe(tmp_path)
    assert (document.verdict, document.recipe) == (USE, study.trials[0].recipe)
    assert document.made == Point(3, STEPS, Identity())
    assert (document.seed, document.trials["COMPLETE"]) == (5, 1)
    assert document.to_dict() == plain


def test_a_verdict_to_keep_the_base_is_read() -> None:
    study = record([trial(0, [{"colour": 50.0}])])
    plain = recipe_document(study, select(study.trials, study.objective))
    document = RecipeDocument.from_dict(plain, "recipe.yaml")
    assert (document.verdict, document.recipe) == (KEEP_THE_BASE, None)


def test_a_recipe_alone_is_enough() -> None:
    """YAML 1.1 reads 1e-4 as a text, and a person may write so."""
    fields = {"subset": "sa_proj", "learning_rate": "1e-4", "steps": STEPS, "batch_size": 8}
    document = RecipeDocument.from_dict({"format": 1, "recipe": fields}, "mine.yaml")
    assert document == RecipeDocument(recipe=RECIPE)
    assert document.made == Point(0, STEPS, Identity())
    assert document.recipes == {0: RECIPE}


def test_the_seed_is_that_of_the_weights_that_were_handed_over() -> None:
    evidence = {"seed": 5, "confirm": {"seeds": [11, 12], "handed_over": 12}}
    assert RecipeDocument(recipe=RECIPE, evidence=evidence).seed == 12
    assert RecipeDocument(recipe=RECIPE, evidence=evidence | {"confirm": None}).seed == 5
    assert RecipeDocument(recipe=RECIPE).seed == 0


SOUP = {"trial": 1, "step": 40, "transform": "soup", "members": [{"trial": 1, "step": 40}]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipes": None}, "unknown key 'recipes': did you mean 'recipe'?"),
        ({"format": 2}, "format: this version reads format 1, got 2"),
        ({"format": None}, "format: this version reads format 1, got None"),
        (
            {"verdict": "use it"},
            "verdict: input should be 'use this recipe' or 'keep the base', got 'use it'",
        ),
        ({"verdict": KEEP_THE_BASE}, "verdict: 'keep the base' with a recipe"),
        ({"recipe": None}, "verdict: 'use this recipe' with no recipe"),
        (
            {"recipe": RECIPE.to_dict() | {"learning_rat": 1}},
            "unknown recipe field 'learning_rat': did you mean 'learning_rate'?",
        ),
        (
            {"recipe": RECIPE.to_dict() | {"lora_rank": 8}},
            "recipe field lora_rank must be left out with the method 'selective', got 8",
        ),
        (
            {"recipe": RECIPE.to_dict() | {"subset": "sa_prj"}},
            "unknown subset 'sa_prj': did you mean 'sa_proj'?",
        ),
        ({"point": SOUP}, "soup_recipes: the recipe of trial 1, a member, is missing"),
        (
            {"point": {"trial": 1, "step": 41, "transform": "identity"}},
            "point: step 41 of trial 1 is not one of its 40 steps",
        ),
        (
            {"point": {"trial": 1, "step": 40, "transform": "interpolate", "alpha": 0.5}},
            "unknown transform 'interpolate': did you mean 'interpolation'?",
        ),
        ({"evidence": {"seed": -1}}, "evidence.seed: input should be greater than or equal to 0, got -1"),
        ({"evidence": {"sead": 3}}, "unknown key 'evidence.sead': did you mean 'seed'?"),
        (
            {"evidence": {"confirm": {"handed_over": "abc"}}},
            "evidence.confirm.handed_over: input should be a valid integer, got 'abc'",
        ),
        (
            {"evidence": {"confirm": {"handed_over": -5}}},
            "evidence.confirm.handed_over: input should be greater than or equal to 0, got -5",
        ),
        (
            {"evidence": {"targets": {"count": {"base": 1.0, "tuned": 2.0}}}},
            "missing key 'evidence.targets.count.n'",
        ),
        (
            {"model": {"path": "m", "dtype": "float32", "fingerprnt": "f"}},
            "unknown key 'model.fingerprnt': did you mean 'fingerprint'?",
        ),
    ],
)
def test_what_is_wrong_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        RecipeDocument.from_dict(RecipeDocument(recipe=RECIPE).to_dict() | changes, "recipe.yaml")
    assert str(caught.value) == f"recipe.yaml: {message}"


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """By the name alone: `a` of one section is not that of another, and `<<` may be overridden."""
    file = tmp_path / "recipe.yaml"
    file.write_text("format: 1\nrecipe:\n  steps: 4\n  batch_size: 2\n  'steps': 400\n")
    with pytest.raises(InputError) as caught:
        read_recipe(file)
    assert str(caught.value) == f"{file}: line 5: the key 'steps' stands in line 3 already"
    file.write_text("a: &a {x: 1, y: 2}\nb: {p: &b {<<: *a, x: 3}}\nc: {<<: *b, y: 4}\n")
    assert read_mapping(file, "recipe")["b"] == {"p": {"x": 3, "y": 2}}
    assert read_mapping(file, "recipe")["c"] == {"x": 3, "y": 4}


def test_a_missing_file_is_one_line_that_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("format: 1\n")
    with pytest.raises(InputError, match=r"recipes\.yaml: no such recipe; did you mean 'recipe\.yaml'\?$"):
        read_recipe(tmp_path / "recipes.yaml")
    with pytest.raises(InputError, match=r"recipe\.yaml: missing key 'recipe'$"):
        read_recipe(tmp_path)
    with pytest.raises(InputError, match=r"nothing/recipe\.yaml: no such recipe$"):
        read_recipe(tmp_path / "nothing" / "recipe.yaml")
