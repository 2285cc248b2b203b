"""`fine-tune recipe check RECIPE --reports FOLDER`: what a recipe makes of reports, before anything is scrubbed or trained."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fine_tune_assets.approval.recipe_preview import Preview, preview_recipe
from fine_tune_assets.approval.task_kinds import UncheckedDraft
from fine_tune_assets.cli.judge_subjects import describe_subjects
from fine_tune_assets.cli.output import show_json, show_message
from fine_tune_assets.cli.preview_examples import (
    describe_examples,
    print_examples,
    print_shared_ends,
    print_unnamed_headings,
)
from fine_tune_assets.cli.recipe_problems import (
    count_tested,
    describe_partial_patterns,
    describe_run_on_outputs,
    describe_unsupported_outputs,
    find_report_problems,
    format_need,
    list_distinct,
)
from fine_tune_assets.cli.repeated_drafts import describe_repeated_drafts, find_repeated_drafts
from fine_tune_assets.cli.report_folder import ReportFolder, read_report_folder
from fine_tune_assets.core.line_names import name_line
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.recipes.domain_packs import LoadedPack, load_pack
from fine_tune_assets.recipes.gate_reach import list_task_needs
from fine_tune_assets.recipes.schema import ModelTask, Recipe, RowTask

_MAX_SHOWN = 20


def show_preview(
    settings: Settings, recipe: Recipe, folder: Path, problems: Sequence[str], *, has_drafts: bool, is_json: bool
) -> list[str]:
    """Read the reports, and print sections, drafts, tokens, and why a report produces no draft; on request, text of reports.

    Returns `problems` and those that the reports show.
    """
    pack = load_pack(recipe.domain)
    is_required = recipe.reports_without_subject == "refuse"
    read = read_report_folder(settings, folder, recipe.domain, is_subject_required=is_required)
    preview = preview_recipe(read.reports, recipe.tasks, pack.section_names)
    notes = [
        *describe_partial_patterns(recipe, preview),
        *describe_run_on_outputs(preview),
        *describe_unsupported_outputs(recipe, preview),
        *describe_subjects(recipe, preview.drafts, has_own_keys=read.has_own_keys),
        *describe_repeated_drafts(recipe, preview.drafts),
    ]
    every = [*problems, *find_report_problems(recipe, read, preview), *find_repeated_drafts(recipe, preview.drafts)]
    found = {
        "recipe": recipe.name,
        "domain": recipe.domain,
        "reports": preview.reports,
        "subjects": read.subjects,
        "unreadable": read.unreadable,
        "sections": [
            {"heading": name, "reports": count, "share": round(count / preview.reports, 3)}
            for name, count in preview.sections.items()
        ],
        "uncertain_headings": preview.uncertain_headings,
        "tasks": _describe_tasks(settings, recipe, read, preview),
        "reports_without_draft": preview.reports_without_draft,
        "max_length": recipe.training.max_length,
        "minimum_examples": recipe.split.minimum_examples,
        "unnamed_headings": len(preview.unnamed_headings),
        **(describe_examples(preview) if has_drafts else {}),
        "notes": [name_line(note) for note in notes],
        "problems": [name_line(problem) for problem in every],
    }
    if is_json:
        show_json(found)
    else:
        _print(found, pack)
        for note in notes:
            show_message(note)
        if has_drafts:
            print_unnamed_headings(preview)
            print_shared_ends(preview)
            print_examples(preview)
        elif found["reports"]:
            click.echo(
                "See three drafts per task and source, the ends of their sections and all headings with --drafts."
            )
    return every


def _describe_tasks(settings: Settings, recipe: Recipe, read: ReportFolder, preview: Preview) -> list[dict[str, Any]]:
    needs = {need.task: need for need in list_task_needs(recipe)}
    counts, _ = count_tested(recipe, read, list_distinct(preview.drafts))
    is_known = recipe.split.test_from is None  # and the text alone makes the drafts
    tested = {
        task.name: counts[task.name] if is_known and not isinstance(task, ModelTask | RowTask) else None
        for task in recipe.tasks
    }
    about = "" if read.has_own_keys else "about "
    return [
        {
            "task": one.task,
            "drafts": one.drafts,
            "left_out": one.left_out,
            "needed_examples": needs[one.task].examples,
            "needed_test_examples": needs[one.task].test_examples,
            "test_drafts": tested[one.task],
            "need": format_need(needs[one.task], tested[one.task], about),
            **_count_tokens(settings, recipe, preview, one.task),
        }
        for one in preview.tasks
    ]


def _count_tokens(settings: Settings, recipe: Recipe, preview: Preview, task: str) -> dict[str, Any]:
    """Median and largest number of tokens of an example, and how many exceed max_length; None if the model is not imported."""
    lengths = _measure_lengths(settings, recipe, [draft for draft in preview.drafts if draft.task == task])
    if not lengths:
        return {"median_tokens": None, "largest_tokens": None, "too_long": None}
    too_long = sum(length > recipe.training.max_length for length in lengths)
    return {"median_tokens": int(statistics.median(lengths)), "largest_tokens": max(lengths), "too_long": too_long}


def _measure_lengths(settings: Settings, recipe: Recipe, drafts: Sequence[UncheckedDraft]) -> list[int]:
    from fine_tune_assets.cli.plan_command import find_base_folder
    from fine_tune_assets.core.prompts.conversations import build_conversation
    from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer
    from fine_tune_assets.training.base_models.prompt_folders import read_served_template
    from fine_tune_assets.training.supervision.loss_mask import supervise

    folder = find_base_folder(settings, recipe)
    if folder is None:
        return []
    tokenizer = FolderTokenizer(folder, read_served_template(folder, recipe.prompt.template_kwargs))
    conversations = (
        (draft.report_id, build_conversation(recipe.system_prompt, draft.instruction, draft.input, draft.output))
        for draft in drafts
    )
    return [len(supervise(tokenizer, report_id, messages).input_ids) for report_id, messages in conversations]


def _print(found: dict[str, Any], pack: LoadedPack) -> None:
    subject, report = pack.pack.subject.many, pack.pack.report.many
    unreadable = ", ".join(f"{count} {reason}" for reason, count in found["unreadable"].items()) or "none"
    click.echo(f"{found['reports']} {report} of {found['subjects']} {subject}; unreadable: {unreadable}")
    click.echo("\nSections")
    for one in found["sections"][:_MAX_SHOWN]:
        click.echo(f"  {one['share']:>6.1%}  {one['heading']}")
    if len(found["sections"]) > _MAX_SHOWN:
        click.echo(f"  and {len(found['sections']) - _MAX_SHOWN} more")
    if found["uncertain_headings"]:
        click.echo(f"  {found['uncertain_headings']} lines may be headings: drafts that end there are flagged")
    if found["unnamed_headings"]:
        click.echo(f"  {found['unnamed_headings']} headings that no setting names: --drafts lists them")
    click.echo("\nDrafts")
    for one in found["tasks"]:
        click.echo(f"  {one['drafts']:>6}  {one['task']}{_describe_tokens(one, found['max_length'])}")
        click.echo(f"          {one['need']}")
        for reason, count in one["left_out"].items():
            click.echo(f"          no draft: {count}, {reason}")
    click.echo(f"\n{found['reports_without_draft']} {report} make no example.")
    if any(one["drafts"] and one["median_tokens"] is None for one in found["tasks"]):
        show_message("Tokens are not counted: run `fine-tune materialize base_models` first.")


def _describe_tokens(one: dict[str, Any], max_length: int) -> str:
    if one["median_tokens"] is None:
        return ""
    return (
        f": {one['median_tokens']} tokens in the middle, {one['largest_tokens']} at most; {one['too_long']} above max_length "
        f"({max_length})"
    )
