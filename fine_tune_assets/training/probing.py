"""Whether a training changed the model at all, measured on examples that it did not learn from.

An adapter whose weights never moved answers as the base model does, and every later score would be that of the base. Measured in
memory; that the same weights were stored is `adapter_folder`'s to prove. Owns one figure.
"""

from collections.abc import Sequence
from typing import Any

import torch

from fine_tune_assets.engines.transformers_models import in_training_format
from fine_tune_assets.training.supervision import IGNORED, SupervisedRow

PROBES = 16
"""Examples: enough that one odd one does not decide, few enough to take seconds."""


def divergence_from_base(model: Any, rows: Sequence[SupervisedRow]) -> float:
    """Mean KL divergence of the adapted model from its base, in nats a token, over the answers of the first `PROBES` rows.

    `model`: a PEFT model. 0 is a model that was not changed.
    """
    model.eval()
    sums, count = 0.0, 0
    for row in rows[:PROBES]:
        adapted = _log_probabilities(model, row)
        with model.disable_adapter():
            base = _log_probabilities(model, row)
        sums += float((base.exp() * (base - adapted)).sum())
        count += len(base)
    return sums / count


def _log_probabilities(model: Any, row: SupervisedRow) -> torch.Tensor:
    """Shape [answer tokens, vocabulary]: of each token of the answer, given all before it."""
    learned = torch.tensor(row.labels[1:]) != IGNORED
    # Scores of a long report before its answer would be gigabytes: 8,000 tokens x 128,000 words x 4 bytes.
    kept = len(learned) - int(learned.nonzero()[0]) + 1
    with torch.no_grad(), in_training_format():
        found = model(input_ids=torch.tensor([row.input_ids], device=model.device), logits_to_keep=kept)
    logits = found.logits[0, -kept:-1]
    return torch.log_softmax(logits[learned[1 - kept :].to(logits.device)].float(), dim=-1)
