"""The script of `ray submit`: runs a study on the cluster's head, where Ray has copied this one file.

    ray submit cluster.yaml search/submit.py -- studies/receipts.yaml search.trials=8
    ray submit cluster.yaml search/submit.py "studies/receipts.yaml 'name=two words'"
    ray job submit --working-dir . -- python -m search.submit studies/receipts.yaml search.trials=8

`ray submit` joins its arguments with spaces and has a shell on the head read them again. So what your own
shell made of quotes is lost there: words that belong to no key are joined to the one before them, which
mends spaces; for anything else that a shell reads, such as `&` or `$`, quote the whole line once more as in
the second form. The project itself comes with the cluster's `file_mounts`.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# What the cluster's nodes set: a folder that all of them share, and MLflow's own variable for its server.
SHARED = "RECIPE_SEARCH_SHARED"
SERVER = "MLFLOW_TRACKING_URI"

WITH_STUDY = ("run", "plan")
WITHOUT_STUDY = ("doctor", "resume")
_MEANING = {0: "done", 1: "failed", 2: "the input is wrong"}
# The beginning of a word of its own, after the study: `key=value` or an option.
_BEGINS = re.compile(r"[A-Za-z_][\w.-]*=|--?[A-Za-z]")


def main(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command of `recipe-search` with the cluster's defaults; return its exit status.

    Args:
        words: The arguments as they arrived; without a command first, the command is `run`.
        environment: Where the cluster's nodes say what they share.
    """
    try:
        import search.cli
        from search.commands.arguments import WRONG_INPUT
        from search.settings.user_input import InputError
    except ModuleNotFoundError as error:
        print(
            f"error: recipe-search is not installed here, for {sys.executable}: {error}; "
            "the cluster file's setup_commands install it",
            file=sys.stderr,
        )
        return 2
    try:
        arguments = command_line(rejoin(words), environment)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_INPUT
    try:
        return search.cli.main(arguments)
    except SystemExit as ended:  # argparse's way to refuse an argument
        return ended.code if isinstance(ended.code, int) else WRONG_INPUT


def rejoin(words: Sequence[str]) -> list[str]:
    """Return the arguments that were meant, where spaces inside them have split them into words.

    A command comes first or is left out, then comes the study; after it every argument is `key=value` or
    an option. Arguments that arrive whole stay as they are.

    Example:
        `my study.yaml name=two words --overwrite` becomes
        `my study.yaml`, `name=two words`, `--overwrite`.
    """
    command = list(words[:1]) if words and words[0] in (*WITH_STUDY, *WITHOUT_STUDY) else []
    joined: list[str] = []
    for word in words[len(command) :]:
        if joined and not _BEGINS.match(word) and not joined[-1].startswith("-"):
            joined[-1] += f" {word}"
        else:
            joined.append(word)
    return command + joined


def command_line(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return the arguments of `recipe-search`: the study where it lies here, and the cluster's defaults.

    Raises:
        InputError: There is no such study file here, or the study is wrong.
    """
    from search.stores.passwords import shown

    named = arguments and arguments[0] in (*WITH_STUDY, *WITHOUT_STUDY)
    command, *rest = arguments if named else ("run", *arguments)
    if command in WITHOUT_STUDY or not rest or rest[0].startswith("-"):
        return [command, *rest]
    study = find_study(rest[0], environment)
    # An option's value is no override, as in `--gpus 4`; the command itself refuses what is neither.
    overrides = [word for word in rest[1:] if "=" in word and not word.startswith("-")]
    defaults = cluster_defaults(study, overrides, environment)
    if defaults:
        print(f"on this cluster: {' '.join(map(shown, defaults))}", flush=True)
    return [command, str(study), *rest[1:], *defaults]


def find_study(name: str, environment: Mapping[str, str]) -> Path:
    """Return the study file: here, in the project's folder on this node, or in the shared folder.

    Raises:
        InputError: It is in none of them.
    """
    import search
    from search.settings.study_file import InputError

    folders = [Path.cwd(), Path(search.__file__).parents[1]]
    if environment.get(SHARED):
        folders.append(Path(environment[SHARED]))
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    looked = "" if Path(name).is_absolute() else f"; looked in {', '.join(map(str, dict.fromkeys(folders)))}"
    raise InputError(
        f"{name}: no such study file on the cluster's head{looked}. Keep studies in the project's folder, "
        "name them relative to it, and send new ones with `ray rsync-up cluster.yaml`"
    )


def cluster_defaults(study: Path, overrides: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return the overrides that put a study written for one machine onto the cluster.

    A relative `output` moves into the shared folder. A SQLite file as MLflow's store gives way to the
    cluster's server, unless it was asked for on the command line.

    Raises:
        InputError: The study or an override is wrong.
    """
    from search.settings.study_file import load_study

    config = load_study(study, overrides)
    found = []
    if (shared := environment.get(SHARED)) and not Path(config.output).is_absolute():
        found.append(f"output={json.dumps(str(Path(shared) / config.output))}")
    asked = any(override.startswith("tracking.uri=") for override in overrides)
    if (server := environment.get(SERVER)) and config.tracking.uri.startswith("sqlite:") and not asked:
        found.append(f"tracking.uri={json.dumps(server)}")
    return found


if __name__ == "__main__":
    if not __package__:
        # This copy's folder is the user's home: a folder `search` there would hide the package.
        sys.path.pop(0)
    os.environ.setdefault("RAY_ADDRESS", "auto")
    status = main(sys.argv[1:], os.environ)
    # Ray turns every failure into exit status 1.
    print(f"recipe-search: exit status {status}, {_MEANING.get(status, 'unknown')}", flush=True)
    sys.exit(status)
