"""Whether a training changed the model at all, measured on examples that it did not learn from.

An adapter whose weights never moved answers as the base model does, and every later score would be that of the base. Measured in
memory; that the same weights were stored is `adapters`'s to prove. Owns one figure.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from fine_tune_assets.engines.transformers_models import in_training_format
from fine_tune_assets.training.lora import ranks
from fine_tune_assets.training.supervision.loss_mask import IGNORED, SupervisedRow
from fine_tune_assets.training.supervision.supervised_loss import RESHAPED_BY

PROBES = 16
"""Examples: enough that one odd one does not decide, few enough to take seconds."""
AT_ONCE = 32
"""Answer tokens whose distributions lie in memory together, five times over: 80 MB with 128,000 words. Of a whole answer of 1,000
tokens they would be 2.5 GB, more than a step of training, when all is learned and nothing is stored."""


@dataclass(frozen=True)
class _Answer:
    """What a model has come to before each token of an answer, and what makes scores of it."""

    states: torch.Tensor
    """Shape [answer tokens, hidden size]; [answer tokens, vocabulary], scores already, where the head is not to be had alone."""
    head: Callable[[torch.Tensor], torch.Tensor]

    def log_probabilities(self, start: int) -> torch.Tensor:
        with torch.no_grad(), in_training_format():
            return torch.log_softmax(self.head(self.states[start : start + AT_ONCE]).float(), dim=-1)


def divergence_from_base(model: Any, rows: Sequence[SupervisedRow]) -> float:
    """Mean KL divergence of the adapted model from its base, in nats a token, over the answers of the first `PROBES` rows.

    `model`: a PEFT model. 0 is a model that was not changed.
    """
    model.eval()
    sums, count = 0.0, 0
    for row in rows[:PROBES]:
        adapted = _answer_of(model, row)
        with model.disable_adapter():
            base = _answer_of(model, row)
        for start in range(0, len(base.states), AT_ONCE):
            before, after = base.log_probabilities(start), adapted.log_probabilities(start)
            sums += float((before.exp() * (before - after)).sum())
        count += len(base.states)
    return sums / count


def _answer_of(model: Any, row: SupervisedRow) -> _Answer:
    learned = torch.tensor(row.labels[1:]) != IGNORED
    kept = len(learned) - int(learned.nonzero()[0]) + 1
    head, seen = model.get_base_model().get_output_embeddings(), list[torch.Tensor]()

    def keep_states(_head: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        seen.append(inputs[0])
        return (inputs[0][:, -1:],)  # of which nobody looks at the scores

    with torch.no_grad(), in_training_format(), ExitStack() as hooked:
        if _is_head_all(model):
            hooked.callback(head.register_forward_pre_hook(keep_states).remove)
        found = model(input_ids=torch.tensor([row.input_ids], device=model.device), logits_to_keep=kept)
    states = (seen[0] if seen else found.logits)[0, -kept:-1]
    # An engine of its own may multiply by the head's weights without asking it.
    return _Answer(states[learned[1 - kept :].to(states.device)], head if seen else torch.nn.Identity())


def _is_head_all(model: Any) -> bool:
    """Whether scores are the output layer's, and it lies here whole."""
    config = model.get_base_model().config.get_text_config()
    return ranks.count() == 1 and not any(getattr(config, name, None) for name in RESHAPED_BY)
