"""The command `recipe-search`; exit status 0 is done, 1 a failed study, 2 a wrong input."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from search.study_file import InputError

DONE, FAILED, WRONG_INPUT = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parsed = _parse(arguments)
    # A wrong input is one line, and the only progress shown is the study's.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # Nothing is reported to anyone unless the user asks for it.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        status: int = parsed.command(parsed)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return FAILED
    return status


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments; overrides may also follow options, where argparse alone would refuse them."""
    parser = _parser()
    parsed, rest = parser.parse_known_args(arguments)
    unknown = [word for word in rest if word.startswith("-") or "overrides" not in parsed]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if rest:
        parsed.overrides = [*parsed.overrides, *rest]
    return parsed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recipe-search",
        description="Find which part of a model to train so that it learns a skill and keeps the others.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run a study")
    _add_study(run)
    run.add_argument("--overwrite", action="store_true", help="replace the folder of an earlier run")
    run.set_defaults(command=_run)

    plan = commands.add_parser("plan", help="show what a study would train and need; starts nothing")
    _add_study(plan)
    plan.add_argument("--json", action="store_true", help="print JSON")
    plan.add_argument(
        "--gpus",
        type=_count,
        metavar="N",
        help="plan for a machine with N GPUs, not for this one or RAY_ADDRESS",
    )
    plan.add_argument("--gpu-memory-gib", type=_size, metavar="GIB", help="memory of each of these GPUs")
    plan.set_defaults(command=_plan)

    doctor = commands.add_parser("doctor", help="is this machine or cluster fit to run a study?")
    doctor.add_argument(
        "study",
        nargs="?",
        type=Path,
        metavar="STUDY.yaml",
        help="check what this study names and needs, too",
    )
    _add_overrides(doctor)
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.set_defaults(command=_doctor)

    ui = commands.add_parser("ui", help="open the MLflow UI on a store")
    ui.add_argument("--uri", default="sqlite:///mlflow.db", help="MLflow store (default: %(default)s)")
    ui.add_argument("--port", type=int, default=5000, help="port on the loopback address")
    ui.set_defaults(command=_ui)
    return parser


def _add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, metavar="STUDY.yaml", help="the study file")
    _add_overrides(parser)


def _add_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings that replace the file's: search.trials=8"
    )


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def _size(text: str) -> float:
    if not (number := float(text)) > 0:
        raise ValueError
    return number


def _run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from search.cluster import cluster_address
    from search.study_file import load_study

    console = Console(highlight=False)
    config = load_study(arguments.study, arguments.overrides)
    address = cluster_address()
    if address is not None and address.startswith("ray://"):
        from search.remote import run_on_head

        options = ["--overwrite"] if arguments.overwrite else []
        return run_on_head(address, arguments.study, [*arguments.overrides, *options])
    if config.folder.exists() and not arguments.overwrite:
        raise InputError(
            f"{config.folder} exists already: give the study another name=..., or pass --overwrite"
        )

    from search.optuna_store import prepare_storage
    from search.preparation import check_cluster_for, check_resources, prepare
    from search.tracking import prepare_store

    with console.status("checking model, data and store"):
        check_cluster_for(config, address)
        prepared = prepare(config)
        check_resources(prepared, address)
        prepare_store(config.tracking.uri)
        if config.search.storage is not None:
            prepare_storage(config.search.storage)
    from search.runner import StudyFailed, run_study

    try:
        outcome = run_study(prepared, console)
    except StudyFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED

    from search.summary import render_summary

    console.print(render_summary(outcome))
    for warning in outcome.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return DONE


def _plan(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from search.cluster import cluster_address
    from search.data_findings import data_lines
    from search.inputs import load_data
    from search.outline import outline_study
    from search.plan import planned_nodes, study_plan
    from search.plan_tables import plan_lines, plan_tables
    from search.preparation import with_gpu_memory
    from search.study_check import nodes_to_run_on
    from search.study_file import load_study

    config = load_study(arguments.study, arguments.overrides)
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 200
    with Console(stderr=True).status("measuring on the meta device"):
        data = load_data(config)
        outline = outline_study(config, data.all, guess=True)
        described = arguments.gpus is not None or arguments.gpu_memory_gib is not None
        address = cluster_address()
        if address is None or described:
            nodes = planned_nodes(config, arguments.gpus, arguments.gpu_memory_gib)
        else:
            nodes = with_gpu_memory(nodes_to_run_on(address), config.resources.gpu_memory_gib)
        plan = study_plan(config, outline, nodes)
        plan["data"] = data_lines(data.leaks, data.warnings, data.bad)
    if arguments.json:
        print(json.dumps(plan, indent=2))
        return DONE
    console.print(
        f"[bold]{plan['study']}[/]: {plan['model']}, {plan['parameters']:,} parameters in {plan['dtype']}"
    )
    console.print(f"learn {', '.join(plan['targets'])}; keep {', '.join(plan['held_out'])}")
    console.print(
        f"{plan['trials']} trials, the first {len(plan['presets'])} of them presets, "
        f"the first {plan['startup_trials']} start-up trials; "
        f"evaluated at {', '.join(map(str, plan['rungs']))} of {plan['rungs'][-1]} steps, "
        f"batch size {plan['batch_size']}; then up to {plan['most_points']} points, "
        "made from the best trials' weights without training and evaluated\n"
    )
    for table in plan_tables(plan):
        console.print(table)
        console.print()
    for line in (*plan_lines(plan), *plan["data"]):
        console.print(line)
    return DONE


def _doctor(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from search.doctor import checks_to_json, exit_code, render_checks, run_doctor

    if arguments.study is None:
        checks = run_doctor()
    else:
        from search.cluster import cluster_address
        from search.study_check import check_study
        from search.study_file import load_study

        config = load_study(arguments.study, arguments.overrides)
        checks = run_doctor(
            tracking_uri=config.tracking.uri, storage=config.search.storage, output=Path(config.output)
        )
        checks.append(check_study(config, cluster_address()))
    if arguments.json:
        print(checks_to_json(checks))
    else:
        Console(highlight=False).print(render_checks(checks))
    return exit_code(checks)


def _ui(arguments: argparse.Namespace) -> int:
    from search.passwords import without_password

    uri: str = arguments.uri
    if uri.startswith(("http://", "https://")):
        print(f"MLflow UI: {without_password(uri)}  (a server's pages; nothing is started here)")
        return DONE
    path = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not path.is_file():
        raise InputError(f"no MLflow store at {path}: run a study first, or name another store with --uri")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--host", "127.0.0.1", "--port", str(arguments.port), "--workers", "1"]
    print(f"MLflow UI: http://127.0.0.1:{arguments.port}  (Ctrl-C ends it)", flush=True)
    os.execv(command[0], command)


if __name__ == "__main__":
    sys.exit(main())
