"""Slice `turns`: training and judging take turns on the card that serves, under load.

Both run in separate processes, as in the graph, so that they do not slow the program that sends the load. Targets: no failed
answer, and a 95th percentile of at most 1.5 times the idle one.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.gpu_proof.qlora import made_up_rows, measure, recipe_settings
from benchmarks.gpu_proof.random_models import TINY, make_model
from benchmarks.gpu_proof.results import Figures, SliceRun, ratio
from benchmarks.gpu_proof.serving_setup import Serving, open_gateway
from benchmarks.gpu_proof.training_case import TrainingCase, run_module
from benchmarks.serving_load import count_ends, percentile, steady_load
from fine_tune_assets.core.processes.offline import go_offline

SHAPE = "Qwen2.5-1.5B"
_CALLERS, _TOKENS = 8, 64
_IDLE_SECONDS = 30.0
P95_LIMIT = 1.5
"""Maximum factor by which trainings and judging may lengthen the 95th percentile of an answer's time."""


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
        prompts, tokens = (2, 4) if proof.dry else (64, 128)
        judging = {"base": str(base), "prompts": prompts, "tokens": tokens, "threads": proof.threads}
        works: dict[str, Callable[[], Figures | None]] = {
            "idle": lambda: time.sleep(wait),
            "training": lambda: measure(case, proof),
            "judging": lambda: run_module("benchmarks.gpu_proof.turns", judging, max(1.0, proof.seconds_left)),
        }
        for name, work in works.items():
            modules = ("bitsandbytes", "trl", "datasets") if name == "training" else ()
            proof.part(
                name,
                lambda work=work: asyncio.run(measure_beside(serving, work, proof.dry)),
                modules=modules,
                minimum_seconds=60,
            )
    proof.part(
        "targets",
        lambda: compare_turns({name: proof.figures(name) for name in works}, proof.dry),
        minimum_seconds=0,
        is_repeated=True,
    )


async def measure_beside(serving: Serving, work: Callable[[], Figures | None], dry: bool) -> Figures:
    """Times of answers while `work` runs, and its own figures."""
    began = time.monotonic()
    load = (1, 4, 0.2) if dry else (_CALLERS, _TOKENS)  # without pauses, two cores would do little else
    async with steady_load(serving.gateway, *load) as ends:
        figures = await asyncio.to_thread(work)
    seconds = time.monotonic() - began
    whole = [end for end in ends if end["is_whole"]]
    if not whole:
        raise RuntimeError(f"None of {len(ends)} answers was complete.")
    return {
        **count_ends(ends),
        "seconds": seconds,
        "tokens_per_second": sum(end["words"] for end in whole) / seconds,
        "p50_seconds": percentile([end["seconds"] for end in whole], 0.5),
        "p95_seconds": percentile([end["seconds"] for end in whole], 0.95),
        "p95_first_seconds": percentile([end["first"] for end in whole], 0.95),
        "work": figures,
    }


def generate_answers(base: str, prompts: int, tokens: int, threads: int) -> Figures:
    """What the judging step asks of the card: the base model's answers to the test examples."""
    from fine_tune_assets.engines.transformers_models import generate, load_model, load_tokenizer, set_threads

    set_threads(threads)
    model, tokenizer = load_model(Path(base)).eval(), load_tokenizer(Path(base))
    texts = [f"Write a note about visit {number}." for number in range(prompts)]
    began = time.monotonic()
    answers = generate(model, tokenizer, texts, tokens, batch_size=16)
    return {"answers": len(answers), "generation_seconds": time.monotonic() - began}


def compare_turns(parts: dict[str, Figures | None], dry: bool) -> Figures:
    """A part that was not measured leaves its target open."""
    idle = (parts.get("idle") or {}).get("p95_seconds")
    found: Figures = {}
    for name in ("training", "judging"):
        figures = parts.get(name) or {}
        factor = ratio(figures.get("p95_seconds"), idle)
        failed = figures.get("failed_or_cut")
        found[f"{name}_p95_factor"], found[f"{name}_failed"] = factor, failed
        found[f"{name}_meets_target"] = None if factor is None or dry else factor <= P95_LIMIT and failed == 0
    return found


if __name__ == "__main__":
    go_offline()
    print(json.dumps(generate_answers(**json.loads(sys.argv[1]))))
