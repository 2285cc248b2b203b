"""Generation ends at every stop token that the model's folder names."""

from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.core.prompts.prompt_contract import read_prompt_contract
from fine_tune_assets_tests.core.model_folders import make_model_folder

pytestmark = pytest.mark.slow  # torch


def test_an_answer_that_ends_with_any_stop_token_is_finished(tmp_path: Path) -> None:
    """Llama 3 ends a turn and a text with different tokens; an answer ending with the former was treated as cut off."""
    go_offline()
    from transformers import LlamaConfig, LlamaForCausalLM

    from fine_tune_assets.engines.transformers_models import generate, load_model, load_tokenizer, stop_ids

    folder = make_model_folder(tmp_path / "model")
    tokenizer = load_tokenizer(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    model: Any = LlamaForCausalLM(config)
    # Every token is a stop token, so the untrained model stops at its first one.
    model.generation_config.eos_token_id = list(range(len(tokenizer)))
    model.save_pretrained(folder)
    answers = generate(load_model(folder), tokenizer, ["<user>x<end><assistant>"], 5, 1)
    assert [(answer.text, answer.is_finished) for answer in answers] == [("", True)]
    assert stop_ids(load_model(folder), tokenizer) == set(read_prompt_contract(folder, "p").stop_ids)
