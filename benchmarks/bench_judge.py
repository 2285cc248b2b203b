"""How fast answers are generated and graded, and what a second run costs.

Dialogues of MTS-Dialog (`visit_pairs`), SmolLM2-135M-Instruct: one by one with transformers; in batches, as the graph does; with
vLLM, where `make compat-proof` has made its environment. Then the graph's own way, answers and grades together; and the same once
more with nothing changed, where every generation is counted.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fine_tune_assets.core.chat import conversation, render
from fine_tune_assets.core.progress import silent
from fine_tune_assets.core.settings import go_offline, load_settings

PAIRS = Path(__file__).parent / "visit_pairs" / "visit_pairs.jsonl.gz"
SYSTEM = "You write sections of medical notes from visits."
INSTRUCTION = "Write the section of the note from this part of the visit."
ASKED_FOR = 5.0
"""Times as many answers a second as one by one with transformers."""


def examples(count: int) -> list[dict[str, Any]]:
    """The first pairs of MTS-Dialog that are not longer than most."""
    found: list[dict[str, Any]] = []
    with gzip.open(PAIRS, "rt", encoding="utf-8") as file:
        for line in file:
            pair = json.loads(line)
            if "mts" in pair["corpus"].lower() and len(pair["input"]) + len(pair["output"]) <= 2500:
                messages = conversation(SYSTEM, INSTRUCTION, pair["input"], pair["output"])
                number = len(found)
                found.append(
                    {"example_id": f"e-{number}", "patient_key": f"p-{number}", "task": "section", "messages": messages}
                )
            if len(found) == count:
                break
    return found


def by_transformers(
    model: Any, tokenizer: Any, conversations: Any, tokens: int, batch_size: int
) -> list[Any]:
    from fine_tune_assets.engines.transformers_models import generate

    prompts = [render(tokenizer, messages, add_generation_prompt=True) for messages in conversations]
    return generate(model, tokenizer, prompts, tokens, batch_size)


def timed(generate: Callable[[], list[Any]]) -> tuple[float, list[Any]]:
    started = time.perf_counter()
    answers = generate()
    return time.perf_counter() - started, answers


def measure(base: Path, count: int, tokens: int, threads: int, sizes: list[int]) -> dict[str, Any]:
    """Way → answers a second. The first answer of each way is not counted: it warms up."""
    from fine_tune_assets.engines.transformers_models import load_model, load_tokenizer, use_threads

    use_threads(threads)
    model, tokenizer = load_model(base).eval(), load_tokenizer(base)
    asked = [example["messages"][:-1] for example in examples(count)]
    found: dict[str, Any] = {}
    for size in [1, *sizes]:
        by_transformers(model, tokenizer, asked[:size], 4, size)
        seconds, answers = timed(partial(by_transformers, model, tokenizer, asked, tokens, size))
        way = "transformers, one by one" if size == 1 else f"transformers, batches of {size}"
        found[way] = {"answers_per_second": count / seconds, "finished": sum(a.is_finished for a in answers)}
    return found
