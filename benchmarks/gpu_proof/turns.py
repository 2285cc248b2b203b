"""Slice `turns`: training and judging take turns on the card that serves, under load.

Targets: no failed answer, and a 95th percentile of at most 1.5 times the idle one.
"""

import asyncio
import gc
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.gpu_proof.comparison import P95_LIMIT, percentile, ratio
from benchmarks.gpu_proof.qlora import recipe_settings
from benchmarks.gpu_proof.random_models import TINY, make_model
from benchmarks.gpu_proof.results import Figures, SliceRun
from benchmarks.gpu_proof.serving_setup import Serving, open_gateway
from benchmarks.gpu_proof.training_case import TrainingCase, run_case
from benchmarks.gpu_proof.training_rows import made_up_rows
from benchmarks.serving_load import count_ends, steady_load

SHAPE = "Qwen2.5-1.5B"
_CALLERS, _TOKENS = 8, 64
_IDLE_SECONDS = 30.0


def run(proof: SliceRun, scratch: Path) -> None:
    shape = TINY if proof.dry else SHAPE
    base, rows = scratch / shape, scratch / "turns.parquet"
    settings = recipe_settings("llama3_8b_qlora_24gb", proof.dry)
    case = TrainingCase(str(base), str(rows), asdict(settings), threads=proof.threads)

    def make() -> Figures:
        make_model(shape, base)
        pq.write_table(made_up_rows(4 if proof.dry else 160, 2, settings.max_length), rows)
        return {"shape": shape}

    if proof.part("model", make, minimum_seconds=30, is_repeated=True) is None:
        return
    with ExitStack() as stack:
        serving = open_gateway(proof, stack, scratch, base, "start")
        if serving is None:
            return
        wait = 1.0 if proof.dry else _IDLE_SECONDS
        works: dict[str, Callable[[], Any]] = {
            "idle": lambda: time.sleep(wait),
            "training": lambda: run_case(case, max(60.0, proof.seconds_left)),
            "judging": lambda: generate_answers(base, 2 if proof.dry else 64, 4 if proof.dry else 128),
        }
        for name, work in works.items():
            modules = ("bitsandbytes", "trl", "datasets") if name == "training" else ()
            proof.part(
                name,
                partial(_measure_beside, serving, work, proof.dry),
                modules=modules,
                minimum_seconds=60,
            )
    proof.part(
        "targets",
        lambda: compare_turns({name: proof.figures(name) for name in works}, proof.dry),
        minimum_seconds=0,
        is_repeated=True,
    )


def _measure_beside(serving: Serving, work: Callable[[], Any], dry: bool) -> Figures:
    return asyncio.run(measure_beside(serving, work, dry))


async def measure_beside(serving: Serving, work: Callable[[], Any], dry: bool) -> Figures:
    """Times of answers while `work` runs."""
    began = time.monotonic()
    async with steady_load(serving.gateway, 2 if dry else _CALLERS, 4 if dry else _TOKENS) as ends:
        await asyncio.to_thread(work)
    whole = [end for end in ends if end["is_whole"]]
    return {
        **count_ends(ends),
        "seconds": time.monotonic() - began,
        "tokens_per_second": sum(end["words"] for end in whole) / (time.monotonic() - began),
        "p50_seconds": percentile([end["seconds"] for end in whole], 0.5),
        "p95_seconds": percentile([end["seconds"] for end in whole], 0.95),
        "p95_first_seconds": percentile([end["first"] for end in whole], 0.95),
    }


def generate_answers(base: Path, prompts: int, tokens: int) -> None:
    """What the judging step asks of the card: the base model's answers to the test examples."""
    from fine_tune_assets.engines.transformers_models import free_device_memory, generate, load_model, load_tokenizer

    model, tokenizer = load_model(base).eval(), load_tokenizer(base)
    texts = [f"Write a note about visit {number}." for number in range(prompts)]
    generate(model, tokenizer, texts, tokens, batch_size=16)
    del model
    gc.collect()
    free_device_memory()


def compare_turns(parts: dict[str, Figures | None], dry: bool) -> Figures:
    """A part that was not measured leaves its target open."""
    idle = (parts.get("idle") or {}).get("p95_seconds")
    found: Figures = {}
    for name in ("training", "judging"):
        figures = parts.get(name) or {}
        factor = ratio(figures.get("p95_seconds"), idle)
        found[f"{name}_p95_factor"] = factor
        is_met = None if factor is None or dry else factor <= P95_LIMIT and figures["failed_or_cut"] == 0
        found[f"{name}_meets_target"] = is_met
    return found
