"""`recipe-search apply`: fine-tune with a chosen recipe."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from search.commands.arguments import DONE, FAILED, Commands, add_study
from search.settings.user_input import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from search.config import StudyConfig
    from search.reuse.applying import Applied


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "apply",
        help="fine-tune with a chosen recipe, without a search",
        description="Fine-tune with a chosen recipe on the data, and the model, of a study file, whose space "
        "and search are not read. Settings such as recipe.steps=200 change the recipe.",
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE.yaml", help="the recipe, or its folder")
    add_study(parser)
    parser.add_argument("--seed", metavar="N", help="seed (default: that of the handed over weights)")
    parser.add_argument("--overwrite", action="store_true", help="replace the folder of an earlier run")
    parser.set_defaults(command=_apply)


def _seed(text: str) -> int:
    if not (text.isdecimal() and len(text) <= 10 and int(text) < 2**32):
        raise InputError(f"--seed: expected a whole number from 0 to {2**32 - 1}, got {text!r}")
    return int(text)


def _apply(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from search.clusters.cluster import cluster_address
    from search.handover.recipe_document import read_recipe
    from search.reuse.recipe_study import changed, divided, load_for_recipes

    console = Console(highlight=False)
    wanted = None if arguments.seed is None else _seed(arguments.seed)
    fields, overrides = divided(arguments.overrides)
    found = read_recipe(arguments.recipe)
    if found.recipe is None:
        raise InputError(f"{arguments.recipe}: the verdict is to keep the base, so there is nothing to apply")
    document = changed(found, fields)
    seed = found.seed if wanted is None else wanted
    recipes = list(document.recipes.values())
    config = load_for_recipes(arguments.study, overrides, recipes, seed=seed)
    address = cluster_address()
    if address is not None and address.startswith("ray://"):
        raise InputError(f"RAY_ADDRESS: a recipe is not applied through {address}; apply it on its head")
    if config.folder.exists() and not arguments.overwrite:
        raise InputError(
            f"{config.folder} exists already: give the result another name=..., or pass --overwrite"
        )

    from search.phases.steps import step
    from search.planning.preparation import check_cluster_for, check_resources, prepare
    from search.tracking import prepare_store

    with step(console, "checking model, data and store"):
        check_cluster_for(config, address)
        prepared = prepare(config, recipes)
        check_resources(prepared, address)
        prepare_store(config.tracking.uri, config.tracking.experiment)
    from search.phases.study_failed import StudyFailed
    from search.reuse.applying import apply_recipe

    try:
        done = apply_recipe(found, document, prepared, seed=seed, console=console)
    except StudyFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED

    _show(done, config, console)
    for warning in done.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return DONE


def _show(done: Applied, config: StudyConfig, console: Console) -> None:
    """Print what came of it, and where it lies."""
    from search.reuse.comparison_tables import comparison_tables

    console.print()
    for compared in done.compared:
        for table in comparison_tables(config, compared, tuned="applied"):
            console.print(table)
    if done.caveat:
        console.print(f"note: {done.caveat}")
    console.print(f"recipe   {config.folder / done.folder.recipe.name}")
    console.print(f"weights  {config.folder / done.folder.selected.name}/")
