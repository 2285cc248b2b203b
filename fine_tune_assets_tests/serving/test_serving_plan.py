"""Whether the engines of a release fit, before any weights exist, and which change would fit."""

from dataclasses import replace
from pathlib import Path

import pytest

from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.serving.serving_plan import (
    GIB,
    ServedModel,
    ServingHost,
    ServingPlan,
    describe_needs,
    describe_shortfall,
    plan_serving,
    suggest_change,
)
from fine_tune_assets_tests.engines.llama_sizes import llama

ADAPTER_WEIGHTS = {"8b": 41_943_040, "70b": 207_093_760}
"""Of rank 16 on all linear layers."""


@pytest.fixture
def settings(installation_dir: Path) -> Settings:  # noqa: ARG001 (no setting of the machine that runs this)
    return load_settings()


def _model(folder: Path, size: str, engine: str, weights_format: str, method: str = "qlora") -> ServedModel:
    return ServedModel(engine, weights_format, llama(folder, size), method, ADAPTER_WEIGHTS[size], 16)


def _gpu(gib: int) -> ServingHost:
    return ServingHost(f"a GPU of {gib} GiB", gib * GIB)


def _with(settings: Settings, group: str, **changed: int) -> Settings:
    return settings.model_copy(update={group: getattr(settings, group).model_copy(update=changed)})


def test_two_copies_of_an_8b_model_in_16_bits_are_refused_on_24_gb(tmp_path: Path, settings: Settings) -> None:
    """It was shipped like this: 16.1 GB of weights for an engine that gets 45 % of 25.8 GB."""
    model = _model(tmp_path, "8b", "vllm", "bfloat16")
    plan = plan_serving(model, settings, _gpu(24))
    assert (plan.fits, plan.engines, plan.full_contexts) == (False, 2, 0)
    assert plan.weights_bytes == 16_060_522_496
    assert "FINE_TUNE_VLLM_GPU_MEMORY_PERCENT" in describe_shortfall(plan, _gpu(24))
    assert suggest_change(model, settings, _gpu(24)) == "engine: llama_cpp and exports: [q8_0]"


def test_an_adapter_trained_in_16_bits_is_served_on_one_copy_of_the_base(tmp_path: Path, settings: Settings) -> None:
    """One process for all adapters may use 90 % of the GPU. A QLoRA adapter may differ too much on a 16-bit base."""
    model = _model(tmp_path, "8b", "vllm", "bfloat16", "lora")
    assert suggest_change(model, settings, _gpu(24)) == (
        "exports: [lora_safetensors] and FINE_TUNE_VLLM_GPU_MEMORY_PERCENT=90"
    )
    plan = plan_serving(
        replace(model, weights_format="lora_safetensors"), _with(settings, "vllm", gpu_memory_percent=90), _gpu(24)
    )
    assert (plan.fits, plan.engines) == (True, 1)
    # Four adapters of rank 64 in 16 bits.
    assert plan.adapters_bytes == 4 * 4 * 2 * 41_943_040
    assert plan.full_contexts > 1


def test_two_quantized_copies_fit_a_24_gb_card_with_the_cache_of_all_requests(
    tmp_path: Path, settings: Settings
) -> None:
    """llama.cpp allocates a context for each of its 5 slots at its start."""
    plan = plan_serving(_model(tmp_path, "8b", "llama_cpp", "q8_0"), settings, _gpu(24))
    assert plan.fits
    assert plan.cache_bytes == 2 * 32 * 8 * 128 * 2 * 2048 * 5
    assert plan.needed_bytes == 2 * (plan.weights_bytes + plan.cache_bytes + plan.overhead_bytes)


def test_a_70b_model_in_4_bits_needs_more_than_one_card_of_48_gb_for_a_switch(
    tmp_path: Path, settings: Settings
) -> None:
    """One engine fits, but no release could ever replace it. The plan names a size that fits, and one GiB less does not."""
    model = _model(tmp_path, "70b", "llama_cpp", "q4_k_m")
    plan = plan_serving(model, settings, _gpu(48))
    assert plan.fits is False
    assert plan.limit_bytes is not None
    assert plan.engine_bytes < plan.limit_bytes
    assert "--serving-gpu-memory 94" in suggest_change(model, settings, _gpu(48))
    assert [plan_serving(model, settings, _gpu(gib)).fits for gib in (93, 94)] == [False, True]


def test_merged_70b_weights_are_served_by_four_cards_of_80_gb(tmp_path: Path, settings: Settings) -> None:
    """Tensor parallelism splits weights and cache, and each process has its own overhead."""
    model = _model(tmp_path, "70b", "vllm", "bfloat16")
    several = [_with(settings, "vllm", tensor_parallel=cards, gpu_memory_percent=47) for cards in (1, 2, 4)]
    assert [plan_serving(model, one, _gpu(80)).fits for one in several] == [False, False, True]


def test_more_than_half_of_the_card_for_an_engine_leaves_no_room_for_a_switch(
    tmp_path: Path, settings: Settings
) -> None:
    """vLLM takes its percentage whether it needs it or not."""
    model, large = _model(tmp_path, "8b", "vllm", "bfloat16", "lora"), _with(settings, "vllm", gpu_memory_percent=90)
    plan = plan_serving(model, large, _gpu(80))
    assert (plan.fits, plan_serving(model, settings, _gpu(80)).fits) == (False, True)
    assert "engines of a switch" in describe_shortfall(plan, _gpu(80))
    assert suggest_change(model, large, _gpu(80)) == "FINE_TUNE_VLLM_GPU_MEMORY_PERCENT=45"


def test_main_memory_counts_without_a_gpu_and_a_reserve_stays_free(tmp_path: Path, settings: Settings) -> None:
    model = _model(tmp_path, "8b", "llama_cpp", "q8_0")
    needed = plan_serving(model, settings, ServingHost("m", memory_bytes=10**12)).needed_bytes
    for spare, fits in ((0, False), (GIB, True)):
        host = ServingHost("the main memory", memory_bytes=needed + spare)
        plan = plan_serving(model, settings, host)
        assert plan.fits is fits
        assert bool(describe_shortfall(plan, host)) is not fits
    assert "q6_k" in suggest_change(model, settings, ServingHost("m", memory_bytes=needed))


def test_a_machine_of_unknown_memory_is_not_said_to_fit(tmp_path: Path, settings: Settings) -> None:
    """What was not compared is None, never true."""
    plan: ServingPlan = plan_serving(_model(tmp_path, "8b", "llama_cpp", "q8_0"), settings, ServingHost("elsewhere"))
    assert plan.fits is None
    assert "2 engines" in describe_needs(plan)


def test_vllm_on_a_processor_takes_its_own_cache_setting(tmp_path: Path, settings: Settings) -> None:
    plan = plan_serving(_model(tmp_path, "8b", "vllm", "bfloat16"), settings, ServingHost("m", memory_bytes=60 * GIB))
    assert (plan.cache_bytes, plan.reserved_bytes, plan.fits) == (settings.vllm.kv_cache_gb * GIB, None, True)
