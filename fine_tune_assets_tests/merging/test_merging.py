"""Merging and exporting the real small model: what the adapter answered is what the merged and exported weights answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.chat import conversation, render
from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.progress import silent
from fine_tune_assets.core.prompt_contract import PromptContract, read_prompt_contract
from fine_tune_assets.engines.transformers_models import load_model, load_tokenizer
from fine_tune_assets.merging.gguf import LOCK, export_gguf
from fine_tune_assets.merging.merging import compare, merge_adapter

pytestmark = pytest.mark.slow

MAXIMUM_KL = 0.002
QUANTIZED_KL = 0.02
CONTRACT = PromptContract("Be brief.", "{{ x }}", (), (2,), 2)


@pytest.fixture(scope="module")
def probes(smollm2: Path) -> list[str]:
    tokenizer = load_tokenizer(smollm2)
    texts = ["Patient: I have had a cough for three weeks.", "Patient: I take 40 mg of lisinopril every day."]
    return [
        render(
            tokenizer,
            conversation("Be brief.", "Summarise.", text, "Cough for three weeks."),
            add_generation_prompt=False,
        )
        for text in texts
    ]


def _adapter(base: Path, folder: Path, is_quantized: bool, scale: float = 1.0) -> Path:
    """An adapter that changes the model: random, so that no training is needed to have one."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(7)
    config = LoraConfig(r=4, lora_alpha=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    model: Any = get_peft_model(load_model(base, is_quantized), config)
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            weights.data *= scale
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def lora(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _adapter(smollm2, tmp_path_factory.mktemp("adapters") / "lora", is_quantized=False)


@pytest.fixture(scope="module")
def merged(smollm2: Path, lora: Path, probes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    weights = tmp_path_factory.mktemp("weights")
    return merge_adapter(smollm2, lora, weights, False, "float16", probes, MAXIMUM_KL, silent)


def test_merged_weights_answer_as_the_adapter_did(merged: Any) -> None:
    """What was judged is the adapter; what is served is the merged model: they must be one."""
    assert merged.parity.mean_kl < MAXIMUM_KL
    assert merged.parity.top1_agreement > 0.99


def test_the_adapter_is_really_in_the_merged_weights(smollm2: Path, merged: Any, probes: list[str]) -> None:
    """A merge that dropped the adapter would agree with the base model instead."""
    from fine_tune_assets.merging.merging import _probe

    assert compare(_probe(smollm2, probes), _probe(merged.folder, probes)).mean_kl > 10 * MAXIMUM_KL


def test_the_served_template_is_the_original_one(smollm2: Path, merged: Any) -> None:
    """Byte for byte: another template would ask the model what it was not trained on."""
    assert (merged.folder / "chat_template.jinja").read_bytes() == (smollm2 / "chat_template.jinja").read_bytes()


def test_a_merge_that_changes_the_model_is_refused_and_leaves_nothing(
    smollm2: Path, lora: Path, probes: list[str], tmp_path: Path
) -> None:
    """The gate itself, with a limit that no merge can meet."""
    with pytest.raises(GateClosedError, match="Merging changed the model"):
        merge_adapter(smollm2, lora, tmp_path, False, "bfloat16", probes, 0.0, silent)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_overflow_are_refused(smollm2: Path, probes: list[str], tmp_path: Path) -> None:
    """Above 65,504 a float16 is infinite, the answers are not numbers, and their divergence is above no limit."""
    adapter = _adapter(smollm2, tmp_path / "huge", is_quantized=False, scale=1e7)
    with pytest.raises(GateClosedError, match="Merging changed the model"):
        merge_adapter(smollm2, adapter, tmp_path / "weights", False, "float16", probes, MAXIMUM_KL, silent)
    assert not (tmp_path / "weights").exists()


def test_a_qlora_adapter_is_merged_into_the_dequantised_base(smollm2: Path, probes: list[str], tmp_path: Path) -> None:
    """It was trained on NF4 weights: merged into others it would answer differently."""
    adapter = _adapter(smollm2, tmp_path / "qlora", is_quantized=True)
    done = merge_adapter(smollm2, adapter, tmp_path / "weights", True, "float16", probes, MAXIMUM_KL, silent)
    assert done.parity.mean_kl < MAXIMUM_KL
    config = json.loads((done.folder / "config.json").read_text(encoding="utf-8"))
    assert "quantization_config" not in config


def _turn_end(folder: Path) -> int:
    return read_prompt_contract(folder, "Be brief.").turn_end_id


def test_an_export_reads_the_same_tokens_and_stays_close(merged: Any, probes: list[str], tmp_path: Path) -> None:
    """llama.cpp must see the prompt that the trainer saw; q8_0 costs a little, and how much is known."""
    exported = export_gguf(merged.folder, tmp_path, "q8_0", probes, QUANTIZED_KL, _turn_end(merged.folder))
    assert 0 < exported.parity.mean_kl < QUANTIZED_KL
    assert exported.file.stat().st_size == exported.size_bytes


def test_an_export_that_differs_too_much_is_refused_and_leaves_nothing(
    merged: Any, probes: list[str], tmp_path: Path
) -> None:
    with pytest.raises(GateClosedError, match="differs too much"):
        export_gguf(merged.folder, tmp_path, "q8_0", probes, 0.0, _turn_end(merged.folder))
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]
