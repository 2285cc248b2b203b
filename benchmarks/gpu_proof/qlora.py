"""Slice `qlora`: QLoRA and LoRA of an 8B model with the settings of the shipped GPU recipes.

Compares them with the plan, with packing, with a plain TRL script and, if it is installed, with Unsloth.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.gpu_proof.comparison import compare_trainings, is_within_plan, relative_error
from benchmarks.gpu_proof.random_models import TINY, make_model
from benchmarks.gpu_proof.results import Figures, SkipPart, SliceRun
from benchmarks.gpu_proof.training_case import TrainingCase, run_case, train
from benchmarks.gpu_proof.training_rows import made_up_rows
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import TrainingSettings

SHAPE = "Llama-3-8B"
TRAINING = ("trl", "datasets", "peft")
QUANTIZED = (*TRAINING, "bitsandbytes")
_ROWS, _VALIDATION = 64, 4
"""Four steps of sixteen examples."""


def recipe_settings(recipe: str, dry: bool) -> TrainingSettings:
    """The recipe's training, one epoch; small in a dry run."""
    settings = replace(load_recipe(recipe).training, epochs=1, packing="never")
    return (
        replace(settings, batch_size=2, gradient_accumulation=2, max_length=400, rank=4, alpha=8) if dry else settings
    )


def run(proof: SliceRun, scratch: Path) -> None:
    shape = TINY if proof.dry else SHAPE
    base, rows = scratch / shape, scratch / "rows.parquet"
    qlora = recipe_settings("llama3_8b_qlora_24gb", proof.dry)
    lora = recipe_settings("llama3_8b_lora_80gb", proof.dry)

    def make() -> Figures:
        make_model(shape, base)
        count, validation = (8, 2) if proof.dry else (_ROWS, _VALIDATION)
        pq.write_table(made_up_rows(count, validation, qlora.max_length), rows)
        size = sum(path.stat().st_size for path in base.iterdir())
        return {"shape": shape, "bytes": size, "rows": count, "max_length": qlora.max_length}

    if proof.part("model", make, minimum_seconds=60, is_repeated=True) is None:
        return

    def case(
        name: str, settings: TrainingSettings, modules: tuple[str, ...], seconds: float = 45, **changed: Any
    ) -> None:
        job = TrainingCase(str(base), str(rows), asdict(settings), threads=proof.threads, **changed)
        proof.part(name, lambda: measure(job, proof), modules=modules, minimum_seconds=seconds)

    case("qlora", qlora, QUANTIZED, plans_time=True)
    case("qlora_packed", replace(qlora, packing="bfd"), QUANTIZED, plans_time=not proof.dry)
    case("lora", lora, TRAINING, plans_time=not proof.dry)
    case("plain_trl_qlora", qlora, QUANTIZED, script="plain_trl")
    if not proof.dry:  # in a dry run, the same code again
        case("qlora_activations_stored", replace(qlora, gradient_checkpointing=False), QUANTIZED)
        case("lora_packed", replace(lora, packing="bfd"), TRAINING)
    case("qlora_paged_optimizer", qlora, QUANTIZED, optimizer="adamw_torch" if proof.dry else "paged_adamw_32bit")
    case("unsloth_qlora", replace(qlora, engine="unsloth"), (*QUANTIZED, "unsloth"))
    names = [
        "qlora", "qlora_packed", "lora", "plain_trl_qlora", "qlora_activations_stored", "lora_packed",
        "qlora_paged_optimizer", "unsloth_qlora",
    ]  # fmt: skip
    measured = {name: figures for name in names if (figures := proof.figures(name)) is not None}
    proof.part("ratios", lambda: dict(compare_trainings(measured)), minimum_seconds=0, is_repeated=True)


def measure(job: TrainingCase, proof: SliceRun) -> Figures:
    # A dry run saves the 10 seconds in which each process imports its libraries.
    figures = train(job) if proof.dry else run_case(job, max(60.0, proof.seconds_left))
    if not figures.get("fits", True):
        raise SkipPart(f"the plan needs {figures['planned_bytes'] / 1e9:.1f} GB, which the card does not have")
    return add_comparison(figures, proof.dry)


def add_comparison(figures: Mapping[str, Any], dry: bool) -> Figures:
    """With the plan's errors; whether they are within the target is judged on a GPU alone."""
    found = dict(figures)
    for what, planned, measured in (
        ("plan", figures.get("planned_bytes"), figures.get("peak_bytes")),
        ("time", figures.get("planned_seconds"), figures.get("duration_seconds")),
    ):
        found[f"{what}_error"] = relative_error(planned, measured)
        found["is_within_plan" if what == "plan" else "is_time_within_plan"] = (
            None if dry else is_within_plan(planned, measured)
        )
    return found
