"""The general questions as tasks of lm-eval-harness, from local files: its own runner then asks any OpenAI-compatible server.

Owns the two forms of a task. By likelihood, for servers that tell log-probabilities of what they are sent (vLLM); and as a
chat, where the model names the letter of its choice, for those that only answer (the gateway, llama.cpp).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.files import write_text

LETTERS = "ABCDEFGH"
_VERSION = 1
_CHOICES = (
    "{{query}}\n{% for choice in choices %}{{ '" + LETTERS + "'[loop.index0] }}. {{choice}}\n{% endfor %}"
    "Answer with the letter of the right choice only."
)


def write_tasks(questions: Sequence[Path], folder: Path) -> list[str]:
    """Two tasks for each file of questions; returns their names. Raises GateClosedError if there is no file."""
    if not questions:
        raise GateClosedError("There are no questions in data/evaluation/abilities.")
    tasks = [task for path in sorted(questions) for task in (_by_likelihood(path), _as_chat(path))]
    for task in tasks:
        write_text(folder / f"{task['task']}.yaml", yaml.safe_dump(task, sort_keys=False))
    return [str(task["task"]) for task in tasks]


def _source(path: Path) -> dict[str, Any]:
    files = {"test": str(path.resolve())}
    return {"dataset_path": "json", "dataset_kwargs": {"data_files": files}, "test_split": "test", "num_fewshot": 0}


def _by_likelihood(path: Path) -> dict[str, Any]:
    return {
        "task": f"abilities_{path.stem}",
        **_source(path),
        "output_type": "multiple_choice",
        "doc_to_text": "{{query}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "gold",
        "metric_list": [_mean("acc"), _mean("acc_norm")],
        "metadata": {"version": _VERSION},
    }


def _as_chat(path: Path) -> dict[str, Any]:
    first_letter = {"function": "regex", "regex_pattern": f"\\b([{LETTERS}])\\b"}
    return {
        "task": f"abilities_chat_{path.stem}",
        **_source(path),
        "output_type": "generate_until",
        "doc_to_text": _CHOICES,
        "doc_to_target": "{{ '" + LETTERS + "'[gold] }}",
        "generation_kwargs": {"until": [], "max_gen_toks": 8, "do_sample": False},
        "filter_list": [{"name": "letter", "filter": [first_letter, {"function": "take_first"}]}],
        "metric_list": [_mean("exact_match")],
        "metadata": {"version": _VERSION},
    }


def _mean(metric: str) -> dict[str, Any]:
    return {"metric": metric, "aggregation": "mean", "higher_is_better": True}
