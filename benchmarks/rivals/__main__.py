"""Run every side on the same study, one after another, in rounds, and compare them.

    python -m benchmarks.rivals --rounds 3 --sides ours ray_tune

A side's time is that of its program, from start to end, with all that it imports and starts. With `--folder`
the runs are kept, and those that are there already are not repeated.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.machine import RESULTS, write_results
from benchmarks.rivals.confirmed import Confirmed
from benchmarks.rivals.figures import Run, figures_of, ratios
from benchmarks.rivals.options import Options
from benchmarks.rivals.problem import STUDY
from benchmarks.rivals.shown import shown
from benchmarks.rivals.sides import SIDES, folder_of
from benchmarks.rivals.truth import truth_of
from benchmarks.rivals.usage import Usage, run
from search.settings.study_file import load_study

_FIRST_SEED = 100  # the recipe table and what is confirmed have others
_ROOT = Path(__file__).parents[2]
# One thread a process, unless a side asks for more. Ray's workers would give way to whatever else runs, and
# the sides without Ray would not.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "RAY_worker_niceness": "0",
    "PYTHONPATH": str(_ROOT),
    "HF_HUB_OFFLINE": "1",
}


def carry_out(root: Path, names: Iterable[str], arguments: argparse.Namespace, console: Console) -> list[Run]:
    """Run the sides in rounds; return the runs, those first that were there already."""
    steps = load_study(arguments.study).training.steps
    runs = []
    for turn in range(arguments.rounds):
        for name in [name for name in names if turn == 0 or name not in arguments.once]:
            side = SIDES[name]
            options = Options(
                study=arguments.study,
                folder=folder_of(root, name, turn),
                trials=side.trials or arguments.trials,
                seed=_FIRST_SEED + turn,
                limit=arguments.limit if side.limited else None,
            )
            usage = _usage(options, side.command(options))
            if usage.status != 0:
                sys.exit(f"error: {name} ended with {usage.status}; it said why in {options.folder / 'log'}")
            found = side.found(options, usage.start, steps)
            runs.append(
                Run(
                    side=name,
                    turn=turn,
                    planned=options.trials,
                    at_a_time=side.at_a_time,
                    usage=usage,
                    found=found,
                )
            )
            console.print(
                f"round {turn + 1} {name}: {usage.seconds:.0f} s, {usage.cpu_seconds:.0f} CPU-seconds, "
                f"{runs[-1].trials} trials, load {usage.load:.1f}"
            )
    return runs


def _usage(options: Options, command: Sequence[str]) -> Usage:
    kept = options.folder / "usage.json"
    if kept.exists():
        return Usage(**json.loads(kept.read_text()))
    usage = run(command, options.folder, _ENVIRONMENT)
    kept.write_text(json.dumps(asdict(usage)) + "\n")
    return usage


def write_traces(runs: Iterable[Run]) -> Path:
    """Write every evaluation of every run as a table."""
    path = RESULTS / "rivals_traces.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("side", "round", "seconds", "trial", "subset", "learning_rate", "step", "score"))
        for each in runs:
            for at in each.found.trace:
                rate, score = f"{at.learning_rate:.6g}", f"{at.score:.4f}"
                row = (each.side, each.turn, f"{at.at:.2f}", at.trial, at.subset, rate, at.step, score)
                writer.writerow(row)
    return path


def compare(root: Path, arguments: argparse.Namespace, console: Console) -> tuple[dict[str, Any], list[Run]]:
    """Carry out all runs; return the figures and the runs.

    Args:
        root: Where the runs are kept.
        arguments: The command line.
        console: Where progress is shown.
    """
    root.mkdir(parents=True, exist_ok=True)
    steps = load_study(arguments.study).training.steps
    runs = carry_out(root, arguments.sides, arguments, console)
    confirmed = Confirmed(arguments.study, root / "confirmed.json")
    if arguments.confirm:
        console.print("training what the sides hand over again, to confirm it")
        confirmed.measure(each.found.handed_over for each in runs if each.found.handed_over is not None)
    truth = truth_of(arguments.study, runs, confirmed)
    figures = {
        name: figures_of([each for each in runs if each.side == name], steps, truth, confirmed.scores)
        for name in arguments.sides
    }
    against = next(name for name in SIDES if name in figures)
    content = {
        "unit": "seconds, unless a name says otherwise",
        "good_recipe": {"source": truth.source, "best": round(truth.best, 2), "within": truth.within},
        "sides": figures,
        "against": against,
        "ratios_of_medians": ratios(figures, against),
    }
    return content, runs


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    made.add_argument("--study", type=Path, default=STUDY, help="a study whose tasks are embedded ones")
    made.add_argument("--rounds", type=int, default=1, help="runs of each side, each on another seed")
    made.add_argument("--trials", type=int, default=20, help="trials of each search; the grid has its own")
    made.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES))
    made.add_argument(
        "--once", nargs="*", choices=list(SIDES), default=[], help="sides that run in the first round alone"
    )
    made.add_argument(
        "--limit", type=float, default=300, help="seconds after which the sequential sides begin no trial"
    )
    made.add_argument(
        "--no-confirm", dest="confirm", action="store_false", help="confirm nothing that is not confirmed yet"
    )
    made.add_argument("--folder", type=Path, help="where the runs are kept; a temporary one by default")
    return made


def main() -> int:
    """Carry out the comparison, print the table and write the figures."""
    arguments = parser().parse_args()
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as temporary:
        content, runs = compare(arguments.folder or Path(temporary), arguments, console)
    console.print(shown(content))
    console.print(f"written to {write_results('rivals', content)} and {write_traces(runs)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
