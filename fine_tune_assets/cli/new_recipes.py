"""Writes the text of a new recipe: the template with a task, the numbers of its gate, and values for the hardware."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from string import Template
from typing import Final

from fine_tune_assets.cli.judge_subjects import SubjectNeeds
from fine_tune_assets.recipes.error_levels import ALPHA, fewest_subjects
from fine_tune_assets.recipes.schema import GateSettings

TEMPLATE: Final = Path(__file__).parents[1] / "recipes" / "templates" / "new_recipe.yaml"
TASK_TEST_EXAMPLES: Final = 20
"""Test examples of each task: the gate's minimum in the template."""
SPELLED: Final = " | "
"""Between the spellings of a section in an answer."""
_FRACTION, _HIGHEST_FRACTION = 0.28, 0.4
"""Shares of the test split: usually, and with few reports."""
_RESERVE: Final = 1.2
"""Test examples per needed one, as far as the reports allow: some drafts are rejected."""
_VALIDATION_FRACTION: Final = 0.06
"""Of the template."""
_CPU_TOKENS_PER_MINUTE: Final = 3200
"""Training of the bundled model with the adapter of the template on two cores, measured with boat surveys of about 195 tokens."""
_CPU_MINUTES: Final = 10
"""For a training on a processor: two epochs if they fit, else one."""
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(?: [A-Za-z0-9_-]+)*")
_RESERVED: Final = frozenset({"yes", "no", "on", "off", "true", "false", "null", "y", "n"})
_SMALL: Final = {
    "base_model": "  name: SmolLM2-135M-Instruct  # bundled; trains on a processor\n  licence: Apache-2.0",
    "method": "lora",
    "dropout": "0.0",
    "learning_rate": "1.0e-3",
    "batch_size": "4",
    "gradient_accumulation": "1",
    "maximum_merge_kl": "0.002",
    "minimum_merge_top1": "0.995",
    "merged_dtype": "float16",
    "export": "lora_f16",
}
_LARGE: Final = {
    "method": "qlora",
    "dropout": "0.05",
    "learning_rate": "2.0e-4",
    "batch_size": "2",
    "gradient_accumulation": "8",
    "maximum_merge_kl": "0.01",
    "minimum_merge_top1": "0.98",
    "merged_dtype": "bfloat16",
    "export": "q8_0",
}
"""For a base model that is not bundled, on a GPU."""


@dataclass(frozen=True)
class TaskAnswers:
    name: str
    instruction: str
    inputs: Sequence[str]
    """Headings; spellings of one section are separated by `SPELLED`."""
    output: str
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class RecipeAnswers:
    name: str
    domain: str
    rubric: str
    tasks: Sequence[TaskAnswers]
    source: str = ""
    base_folder: str = ""
    """Of an imported model, for a GPU; empty: the bundled model."""
    drafts: int | None = None
    """Different drafts of the task with the fewest; None without reports."""
    draft_tokens: int = 0
    """Of all drafts together; 0 without reports."""
    subjects: int | None = None
    """Subjects whose answers a judge reads."""
    needs: SubjectNeeds | None = None
    has_inline_headings: bool = False
    """Whether reports have text on the line of a heading."""
    other_headings: Sequence[str] = ()
    """Sections of the reports that are inside another one: parts of it, or text that runs on."""
    has_day_first_dates: bool = False
    max_length: int = 1024
    max_new_tokens: int = 256
    is_subject_required: bool = True


@dataclass(frozen=True)
class SplitPlan:
    test_examples: int
    """That the gate needs."""
    test_fraction: float
    minimum_examples: int


def plan_split(
    tasks: int, drafts: int | None, subjects: int | None = None, needs: SubjectNeeds | None = None
) -> SplitPlan:
    """The gate's own minimum decides: its test examples per task, and the fewest subjects that show a gain.

    `drafts`: of one task; a report usually makes a draft of each. `needs`: `subjects` are split so that a judge can be qualified
    and adapted, if there are enough.
    """
    level = min(ALPHA, GateSettings.yearly_false_promotions / GateSettings.verdicts_per_year)  # as in the template
    needed = max(TASK_TEST_EXAMPLES, fewest_subjects(level) or TASK_TEST_EXAMPLES)
    fraction = (
        _FRACTION
        if not drafts
        else min(_HIGHEST_FRACTION, max(_FRACTION, ceil(100 * _RESERVE * needed / drafts) / 100))
    )
    if subjects and needs:
        wanted = min(_HIGHEST_FRACTION, _RESERVE * needs.tested / subjects)
        highest = (subjects - needs.others) / subjects
        is_enough = needs.tested / subjects <= highest
        fraction = round(min(max(fraction, wanted), highest) if is_enough else max(fraction, wanted), 2)
    return SplitPlan(tasks * needed, fraction, tasks * ceil(needed / fraction - 1e-9))


