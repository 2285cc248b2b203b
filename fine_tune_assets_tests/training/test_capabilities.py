"""What is said of the engines is what they say themselves."""

import json
from pathlib import Path

import pytest

from fine_tune_assets.training.base_models.facts import ModelFacts
from fine_tune_assets.training.capabilities import UNSLOTH_ARCHITECTURES, VLLM_ARCHITECTURES, Capability, capabilities


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


@pytest.mark.parametrize(
    ("architecture", "is_told"),
    [("Qwen3ForCausalLM", False), ("Gemma3ForCausalLM", True), ("InventedForCausalLM", True)],
)
def test_unsloth_says_where_it_brings_little(architecture: str, is_told: bool) -> None:
    """It trains other architectures as transformers computes them: who builds its environment for those gains little."""
    uses = {use.use: use for use in capabilities(facts(architecture))}
    found = uses["train with LoRA or QLoRA on one GPU"]
    assert found.is_possible == (architecture != "InventedForCausalLM")
    assert (architecture in found.reason) == is_told


def test_unsloth_does_not_train_what_is_packed_already() -> None:
    """As the other engine: an adapter on it could not be merged."""
    assert not possible(capabilities(facts("LlamaForCausalLM", "gptq")))["train with LoRA or QLoRA on one GPU"]


def test_the_list_of_unsloth_is_of_the_version_that_is_installed_with_it() -> None:
    """`make setup-unsloth` and the list are moved together."""
    table = json.loads(UNSLOTH_ARCHITECTURES.read_text(encoding="utf-8"))
    pinned = (Path(__file__).parents[2] / "constraints-unsloth.txt").read_text(encoding="utf-8").splitlines()
    assert f"unsloth=={table['version']}" in pinned
