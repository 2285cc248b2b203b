"""Which base reads statements best for the same training time: the sentence encoder, or SmolLM2-135M with a LoRA adapter.

    python benchmarks/bench_verifier_bases.py [--minutes 20] [--blocks 8]

Each base trains on the same balanced pairs with one thread, for the same processor minutes, and is measured on the same unseen
pairs. Both read the lines of the record that the verifier would choose. A table, then one JSON line.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from fine_tune_assets.core.paths import PROJECT_DIR, Layout
from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.core.progress import Progress, ignore_progress
from fine_tune_assets.judging.judges.grades import SUPPORTS
from fine_tune_assets.judging.judges.statement_readers import Claim, Reading
from fine_tune_assets.judging.judges.verifier.normalized_text import normalize_text
from fine_tune_assets.judging.judges.verifier.record_passages import rank_lines, split_lines
from fine_tune_assets.judging.judges.verifier.training_data.balanced_pairs import Pair, build_pairs, sample_blocks
from fine_tune_assets.judging.judges.verifier.verifier_files import write_verifier
from fine_tune_assets.judging.judges.verifier.verifier_measurement import measure_kinds
from fine_tune_assets.judging.judges.verifier.verifier_reader import VerifierReader
from fine_tune_assets.judging.judges.verifier.verifier_sources import Sources, gather_sources
from fine_tune_assets.judging.judges.verifier.verifier_training import (
    MAX_BLOCKS,
    VerifierPlan,
    find_report_neighbors,
    train_verifier,
)
from fine_tune_assets.training.base_models.registration import import_bundled_model

REPORTS: Final = PROJECT_DIR / "data" / "verifier_training"
SEED: Final = 11
PASSAGE_WORDS: Final = 45
"""About as much of the record as the encoder reads: 64 word pieces."""
BATCH: Final = 16
OTHER_BLOCKS: Final = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20, help="processor minutes of each training")
    parser.add_argument("--blocks", type=int, default=8, help="measured blocks of each kind of error")
    given = parser.parse_args()
    go_offline()
    torch.set_num_threads(1)
    sources = gather_sources(
        Layout(PROJECT_DIR / "data"),
        [REPORTS / "mts_dialog.jsonl.gz"],
        test_files=[REPORTS / "mts_dialog_unseen.jsonl.gz"],
    )
    made = build_pairs(sources.measured, "measurement", 77, find_report_neighbors(sources.measured, 1))
    measured = sample_blocks(made, {}, given.blocks, Random(77))
    rows = [train(sources, measured, given.minutes * 60) for train in (_with_encoder, _with_smollm2)]
    _show(rows)
    print(json.dumps({"minutes": given.minutes, "rows": rows}))


def _with_encoder(sources: Sources, measured: Sequence[Pair], seconds: float) -> dict[str, Any]:
    """The shipped kind of verifier. Its rate decays over the pairs, so that their number is estimated from a short run."""
    probe = 3000
    start = time.process_time()
    train_verifier(sources.training, [], VerifierPlan(probe, SEED, threads=1), ignore_progress)
    first = time.process_time() - start
    start = time.process_time()
    train_verifier(sources.training, [], VerifierPlan(2 * probe, SEED, threads=1), ignore_progress)
    rate = probe / (time.process_time() - start - first)
    pairs = int(rate * seconds)
    weights, facts = train_verifier(sources.training, [], VerifierPlan(pairs, SEED, threads=1), ignore_progress)
    with tempfile.TemporaryDirectory() as scratch:
        write_verifier(Path(scratch), weights, {}, {})
        return _figures("all-MiniLM-L6-v2", facts["pairs"], VerifierReader(Path(scratch), 1), measured)


def _with_smollm2(sources: Sources, measured: Sequence[Pair], seconds: float) -> dict[str, Any]:
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(SEED)
    with tempfile.TemporaryDirectory() as scratch:
        folder = import_bundled_model(Path(scratch) / "SmolLM2-135M-Instruct")
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.pad_token, tokenizer.padding_side = tokenizer.eos_token, "right"
        base = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=len(SUPPORTS), dtype=torch.float32, pad_token_id=tokenizer.pad_token_id
        )
    lora = LoraConfig(TaskType.SEQ_CLS, r=16, lora_alpha=32, target_modules="all-linear", modules_to_save=["score"])
    model = get_peft_model(base, lora)
    reader = _CausalReader(model, tokenizer)
    optimizer = torch.optim.AdamW((one for one in model.parameters() if one.requires_grad), lr=5e-4)
    batches, seen = _batches(_endless_pairs(sources), BATCH), 0
    next(batches)  # builds the pairs of an epoch, which is not training
    start = time.process_time()
    model.train()
    for pairs in batches:
        share = (time.process_time() - start) / seconds
        if share >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = 5e-4 * min(1.0, (seen / BATCH + 1) / 20) * max(0.05, 1 - share)
        with torch.autocast("cpu", torch.bfloat16):
            logits = reader.logits([Claim(pair.record, pair.statement) for pair in pairs])
        labels = torch.tensor([SUPPORTS.index(pair.label) for pair in pairs])
        nn.functional.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seen += len(pairs)
    model.eval()
    return _figures("SmolLM2-135M-Instruct, LoRA of rank 16", seen, reader, measured)


def _endless_pairs(sources: Sources) -> Iterator[Pair]:
    """Whole blocks in random order, so that a batch holds each statement with both labels."""
    neighbors = find_report_neighbors(sources.training, 1)
    random = Random(SEED)
    for epoch in count():
        made = build_pairs(sources.training, "training", SEED * 1000 + epoch, neighbors)
        chosen = sample_blocks(made, MAX_BLOCKS, OTHER_BLOCKS, random)
        blocks: dict[tuple[str, int], list[Pair]] = {}
        for pair in chosen:
            blocks.setdefault((pair.kind, pair.block), []).append(pair)
        for block in random.sample(list(blocks.values()), len(blocks)):
            yield from block


def _batches(items: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    left = iter(items)
    while batch := tuple(islice(left, size)):
        yield batch


@dataclass
class _CausalReader:
    """A classifier on the last token of record and statement."""

    model: Any
    tokenizer: Any

    @property
    def identity(self) -> dict[str, Any]:
        return {"kind": "benchmark"}

    def for_repeat(self) -> "_CausalReader":
        return self

    def logits(self, claims: Sequence[Claim]) -> torch.Tensor:
        texts = [f"Record:\n{_passage(one)}\nStatement: {normalize_text(one.statement)}\nTrue?" for one in claims]
        return self.model(**self.tokenizer(texts, return_tensors="pt", padding=True)).logits  # type: ignore[no-any-return]

    def read(self, claims: Sequence[Claim], progress: Progress) -> list[Reading]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            found = [row for some in _batches(claims, 32) for row in self.logits(some).float().softmax(-1).tolist()]
        progress(len(claims), len(claims), "statements")
        return [Reading(**dict(zip(("supported", "contradicted", "not_mentioned"), row, strict=True))) for row in found]


def _passage(claim: Claim) -> str:
    lines = split_lines(normalize_text(claim.record))
    chosen, words = set[int](), 0
    for row, _ in rank_lines(claim.statement, lines):
        size = len(lines[row].split())
        if words + size <= PASSAGE_WORDS or not chosen:
            chosen.add(row)
            words += size
    return "\n".join(lines[row] for row in sorted(chosen))


def _figures(base: str, pairs: int, reader: Any, measured: Sequence[Pair]) -> dict[str, Any]:
    claims = [Claim(pair.record, pair.statement) for pair in measured[:200]]
    start = time.perf_counter()
    reader.read(claims, ignore_progress)
    speed = len(claims) / (time.perf_counter() - start)
    (overall,) = [one for one in measure_kinds(reader, measured) if one.kind == "all"]
    return {
        "base": base,
        "pairs trained": pairs,
        "measured pairs": len(measured),
        "AUROC, all kinds": overall.auroc,
        "without the record": overall.blind_auroc,
        "statements per second, 1 thread": round(speed, 1),
    }


def _show(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title="Bases of the verifier, equal processor time")
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(stderr=True, width=160).print(table)


if __name__ == "__main__":
    main()
