from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
from made_study import config
from own_families import OPT_ROLES, save_opt
from rich.console import Console
from tiny_models import llava, samples
from transformers import Qwen2Config

from search.cli import main
from search.clusters.devices import GIB, Node
from search.clusters.study_check import check_study
from search.planning.outline import Outline
from search.planning.plan import planned_nodes, study_plan
from search.planning.plan_tables import finalists_text, plan_lines, plan_tables
from search.settings.study_file import load_study
from search.wording import human_bytes
from trainables.cost.memory import Estimator
from trainables.cost.sample_shape import SampleShape
from trainables.manifest import build_manifest

TOTAL = sum(parameter.numel() for parameter in llava().parameters())
MLP = 16 * 24
HERE = Node(cpus=4, drivers=1000, memory=8 * GIB)
TWO_GPUS = Node(cpus=8, gpus=2, drivers=1000, gpu_memory=24 * GIB)


def plan(*subsets: str, nodes: tuple[Node, ...] = (HERE,)) -> dict[str, Any]:
    model = llava().to("meta")
    sample = SampleShape(tokens=30, answer_tokens=2, extras={"pixel_values": (1, 3, 32, 32)}, found="as told")
    manifests = {subset: build_manifest(model, subset) for subset in subsets}
    outline = Outline(
        full=build_manifest(model, "full"),
        model_config=model.config.to_dict(),
        ranges={subset: [manifest] for subset, manifest in manifests.items()},
        manifests=manifests,
        sample=sample,
        estimators={kind: Estimator(model, sample, kind) for kind in ("cuda", "cpu")},  # type: ignore[arg-type]
    )
    return study_plan(config(subsets=subsets), outline, nodes)


