"""The questions of `fine-tune recipe new` about tasks: which sections the model writes, and from which."""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import click

from fine_tune_assets.approval.recipe_preview import preview_recipe
from fine_tune_assets.approval.section_proposals import FoundSection, ProposedTask, propose_inputs, propose_tasks
from fine_tune_assets.cli.new_recipes import SPELLED, TaskAnswers
from fine_tune_assets.cli.output import show_message
from fine_tune_assets.cli.report_folder import ReportFolder
from fine_tune_assets.recipes.schema import SectionTask

_MAX_TRIED = 5
"""Proposals whose drafts are counted."""


@dataclass(frozen=True)
class WizardOptions:
    """Answers given as options; None: ask."""

    reports: Path | None
    domain: str | None
    outputs: Sequence[str]
    """One task for each; `names`, `instructions` and `labels` have as many or none."""
    inputs: Sequence[str]
    """Headings for a single output; for several, a list for each one or one list for all."""
    names: Sequence[str]
    instructions: Sequence[str]
    labels: Sequence[str]
    source: str | None
    hardware: str | None
    base_model: str | None


def choose_proposal(
    read: ReportFolder, sections: Sequence[FoundSection], section_names: Collection[str]
) -> ProposedTask | None:
    """The best task that makes drafts of these reports; without one, says why by source."""
    for one in propose_tasks(sections)[:_MAX_TRIED]:
        task = SectionTask("proposed", "Write.", input_sections=one.inputs, output_section=one.output)
        if preview_recipe(read.reports, [task], section_names).drafts:
            return one
    by_source = defaultdict[str, set[int]](set)
    for number, report in enumerate(read.reports):
        by_source[report.source].add(number)
    found = "; ".join(
        f"{source}: {len(numbers)} reports, {sum(bool(one.members & numbers) for one in sections)} common sections"
        for source, numbers in sorted(by_source.items())
    )
    show_message(f"No task can be proposed, because no two sections are together in a report ({found}).")
    return None


def ask_tasks(
    options: WizardOptions, sections: Sequence[FoundSection], proposed: ProposedTask | None
) -> list[TaskAnswers]:
    headings = [one.heading for one in sections]
    question = "Sections that the model learns to write, each one a task, separated by commas"
    outputs = [_pick_all(one, headings) for one in options.outputs] or _split(
        ask("output", question, _join([proposed.output]) if proposed else None), headings
    )
    _require_one_each(options, outputs)
    inputs, tasks = _list_given_inputs(options, outputs), list[TaskAnswers]()
    written = [spelling for output in outputs for spelling in _spellings(output)]
    for at, output in enumerate(outputs):
        spelled = _spellings(output)
        slots = propose_inputs(sections, spelled, written)
        if proposed is not None and spelled == proposed.output and len(outputs) == 1:
            slots = proposed.inputs
        read = inputs[at] if inputs else ask("input", f"Sections that the model reads for {output}", _join(slots))
        is_found = spelled[0] in headings
        name = _make_name(spelled[0], {task.name for task in tasks}) if is_found else None
        instruction = f"Write the section {spelled[0]}." if is_found else None
        labels = f"Allowed outputs of {output}, separated by commas; empty for free text"
        tasks.append(
            TaskAnswers(
                name=ask("task", f"Name of the task for {output}", name, _pick_nth(options.names, at)),
                instruction=ask(
                    "instruction", f"Instruction for {output}", instruction, _pick_nth(options.instructions, at)
                ),
                inputs=_split(read, headings) if isinstance(read, str) else [_pick_all(one, headings) for one in read],
                output=output,
                labels=_split(ask("labels", labels, "", _pick_nth(options.labels, at))),
            )
        )
    _require_sound(tasks)
    return tasks


def _require_one_each(options: WizardOptions, outputs: Sequence[str]) -> None:
    given = {"task": options.names, "instruction": options.instructions, "labels": options.labels}
    for option, values in given.items():
        if values and len(values) != len(outputs):
            raise click.UsageError(f"Use --{option} once for each --output, in the same order, or leave it out.")


def _list_given_inputs(options: WizardOptions, outputs: Sequence[str]) -> list[Sequence[str] | str]:
    """The inputs of each output: headings, or a list as on a terminal. Empty if no option names them."""
    if len(outputs) == 1 or not options.inputs:
        return [options.inputs] if options.inputs else []
    if len(options.inputs) not in (1, len(outputs)):
        raise click.UsageError(
            "Use --input once for each --output, with headings separated by commas, or once for all."
        )
    return [*options.inputs] if len(options.inputs) > 1 else [*options.inputs] * len(outputs)


def _require_sound(tasks: Sequence[TaskAnswers]) -> None:
    """Raises UsageError for a name that two tasks share, and for a task that reads what it writes or reads nothing."""
    repeated = sorted(name for name, count in Counter(task.name for task in tasks).items() if count > 1)
    if repeated:
        raise click.UsageError(f"Two tasks are named {', '.join(repeated)}. Give each task its own --task.")
    for task in tasks:
        if not task.inputs:
            raise click.UsageError(f"--input is missing: task {task.name} reads no section.")
        if task.output in task.inputs:
            raise click.UsageError(
                f"Task {task.name} reads {task.output}, the section that it writes. Leave it out of --input."
            )


def _pick_nth(values: Sequence[str], at: int) -> str | None:
    return values[at] if values else None


def _join(sections: Sequence[Sequence[str]]) -> str:
    return ", ".join(SPELLED.join(spellings) for spellings in sections)


def _spellings(answer: str) -> tuple[str, ...]:
    return tuple(answer.split(SPELLED))


def _pick_all(answer: str, headings: Sequence[str]) -> str:
    """Each spelling of a section picked."""
    return SPELLED.join(_pick(one.strip(), headings) for one in answer.split(SPELLED))


def _pick(answer: str, headings: Sequence[str]) -> str:
    """The heading with this number, or the answer itself."""
    return headings[int(answer) - 1] if answer.isdecimal() and 0 < int(answer) <= len(headings) else answer


def ask(option: str, question: str, default: str | None = None, given: str | None = None) -> str:
    if given is not None:
        return given
    if sys.stdin.isatty():
        return str(click.prompt(question, default=default, show_default=bool(default)))
    if default is not None:
        return default
    raise click.UsageError(f"--{option} is missing.")


def _split(text: str, headings: Sequence[str] = ()) -> list[str]:
    """The parts of a list with commas. A heading that contains commas is one part."""
    for heading in sorted((one for one in headings if "," in one), key=len, reverse=True):
        text = text.replace(heading, str(headings.index(heading) + 1))
    return [_pick_all(part.strip(), headings) for part in text.split(",") if part.strip()]


def _make_name(heading: str, taken: Collection[str]) -> str:
    """Small letters and digits; a heading of other letters is numbered."""
    slug = re.sub(r"\W+", "_", heading.lower(), flags=re.ASCII).strip("_") or "task"
    return next(name for name in chain([slug], (f"{slug}_{number}" for number in count(2))) if name not in taken)
