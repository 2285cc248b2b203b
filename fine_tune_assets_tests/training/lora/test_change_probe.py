"""How far a training moved a model is measured in parts of an answer, with the figure that the whole would give."""

from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.prompts.chat import conversation
from fine_tune_assets_tests.training.tiny import SETTINGS, base_model

pytestmark = pytest.mark.slow  # TRL takes 13 s to import


@pytest.fixture
def changed(tmp_path: Path) -> Any:
    """A model with an adapter that says something else, and the answers of two rows, one of 1,000 tokens."""
    import torch

    from fine_tune_assets.engines.transformers_models import load_tokenizer
    from fine_tune_assets.training.lora.adapters import adapted_model
    from fine_tune_assets.training.supervision.loss_mask import supervise

    base = base_model(tmp_path / "base", 1.0)
    model, tokenizer = adapted_model(base, SETTINGS), load_tokenizer(base)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1)
    answers = ("Cough. " * 140, "No cough.")
    rows = [supervise(tokenizer, "e", conversation("Be brief.", "Summarise.", "A cough.", said)) for said in answers]
    return model.eval(), rows


def test_the_parts_give_the_figure_of_the_whole(changed: Any) -> None:
    """Straight from the definition, over all scores at once."""
    import torch

    from fine_tune_assets.training.lora.change_probe import divergence_from_base
    from fine_tune_assets.training.supervision.loss_mask import IGNORED

    model, rows = changed
    sums, count = 0.0, 0
    for row in rows:
        learned = torch.tensor(row.labels[1:]) != IGNORED
        with torch.no_grad():
            after = model(torch.tensor([row.input_ids])).logits[0, :-1][learned].log_softmax(-1)
            with model.disable_adapter():
                before = model(torch.tensor([row.input_ids])).logits[0, :-1][learned].log_softmax(-1)
        sums += float((before.exp() * (before - after)).sum())
        count += len(before)
    assert sums / count > 1e-3
    assert divergence_from_base(model, rows) == pytest.approx(sums / count, abs=1e-7)


def test_a_model_that_reshapes_its_scores_is_measured_by_them(changed: Any) -> None:
    """Gemma bends them: the output layer's own are not what it answers by."""
    from fine_tune_assets.training.lora.change_probe import divergence_from_base

    model, rows = changed
    plain = divergence_from_base(model, rows)
    model.get_base_model().config.final_logit_softcapping = 30.0
    assert divergence_from_base(model, rows) == pytest.approx(plain, abs=1e-7)  # a Llama's code does not look at it


def test_no_distribution_of_a_whole_answer_is_ever_held(changed: Any) -> None:
    """With 128,000 words it would be more than a step of training holds, when all is learned and nothing is stored."""
    from fine_tune_assets.training.lora.change_probe import AT_ONCE, divergence_from_base
    from fine_tune_assets.training.planning.peak_memory import Living

    model, (long, _) = changed
    config = model.get_base_model().config
    vocabulary, weights = config.vocab_size, (config.hidden_size, config.vocab_size)

    class Largest(Living):
        largest = 0

        def count(self, tensor: Any) -> None:
            if tensor.shape and tensor.shape[-1] == vocabulary and tensor.shape[-2:] != weights:
                self.largest = max(self.largest, tensor.numel())
            super().count(tensor)

    with Largest() as seen:
        divergence_from_base(model, [long])
    assert long.supervised > 10 * AT_ONCE
    assert 0 < seen.largest <= AT_ONCE * vocabulary
