"""Examples have the same loss packed and one at a time; otherwise packing is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets_tests.training.tiny_training import SETTINGS, instruction_set

pytestmark = pytest.mark.slow  # a real model


def _packed(tokenizer: Any) -> dict[str, list[int]]:
    from fine_tune_assets.training.supervision.loss_mask import supervise

    rows = [supervise(tokenizer, r["example_id"], r["messages"]) for r in instruction_set(5, 0).to_pylist()]
    return {
        "input_ids": [token for row in rows for token in row.input_ids],
        "labels": [label for row in rows for label in row.labels],
        "seq_lengths": [len(row.input_ids) for row in rows],
    }


def _jamba(words: int) -> Any:
    """Random weights in two layers: one state space layer, one attention layer."""
    go_offline()
    import torch
    from transformers import JambaConfig, JambaForCausalLM

    torch.manual_seed(3)
    config = JambaConfig(
        vocab_size=words, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, num_experts=1, attn_layer_period=2, attn_layer_offset=1, use_mamba_kernels=False,
        mamba_dt_rank=4,
    )  # fmt: skip
    model = JambaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model


def test_the_real_model_isolates_packed_examples(smollm2: Path) -> None:
    """The loss agrees to six decimals."""
    from fine_tune_assets.engines.transformers_models import load_model, load_tokenizer
    from fine_tune_assets.training.supervision.packing_isolation import require_isolation

    assert require_isolation(load_model(smollm2), _packed(load_tokenizer(smollm2))) < 1e-6


def test_a_model_that_does_not_isolate_packed_examples_is_refused(smollm2: Path) -> None:
    """State space layers would carry one patient's text into the next example."""
    from fine_tune_assets.engines.transformers_models import load_tokenizer
    from fine_tune_assets.training.failures import TrainingError
    from fine_tune_assets.training.supervision.packing_isolation import require_isolation

    tokenizer = load_tokenizer(smollm2)
    model = _jamba(len(tokenizer))
    with pytest.raises(TrainingError, match="packing: never"):
        require_isolation(model, _packed(tokenizer))


def test_the_real_model_in_4_bits_isolates_packed_examples(smollm2: Path) -> None:
    """Its layers compute in 16 bits, so the limit for 32 bits would refuse it wrongly."""
    from fine_tune_assets.engines.transformers_models import load_tokenizer
    from fine_tune_assets.training.lora.peft_adapters import load_trainable_model
    from fine_tune_assets.training.supervision.packing_isolation import require_isolation

    model = load_trainable_model(smollm2, replace(SETTINGS, method="qlora"))
    assert require_isolation(model, _packed(load_tokenizer(smollm2))) < 0.03


def test_a_4_bit_model_that_does_not_isolate_packed_examples_is_refused(smollm2: Path, tmp_path: Path) -> None:
    """The higher limit must still detect it."""
    from fine_tune_assets.engines.transformers_models import load_tokenizer
    from fine_tune_assets.training.failures import TrainingError
    from fine_tune_assets.training.lora.peft_adapters import load_trainable_model
    from fine_tune_assets.training.supervision.packing_isolation import require_isolation

    tokenizer = load_tokenizer(smollm2)
    _jamba(len(tokenizer)).save_pretrained(tmp_path)
    model = load_trainable_model(tmp_path, replace(SETTINGS, method="qlora"))
    with pytest.raises(TrainingError, match="packing: never"):
        require_isolation(model, _packed(tokenizer))
