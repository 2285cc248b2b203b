"""Trains a verifier on balanced pairs, made anew for each epoch. Needs torch; one core reads about 3,000 pairs a minute."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from fine_tune_assets.core.fingerprints import fingerprint_file
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.embeddings.encoder import (
    bundled_encoder,
    bundled_encoder_folder,
    encoder_version,
    load_tokenizer,
)
from fine_tune_assets.judging.judges.verifier.cross_encoder import (
    CrossEncoder,
    batch_loss,
    load_weights,
    parameter_groups,
    training_batches,
)
from fine_tune_assets.judging.judges.verifier.normalized_text import normalize_text
from fine_tune_assets.judging.judges.verifier.pair_encoding import PairEncoder
from fine_tune_assets.judging.judges.verifier.training_data.balanced_pairs import (
    Pair,
    Report,
    build_pairs,
    sample_blocks,
)
from fine_tune_assets.judging.judges.verifier.training_data.term_changes import listed_words
from fine_tune_assets.judging.judges.verifier.training_data.word_neighbors import find_neighbors
from fine_tune_assets.judging.judges.verifier.training_pairs import encode_pair
from fine_tune_assets.judging.judges.verifier.verifier_files import (
    WEIGHTS_FILE,
    encoder_folder,
    read_weights,
    verifier_version,
)

MAX_BLOCKS: Final[Mapping[str, int]] = {
    "word": 2500,
    "negation": 1600,
    "finding dropped": 900,
    "order": 750,
    "recombined": 750,
    "other note": 700,
    "person": 650,
    "dose": 600,
    "hedging": 500,
    "unit": 350,
    "finding": 300,
    "finding added": 200,
}
"""Blocks of a kind per epoch, so that frequent kinds do not crowd out the others; 600 of every other kind."""
_OTHER_BLOCKS: Final = 600
PASSAGE_LENGTHS: Final = (32, 48, 48, 80)
"""Word pieces of the record in training. Short passages are faster; the mix keeps long ones familiar."""
_WARM_UP_STEPS, _DECAY_FROM, _WORD_WEIGHT = 100, 0.3, 0.5


@dataclass(frozen=True)
class VerifierPlan:
    pairs: int
    """Pairs of a record and a statement that the network sees in all."""
    seed: int
    threads: int
    learning_rate: float = 1.5e-4
    base: Path | None = None
    """Folder of a verifier whose training this one continues, or of a BERT model; by default the bundled sentence encoder."""
    left_out: frozenset[str] = frozenset()
    """Kinds of error that the training does not contain, to measure how the verifier generalizes."""

    @property
    def continues(self) -> bool:
        """Whether `base` is a verifier."""
        return self.base is not None and (self.base / WEIGHTS_FILE).is_file()

    @property
    def encoder(self) -> Path:
        """The folder with configuration and tokenizer of the network."""
        return bundled_encoder_folder() if self.base is None else encoder_folder(self.base)

    @property
    def base_version(self) -> str:
        if self.base is None:
            return encoder_version()
        return verifier_version(self.base) if self.continues else fingerprint_file(self.base / "model.safetensors")


def train_verifier(
    reports: Sequence[Report], labelled: Sequence[Pair], plan: VerifierPlan, progress: Progress
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The trained weights by the encoder's own names, and facts for the card.

    `labelled`: pairs that experts labelled, which every epoch contains.
    """
    torch.manual_seed(plan.seed)
    torch.set_num_threads(plan.threads)
    model = CrossEncoder(plan.encoder, is_pretrained=not plan.continues)
    if plan.base is not None and plan.continues:
        load_weights(model, read_weights(plan.base))
    optimizer = torch.optim.AdamW(parameter_groups(model, plan.learning_rate), weight_decay=0.01)
    rates = [group["lr"] for group in optimizer.param_groups]
    seen, losses = 0, list[float]()
    for step, batch in enumerate(_all_batches(reports, labelled, plan)):
        pace = _pace(step, seen / plan.pairs)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * pace
        model.train()
        with torch.autocast("cpu", torch.bfloat16):
            loss = batch_loss(model, batch, _WORD_WEIGHT)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
        seen += len(batch.labels)
        progress(min(seen, plan.pairs), plan.pairs, f"pairs, loss {np.mean(losses[-50:]):.2f}")
        if seen >= plan.pairs:
            break
    weights = {name.removeprefix("bert."): value.float().numpy() for name, value in model.state_dict().items()}
    facts = {
        "pairs": seen,
        "reports": len(reports),
        "expert_labels": len(labelled),
        "seed": plan.seed,
        "learning_rate": plan.learning_rate,
        "base": plan.base_version,
        "left_out": sorted(plan.left_out),
        "loss": round(float(np.mean(losses[-200:])), 3),
        "processor_minutes": round(sum(os.times()[:2]) / 60, 1),
    }
    return weights, facts


def _all_batches(reports: Sequence[Report], labelled: Sequence[Pair], plan: VerifierPlan) -> Iterator[Any]:
    random, encoder = Random(plan.seed), PairEncoder(load_tokenizer(plan.encoder))
    hidden = listed_words(plan.left_out)
    neighbors = {
        word: tuple(other for other in others if other not in hidden)
        for word, others in find_report_neighbors(reports, plan.threads).items()
        if word not in hidden
    }
    epoch = 0
    while True:
        candidates = build_pairs(reports, "training", plan.seed * 1000 + epoch, neighbors, plan.left_out)
        pairs = [*sample_blocks(candidates, MAX_BLOCKS, _OTHER_BLOCKS, random), *labelled]
        encoded = [encode_pair(encoder, pair, random.choice(PASSAGE_LENGTHS)) for pair in pairs]
        blocks = defaultdict(list)
        for row, pair in enumerate(pairs):
            blocks[pair.kind, pair.block].append(row)
        if not blocks:
            raise ValueError("no report has a statement that its record supports")
        yield from training_batches(encoded, list(blocks.values()), random)
        epoch += 1


def find_report_neighbors(reports: Sequence[Report], threads: int) -> Mapping[str, tuple[str, ...]]:
    """The words of the records that can replace each other."""
    encoder = bundled_encoder()
    texts = [normalize_text(report.record) for report in reports]
    return find_neighbors(texts, lambda words: encoder.encode(words, threads))


def _pace(step: int, share: float) -> float:
    """Share of the learning rate: a warm-up, then a linear decay."""
    return min(1.0, (step + 1) / _WARM_UP_STEPS) * min(1.0, max(0.02, 1 - share) / (1 - _DECAY_FROM))
