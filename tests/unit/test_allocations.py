from __future__ import annotations

import torch
import torch.distributed as dist

from benchmarks.allocations import ReducedBytes, local_bytes, peak_during

MB = 10**6


def test_a_storage_counts_once_and_whole() -> None:
    whole, other = torch.zeros(100), torch.zeros(10, dtype=torch.float64)
    assert local_bytes([whole[:5], whole[50:], other]) == 100 * 4 + 10 * 8


def test_peak_is_of_what_lives_at_one_time_within_the_mark() -> None:
    """1 MB lives on, 4 MB and then 2 MB for a while; 16 MB before the mark and 8 MB after it do not count.

    Nor do 32 MB that an earlier profile saw allocated, and that are freed under this one.
    """
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu, profile_memory=True):
        early = torch.empty(32 * MB, dtype=torch.uint8)
    with torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
        del early
        kept = torch.empty(MB, dtype=torch.uint8)
        torch.empty(16 * MB, dtype=torch.uint8)
        with torch.profiler.record_function("within"):
            torch.empty(4 * MB, dtype=torch.uint8)
            torch.empty(2 * MB, dtype=torch.uint8)
        torch.empty(8 * MB, dtype=torch.uint8)
    del kept
    assert 5 * MB <= peak_during(profile, "within") < 5.1 * MB


def test_what_is_summed_over_processes_is_counted() -> None:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with ReducedBytes() as reduced:
            dist.all_reduce(torch.zeros(7))
            dist.reduce_scatter_single(torch.zeros(3), torch.zeros(3))
            dist.broadcast(torch.zeros(50), src=0)
    finally:
        dist.destroy_process_group()
    assert reduced.operations == [28, 12]
