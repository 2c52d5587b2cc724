"""Preparing the study of SmolLM2: BIG-bench's examples become tasks, and the study file reads these."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import tiny_multimodal
from transformers import LlamaConfig

from examples.smollm2.prepare import read_examples
from examples.smollm2.tasks import SCORED, TASKS, Source, files_needed, put_in_words, split, write_tasks
from search.clusters.devices import GIB, Node
from search.data.inputs import load_data
from search.planning.outline import outline_study
from search.planning.plan import study_plan
from search.settings.study_file import load_study

STUDY = Path(__file__).resolve().parents[2] / "examples" / "smollm2.yaml"
LAYERS = 2  # of SmolLM2's 30, to be quick
GERMAN = "linguistic_mappings/de_past_tense_json"


def made_examples(file: str, n: int) -> list[dict[str, Any]]:
    """Return examples in the form of a BIG-bench file, and some that no task takes."""
    if file == "qa_wikidata":
        wanted = [
            {"input": f"The {relation} of place {i} is", "target": f"word{i}"}
            for relation in ("capital", "official language")
            for i in range(n)
        ]
        return [*wanted, {"input": "The genre of song 1 is", "target": "jazz"}]
    if file.startswith("arithmetic/"):
        word = {"addition": "plus", "subtraction": "minus", "multiplication": "times"}[file.split("_")[-1]]
        return [
            {"input": f"What is {a} {word} {b}?", "target": f"{a}{b}"} for a in range(10) for b in range(10)
        ]
    return [
        *({"input": f"word{i}", "target": f"form{i}", "comment": "regular"} for i in range(n)),
        {"input": "gehen", "target": "ging", "comment": "irregular"},
    ]


def made_archive(path: Path, contents: dict[str, list[dict[str, Any]]]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for file, examples in contents.items():
            content = json.dumps({"canary": "not to be kept", "examples": examples}).encode()
            member = tarfile.TarInfo(f"bigbench-1.0.0/bigbench/benchmark_tasks/{file}/task.json")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def rows(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("task", "example", "prompt", "answer"),
    [
        (
            "german_participle",
            {"input": "betreuen", "target": "betreut", "comment": "regular"},
            "What is the German past participle of betreuen?",
            "The German past participle of betreuen is betreut.",
        ),
        (
            "past_tense",
            {"input": "go", "target": "went", "comment": "irregular"},
            "Complete the sentence: Today I go. Yesterday I",
            "Today I go. Yesterday I went.",
        ),
        (
            "capital",
            {"input": "The capital of Kenya is ", "target": "Nairobi"},
            "Complete the sentence: The capital of Kenya is",
            "The capital of Kenya is Nairobi.",
        ),
        (
            "arithmetic",
            {"input": "What is 2 plus 3?", "target": "5"},
            "What is 2 + 3? Answer with the number only.",
            "2 + 3 = 5",
        ),
    ],
)
def test_an_example_is_put_in_words(task: str, example: dict[str, str], prompt: str, answer: str) -> None:
    assert TASKS[task][0].put(example) == (prompt, answer)


@pytest.mark.parametrize(
    ("task", "example"),
    [
        ("german_participle", {"input": "gehen", "target": "ging", "comment": "irregular"}),
        ("capital", {"input": "The capital of Bolivia is", "target": ["La Paz", "Sucre"]}),
        ("capital", {"input": "The official language of Kenya is", "target": "Swahili"}),
        ("arithmetic", {"input": "What is 12 plus 3?", "target": "15"}),
    ],
)
def test_an_example_of_another_kind_or_with_several_answers_is_left_out(
    task: str, example: dict[str, Any]
) -> None:
    assert TASKS[task][0].put(example) is None


def test_a_question_with_two_answers_is_left_out_and_a_repeated_one_stays_once() -> None:
    source = Source(file="made", prompt="{0}?", answer="{answer}.")
    examples = [("a", "1"), ("b", "2"), ("a", "3"), ("b", "2"), ("c", "4")]
    made = {"made": [{"input": question, "target": answer} for question, answer in examples]}
    assert put_in_words([source], made) == [("b?", "2."), ("c?", "4.")]


def test_splits_are_disjoint_whole_and_of_one_order() -> None:
    pairs = [(f"question {i}", f"answer {i}") for i in range(11)]
    parts = split(pairs, scored=3)
    assert {name: len(part) for name, part in parts.items()} == {"search": 3, "confirm": 3, "train": 5}
    assert sorted(pair for part in parts.values() for pair in part) == sorted(pairs)
    assert split(reversed(pairs), scored=3) == parts
    with pytest.raises(ValueError, match="6 questions are too few for two splits of 3"):
        split(pairs[:6], scored=3)


def test_an_archive_that_lacks_a_file_is_refused(tmp_path: Path) -> None:
    archive = made_archive(tmp_path / "bigbench-1.0.0.tar.gz", {GERMAN: made_examples(GERMAN, 1)})
    assert read_examples(archive, {GERMAN}) == {GERMAN: made_examples(GERMAN, 1)}
    with pytest.raises(ValueError, match=r"bigbench-1\.0\.0\.tar\.gz has no qa_wikidata"):
        read_examples(archive, {GERMAN, "qa_wikidata"})


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Return a copy of the study file beside what it reads: made-up tasks, a SmolLM2 without weights."""
    n = 2 * SCORED + 10
    archive = made_archive(
        tmp_path / "bigbench.tar.gz", {file: made_examples(file, n) for file in files_needed()}
    )
    cache = tmp_path / ".cache" / "smollm2"
    write_tasks(read_examples(archive, files_needed()), cache / "tasks")
    LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=LAYERS,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        architectures=["LlamaForCausalLM"],
    ).save_pretrained(cache / "model")
    tokenizer = tiny_multimodal.tokenizer()
    tokenizer.chat_template = "{% for turn in messages %}{{ turn['content'] + '\\n' }}{% endfor %}"
    tokenizer.save_pretrained(cache / "model")
    study = tmp_path / "examples" / "smollm2.yaml"
    study.parent.mkdir()
    study.write_text(STUDY.read_text(encoding="utf-8"), encoding="utf-8")
    return study


