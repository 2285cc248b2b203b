"""Measures how much a training changed the model, on examples that it was not trained on.

An adapter with unchanged weights answers like the base model, and later scores would be the base model's. This measures the model
in memory; `peft_adapters` verifies that the same weights were stored.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from fine_tune_assets.engines.transformers_models import training_autocast
from fine_tune_assets.training.lora import distributed_state as ranks
from fine_tune_assets.training.supervision.loss_mask import IGNORE_INDEX, SupervisedRow
from fine_tune_assets.training.supervision.supervised_loss import LOGIT_SETTINGS

MEASURED_EXAMPLES = 16
"""Enough that one outlier does not decide, few enough to take seconds."""
CHUNK_TOKENS = 32
"""Answer tokens whose distributions are in memory at once, five copies each: 80 MB with a vocabulary of 128,000. An answer of
1,000 tokens at once would take 2.5 GB, more than a training step, after training and before the adapter is stored."""


@dataclass(frozen=True)
class _Answer:
    """Hidden states before each token of an answer, and the head that maps them to logits."""

    hidden_states: torch.Tensor
    """Shape [answer tokens, hidden size]; or logits, [answer tokens, vocabulary], if the head cannot be applied separately."""
    head: Callable[[torch.Tensor], torch.Tensor]

    def log_probabilities(self, start: int) -> torch.Tensor:
        with torch.no_grad(), training_autocast():
            return torch.log_softmax(self.head(self.hidden_states[start : start + CHUNK_TOKENS]).float(), dim=-1)


def divergence_from_base(model: Any, rows: Sequence[SupervisedRow]) -> float:
    """Mean KL divergence of the adapted model from its base, in nats per token, over the answers of the first
    `MEASURED_EXAMPLES` rows. 0 means an unchanged model.

    `model`: a PEFT model.
    """
    model.eval()
    sums, count = 0.0, 0
    for row in rows[:MEASURED_EXAMPLES]:
        adapted = _run_answer(model, row)
        with model.disable_adapter():
            base = _run_answer(model, row)
        for start in range(0, len(base.hidden_states), CHUNK_TOKENS):
            before, after = base.log_probabilities(start), adapted.log_probabilities(start)
            sums += float((before.exp() * (before - after)).sum())
        count += len(base.hidden_states)
    return sums / count


def _run_answer(model: Any, row: SupervisedRow) -> _Answer:
    is_supervised = torch.tensor(row.labels[1:]) != IGNORE_INDEX
    tail_length = len(is_supervised) - int(is_supervised.nonzero()[0]) + 1
    head, states_seen = model.get_base_model().get_output_embeddings(), list[torch.Tensor]()

    def capture_states(_head: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        states_seen.append(inputs[0])
        return (inputs[0][:, -1:],)  # the logits are not used

    with torch.no_grad(), training_autocast(), ExitStack() as hooks:
        if _has_plain_head(model):
            hooks.callback(head.register_forward_pre_hook(capture_states).remove)
        output = model(input_ids=torch.tensor([row.input_ids], device=model.device), logits_to_keep=tail_length)
    states = (states_seen[0] if states_seen else output.logits)[0, -tail_length:-1]
    # The hook does not fire if an engine multiplies by the head's weights without calling it.
    return _Answer(
        states[is_supervised[1 - tail_length :].to(states.device)], head if states_seen else torch.nn.Identity()
    )


def _has_plain_head(model: Any) -> bool:
    """Whether the output layer is unsharded and its output is the logits, without a transformation."""
    config = model.get_base_model().config.get_text_config()
    return ranks.world_size() == 1 and not any(getattr(config, name, None) for name in LOGIT_SETTINGS)
