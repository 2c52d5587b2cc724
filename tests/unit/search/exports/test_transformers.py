"""The round trip: base and selected weights make a folder that transformers loads, with the same values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from handed_over import trained_study, workbench
from safetensors.torch import load_file
from tiny_models import adapters, save_llava

from search.exports.source import read_source
from search.exports.to_transformers import export
from search.settings.user_input import InputError
from trainables.checkpoint import apply_delta
from trainables.collate import Encoder
from trainables.model import load_model
from trainables.scoring.evaluator import Evaluator
from trainables.training.parallel import Share

MARK = "{# of this base #}"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_llava(tmp_path_factory.mktemp("base") / "llava")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text("utf-8") + MARK, encoding="utf-8")
    (folder / "README.md").write_text("the base's own card", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("subset", "fields"), [("llm", {}), ("sa_proj+mlp", adapters("dora"))], ids=["selective", "dora"]
)
def test_the_merged_folder_has_the_values_that_were_measured(
    tmp_path: Path, base: Path, subset: str, fields: dict[str, Any]
) -> None:
    study, recorded = trained_study(tmp_path, base, subset, **fields)
    (study / "selected" / "README.md").write_text("a card of values", encoding="utf-8")
    merged = tmp_path / "merged"
    made = export(read_source(study), merged)
    assert made.limits == ()

    model = transformers.AutoModelForImageTextToText.from_pretrained(merged).eval()
    processor = transformers.AutoProcessor.from_pretrained(merged)
    assert processor.chat_template.endswith(MARK)
    assert (merged / "generation_config.json").is_file()
    assert (merged / "README.md").read_text("utf-8") == "a card of values"

    expected = load_model(str(base), dtype=torch.float32)
    untouched = expected.state_dict()["model.language_model.layers.0.mlp.up_proj.weight"].clone()
    apply_delta(expected, study / "selected")
    for name, tensor in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    if subset == "llm":
        up = load_file(merged / "model.safetensors")
        assert any(
            tensor.shape == untouched.shape and not torch.equal(tensor, untouched)
            for name, tensor in up.items()
            if name.endswith("layers.0.mlp.up_proj.weight")
        )

    setup, _ = workbench(base)
    found, _ = Evaluator(setup, model, Encoder(processor), Share()).evaluate()
    assert {task: each.scores for task, each in found.items()} == {
        task: each.scores for task, each in recorded.items()
    }
    assert recorded["easy"].value > 0


def test_what_can_not_be_merged_is_told(tmp_path: Path, base: Path) -> None:
    study, _ = trained_study(tmp_path / "study", base)
    with pytest.raises(InputError, match="there are no selected weights of this model beside it"):
        export(read_source(study, model=str(base)), tmp_path / "merged")
    (base / "config.json").write_text((base / "config.json").read_text("utf-8") + " ", encoding="utf-8")
    with pytest.raises(InputError, match="selected"):
        export(read_source(study), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