def test_the_tasks_that_are_written_are_the_ones_that_the_study_reads(prepared: Path) -> None:
    study = load_study(prepared)
    tasks = study.resolved_tasks()
    assert set(tasks) == set(TASKS)
    for name, task in tasks.items():
        confirm, search = (task.load(part) for part in ("confirm", "search"))
        assert (len(confirm), len(search)) == (SCORED, SCORED), name
    written = prepared.parents[1] / ".cache" / "smollm2" / "tasks"
    assert all(set(row) == {"prompt", "answer"} for file in written.iterdir() for row in rows(file))


def test_the_study_plans_on_a_model_of_this_shape(prepared: Path) -> None:
    """By hand, per layer: q and o 576 x 576, k and v 192 x 576, three matrices of 576 x 1536, two norms.

    Besides there are a last norm and the embeddings of 49152 words, which are the head's too.
    """
    attention, gate_up, down = 2 * 576 * 576 + 2 * 192 * 576, 2 * 576 * 1536, 576 * 1536
    config = load_study(prepared)
    outline = outline_study(config, load_data(config).tasks)
    plan = study_plan(config, outline, [Node(cpus=2, drivers=1000, memory=16 * GIB)])
    assert plan["parameters"] == LAYERS * (attention + gate_up + down + 2 * 576) + 576 + 49152 * 576
    assert {row["subset"]: row["ranges"][0]["trained"] for row in plan["subsets"]} == {
        "full": plan["parameters"],
        "sa_proj": LAYERS * attention,
        "mlp": LAYERS * (gate_up + down),
        "gate_up": LAYERS * gate_up,
    }
    assert plan["runs"]["trials_at_a_time"] == 2
