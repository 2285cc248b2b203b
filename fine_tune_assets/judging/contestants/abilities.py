"""What the candidate still knows: general multiple-choice questions, and the same ones as tasks of lm-eval-harness.

Reads the questions, chooses a seeded sample, and compares in pairs; which loss is too much, families.py says. The choice with the
highest sum of log-probabilities per character wins, as in acc_norm of lm-eval-harness: without that, the shortest one would win
most questions. For the harness a task has two forms: by likelihood, for servers that return log-probabilities of what they are
sent (vLLM), and as a chat in which the model names the letter of its choice.
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
from fine_tune_assets.judging.statistics.binary_pairs import BinaryPairs, interval
from fine_tune_assets.recipes.schema import GateSettings
from fine_tune_assets.tables.judging import RetainedAbility
from fine_tune_assets.tables.records import table_from

Score = Callable[[Sequence[tuple[str, str]]], list[float]]
"""(context, continuation) pairs → sum of log-probabilities of each continuation."""


@dataclass(frozen=True)
class Question:
    query: str
    choices: tuple[str, ...]
    gold: int

    @property
    def characters(self) -> int:
        return len(self.query) + sum(map(len, self.choices))


def read_questions(path: Path, limit: int) -> list[Question]:
    """At most `limit` questions of a JSONL file with `query`, `choices` and `gold`, always the same ones in whatever order."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        questions = [Question(row["query"], tuple(row["choices"]), int(row["gold"])) for row in rows]
    except (OSError, ValueError, KeyError) as error:
        raise GateClosedError(f"The questions {path.name} can't be read ({type(error).__name__}).") from error
    return sorted(questions, key=lambda q: (fingerprint_text(q.query), q.choices, q.gold))[:limit]


def answer_questions(questions: Sequence[Question], score: Score) -> list[bool]:
    """Whether each question is answered rightly. Raises GateClosedError if a score is no number: then nothing was answered."""
    pairs = [(q.query, " " + choice.strip()) for q in questions for choice in q.choices]
    found = score(pairs)
    if not all(math.isfinite(value) for value in found):
        raise GateClosedError(
            "The model's log-probabilities are no numbers: its answers to general questions mean nothing."
        )
    scores = iter(found)
    right = []
    for question in questions:
        per_character = [next(scores) / max(1, len(choice.strip())) for choice in question.choices]
        right.append(per_character.index(max(per_character)) == question.gold)
    return right


def ability_budgets(abilities: Iterable[str], gate: GateSettings) -> dict[str, float]:
    """Ability → accuracy that may be lost on it. Raises GateClosedError if the recipe has one for what is not measured."""
    names = sorted(abilities)
    unknown = sorted(set(gate.ability_budgets) - set(names))
    if unknown:
        raise GateClosedError(
            f"gate.ability_budgets names {', '.join(unknown)}: there are no such questions in data/evaluation/abilities. "
            f"Measured are {', '.join(names) or 'none'}."
        )
    return {name: gate.ability_budgets.get(name, gate.maximum_ability_loss) for name in names}


def compare_abilities(
    adapter_id: str, results: Mapping[str, tuple[Sequence[bool], Sequence[bool]]], budgets: Mapping[str, float]
) -> pa.Table:
    """One row for each ability: `results` maps its name to the base model's and the candidate's right answers."""
    compared = (_compared(adapter_id, name, *pair, budgets[name]) for name, pair in sorted(results.items()))
    return table_from(RetainedAbility, compared)


def _compared(
    adapter_id: str, name: str, base: Sequence[bool], adapter: Sequence[bool], budget: float
) -> RetainedAbility:
    if not base:
        raise GateClosedError(f"There are no questions for {name}: put some in, or take its file away.")
    differences = [float(a) - float(b) for a, b in zip(adapter, base, strict=True)]
    worse, better = differences.count(-1.0), differences.count(1.0)
    low, high = interval(BinaryPairs(len(base), worse, better))
    return RetainedAbility(
        ability=name,
        adapter_id=adapter_id,
        items=len(base),
        base_accuracy=sum(base) / len(base),
        adapter_accuracy=sum(adapter) / len(adapter),
        low=low,
        high=high,
        base_right_only=worse,
        adapter_right_only=better,
        budget=budget,
    )


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
