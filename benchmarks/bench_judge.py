"""How fast answers are generated and graded, and what a second run costs.

SmolLM2-135M-Instruct and an adapter answer dialogues of MTS-Dialog (`visit_pairs`) as in the graph: one by one with transformers,
in batches, and through vLLM if its environment is installed (`make setup-vllm`). Then the shipped verifier grades all answers,
and a second, unchanged run counts the generations that caching did not avoid.
"""

import argparse
import gzip
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.core.prompts.conversations import build_conversation
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.judging.judges.grades import EvaluationExample

PAIRS = Path(__file__).parent / "visit_pairs" / "visit_pairs.jsonl.gz"
SYSTEM = "You write sections of medical notes from visits."
INSTRUCTION = "Write the section of the note from this part of the visit."
ONE_BY_ONE = "transformers, one by one"
ASKED_FOR = 5.0
"""Times as many answers generated and graded a second as one by one with transformers."""


def examples(count: int) -> list[EvaluationExample]:
    """The first pairs of MTS-Dialog but for the longest."""
    found: list[EvaluationExample] = []
    with gzip.open(PAIRS, "rt", encoding="utf-8") as file:
        for line in file:
            pair = json.loads(line)
            if "mts" in pair["corpus"].lower() and len(pair["input"]) + len(pair["output"]) <= 2500:
                messages = build_conversation(SYSTEM, INSTRUCTION, pair["input"], pair["output"])
                number = len(found)
                row = {
                    "example_id": f"e-{number}",
                    "subject_key": f"p-{number}",
                    "task": "section",
                    "messages": messages,
                }
                found.append(EvaluationExample.from_row(row))
            if len(found) == count:
                return found
    raise SystemExit(f"There are only {len(found)} pairs.")


