"""QLoRA with the adapter in 16 bits, in 16 bits with AdamW's moments in 32 bits, and in 32 bits: what rounding loses.

    bench_qlora_precision.py [--steps 8]

The same rows, initial weights and steps for each; pairs of dialogue and note from MTS-Dialog, SmolLM2-135M-Instruct in NF4.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.bench_train import LONGEST_PAIR, SETTINGS, validation_loss
from benchmarks.training_baseline import visit_pairs
from fine_tune_assets.core.processes.offline import go_offline

RATES = (5e-5, 1e-5, 2e-4)
WAYS = ("16 bits, as TRL trains", "16 bits, moments in 32 bits", "32 bits")
ROWS, VALIDATION = 4, 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8)
    given = parser.parse_args()
    go_offline()
    from fine_tune_assets.training.base_models.registration import import_bundled_model

    with tempfile.TemporaryDirectory() as folder:
        base = import_bundled_model(Path(folder) / "base")
        table = visit_pairs({"train": ROWS * given.steps, "validation": VALIDATION}, LONGEST_PAIR)
        found = []
        for rate in RATES:
            for way in WAYS:
                found.append({"learning_rate": rate, "adapter": way, **train(base, table, way, rate, given.steps)})
                print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    show(found)
    print(json.dumps({"steps": given.steps, "rows_per_step": ROWS, "results": found}))


def train(base: Path, table: Any, way: str, rate: float, steps: int) -> dict[str, Any]:
    import torch

    from benchmarks.bench_train import _rows
    from fine_tune_assets.training.lora.peft_adapters import load_trainable_model

    torch.manual_seed(1)
    model = load_trainable_model(base, replace(SETTINGS, method="qlora"))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if way != "32 bits":
        for parameter in trained:
            parameter.data = parameter.data.to(torch.bfloat16)
    optimizer = _optimizer(trained, way, rate)
    before = validation_loss(model, table, base, SETTINGS.max_length)
    rows, unchanged = _rows(table, base, "train", SETTINGS.max_length), []
    model.train()
    for step in range(steps):
        for row in rows[step * ROWS : (step + 1) * ROWS]:
            ids, labels = torch.tensor([row.input_ids]), torch.tensor([row.labels])
            (model(input_ids=ids, labels=labels).loss / ROWS).backward()
        kept = [parameter.detach().clone() for parameter in trained]
        optimizer.step()
        unchanged.append(_share_unchanged(trained, kept))
        optimizer.zero_grad()
    after = validation_loss(model, table, base, SETTINGS.max_length)
    return {"loss_before": before, "loss_after": after, "unchanged_in_a_step": sum(unchanged) / steps}


def _optimizer(trained: list[Any], way: str, rate: float) -> Any:
    """With the options of the trainer."""
    import bitsandbytes
    import torch

    kind = bitsandbytes.optim.AdamW32bit if "moments" in way else torch.optim.AdamW
    return kind(trained, lr=rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)


def _share_unchanged(trained: list[Any], kept: list[Any]) -> float:
    """Share of the weights with a gradient that are the same after the step."""
    same = sum(int(((new == old) & (new.grad != 0)).sum()) for new, old in zip(trained, kept, strict=True))
    return same / sum(int((parameter.grad != 0).sum()) for parameter in trained)


def show(found: list[dict[str, Any]]) -> None:
    table = Table(title="QLoRA, SmolLM2-135M-Instruct, equal steps")
    for name in ("learning rate", "adapter", "weights unchanged by a step", "held-out loss before", "after", "gain"):
        table.add_column(name)
    for row in found:
        gain = row["loss_before"] - row["loss_after"]
        table.add_row(
            f"{row['learning_rate']:g}", row["adapter"], f"{row['unchanged_in_a_step']:.1%}", f"{row['loss_before']:.4f}",
            f"{row['loss_after']:.4f}", f"{gain:.4f}",
        )  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