def write_study(folder: Path, *, model: Mapping[str, Any], subsets: Sequence[str]) -> Path:
    """Write a study of text tasks, and return its file."""
    for name in ("train", "search", "kept"):
        rows = [{"prompt": sample.prompt, "answer": sample.answer} for sample in samples(name, 3)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    study = {
        "name": "planned",
        "model": dict(model),
        "tasks": {
            "task": {"train": "train.jsonl", "search": "search.jsonl"},
            "kept": {"search": "kept.jsonl"},
        },
        "targets": ["task"],
        "held_out": ["kept"],
        "space": {"subsets": list(subsets), "learning_rate": [1e-6, 1e-4]},
        "training": {"steps": 10, "batch_size": 2},
        "evaluation": {"batch_size": 2},
        "finalists": None,
        "search": {"trials": 2},
    }
    file = folder / "study.yaml"
    file.write_text(json.dumps(study))
    return file


def lines(made: dict[str, Any]) -> list[str]:
    console = Console(width=200, record=True, file=io.StringIO())
    for table in plan_tables(made):
        console.print(table)
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_says_what_each_subset_trains() -> None:
    made = plan("gate_up", "full")
    assert made["parameters"] == TOTAL
    gate_up, full = made["subsets"]
    (every_layer,) = gate_up["ranges"]
    assert (gate_up["subset"], every_layer["layers"]) == ("gate_up", "all")
    assert (every_layer["trained"], every_layer["tensors"]) == (4 * MLP, 4)
    assert every_layer["share"] == pytest.approx(4 * MLP / TOTAL)
    assert every_layer["by_role"] == {"mlp.gate": 2 * MLP, "mlp.up": 2 * MLP}
    assert [(group["role"], group["layers"]) for group in every_layer["matched"]] == [
        ("mlp.gate", "0-1"),
        ("mlp.up", "0-1"),
    ]
    assert gate_up["learning_rate"] == [1e-5, 1e-1]
    assert (full["ranges"][0]["trained"], full["ranges"][0]["share"]) == (TOTAL, 1.0)


def test_says_how_much_computing_a_step_takes() -> None:
    """Relative to training everything, whose FLOPs test_flops.py checks against torch's own count."""
    head, gate_up, full = (row["ranges"][0] for row in plan("head", "gate_up", "full")["subsets"])
    assert full["flops_of_full"] == 1
    assert 1 / 3 < head["flops_of_full"] < gate_up["flops_of_full"] < 1
    assert gate_up["flops_of_full"] == gate_up["flops_per_sample"] / full["flops_per_sample"]


def test_says_what_a_worker_needs() -> None:
    """By hand, fp32: 4 bytes of weight; saved base and gradient of 4, two moments of 4 of what is trained."""
    (gate_up,) = plan("gate_up")["subsets"]
    memory = gate_up["memory"]
    assert memory["weights"] == 4 * TOTAL
    assert (memory["saved_base"], memory["gradients"], memory["optimizer"]) == (16 * MLP, 16 * MLP, 32 * MLP)
    parts = ("weights", "saved_base", "gradients", "optimizer", "activations", "overhead")
    assert memory["total"] == sum(memory[part] for part in parts)


def test_says_what_will_be_run() -> None:
    made = plan("gate_up", "full", "vision_projector")
    assert (made["study"], made["model"], made["trials"]) == ("made", "tiny-llava", 4)
    # No published recipe trains vision tower and projector.
    assert made["presets"] == ["paper_full", "paper_gate_up"]
    # Two interpolations of each of two trials, and a soup; no preset trains the MLPs.
    assert made["most_points"] == 2 * 2 + 1
    assert (made["rungs"], made["rung_samples"]) == ([40], None)
    # Half of what 4 trials of 40 steps take.
    finalists = {"most": 3, "seeds": 3, "most_steps": 80, "steps_of_all_trials": 160}
    assert made["finalists"] == finalists
    assert finalists_text(finalists) == (
        "last up to 3 recipes as finalists, with what is made of their weights: trained again on 3 new seeds "
        "each, in 80 steps at most (50% of what all trials would take to their ends), and scored once on the "
        "confirm split"
    )
    few = "finalists.budget allows 39 steps, and one run takes 40; a budget of 0.25 allows one"
    for steps, warned in ((39, True), (40, False)):
        text = "\n".join(plan_lines({**made, "finalists": {**finalists, "most_steps": steps}}))
        assert (few in text) is warned
    assert finalists_text(None).startswith("no finalists, so that nothing is confirmed")
    assert made["runs"] == {
        "fits": True,
        "trials_at_a_time": 4,
        "eval_batch_size": 64,
        "gpus_for_all": 0.0,
        "warnings": [],
    }
    assert (made["targets"], made["held_out"]) == (["count", "clock"], ["colour", "shape"])


def test_says_how_each_trial_is_carried_out() -> None:
    (gate_up,) = plan("gate_up", nodes=(TWO_GPUS,))["subsets"]
    # 4 trials on 2 GPUs, of which any is large enough for this model.
    assert (gate_up["workers"], gate_up["gpus_per_worker"], gate_up["sharded"]) == (1, 0.5, False)
    assert (gate_up["micro_batch_size"], gate_up["activation_checkpointing"]) == (None, False)
    assert json.loads(json.dumps(gate_up)) == gate_up


def test_the_tables_have_a_row_for_each_subset() -> None:
    text = lines(plan("gate_up", "projector", nodes=(TWO_GPUS,)))
    # Roles of each subset: gate, up; projector. Then two rows twice, each table with its heading.
    assert len(text) == 4 + 3 + 3
    assert text[1].split() == ["gate_up", "0-1", "mlp.gate", "768", "2", "x", "[24,", "16]"]
    assert text[2].split()[:2] == ["0-1", "mlp.up"]
    assert text[5].split()[:4] == ["gate_up", "1.54", "K", f"{4 * MLP / TOTAL:.1%}"]
    assert text[8].startswith("gate_up")
    # Two trials share a GPU of 24 GiB.
    assert "12.0 GiB" in text[8]
    assert text[8].endswith("0.5 GPU")


def test_what_does_not_fit_is_shown_and_not_left_out() -> None:
    small = Node(cpus=8, gpus=1, gpu_memory=200 * 1024**2)
    made = plan("gate_up", "full", nodes=(small,))
    assert not made["runs"]["fits"]
    assert "fewer GPUs than any recipe needs" in made["runs"]["problem"]
    assert [row["fits"] for row in made["subsets"]] == [False, False]
    assert lines(made)[-1].endswith("does not fit")
    assert any(line.startswith("does not run there: resources: fewer GPUs") for line in plan_lines(made))


def test_says_what_it_is_planned_for() -> None:
    text = "\n".join(plan_lines(plan("full", nodes=(TWO_GPUS, TWO_GPUS))))
    assert "planned for 2 x (8 CPU, 2 GPU(s) of 24.0 GiB)" in text
    assert "samples of up to 30 tokens: as told" in text
    assert "4 trials at a time at most" in text
    assert "1 x (4 CPU, 8.0 GiB of memory, no GPU)" in "\n".join(plan_lines(plan("full")))


def test_a_machine_can_be_described() -> None:
    study = config()
    (described,) = planned_nodes(study, 8, 80.0)
    assert (described.gpus, described.gpu_memory) == (8, 80 * GIB)
    assert described.cpus >= 8
    assert planned_nodes(study, None, 24.0)[0].gpus == 1
    assert planned_nodes(study, 2, None)[0].gpu_memory is None


@pytest.mark.parametrize("flags", [["--gpus", "0"], ["--gpus", "some"], ["--gpu-memory-gib", "-1"]])
def test_a_machine_that_can_not_be_is_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["plan", "study.yaml", *flags])
    assert exit_.value.code == 2
    assert flags[0] in capsys.readouterr().err