def adapter_on(base: Path, folder: Path) -> Path:
    """An adapter with random weights: it costs what a trained one costs."""
    import torch
    from peft import LoraConfig, get_peft_model

    from fine_tune_assets.engines.transformers_models import load_model

    torch.manual_seed(7)
    config = LoraConfig(r=16, lora_alpha=1, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    model: Any = get_peft_model(load_model(base), config)
    model.save_pretrained(folder)
    return folder


def contestants(request: dict[str, Any], batch_size: int) -> AbstractContextManager[list[Any]]:
    """Base and candidate as the graph has them; a batch of 0 is vLLM's own."""
    if batch_size:
        from fine_tune_assets.judging.evaluation.local_models import loaded_contestants

        return loaded_contestants({**request, "batch_size": batch_size}, ignore_progress)
    from fine_tune_assets.judging.evaluation.vllm_models import served_contestants

    return served_contestants({**request, "batch_size": 64}, ignore_progress)


def measure(
    request: dict[str, Any], batch_size: int, asked: Sequence[EvaluationExample], cache: Path
) -> dict[str, Any]:
    """Answers generated and graded a second, models already loaded; and the generations of a second run."""
    from fine_tune_assets.judging.evaluation.model_comparison import collect_answers, grade_answers
    from fine_tune_assets.judging.judges.grade_cache import GradeCache
    from fine_tune_assets.judging.judges.rubrics import read_rubric
    from fine_tune_assets.judging.judges.statement_judge import StatementJudge
    from fine_tune_assets.judging.judges.verifier.verifier_reader import open_verifier

    judge = StatementJudge("verifier", open_verifier("", 2), read_rubric("clinical", "clinical"))

    generated: list[int] = []
    with contestants(request, batch_size) as found, closing(GradeCache(cache)) as kept:
        counted = [replace(c, generate=_counting(c.generate, generated)) for c in found]
        longest = max((example.question for example in asked), key=lambda messages: len(messages[-1]["content"]))
        answers, starting, generating = list[Any](), 0.0, 0.0
        for contestant, asking in zip(found, counted, strict=True):  # vLLM on a CPU serves one after the other
            began = time.perf_counter()
            contestant.generate([longest])
            started = time.perf_counter()
            answers += collect_answers(asked, [asking], kept)
            starting, generating = starting + started - began, generating + time.perf_counter() - started
        began = time.perf_counter()
        table = grade_answers(answers, judge, "candidate", ignore_progress)
        seconds, first = generating + time.perf_counter() - began, sum(generated)
        again = time.perf_counter()
        collect_answers(asked, counted, kept)
        seconds_again = time.perf_counter() - again
    return {
        "answers": len(answers),
        "per_second": len(answers) / seconds,
        "generated_per_second": first / generating,
        "start_seconds": starting,
        "mean_grade": sum(table.column("score").to_pylist()) / table.num_rows,
        "generated_again": sum(generated) - first,
        "seconds_again": seconds_again,
    }


def _counting(generate: Any, generated: list[int]) -> Any:
    def counted(conversations: Any) -> Any:
        generated.append(len(conversations))
        return generate(conversations)

    return counted


def show(found: dict[str, dict[str, Any]]) -> None:
    table = Table(title="SmolLM2-135M-Instruct and an adapter on dialogues of MTS-Dialog")
    for name in ("way", "answers graded/s", "times", "generated/s", "start s", "mean grade", "generated again"):
        table.add_column(name)
    base = found[ONE_BY_ONE]["per_second"]
    for way, values in found.items():
        table.add_row(
            way,
            f"{values['per_second']:.2f}",
            f"{values['per_second'] / base:.1f}",
            f"{values['generated_per_second']:.2f}",
            f"{values['start_seconds']:.0f}",
            f"{values['mean_grade']:.2f}",
            str(values["generated_again"]),
        )
    Console(width=110).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=48, help="more are steadier and slower")
    parser.add_argument("--tokens", type=int, default=96, help="of an answer, at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="*", default=[16, 48])
    parser.add_argument(
        "--merged-dtype",
        default="bfloat16",
        help="of what vLLM serves, as the recipe's merged_dtype; AMX knows no float16",
    )
    arguments = parser.parse_args()
    go_offline()
    from fine_tune_assets.training.base_models.registration import import_bundled_model

    settings = load_settings()
    base = import_bundled_model(settings.layout.base_models / "SmolLM2-135M-Instruct")
    ways = {ONE_BY_ONE: 1, **{f"transformers, batches of {size}": size for size in arguments.batches}}
    if settings.vllm_interpreter.is_file():
        ways["vLLM"] = 0
    asked, found = examples(arguments.examples), {}
    with tempfile.TemporaryDirectory(prefix="bench-judge-") as scratch:
        adapter = adapter_on(base, Path(scratch) / "adapter")
        request = {
            "base_folder": str(base),
            "base_fingerprint": fingerprint_folder(base),
            "adapter_folder": str(adapter),
            "adapter_id": fingerprint_folder(adapter),
            "is_quantized": False,
            "merged_dtype": arguments.merged_dtype,
            "threads": arguments.threads,
            "max_new_tokens": arguments.tokens,
            **dict.fromkeys(
                ("incumbent", "incumbent_adapter", "incumbent_weights", "incumbent_weights_fingerprint"), ""
            ),
            "judge": {"run_folder": f"{scratch}/run", "vllm_python": str(settings.vllm_interpreter)},
        }
        for way, size in ways.items():
            found[way] = measure(request, size, asked, Path(scratch) / f"{size}.sqlite")
    show(found)
    times = {way: values["per_second"] / found[ONE_BY_ONE]["per_second"] for way, values in found.items()}
    holds = {
        "speed": max(times.values()) >= ASKED_FOR,
        "again": not any(values["generated_again"] for values in found.values()),
    }
    print(
        json.dumps({"examples": len(asked), "tokens": arguments.tokens, "ways": found, "times": times, "holds": holds})
    )
    missed = [name for name, is_met in holds.items() if not is_met]
    if missed:
        raise SystemExit(f"Not met: {', '.join(missed)}.")


if __name__ == "__main__":
    main()
