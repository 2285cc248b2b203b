"""Main memory and disk of a merge, before any weights exist."""

from pathlib import Path
from typing import Any

from fine_tune_assets.merging.merge_plan import MergePlan, describe_shortfall, plan_merge
from fine_tune_assets_tests.engines.llama_sizes import llama

GIB = 2**30


def _plan(folder: Path, size: str, exports: tuple[str, ...], served: str, **known: Any) -> MergePlan:
    host = {"max_length": 2048, "gpu_bytes": 24 * GIB, "memory_bytes": None, "free_disk_bytes": None, **known}
    return plan_merge(llama(folder, size), exports, served, 84_000_000, **host)


def test_a_model_larger_than_memory_is_merged_tensor_by_tensor(tmp_path: Path) -> None:
    """It takes longer and fits; only the probes, one tensor and the compared export need memory."""
    small = _plan(tmp_path, "8b", ("q8_0",), "q8_0", memory_bytes=32 * GIB)
    large = _plan(tmp_path, "8b", ("q8_0",), "q8_0", memory_bytes=64 * GIB)
    assert (small.method, small.fits) == ("streaming", True)
    assert (large.method, large.fits) == ("in_memory", True)
    assert small.memory_bytes < small.whole_model_bytes


def test_main_memory_below_the_compared_export_is_refused(tmp_path: Path) -> None:
    """llama.cpp compares every GGUF in main memory, also if a GPU serves it later."""
    plan = _plan(tmp_path, "70b", ("q4_k_m",), "q4_k_m", memory_bytes=48 * GIB)
    assert plan.fits is False
    assert "exports" in describe_shortfall(plan)
    assert _plan(tmp_path, "70b", ("q4_k_m",), "q4_k_m", memory_bytes=64 * GIB).fits


def test_the_disk_holds_merged_weights_exports_and_the_release(tmp_path: Path) -> None:
    """K-quants are made from a 16-bit GGUF, which is a second copy of the model."""
    merged, q8, q4 = 16_060_522_496, 8_532_955_602, 4_912_913_831
    eight = _plan(tmp_path, "8b", ("q8_0",), "q8_0", free_disk_bytes=10 * GIB)
    assert abs(eight.disk_bytes - (merged + 2 * q8)) < 10
    assert abs(_plan(tmp_path, "8b", ("q4_k_m",), "q4_k_m").disk_bytes - (2 * merged + 2 * q4)) < 10
    assert _plan(tmp_path, "8b", ("lora_safetensors",), "lora_safetensors").disk_bytes == merged + 2 * 84_000_000
    assert eight.fits is False
    assert "disk" in describe_shortfall(eight)


def test_a_merged_model_that_exceeds_the_gpu_is_compared_slowly(tmp_path: Path) -> None:
    plans = [_plan(tmp_path, size, (), "bfloat16", gpu_bytes=gib * GIB) for size, gib in (("8b", 24), ("70b", 48))]
    assert [plan.is_compared_slowly for plan in plans] == [False, True]


def test_an_unknown_machine_is_not_compared(tmp_path: Path) -> None:
    plan = _plan(tmp_path, "8b", ("q8_0",), "q8_0")
    assert (plan.fits, plan.method, describe_shortfall(plan)) == (None, None, "")
