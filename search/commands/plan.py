"""`recipe-search plan`: what a study would train and need."""

from __future__ import annotations

import argparse
import json

from search.commands.arguments import DONE, Commands, add_study


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("plan", help="show what a study would train and need; starts nothing")
    add_study(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--gpus",
        type=_count,
        metavar="N",
        help="plan for a machine with N GPUs, not for this one or RAY_ADDRESS",
    )
    parser.add_argument("--gpu-memory-gib", type=_size, metavar="GIB", help="memory of each of these GPUs")
    parser.set_defaults(command=_plan)


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def _size(text: str) -> float:
    if not (number := float(text)) > 0:
        raise ValueError
    return number


def _plan(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from search.clusters.cluster import cluster_address
    from search.clusters.study_check import nodes_to_run_on
    from search.data.inputs import load_data
    from search.findings.data_findings import data_lines
    from search.planning.outline import outline_study
    from search.planning.plan import planned_nodes, study_plan
    from search.planning.plan_tables import finalists_text, plan_lines, plan_tables
    from search.planning.planned_data import data_text, planned_data
    from search.planning.preparation import with_gpu_memory
    from search.settings.study_file import load_study

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
        plan["tasks"] = planned_data(config, data)
        plan["data"] = data_lines(data.leaks, data.warnings, data.bad)
    if arguments.json:
        print(json.dumps(plan, indent=2))
        return DONE
    console.print(
        f"[bold]{plan['study']}[/]: {plan['model']}, {plan['parameters']:,} parameters in {plan['dtype']}"
    )
    console.print(f"learn {', '.join(plan['targets'])}; keep {', '.join(plan['held_out'])}")
    for task in plan["tasks"]:
        console.print(f"  {data_text(task)}")
    early = plan["rung_samples"]
    on = f" (before the last on {early} samples per task at most)" if early else ""
    console.print(
        f"{plan['trials']} trials, the first {len(plan['presets'])} of them presets, "
        f"the first {plan['startup_trials']} start-up trials; "
        f"evaluated at {', '.join(map(str, plan['rungs']))} of {plan['rungs'][-1]} steps{on}, "
        f"batch size {plan['batch_size']}; then up to {plan['most_points']} points, "
        "made from the best trials' weights without training and evaluated; "
        f"{finalists_text(plan['finalists'])}\n"
    )
    for table in plan_tables(plan):
        console.print(table)
        console.print()
    for line in (*plan_lines(plan), *plan["data"]):
        console.print(line)
    return DONE
