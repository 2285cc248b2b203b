"""The verifier's network: a BERT model, by default the bundled sentence encoder, which reads statement and record together, with
two heads.

One head classifies the statement, the other marks its wrong words. Training needs torch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fine_tune_assets.judging.judges.grades import SUPPORTS
from fine_tune_assets.judging.judges.verifier.pair_encoding import SEGMENTS
from fine_tune_assets.judging.judges.verifier.training_pairs import EncodedPair

PIECES_PER_BATCH: Final = 3072
_NO_DROPOUT: Final[Mapping[str, Any]] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
"""Dropout costs a third of a training step on a processor; fresh pairs in each epoch regularize instead."""
Floats = NDArray[np.float32]


class CrossEncoder(nn.Module):
    def __init__(self, folder: Path, *, is_pretrained: bool = True) -> None:
        """`folder`: of a Hugging Face model. With `is_pretrained` False, only its configuration is read."""
        super().__init__()
        from transformers import BertConfig, BertModel

        config = BertConfig.from_pretrained(folder, attn_implementation="eager", **_NO_DROPOUT)
        self.bert = (
            BertModel.from_pretrained(folder, config=config, add_pooling_layer=False)
            if is_pretrained
            else BertModel(config, add_pooling_layer=False)
        )
        width = self.bert.config.hidden_size
        table = nn.Embedding(SEGMENTS, width)
        with torch.no_grad():
            table.weight.copy_(
                self.bert.embeddings.token_type_embeddings.weight[0] + 0.02 * torch.randn(SEGMENTS, width)
            )
        self.bert.embeddings.token_type_embeddings = table
        self.bert.embeddings.word_embeddings.requires_grad_(False)
        self.sentence_head = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, len(SUPPORTS)))
        self.word_head = nn.Linear(width, 1)

    def forward(self, batch: "Batch") -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (batch, labels) and, for each piece, the logit that it is wrong (batch, pieces)."""
        states = self.bert(
            input_ids=batch.ids, token_type_ids=batch.segments, attention_mask=batch.mask
        ).last_hidden_state.float()
        wrong = self.word_head(states).squeeze(-1)
        said = batch.said.unsqueeze(-1)
        mean = (states * said).sum(1) / said.sum(1)
        return self.sentence_head(torch.cat([states[:, 0], mean], dim=-1)), wrong


@dataclass(frozen=True)
class Batch:
    ids: torch.Tensor
    segments: torch.Tensor
    mask: torch.Tensor
    said: torch.Tensor
    """1 for the statement's pieces."""
    wrong: torch.Tensor
    labels: torch.Tensor


def make_batch(pairs: Sequence[EncodedPair], rows: list[int]) -> Batch:
    chosen = [pairs[row] for row in rows]
    width = max(len(one.claim.ids) for one in chosen)
    shape = (len(chosen), width)
    ids, segments = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    mask, said, wrong = np.zeros(shape, np.int64), np.zeros(shape, np.float32), np.full(shape, -1, np.float32)
    for at, one in enumerate(chosen):
        size = len(one.claim.ids)
        ids[at, :size], segments[at, :size], mask[at, :size] = one.claim.ids, one.claim.segments, 1
        said[at, 1 : 1 + one.claim.statement_pieces] = 1
        wrong[at, 1 : 1 + one.claim.statement_pieces] = one.wrong
    labels = np.array([one.label for one in chosen])
    return Batch(*(torch.from_numpy(array) for array in (ids, segments, mask, said, wrong, labels)))


def training_batches(pairs: Sequence[EncodedPair], blocks: Sequence[Sequence[int]], random: Random) -> Iterator[Batch]:
    """Whole blocks of about equal length, so that a batch holds both labels of each statement and little padding."""
    shuffled = random.sample(list(blocks), len(blocks))
    pool_size = 400
    batches: list[list[int]] = []
    for start in range(0, len(shuffled), pool_size):
        pool = sorted(
            shuffled[start : start + pool_size], key=lambda block: max(len(pairs[row].claim.ids) for row in block)
        )
        rows: list[int] = []
        for block in pool:
            width = max(len(pairs[row].claim.ids) for row in block)
            if rows and (len(rows) + len(block)) * width > PIECES_PER_BATCH:
                batches.append(rows)
                rows = []
            rows = [*rows, *block]
        batches.append(rows)
    yield from (make_batch(pairs, rows) for rows in random.sample(batches, len(batches)))


def load_weights(model: CrossEncoder, weights: Mapping[str, NDArray[Any]]) -> None:
    """`weights` by the encoder's own names, as `verifier_files` reads them. Raises RuntimeError if one is missing."""
    model.load_state_dict(
        {n if "head" in n else f"bert.{n}": torch.from_numpy(np.array(value)) for n, value in weights.items()}
    )


def batch_loss(model: CrossEncoder, batch: Batch, word_weight: float) -> torch.Tensor:
    logits, wrong = model(batch)
    loss = nn.functional.cross_entropy(logits, batch.labels)
    known = batch.wrong >= 0
    words = nn.functional.binary_cross_entropy_with_logits(
        wrong[known], batch.wrong[known], pos_weight=torch.tensor(4.0)
    )
    return loss + word_weight * words


def parameter_groups(model: CrossEncoder, rate: float) -> list[dict[str, Any]]:
    """The heads and the segment table learn ten times as fast as the encoder."""
    fast = [p for n, p in model.named_parameters() if "head" in n or "token_type" in n]
    slow = [p for n, p in model.named_parameters() if not ("head" in n or "token_type" in n) and p.requires_grad]
    return [{"params": slow, "lr": rate}, {"params": fast, "lr": 10 * rate}]
