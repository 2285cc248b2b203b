"""What is said of the engines is what they say themselves."""

import json

import pytest

from fine_tune_assets.training.capabilities import VLLM_ARCHITECTURES, Capability, capabilities
from fine_tune_assets.training.model_facts import ModelFacts


def facts(architecture: str, quantization: str = "") -> ModelFacts:
    return ModelFacts(architecture, 1, "bfloat16", 8192, 100, False, ("<end>",), quantization)


def possible(uses: tuple[Capability, ...]) -> dict[str, bool]:
    return {use.use: use.is_possible for use in uses}


@pytest.mark.parametrize(
    "architecture", ["LlamaForCausalLM", "MistralForCausalLM", "Qwen3ForCausalLM", "Gemma3ForCausalLM"]
)
def test_families_of_the_recipes_can_be_used_in_every_way(architecture: str) -> None:
    """bitsandbytes is part of the installation for tests."""
    assert all(possible(capabilities(facts(architecture))).values())


def test_an_architecture_that_nobody_knows_can_be_used_in_no_way() -> None:
    """With a reason in each row: it is read before a GPU hour is spent."""
    uses = capabilities(facts("InventedForCausalLM"))
    assert not any(use.is_possible for use in uses)
    assert all("InventedForCausalLM" in use.reason for use in uses)


def test_weights_that_are_packed_already_can_not_be_trained() -> None:
    """An adapter on them could not be merged."""
    uses = possible(capabilities(facts("LlamaForCausalLM", quantization="gptq")))
    assert not uses["train with LoRA or DoRA"]
    assert not uses["train with QLoRA"]


def test_a_model_that_takes_no_adapters_in_vllm_is_served_merged() -> None:
    """GPT-2 is served, and takes no LoRA."""
    uses = {use.use: use for use in capabilities(facts("GPT2LMHeadModel"))}
    assert uses["serve with vLLM"].is_possible
    assert not uses["serve adapters with vLLM (LoRA)"].is_possible
    assert "serve merged weights" in uses["serve adapters with vLLM (LoRA)"].reason


def test_the_list_of_vllm_says_of_which_version_it_is() -> None:
    """It ages: whoever reads it must see how old it is."""
    table = json.loads(VLLM_ARCHITECTURES.read_text(encoding="utf-8"))
    assert table["version"]
    assert set(table["takes_lora"]) < set(table["generates_text"])
    assert len(table["generates_text"]) > 200
