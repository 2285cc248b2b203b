"""The CPU output layer gives TRL's loss, entropy and gradients from a fraction of the positions."""

from collections.abc import Callable
from typing import Any

import pytest

from fine_tune_assets.core.processes.offline import go_offline

pytestmark = pytest.mark.slow  # TRL takes 13 s to import
VOCABULARY = 300


def _model(**changes: Any) -> Any:
    """A small Llama with random weights and TRL's fused output layer."""
    go_offline()
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    torch.manual_seed(11)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, **changes)
    model = LlamaForCausalLM(config)
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    return model


def _batch() -> dict[str, Any]:
    """Three rows of different length with supervised tokens at the end, then padding; one row has no supervised tokens."""
    import torch

    torch.manual_seed(12)
    input_ids = torch.randint(1, VOCABULARY, (3, 16))
    labels, mask = torch.full_like(input_ids, -100), torch.ones_like(input_ids)
    labels[0, 10:] = input_ids[0, 10:]
    labels[1, 4:9] = input_ids[1, 4:9]
    mask[1, 9:] = 0
    return {"input_ids": input_ids, "attention_mask": mask, "labels": labels}


def _scored(patch: Callable[[Any], None]) -> tuple[Any, list[Any]]:
    model = _model()
    patch(model)
    outputs = model(**_batch(), fused_lm_head=True)
    outputs.loss.backward()
    return outputs, [parameter.grad for parameter in model.parameters()]


def test_loss_metrics_and_gradients_match_trl() -> None:
    """Otherwise a wrong loss would go unnoticed."""
    import torch

    from fine_tune_assets.training.supervision.supervised_loss import score_supervised_only

    (theirs, their_gradients), (ours, our_gradients) = _scored(lambda _: None), _scored(score_supervised_only)
    for name in ("loss", "log_probs", "entropy"):
        assert torch.allclose(theirs[name], ours[name], atol=1e-5), name
    assert torch.equal(theirs.is_top1.bool(), ours.is_top1.bool())
    assert torch.equal(theirs.label_mask, ours.label_mask)
    assert len(our_gradients) > 10
    for one, other in zip(their_gradients, our_gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_without_the_fused_layer_the_model_is_unchanged() -> None:
    """Generation and evaluation of logits use the normal path."""
    import torch

    from fine_tune_assets.training.supervision.supervised_loss import score_supervised_only

    model, patched = _model(), _model()
    score_supervised_only(patched)
    with torch.no_grad():
        assert torch.equal(model(**_batch()).logits, patched(**_batch()).logits)


def test_a_model_that_reshapes_its_logits_keeps_the_forward_pass_of_trl() -> None:
    """Scored without their cap, capped logits would give another loss."""
    from fine_tune_assets.training.supervision.supervised_loss import score_supervised_only

    model = _model(final_logit_softcapping=30.0)
    before = model.forward
    score_supervised_only(model)
    assert model.forward == before