def test_seven_billion_parameters_are_planned_without_weights_or_a_gpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Qwen2-7B's shape has 7,615,616,512 parameters (see test_memory.py), 15,231,233,024 bytes in bf16.

    `sa_proj`, 28 x 29,364,736 = 822,212,608 of them, is trained on one GPU of 80 GiB: 20 bytes each besides
    the weight, 15.3 GiB, fit beside 14.2 GiB. `mlp`, 28 x 3 x 3584 x 18944, takes 106 GiB and so two GPUs.
    """
    Qwen2Config(
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        vocab_size=152064,
        tie_word_embeddings=False,
    ).save_pretrained(tmp_path / "model")
    study = write_study(tmp_path, model={"path": "model", "dtype": "bfloat16"}, subsets=["sa_proj", "mlp"])
    assert main(["plan", str(study), "--json", "--gpus", "2", "--gpu-memory-gib", "80"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["parameters"] == 7_615_616_512
    sa_proj, mlp = made["subsets"]
    attention = 28 * 29_364_736
    assert sa_proj["memory"]["weights"] == 15_231_233_024
    assert sa_proj["ranges"][0]["trained"] == attention
    training = ("saved_base", "gradients", "optimizer")
    assert sum(sa_proj["memory"][part] for part in training) == 20 * attention
    assert (sa_proj["gpus"], sa_proj["sharded"]) == (1, False)
    assert (mlp["gpus"], mlp["sharded"]) == (2, True)
    assert mlp["memory"]["weights"] == 15_231_233_024 // 2
    assert not sa_proj["memory"]["by_formula"]
    assert "no processor" in made["largest_sample"]["found"]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (80 * 1024**3, "80.0 GiB"),
        (3 * 1024**4, "3.0 TiB"),
    ],
)
def test_sizes_have_binary_units(count: int, text: str) -> None:
    assert human_bytes(count) == text


class TestAnUnknownArchitecture:
    @pytest.mark.parametrize("command", ["plan", "run"])
    def test_is_an_error_with_a_form_to_fill_in(
        self,
        command: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        save_opt(tmp_path / "model")
        study = write_study(tmp_path, model={"path": "model"}, subsets=["sa_proj"])
        before = set(tmp_path.iterdir())
        assert main([command, str(study)]) == 2
        told = capsys.readouterr().err
        assert told.startswith(
            "error: no role map covers model type 'opt', and 36 of its parameters have no role: "
            "give each of them a role in the study file (docs/families.md says how):\nmodel:\n  roles:\n"
        )
        assert (
            "- model.decoder.layers.{layer}.self_attn.q_proj.{weight|bias}      # 2 x [16, 16] + 2 x [16]"
            in told
        )
        assert set(tmp_path.iterdir()) == before
        assert not ray.is_initialized()

    def test_is_one_line_of_the_doctor(self, tmp_path: Path) -> None:
        save_opt(tmp_path / "model")
        study = write_study(tmp_path, model={"path": "model"}, subsets=["sa_proj"])
        check = check_study(load_study(study), None)
        assert check.detail.startswith("no role map covers model type 'opt', and 36")
        assert check.detail.endswith("(docs/families.md says how)")
        assert not check.ok
        assert (check.wrong_input, check.fix) == (True, "")

    def test_plans_by_a_role_map_of_the_user(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """By hand: two layers of four 16 x 16 projections with biases, and 24 x 16 down with its bias."""
        save_opt(tmp_path / "model")
        study = write_study(
            tmp_path, model={"path": "model", "roles": OPT_ROLES}, subsets=["full", "sa_proj", "down"]
        )
        assert main(["plan", str(study), "--json"]) == 0
        made = json.loads(capsys.readouterr().out)
        full, sa_proj, down = made["subsets"]
        assert full["ranges"][0]["trained"] == made["parameters"]
        assert sa_proj["ranges"][0]["trained"] == 2 * 4 * (16 * 16 + 16)
        assert down["ranges"][0]["by_role"] == {"mlp.down": 2 * (24 * 16 + 16)}
        # OPT makes its positions of the mask's values, which the meta device has none of.
        assert all(row["memory"]["by_formula"] for row in made["subsets"])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"attn.w": ["w"]}, r"model.roles: unknown role 'attn.w': did you mean 'attn"),
            ({"head": ["lm_head.weight"]}, "template 'lm_head.weight' matches no parameter of this model"),
            (
                {"head": ["model.decoder.embed_tokens.weight"]},
                "parameter 'model.decoder.embed_tokens.weight' matches several roles of 'model.roles': "
                "['embed', 'head']",
            ),
        ],
    )
    def test_refuses_a_wrong_map(
        self, change: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        save_opt(tmp_path / "model")
        roles = {**OPT_ROLES, **change}
        study = write_study(tmp_path, model={"path": "model", "roles": roles}, subsets=["full"])
        assert main(["plan", str(study)]) == 2
        assert message in capsys.readouterr().err
