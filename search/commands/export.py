"""`recipe-search export`: write a selected recipe for other tools."""

from __future__ import annotations

import argparse
from pathlib import Path

from search.commands.arguments import DONE, Commands


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("export", help="write a recipe, or the selected model, for other tools")
    parser.add_argument(
        "recipe", type=Path, metavar="RECIPE_OR_STUDY", help="a recipe.yaml, or a study's folder"
    )
    parser.add_argument(
        "--to",
        required=True,
        metavar="NAME",
        help="transformers (the merged model), peft, llama_factory, ms_swift, axolotl or trl",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="a new folder (default: exports/NAME in the study's)"
    )
    parser.add_argument("--model", metavar="PATH", help="another base model than the recipe's own")
    parser.set_defaults(command=_export)


def _export(arguments: argparse.Namespace) -> int:
    from search.exports.source import read_source
    from search.exports.targets import check_target, export_to

    target = check_target(arguments.to)
    source = read_source(arguments.recipe, arguments.model)
    folder = arguments.output or source.file.parent / "exports" / target
    export = export_to(target, source, folder)
    for file in export.files:
        print(file)
    for limit in export.limits:
        print(f"not expressed: {limit}")
    print(f"use: {export.use}")
    return DONE
