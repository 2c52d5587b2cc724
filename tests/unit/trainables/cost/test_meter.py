"""What a job uses, from counters as the kernel shows them, by hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trainables.cost.energy import CpuPackages
from trainables.cost.meter import WATTS_PER_CORE, Meter, Used, summed

TICKS = os.sysconf("SC_CLK_TCK")
RANGE = 262_143_328_850


def zone(root: Path, number: str, name: str, microjoules: int) -> Path:
    folder = root / f"intel-rapl:{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{RANGE}\n")
    return folder


def write_busy(stat: Path, seconds: int) -> None:
    """Busy in five ways in equal parts; idle, waiting, stolen and guests' seconds count nothing."""
    each = seconds * TICKS // 5
    idle = 7 * each
    stat.write_text(f"cpu  {each} {each} {each} {idle} {idle} {each} {each} {idle} {idle} {idle}\ncpu0 1 2\n")


@pytest.fixture
def stat(tmp_path: Path) -> Path:
    write_busy(tmp_path / "stat", 100)
    return tmp_path / "stat"


def after(values: list[float]) -> Callable[[], float]:
    """Return a clock that shows one value after another."""
    return iter(values).__next__


def test_the_energy_of_packages_is_shared_out_by_cpu_time(tmp_path: Path, stat: Path) -> None:
    """Two packages took 30 and 10 J while the cores worked 20 s, 5 of them for this process: a quarter."""
    one = zone(tmp_path, "0", "package-0", 1_000_000)
    two = zone(tmp_path, "1", "package-1", RANGE - 4_000_000)
    within, whole = zone(tmp_path, "0:0", "core", 5), zone(tmp_path, "2", "psys", 7)
    packages = CpuPackages.find(tmp_path, stat)
    assert packages is not None
    (one / "energy_uj").write_text("31000000\n")
    for other in (within, whole):  # a part of a package, and the machine with its packages
        (other / "energy_uj").write_text("50000000\n")
    (two / "energy_uj").write_text("6000000\n")  # 4 J up to the end of its range, and 6 from 0 on
    write_busy(stat, 120)
    assert packages.joules(5.0) == pytest.approx(10.0)
    # Nothing has happened since; then the process's clock runs ahead of the kernel's, which counts in ticks.
    assert packages.joules(0.0) == 0
    (one / "energy_uj").write_text("33000000\n")
    write_busy(stat, 121)
    assert packages.joules(1.5) == pytest.approx(2.0)


def test_without_readable_counters_there_are_no_packages(tmp_path: Path, stat: Path) -> None:
    assert CpuPackages.find(tmp_path, stat) is None
    zone(tmp_path, "0", "package-0", 1)
    assert CpuPackages.find(tmp_path, stat) is not None
    assert CpuPackages.find(tmp_path, tmp_path / "none") is None
    broken = zone(tmp_path, "1", "package-1", 1)
    (broken / "energy_uj").unlink()
    assert CpuPackages.find(tmp_path, stat) is None, "half of the machine's energy is none of it"


def test_without_a_counter_a_core_second_is_an_estimate() -> None:
    """3 s of the first job are not the second's: 2 s and then 4 more at 4 W."""
    meter = Meter(core_seconds=after([0.0, 3.0, 10.0, 12.0, 16.0]))
    assert meter.used() == Used(3.0, 0.0, 3.0 * WATTS_PER_CORE)
    meter.restart()
    assert meter.used() == Used(2.0, 0.0, 8.0)
    assert meter.used() == Used(6.0, 0.0, 24.0)


def test_of_a_shared_gpu_a_job_has_the_share_it_reserved() -> None:
    """A quarter of 200 J is measured, while 2 core-seconds are estimated."""
    meter = Meter(gpu=after([1000.0, 1200.0]), gpu_share=0.25, core_seconds=after([0.0, 2.0]))
    assert meter.used() == Used(2.0, 50.0, 8.0)


@pytest.mark.parametrize("readings", [None, [None, 5.0], [5.0, None]])
def test_a_gpu_that_can_t_be_read_leaves_the_energy_unknown(readings: list[float] | None) -> None:
    gpu = after(readings) if readings else None
    used = Meter(gpu=gpu, gpu_share=1.0, core_seconds=after([0.0, 2.0])).used()
    assert used.to_metrics() == {"cost/cpu_seconds": 2.0}
    assert summed([Used(1.0, 2.0, 3.0), used]).to_metrics() == {"cost/cpu_seconds": 3.0}


def test_metrics_of_several_processes_are_sums() -> None:
    assert summed([Used(1.0, 2.0, 3.0), Used(10.0, 20.0, 30.0)]).to_metrics() == {
        "cost/cpu_seconds": 11.0,
        "cost/energy_measured_joules": 22.0,
        "cost/energy_estimated_joules": 33.0,
    }
