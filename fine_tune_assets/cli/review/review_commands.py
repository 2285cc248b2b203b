"""`fine-tune review`: list drafts, show one, and measure agreement between reviewers. People decide on the desk."""

from contextlib import closing

import click

from fine_tune_assets.approval.review_history import DecisionEntry, is_blind_review, list_approved_outputs, list_history
from fine_tune_assets.approval.reviewer_agreement import (
    Agreement,
    count_stored_expert_examples,
    describe_floor,
    evaluate_agreement,
    read_agreement,
)
from fine_tune_assets.cli.output import json_option, show_json, show_rows
from fine_tune_assets.cli.review.review_queue import (
    export_decisions,
    export_label_studio,
    import_file,
    import_label_studio,
    open_desk,
    proposals,
    report_withheld,
    withdraw_command,
)
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.reviews.review_items import count_queue, list_items
from fine_tune_assets.ledger.reviews.review_rows import OPEN, STATES, QueueFilter
from fine_tune_assets.lineage.final_text_findings import ScannedText, match_scanned_text, read_newest_findings
from fine_tune_assets.recipes.loader import load_recipe

_DEFAULT_LIMIT = 50
NO_DRAFTS = "The queue has no drafts now: `fine-tune materialize` builds them, and recorded decisions are kept."


@click.group()
def review() -> None:
    """List drafts, and exchange decisions."""


@review.command("list")
@click.option("--task", help="Only this task.")
@click.option("--source", help="Only this source.")
@click.option("--flag", help="Only with this kind of flag.")
@click.option(
    "--state", type=click.Choice([OPEN, *STATES]), default=OPEN, show_default=True, help="Only in this state."
)
@click.option(
    "--limit", default=_DEFAULT_LIMIT, show_default=True, type=click.IntRange(min=1), help="Number of drafts."
)
@json_option
def list_command(task: str | None, source: str | None, flag: str | None, state: str, limit: int, is_json: bool) -> None:
    """List drafts, by default the open ones."""
    chosen = QueueFilter(task=task, source=source, flag=flag, state=state)
    with open_desk(load_settings()) as desk:
        found = list_items(desk.ledger, chosen, viewer=None, limit=limit + len(desk.withheld), after=None)
        shown = [item for item in found if item.example_id not in desk.withheld][:limit]
        tasks, _ = count_queue(desk.ledger)
    names = ("example_id", "task", "flag_count", "state", "source")
    rows = [{name: getattr(item, name) for name in names} for item in shown]
    show_rows(rows, {name: name.replace("_", " ") for name in names}, is_json=is_json)
    if not is_json:
        open_count = sum(task.open for task in tasks)
        click.echo(f"{len(shown)} shown; {open_count} open in all")
        report_withheld(sum(item.example_id in desk.withheld for item in found), "drafts")


@review.command()
@click.argument("example_id")
@json_option
def show(example_id: str, is_json: bool) -> None:
    """Show one draft with its flags and decisions.

    A first decision stays hidden until the second is recorded.
    """
    settings = load_settings()
    with open_desk(settings) as desk:
        draft = desk.draft(example_id)
        blind = is_blind_review(desk.rules)
        entries = list_history(desk.ledger, example_id, viewer="", can_see_all=False, is_blind=blind)
    names = ("example_id", "report_id", "source", "task", "instruction", "input", "output")
    outputs = {draft.fingerprint: draft.output} | list_approved_outputs(draft, entries)
    found = read_newest_findings(settings.layout.instruction_sets, example_id)
    scanned = match_scanned_text(found, draft.instruction, draft.input, outputs)
    if is_json:
        shown = {name: getattr(draft, name) for name in names} | {"flags": list(draft.flags)}
        taken = [] if scanned is None else [word._asdict() for word in scanned.words]
        decisions = [vars(entry) for entry in entries]
        show_json({**shown, "decisions": decisions, "taken_for_identifiers": taken})
        return
    for name in names:
        click.echo(f"{click.style(name, bold=True)}\n{getattr(draft, name)}\n")
    click.echo("\n".join(draft.flags) or "no flags")
    if scanned is not None:
        click.echo(_scan_text(scanned))
    for entry in entries:
        click.echo(_history_line(entry))


@review.command()
@json_option
def progress(is_json: bool) -> None:
    """Count examples by task and state."""
    with open_desk(load_settings()) as desk:
        tasks, _ = count_queue(desk.ledger)
    rows = [{"task": task.task, **{state: task.counts.get(state, 0) for state in STATES}} for task in tasks]
    show_rows(rows, {name: name for name in ("task", *STATES)}, is_json=is_json, is_titled=True)
    if not is_json:
        total = sum(task.total for task in tasks)
        click.echo(f"{sum(task.open for task in tasks)} of {total} are open" if total else NO_DRAFTS)


@review.command()
@json_option
def agreement(is_json: bool) -> None:
    """Show the agreement between reviewers.

    Shows the pairs of first and second decisions, raw agreement and Cohen's kappa with 95 % confidence intervals, and whether the
    recipe's minimum is met.
    """
    settings = load_settings()
    rules = load_recipe(settings.recipe).review
    with closing(open_ledger(settings)) as ledger:
        report = read_agreement(ledger)
    found = {
        "all": report.overall,
        **{f"task {name}": one for name, one in report.by_task.items()},
        **{f"reviewer {name}": one for name, one in report.by_reviewer.items()},
        **{f"{first} and {second}": one for (first, second), one in report.by_pair.items()},
    }
    if is_json:
        show_json([{"group": name, **vars(one)} for name, one in found.items()])
        return
    for name, one in found.items():
        click.echo(f"{name:<40} {_agreement_text(one)}")
    by_experts = count_stored_expert_examples(settings.layout.table("approved_examples"))
    click.echo(f"{describe_floor(rules)} {evaluate_agreement(report.overall, rules, by_experts).reason}")


for command in (export_decisions, import_file, export_label_studio, import_label_studio, proposals, withdraw_command):
    review.add_command(command)


def _scan_text(scanned: ScannedText) -> str:
    words = ", ".join(f"{found.text!r} ({found.kind}, in the {found.part})" for found in scanned.words)
    unplaced = ", ".join(f"{kind} {count}" for kind, count in scanned.unplaced.items())
    return "\n".join(
        [
            *([f"the scan of the final texts takes for identifiers: {words}"] if words else []),
            *([f"its second pass found more, without a place: {unplaced}"] if unplaced else []),
        ]
    )


def _history_line(entry: DecisionEntry) -> str:
    decision = f"{entry.role} {entry.decision}" + (" repaired" if entry.output is not None else "")
    revoked = f"  revoked by {entry.revoked_by}" if entry.revoked_by else ""
    day = f"{entry.decided_at:%Y-%m-%d %H:%M}"
    return f"{entry.decision_id}  {day}  {entry.reviewer}: {decision} {entry.reason_code}{revoked}".rstrip()


def _agreement_text(found: Agreement) -> str:
    if found.raw is None:
        return f"{found.pairs:>5} pairs  {found.reason}"
    raw = f"{found.pairs:>5} pairs  raw {found.raw:.3f} ({found.raw_low:.3f} to {found.raw_high:.3f})"
    if found.kappa is None:
        return f"{raw}  no kappa: {found.reason}"
    return f"{raw}  kappa {found.kappa:.3f} ({found.kappa_low:.3f} to {found.kappa_high:.3f})"
