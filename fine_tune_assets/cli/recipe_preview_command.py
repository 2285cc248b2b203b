"""`fine-tune recipe check RECIPE --reports FOLDER`: what a recipe makes of reports, before anything is scrubbed or trained."""

import secrets
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fine_tune_assets.approval.recipe_preview import Preview, preview_recipe
from fine_tune_assets.approval.task_kinds import ReportText, UncheckedDraft
from fine_tune_assets.cli.output import show_json, show_message
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.keys import KEY_BYTES
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.recipes.domain_packs import LoadedPack, load_pack
from fine_tune_assets.recipes.schema import Recipe
from fine_tune_assets.tables.record_classes import iter_records

_MAX_SHOWN = 20


def show_preview(settings: Settings, recipe: Recipe, folder: Path, *, is_json: bool) -> None:
    """Read the reports, and print sections, drafts, tokens, and why a report makes no draft."""
    pack = load_pack(recipe.domain)
    reports, unreadable = _read_reports(folder, recipe)
    preview = preview_recipe(reports, recipe.tasks, pack.section_names)
    found = {
        "recipe": recipe.name,
        "domain": recipe.domain,
        "reports": preview.reports,
        "subjects": len({report.subject_key for report in reports}),
        "unreadable": dict(unreadable),
        "sections": [
            {"heading": name, "reports": count, "share": round(count / preview.reports, 3)}
            for name, count in preview.sections.items()
        ],
        "uncertain_headings": preview.uncertain_headings,
        "tasks": [
            {
                "task": one.task,
                "drafts": one.drafts,
                "left_out": one.left_out,
                **_count_tokens(settings, recipe, preview, one.task),
            }
            for one in preview.tasks
        ],
        "reports_without_draft": preview.reports_without_draft,
        "max_length": recipe.training.max_length,
        "minimum_examples": recipe.split.minimum_examples,
    }
    if is_json:
        show_json(found)
    else:
        _print(found, pack)


def _read_reports(folder: Path, recipe: Recipe) -> tuple[list[ReportText], Counter[str]]:
    """The reports of a batch folder, or of every batch folder in a folder, and the unreadable ones by reason."""
    from fine_tune_assets.reports.archives import ReadLimits
    from fine_tune_assets.reports.batch_reader import read_batch
    from fine_tune_assets.reports.batches import BATCH_FILE

    inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    batches = [folder] if (folder / BATCH_FILE).is_file() or not inner else inner
    key, is_required = secrets.token_bytes(KEY_BYTES), recipe.reports_without_subject == "refuse"
    reports: list[ReportText] = []
    unreadable: Counter[str] = Counter()
    for batch in batches:
        result = read_batch(batch, batch.name, key, ReadLimits(), is_subject_required=is_required)
        reports += iter_records(ReportText, result.reports.select(ReportText.SCHEMA.names))
        unreadable.update(result.unreadable.column("reason").to_pylist())
    if not reports:
        raise FineTuneError(
            f"{folder} holds no readable report. Run `fine-tune batch check {folder}`, which lists the reasons."
        )
    return reports, unreadable


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
        click.echo(f"  {found['uncertain_headings']} lines may be headings: add them to other_headings of a task")
    click.echo("\nDrafts")
    for one in found["tasks"]:
        click.echo(f"  {one['drafts']:>6}  {one['task']}{_describe_tokens(one, found['max_length'])}")
        for reason, count in one["left_out"].items():
            click.echo(f"          no draft: {count}, {reason}")
    click.echo(f"\n{found['reports_without_draft']} {report} make no example.")
    drafts = sum(one["drafts"] for one in found["tasks"])
    if drafts < found["minimum_examples"]:
        click.echo(f"{drafts} drafts are below split.minimum_examples ({found['minimum_examples']}).")
    if any(one["drafts"] and one["median_tokens"] is None for one in found["tasks"]):
        show_message("Tokens are not counted: run `fine-tune materialize base_models` first.")


def _describe_tokens(one: dict[str, Any], max_length: int) -> str:
    if one["median_tokens"] is None:
        return ""
    return (
        f": {one['median_tokens']} tokens in the middle, {one['largest_tokens']} at most; {one['too_long']} above max_length "
        f"({max_length})"
    )
