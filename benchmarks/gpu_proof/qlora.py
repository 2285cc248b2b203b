"""Slice `qlora`: QLoRA and LoRA of an 8B model with the settings of the shipped GPU recipes.

Compares them with the plan, with packing, with a plain TRL script and, if it is installed, with Unsloth. Slice `shapes`: QLoRA of
every other published shape against the plan.
"""

import random
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.gpu_proof.random_models import TINY, make_model, published_sizes
from benchmarks.gpu_proof.results import Figures, SliceRun, ratio
from benchmarks.gpu_proof.training_case import TrainingCase, run_case
from benchmarks.training_baseline import INSTRUCTION, SYSTEM
from fine_tune_assets.core.prompts.conversations import build_conversation
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import TrainingSettings

SHAPE = "Llama-3-8B"
TRAINING = ("trl", "datasets", "peft")
QUANTIZED = (*TRAINING, "bitsandbytes")
TOLERANCE = 0.05
"""Relative error of a plan."""
_ROWS, _VALIDATION = 64, 4
"""Four steps of sixteen examples."""
_SHAPE_ROWS = 32
_SPREAD = 0.6
"""Standard deviation of the logarithm of the lengths: most rows are short, few reach the limit, as in real sets."""
_MARGIN = 60
"""Tokens of the template's marks and of the longest instruction part that the estimate leaves out."""


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

    case("qlora", qlora, QUANTIZED)
    case("qlora_packed", replace(qlora, packing="bfd"), QUANTIZED)
    case("lora", lora, TRAINING)
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


def run_shapes(proof: SliceRun, scratch: Path) -> None:
    settings = replace(recipe_settings("llama3_8b_qlora_24gb", proof.dry), packing="bfd")
    rows = scratch / "shape_rows.parquet"
    pq.write_table(made_up_rows(4 if proof.dry else _SHAPE_ROWS, 2, settings.max_length), rows)

    def measure_shape(shape: str) -> Figures:
        folder = make_model(shape, scratch / f"shape-{shape}")
        try:
            return measure(TrainingCase(str(folder), str(rows), asdict(settings), threads=proof.threads), proof)
        finally:
            shutil.rmtree(folder)  # the disk may not hold all of them
            folder.with_name(f"{folder.name}.complete").unlink()

    for shape in [TINY] if proof.dry else [name for name in published_sizes() if name != SHAPE]:
        proof.part(shape, partial(measure_shape, shape), modules=QUANTIZED, minimum_seconds=90)


def measure(job: TrainingCase, proof: SliceRun) -> Figures:
    return add_comparison(run_case(job, None if proof.dry else max(1.0, proof.seconds_left)), proof.dry)


def add_comparison(figures: Mapping[str, Any], dry: bool) -> Figures:
    """With the plan's error; whether it is within the target is judged on a GPU alone."""
    planned, measured = figures.get("planned_bytes"), figures.get("peak_bytes")
    if not planned or measured is None:
        return {**figures, "plan_error": None, "is_within_plan": None}
    is_within = None if dry else abs(measured - planned) <= TOLERANCE * planned
    return {**figures, "plan_error": measured / planned - 1, "is_within_plan": is_within}


def compare_trainings(cases: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """Ratios between the trainings of the slice `qlora`, whose parts are the keys."""

    def compare(one: str, other: str, figure: str) -> float | None:
        return ratio(*(cases.get(name, {}).get(figure) for name in (one, other)))

    speed, memory = "tokens_per_second", "peak_bytes"
    return {
        "packed_to_padded_speed": compare("qlora_packed", "qlora", speed),
        "checkpointed_to_stored_memory": compare("qlora", "qlora_activations_stored", memory),
        "checkpointed_to_stored_speed": compare("qlora", "qlora_activations_stored", speed),
        "paged_to_plain_memory": compare("qlora_paged_optimizer", "qlora", memory),
        "product_to_plain_trl_speed": compare("qlora_packed", "plain_trl_qlora", speed),
        "product_to_plain_trl_memory": compare("qlora_packed", "plain_trl_qlora", memory),
        "unsloth_to_product_speed": compare("unsloth_qlora", "qlora", speed),
    }


def made_up_rows(train: int, validation: int, longest: int, seed: int = 1) -> pa.Table:
    """Conversations of at most `longest` byte tokens, one of them close to it; a quarter of each is the answer."""
    lengths = random.Random(seed)
    fixed = len(SYSTEM) + len(INSTRUCTION) + _MARGIN
    rows = []
    for number in range(train + validation):
        wanted = longest if number == 0 else min(longest, int(longest / 3 * lengths.lognormvariate(0, _SPREAD)))
        room = max(40, wanted - fixed)
        messages = build_conversation(SYSTEM, INSTRUCTION, _words(number, room * 3 // 4), _words(number + 7, room // 4))
        split = "train" if number < train else "validation"
        rows.append({"example_id": f"e-{number}", "split": split, "messages": messages})
    return pa.Table.from_pylist(rows)


def _words(seed: int, characters: int) -> str:
    letters = random.Random(seed)
    text = ""
    while len(text) < characters:
        text += "".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=letters.randint(2, 9))) + " "
    return text[: max(1, characters - 1)].strip() or "a"