def estimate_epoch_minutes(training_tokens: float) -> int:
    """Of the bundled model on two cores."""
    return ceil(training_tokens / _CPU_TOKENS_PER_MINUTE)


def _write_epochs(answers: RecipeAnswers, split: SplitPlan) -> str:
    """The number, and in the comment what it takes on a processor."""
    memorized = "from three epochs on a small set is memorized"
    if answers.base_folder or not answers.draft_tokens:
        return f"2                    # more learn more; {memorized}"
    minutes = estimate_epoch_minutes(answers.draft_tokens * (1 - split.test_fraction - _VALIDATION_FRACTION))
    if 2 * minutes <= _CPU_MINUTES:
        return f"2                    # about {2 * minutes} minutes on two cores; more learn more; {memorized}"
    return f"1                    # about {minutes} minutes on two cores; 2 learn more and take about {2 * minutes}"


def write_recipe(answers: RecipeAnswers, salt: str) -> str:
    """The text of the recipe."""
    split = plan_split(len(answers.tasks), answers.drafts, answers.subjects, answers.needs)
    base = {"base_model": f"  name: {_quote(Path(answers.base_folder).name)}\n  folder: {_quote(answers.base_folder)}"}
    described = ". ".join(
        f"{task.instruction.rstrip('.')}, from {', '.join(one.split(SPELLED)[0] for one in task.inputs)}"
        for task in answers.tasks
    )
    values: Mapping[str, object] = {
        "name": _quote(answers.name),
        "description": _quote(described + "."),
        "domain": _quote(answers.domain),
        "rubric": answers.rubric,
        "trusted_sources": _write_sources(answers.source),
        "reports_without_subject": "refuse" if answers.is_subject_required else "allow",
        "tasks": "\n".join(_write_task(task, answers) for task in answers.tasks),
        "guidelines": "\n".join(map(_write_guideline, answers.tasks)),
        "test_fraction": f"{split.test_fraction:.2f}",
        "minimum_examples": split.minimum_examples,
        "day_first_dates": str(answers.has_day_first_dates).lower(),
        "gate_examples": TASK_TEST_EXAMPLES,
        "group_examples": TASK_TEST_EXAMPLES,
        "judged_examples": max(60, split.test_examples),
        "salt": _quote(salt),
        "epochs": _write_epochs(answers, split),
        "max_length": answers.max_length,
        "max_new_tokens": answers.max_new_tokens,
        **(_LARGE | base if answers.base_folder else _SMALL),
    }
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(values)


def _write_sources(source: str) -> str:
    if not source:
        return "trusted_sources: {}  # every draft waits for a reviewer"
    return f"trusted_sources:\n  {_quote(source)}: {_quote(f'Authors of {source}')}"


def _write_task(task: TaskAnswers, answers: RecipeAnswers) -> str:
    used = {spelling.upper() for heading in (*task.inputs, task.output) for spelling in heading.split(SPELLED)}
    others = [heading for heading in answers.other_headings if heading.upper() not in used]
    inputs = ", ".join(map(_quote_heading, task.inputs))
    lines = [
        f"  - name: {_quote(task.name)}",
        f"    instruction: {_quote(task.instruction)}",
        f"    input_sections: [{inputs}]  # headings of the reports; a list in the list names spellings",
        f"    output_section: {_quote_heading(task.output)}",
        *(["    inline_headings: true  # as in FINDINGS: clear"] if answers.has_inline_headings else []),
        *(
            [f"    # other_headings: {_quote_all(others)}  # inside other sections; if they are none, let them end it"]
            if others
            else []
        ),
        *([f"    labels: {_quote_all(task.labels)}  # any other output makes no example"] if task.labels else []),
    ]
    return "\n".join(lines)


def _write_guideline(task: TaskAnswers) -> str:
    return (
        f"    {_quote(task.name)}: |\n      **Correct:** state what a right output is.\n\n"
        "      **Repair** if something small is missing or wrong.\n\n"
        "      **Reject** if the input does not support the output."
    )


def set_value(text: str, key: str, value: str) -> str:
    """The text with another value of a key, given with its indentation; its comment is kept.

    >>> set_value("name: a  # the name\\n", "name", "b")
    'name: b  # the name\\n'
    """
    pattern = re.compile(rf"^({key}: )[^#\n]*?( *#.*)?$", re.MULTILINE)
    return pattern.sub(lambda line: f"{line[1]}{value}{line[2] or ''}", text, count=1)


def _quote(value: str) -> str:
    """The value as YAML, which contains JSON."""
    is_plain = _PLAIN.fullmatch(value) is not None and value.lower() not in _RESERVED
    return value if is_plain else json.dumps(value, ensure_ascii=False)


def _quote_heading(answer: str) -> str:
    """A heading, or the list of its spellings."""
    spellings = answer.split(SPELLED)
    return _quote(answer) if len(spellings) == 1 else _quote_all(spellings)


def _quote_all(values: Sequence[str]) -> str:
    return f"[{', '.join(map(_quote, values))}]"
