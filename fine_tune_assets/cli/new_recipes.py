"""Writes a new recipe from a shipped one: the task from a few questions, the rest with the comments of the shipped file."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import click

from fine_tune_assets.core.bounded_patterns import compile_bounded

DEFAULT_TEMPLATE: Final = "llama3_8b_qlora_24gb"
TEMPLATE_BY_DOMAIN: Final[Mapping[str, str]] = {"law": "law_contracts", "finance": "finance_complaints"}
"""Shipped recipe of a domain; the others start from `DEFAULT_TEMPLATE`."""
_FILE_COMMENT: Final = re.compile(r"\A(?:#.*\n)+")
_SOURCES: Final = compile_bounded(r"^(?:#.*\n)*trusted_sources:.*\n(?:[ \t].*\n)*", re.MULTILINE, repeats=400)
_SOURCES_COMMENT: Final = (
    "# Drafts from these sources count as approved; drafts from any other wait for a reviewer. Anyone who can write to\n"
    "# data/raw_reports can name a source, so restrict write access.\n"
)
_TASKS: Final = re.compile(r"^tasks:.*\n(?:[ \t].*\n|\n(?=[ \t]))*", re.MULTILINE)
_GUIDELINES: Final = re.compile(r"^  guidelines:.*\n(?:    .*\n|\n(?=    ))*", re.MULTILINE)
_GUIDELINES_HEAD: Final = (
    "  guidelines:                  # what reviewers see next to a draft, as Markdown; changes no result\n"
)
_GUIDELINE: Final = (
    "**Correct:** state what a right output is.\n\n**Repair** if something small is missing or wrong.\n\n"
    "**Reject** if the input does not support the output."
)
_SYSTEM_PROMPT: Final = "Use only what the text says."
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(?: [A-Za-z0-9_-]+)*")
_RESERVED: Final = frozenset({"yes", "no", "on", "off", "true", "false", "null", "y", "n"})


@dataclass(frozen=True)
class TaskAnswers:
    name: str
    instruction: str
    inputs: Sequence[str]
    output: str
    labels: Sequence[str]
    source: str


def ask_for_task(
    name: str | None,
    instruction: str | None,
    inputs: Sequence[str],
    output: str | None,
    labels: str | None,
    source: str | None,
) -> TaskAnswers:
    """The answers given as options, and the others asked for on a terminal. Raises click.UsageError without one."""
    return TaskAnswers(
        name or _ask("task", "Name of the task, such as clause_type"),
        instruction or _ask("instruction", "Instruction to the model"),
        inputs or [_ask("input", "Heading of the section that the model reads; for several, repeat --input")],
        output or _ask("output", "Heading of the section that it learns to write"),
        _split(_ask("labels", "Allowed outputs, separated by commas; empty for free text", "", labels)),
        _ask("source", "Source whose texts need no review; empty for none", "", source),
    )


def _ask(option: str, question: str, default: str | None = None, given: str | None = None) -> str:
    if given is not None:
        return given
    if sys.stdin.isatty():
        return str(click.prompt(question, default=default, show_default=False))
    if default is not None:
        return default
    raise click.UsageError(f"--{option} is missing.")


def _split(labels: str) -> list[str]:
    return [label.strip() for label in labels.split(",") if label.strip()]


def write_task(text: str, domain: str, rubric: str, answers: TaskAnswers) -> str:
    """The text of a recipe with another domain and this task as its only one."""
    sources = "trusted_sources: {}  # every draft waits for a reviewer\n"
    if answers.source:
        sources = f"trusted_sources:\n  {_quote(answers.source)}: {_quote(f'Authors of {answers.source}')}\n"
    guideline = "".join(f"      {line}".rstrip() + "\n" for line in _GUIDELINE.splitlines())
    blocks = {
        _SOURCES: _SOURCES_COMMENT + sources,
        _TASKS: _write_tasks(answers) + "\n",
        _GUIDELINES: f"{_GUIDELINES_HEAD}    {_quote(answers.name)}: |\n{guideline}\n",
    }
    for pattern, block in blocks.items():
        text = _replace(pattern, block, text)
    description = f"{answers.instruction.rstrip('.')}, from {', '.join(answers.inputs)}."
    values = {
        "domain": _quote(domain),
        "  rubric": rubric,
        "description": _quote(description),
        "system_prompt": _SYSTEM_PROMPT,
    }
    for key, value in values.items():
        text = set_value(text, key, value)
    return _FILE_COMMENT.sub("", text)


def _write_tasks(answers: TaskAnswers) -> str:
    lines = [
        "tasks:",
        f"  - name: {_quote(answers.name)}",
        f"    instruction: {_quote(answers.instruction)}",
        f"    input_sections: {_quote_all(answers.inputs)}  # headings of the reports; a list in the list names spellings",
        f"    output_section: {_quote(answers.output)}",
        *([f"    labels: {_quote_all(answers.labels)}  # any other output makes no example"] if answers.labels else []),
    ]
    return "\n".join(lines) + "\n"


def _replace(pattern: re.Pattern[str], block: str, text: str) -> str:
    """Replace a block, followed by one blank line if one follows it."""
    found = pattern.search(text)
    assert found is not None
    return (
        text[: found.start()]
        + block.rstrip("\n")
        + "\n"
        + ("\n" if found[0].endswith("\n\n") else "")
        + text[found.end() :]
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


def _quote_all(values: Sequence[str]) -> str:
    return f"[{', '.join(map(_quote, values))}]"
