"""The commands that documents and cluster files tell: Ray takes each, and the files they name exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from cluster_files import FOLDER, ROOT, files_of

# Importing Ray's command line imports Ray Serve, which warns about itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

TOLD = [FOLDER / "README.md", ROOT / "README.md", *files_of("launcher")]


def ray_commands(path: Path) -> Iterator[list[str]]:
    """Yield the words after `ray` of every command line in a document or in a file's comments."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"[# ]*ray (?=[a-z-]+ )(.*)", line):
            yield shlex.split(match[1].partition(" >")[0], comments=True)


COMMANDS = sorted({shlex.join(words) for path in TOLD for words in ray_commands(path) if words[0] != "start"})


def test_the_commands_are_found() -> None:
    told = "attach dashboard down exec get-auth-token job rsync-down rsync-up submit up"
    assert sorted({command.split()[0] for command in COMMANDS}) == told.split()


@pytest.mark.parametrize("command", COMMANDS)
def test_ray_takes_every_command(command: str) -> None:
    from ray.scripts.scripts import cli

    name, *words = shlex.split(command)
    found: click.Command = cli.commands[name]
    if isinstance(found, click.Group):
        name, *words = words
        found = found.commands[name]
    # Parses the options and arguments, and runs nothing.
    context = found.make_context(name, words)
    file = context.params.get("cluster_config_file", "cluster.yaml")
    assert (ROOT / file).is_file()
    if "script" in context.params:
        assert context.params["script"] == "search/submit.py"


def test_every_linked_file_exists() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    assert len(links) >= 6
    for link in links:
        assert (FOLDER / link).exists(), link
