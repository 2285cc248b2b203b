"""Slice `shapes`: the plan's memory against QLoRA of every other published shape. The slice `qlora` has Llama 3 8B."""

import shutil
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.gpu_proof.qlora import QUANTIZED, SHAPE, measure, recipe_settings
from benchmarks.gpu_proof.random_models import TINY, make_model, published_sizes
from benchmarks.gpu_proof.results import Figures, SliceRun
from benchmarks.gpu_proof.training_case import TrainingCase
from benchmarks.gpu_proof.training_rows import made_up_rows

_ROWS = 32


def run(proof: SliceRun, scratch: Path) -> None:
    settings = replace(recipe_settings("llama3_8b_qlora_24gb", proof.dry), packing="bfd")
    rows = scratch / "shape_rows.parquet"
    pq.write_table(made_up_rows(4 if proof.dry else _ROWS, 2, settings.max_length), rows)

    def measure_shape(shape: str) -> Figures:
        folder = make_model(shape, scratch / f"shape-{shape}")
        case = TrainingCase(str(folder), str(rows), asdict(settings), threads=proof.threads)
        try:
            return measure(case, proof)
        finally:
            shutil.rmtree(folder)  # the disk may not hold all of them
            folder.with_name(f"{folder.name}.complete").unlink()

    for shape in [TINY] if proof.dry else [name for name in published_sizes() if name != SHAPE]:
        proof.part(shape, partial(measure_shape, shape), modules=QUANTIZED, minimum_seconds=90)
