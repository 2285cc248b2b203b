"""Divergence from the base model, measured in chunks, equals the result over complete answers."""

from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.prompts.conversations import build_conversation
from fine_tune_assets_tests.training.tiny_training import SETTINGS, base_model

pytestmark = pytest.mark.slow  # TRL takes 13 s to import


@pytest.fixture
def changed(tmp_path: Path) -> Any:
    """A model with an adapter that changes its answers, and two rows, one with an answer of 1,000 tokens."""
    import torch

    from fine_tune_assets.engines.transformers_models import load_tokenizer
    from fine_tune_assets.training.lora.peft_adapters import load_trainable_model
    from fine_tune_assets.training.supervision.loss_mask import supervise

    base = base_model(tmp_path / "base", 1.0)
    model, tokenizer = load_trainable_model(base, SETTINGS), load_tokenizer(base)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1)
    answers = ("Cough. " * 140, "No cough.")
    rows = [
        supervise(tokenizer, "e", build_conversation("Be brief.", "Summarize.", "A cough.", answer))
        for answer in answers
    ]
    return model.eval(), rows


def test_chunks_give_the_same_result_as_complete_answers(changed: Any) -> None:
    """Compared with the definition, computed over all logits at once."""
    import torch

    from fine_tune_assets.training.lora.adapter_divergence import divergence_from_base
    from fine_tune_assets.training.supervision.loss_mask import IGNORE_INDEX

    model, rows = changed
    sums, count = 0.0, 0
    for row in rows:
        is_supervised = torch.tensor(row.labels[1:]) != IGNORE_INDEX
        with torch.no_grad():
            after = model(torch.tensor([row.input_ids])).logits[0, :-1][is_supervised].log_softmax(-1)
            with model.disable_adapter():
                before = model(torch.tensor([row.input_ids])).logits[0, :-1][is_supervised].log_softmax(-1)
        sums += float((before.exp() * (before - after)).sum())
        count += len(before)
    assert sums / count > 1e-3
    assert divergence_from_base(model, rows) == pytest.approx(sums / count, abs=1e-7)


def test_a_model_that_transforms_its_logits_is_measured_after_the_transformation(changed: Any) -> None:
    """Gemma caps its logits, so the output layer's are not those that it samples from."""
    from fine_tune_assets.training.lora.adapter_divergence import divergence_from_base

    model, rows = changed
    plain = divergence_from_base(model, rows)
    model.get_base_model().config.final_logit_softcapping = 30.0
    assert divergence_from_base(model, rows) == pytest.approx(plain, abs=1e-7)  # Llama's code ignores the setting


def test_the_distributions_of_a_complete_answer_are_never_in_memory_at_once(changed: Any) -> None:
    """With a vocabulary of 128,000, they would need more memory than a training step, before the adapter is stored."""
    from fine_tune_assets.training.lora.adapter_divergence import CHUNK_TOKENS, divergence_from_base
    from fine_tune_assets.training.planning.peak_memory import LiveTensors

    model, (long, _) = changed
    config = model.get_base_model().config
    vocabulary, weights = config.vocab_size, (config.hidden_size, config.vocab_size)

    class Largest(LiveTensors):
        largest = 0

        def add(self, tensor: Any) -> None:
            if tensor.shape and tensor.shape[-1] == vocabulary and tensor.shape[-2:] != weights:
                self.largest = max(self.largest, tensor.numel())
            super().add(tensor)

    with Largest() as seen:
        divergence_from_base(model, [long])
    assert long.supervised_tokens > 10 * CHUNK_TOKENS
    assert 0 < seen.largest <= CHUNK_TOKENS * vocabulary
