"""Retained abilities: accuracy on general multiple-choice questions, and their export as lm-eval-harness tasks.

The choice with the highest log-probability per character wins, as in acc_norm of lm-eval-harness; without the normalization, the
shortest choice would win most questions. Each harness task has two forms: by likelihood, for servers that return prompt
log-probabilities (vLLM), and as a chat in which the model names the letter of its choice. metric_families.py applies the limits.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.judging.statistics.binary_pairs import BinaryPairs, score_interval
from fine_tune_assets.recipes.schema import GateSettings
from fine_tune_assets.tables.judging_rows import RetainedAbility
from fine_tune_assets.tables.record_classes import table_from_records

Score = Callable[[Sequence[tuple[str, str]]], list[float]]
"""(context, continuation) pairs → sum of log-probabilities of each continuation."""


@dataclass(frozen=True)
class Question:
    query: str
    choices: tuple[str, ...]
    gold: int

    @property
    def character_count(self) -> int:
        return len(self.query) + sum(map(len, self.choices))


def read_questions(path: Path, limit: int) -> list[Question]:
    """Read at most `limit` questions (`query`, `choices`, `gold`) of a JSONL file, sampled independently of the line order."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        questions = [Question(row["query"], tuple(row["choices"]), int(row["gold"])) for row in rows]
    except (OSError, ValueError, KeyError) as error:
        raise GateClosedError(
            f"The questions {path.name} can't be read ({type(error).__name__}). Restore the file."
        ) from error
    return sorted(questions, key=lambda q: (fingerprint_text(q.query), q.choices, q.gold))[:limit]


def answer_questions(questions: Sequence[Question], score: Score) -> list[bool]:
    """Whether each answer is correct. Raises GateClosedError if a score is not finite."""
    pairs = [(q.query, " " + choice.strip()) for q in questions for choice in q.choices]
    found = score(pairs)
    if not all(math.isfinite(value) for value in found):
        raise GateClosedError(
            "The model's log-probabilities are not finite, so general questions can't be scored. Train again with a lower "
            "learning rate."
        )
    scores = iter(found)
    correct = []
    for question in questions:
        per_character = [next(scores) / max(1, len(choice.strip())) for choice in question.choices]
        correct.append(per_character.index(max(per_character)) == question.gold)
    return correct


def ability_budgets(abilities: Iterable[str], gate: GateSettings) -> dict[str, float]:
    """Ability → allowed loss of accuracy. Raises GateClosedError if the recipe names an unknown ability."""
    names = sorted(abilities)
    unknown = sorted(set(gate.ability_budgets) - set(names))
    if unknown:
        raise GateClosedError(
            f"gate.ability_budgets names {', '.join(unknown)}, without questions in data/evaluation/abilities. "
            f"Known: {', '.join(names) or 'none'}."
        )
    return {name: gate.ability_budgets.get(name, gate.maximum_ability_loss) for name in names}


def compare_abilities(
    adapter_id: str, results: Mapping[str, tuple[Sequence[bool], Sequence[bool]]], budgets: Mapping[str, float]
) -> pa.Table:
    """One row per ability. `results`: name → whether base model and candidate answered each question correctly."""
    compared = (_ability_row(adapter_id, name, *pair, budgets[name]) for name, pair in sorted(results.items()))
    return table_from_records(RetainedAbility, compared)


def _ability_row(
    adapter_id: str, name: str, base: Sequence[bool], adapter: Sequence[bool], budget: float
) -> RetainedAbility:
    if not base:
        raise GateClosedError(
            f"data/evaluation/abilities/{name}.jsonl has no questions. Add questions or delete the file."
        )
    differences = [float(a) - float(b) for a, b in zip(adapter, base, strict=True)]
    worse, better = differences.count(-1.0), differences.count(1.0)
    low, high = score_interval(BinaryPairs(len(base), worse, better))
    return RetainedAbility(
        ability=name,
        adapter_id=adapter_id,
        question_count=len(base),
        base_accuracy=sum(base) / len(base),
        adapter_accuracy=sum(adapter) / len(adapter),
        low=low,
        high=high,
        base_only_correct=worse,
        adapter_only_correct=better,
        max_accuracy_drop=budget,
    )


LETTERS = "ABCDEFGH"
_TASK_VERSION = 1
_CHAT_TEMPLATE = (
    "{{query}}\n{% for choice in choices %}{{ '" + LETTERS + "'[loop.index0] }}. {{choice}}\n{% endfor %}"
    "Answer with the letter of the right choice only."
)


def write_tasks(questions: Sequence[Path], folder: Path) -> list[str]:
    """Write two tasks per file of questions and return their names. Raises GateClosedError without files."""
    if not questions:
        raise GateClosedError("data/evaluation/abilities has no questions. Add a .jsonl file.")
    tasks = [task for path in sorted(questions) for task in (_likelihood_task(path), _chat_task(path))]
    for task in tasks:
        write_text(folder / f"{task['task']}.yaml", yaml.safe_dump(task, sort_keys=False))
    return [str(task["task"]) for task in tasks]


def _dataset(path: Path) -> dict[str, Any]:
    files = {"test": str(path.resolve())}
    return {"dataset_path": "json", "dataset_kwargs": {"data_files": files}, "test_split": "test", "num_fewshot": 0}


def _likelihood_task(path: Path) -> dict[str, Any]:
    return {
        "task": f"abilities_{path.stem}",
        **_dataset(path),
        "output_type": "multiple_choice",
        "doc_to_text": "{{query}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "gold",
        "metric_list": [_mean_metric("acc"), _mean_metric("acc_norm")],
        "metadata": {"version": _TASK_VERSION},
    }


def _chat_task(path: Path) -> dict[str, Any]:
    first_letter = {"function": "regex", "regex_pattern": f"\\b([{LETTERS}])\\b"}
    return {
        "task": f"abilities_chat_{path.stem}",
        **_dataset(path),
        "output_type": "generate_until",
        "doc_to_text": _CHAT_TEMPLATE,
        "doc_to_target": "{{ '" + LETTERS + "'[gold] }}",
        "generation_kwargs": {"until": [], "max_gen_toks": 8, "do_sample": False},
        "filter_list": [{"name": "letter", "filter": [first_letter, {"function": "take_first"}]}],
        "metric_list": [_mean_metric("exact_match")],
        "metadata": {"version": _TASK_VERSION},
    }


def _mean_metric(metric: str) -> dict[str, Any]:
    return {"metric": metric, "aggregation": "mean", "higher_is_better": True}
