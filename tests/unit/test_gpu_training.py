from __future__ import annotations

import pytest
import torch
from rich.console import Console

from benchmarks import gpu_training
from benchmarks.devices import peak_flops
from benchmarks.gpu_training import SMALL, SUBSETS, WARM_UP, build, measure
from benchmarks.machine import RESULTS
from trainables.cost.memory import Estimator
from trainables.cost.sample_shape import SampleShape

LAYERS = 2


@pytest.fixture
def estimator() -> Estimator:
    shape = SampleShape(tokens=SMALL.tokens, answer_tokens=SMALL.tokens // 2)
    return Estimator(build(SMALL, LAYERS, "meta"), shape, "cpu")


def test_every_case_is_measured() -> None:
    rows = gpu_training.run(SMALL, [LAYERS], torch.device("cpu"), Console(quiet=True))
    assert [(row["subset"], row["checkpointing"]) for row in rows] == [
        (subset, checkpointing) for subset in SUBSETS for checkpointing in (False, True)
    ]
    for row in rows:
        assert row["fits"]
        assert len(row["losses"]) == gpu_training.STEPS - WARM_UP
        # Tokens per second and seconds per step are two views of one time.
        tokens = row["tokens_per_second"] * row["seconds_per_step"]
        assert tokens == pytest.approx(SMALL.batch * SMALL.tokens)
        assert row["model_flops_utilisation"] is None
    # Recomputation changes neither what is learnt nor what is needed.
    for plain, again in zip(rows[::2], rows[1::2], strict=True):
        assert plain["losses"] == pytest.approx(again["losses"])
        assert plain["model_flops_per_step"] == again["model_flops_per_step"]
    # All matrices trained: 6 FLOPs per element and token, 12 d T^2 for an attention of width d; by hand, of
    # queries and output, keys and values with half the heads, the feed-forward, and the head.
    matrices = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48) + 64 * 32
    sample = 6 * matrices * SMALL.tokens + 2 * 12 * 32 * SMALL.tokens**2
    assert rows[-1]["model_flops_per_step"] == SMALL.batch * sample


def test_running_out_of_memory_is_a_result(estimator: Estimator) -> None:
    model, passes = build(SMALL, LAYERS, "cpu"), []

    def exhausted(*_: object) -> None:
        passes.append(1)
        if len(passes) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nand more")

    hook = model.model.layers[1].register_forward_pre_hook(exhausted)
    row = measure(model, estimator, "mlp", SMALL, False)
    assert len(passes) == 4
    assert not row["fits"]
    assert row["error"] == "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB. and more"
    assert "tokens_per_second" not in row
    hook.remove()
    base = build(SMALL, LAYERS, "cpu").state_dict()
    assert all(torch.equal(tensor, base[name]) for name, tensor in model.state_dict().items())
    assert measure(model, estimator, "mlp", SMALL, False)["fits"]


def test_figures_are_written_on_a_gpu_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def written() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in RESULTS.iterdir()}

    before = written()
    monkeypatch.setattr(gpu_training, "SUBSETS", ("sa_proj",))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_training.main(["--small"]) == 0
    assert "sa_proj" in capsys.readouterr().out
    assert gpu_training.main([]) == 1
    assert "no GPU" in capsys.readouterr().err
    assert written() == before


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.5e12),
        ("NVIDIA H100 PCIe", 756.5e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40", None),
        ("NVIDIA GH200 480GB", None),
    ],
)
def test_peak_of_a_device(name: str, peak: float | None) -> None:
    assert peak_flops(name) == peak
