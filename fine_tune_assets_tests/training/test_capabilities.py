"""The listed capabilities match the engines' own statements."""

import json
from pathlib import Path

import pytest

from fine_tune_assets.training.base_models.model_facts import ModelFacts
from fine_tune_assets.training.capabilities import (
    UNSLOTH_ARCHITECTURES,
    VLLM_ARCHITECTURES,
    Capability,
    list_capabilities,
)


def facts(architecture: str, quantization: str = "") -> ModelFacts:
    return ModelFacts(architecture, 1, "bfloat16", 8192, 100, False, ("<end>",), quantization)


def possible(uses: tuple[Capability, ...]) -> dict[str, bool]:
    return {use.operation: use.is_supported for use in uses}


@pytest.mark.parametrize(
    "architecture", ["LlamaForCausalLM", "MistralForCausalLM", "Qwen3ForCausalLM", "Gemma3ForCausalLM"]
)
def test_recipe_families_are_fully_supported(architecture: str) -> None:
    """bitsandbytes is part of the test installation."""
    assert all(possible(list_capabilities(facts(architecture))).values())


def test_an_unknown_architecture_is_not_supported() -> None:
    """Each row has a reason, which people read before they spend GPU time."""
    uses = list_capabilities(facts("InventedForCausalLM"))
    assert not any(use.is_supported for use in uses)
    assert all("InventedForCausalLM" in use.reason for use in uses)


def test_quantized_weights_cannot_be_trained() -> None:
    """Their adapters could not be merged."""
    uses = possible(list_capabilities(facts("LlamaForCausalLM", quantization="gptq")))
    assert not uses["train with LoRA or DoRA"]
    assert not uses["train with QLoRA"]


def test_a_model_without_lora_support_in_vllm_is_served_merged() -> None:
    """vLLM serves GPT-2, but without LoRA."""
    uses = {use.operation: use for use in list_capabilities(facts("GPT2LMHeadModel"))}
    assert uses["serve with vLLM"].is_supported
    assert not uses["serve adapters with vLLM (LoRA)"].is_supported
    assert uses["serve adapters with vLLM (LoRA)"].reason


def test_the_vllm_table_states_its_version() -> None:
    """The table ages, so readers need to know its version."""
    table = json.loads(VLLM_ARCHITECTURES.read_text(encoding="utf-8"))
    assert table["version"]
    assert set(table["supports_lora"]) < set(table["generates_text"])
    assert len(table["generates_text"]) > 200


@pytest.mark.parametrize(
    ("architecture", "is_mentioned"),
    [("Qwen3ForCausalLM", False), ("Gemma3ForCausalLM", True), ("InventedForCausalLM", True)],
)
def test_unsloth_mentions_architectures_without_its_kernels(architecture: str, is_mentioned: bool) -> None:
    """It trains them as transformers does, so installing it gains little."""
    uses = {use.operation: use for use in list_capabilities(facts(architecture))}
    found = uses["train with LoRA or QLoRA on one GPU"]
    assert found.is_supported == (architecture != "InventedForCausalLM")
    assert (architecture in found.reason) == is_mentioned


def test_unsloth_does_not_train_quantized_weights() -> None:
    """As with the other engine, the adapter could not be merged."""
    assert not possible(list_capabilities(facts("LlamaForCausalLM", "gptq")))["train with LoRA or QLoRA on one GPU"]


def test_the_unsloth_table_is_of_the_installed_version() -> None:
    """`make setup-unsloth` and the table must be updated together."""
    table = json.loads(UNSLOTH_ARCHITECTURES.read_text(encoding="utf-8"))
    pinned = (Path(__file__).parents[2] / "constraints-unsloth.txt").read_text(encoding="utf-8").splitlines()
    assert f"unsloth=={table['version']}" in pinned
