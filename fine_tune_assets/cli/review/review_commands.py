"""`fine-tune review`: list drafts, show one, decide about it, and measure agreement between reviewers."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from fine_tune_assets.approval.review_actions import revoke as revoke_decision
from fine_tune_assets.approval.review_actions import submit_decision
from fine_tune_assets.approval.review_history import DecisionEntry, is_blind_review, list_approved_outputs, list_history
from fine_tune_assets.approval.reviewer_agreement import (
    Agreement,
    count_stored_expert_examples,
    describe_floor,
    evaluate_agreement,
    read_agreement,
)
from fine_tune_assets.approval.sign_off import REASON_CODES, DecisionSubmission, ReviewError
from fine_tune_assets.cli.identity import AuthenticationError, authenticate
from fine_tune_assets.cli.output import json_option, show_json, show_rows
from fine_tune_assets.cli.review.review_queue import (
    ReviewDesk,
    export_decisions,
    export_label_studio,
    import_file,
    import_label_studio,
    open_desk,
    proposals,
    read_text,
    report_withheld,
    withdraw_command,
)
from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.core.permissions import Action, may
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.people.users import User
from fine_tune_assets.ledger.reviews.decision_records import find_decision
from fine_tune_assets.ledger.reviews.review_items import count_queue, list_items, require_item
from fine_tune_assets.ledger.reviews.review_rows import OPEN, STATES, QueueFilter
from fine_tune_assets.lineage.final_text_findings import ScannedText, match_scanned_text, read_newest_findings
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.serving.service_recipes import require_recipe_of_services

_DEFAULT_LIMIT = 50
_REPAIR = "Text file: the repaired output."
_OTHER = "Decision whose repaired output is approved."
_REVIEWER = click.option("--reviewer", required=True, metavar="NAME", help="Desk user with the role reviewer.")
_CODE = click.option("--code", type=click.Choice(list(REASON_CODES)), default="other", help="Reason code.")
_REPAIRED = click.option(
    "--repair", "repair_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help=_REPAIR
)
_REPAIR_FROM = click.option("--repair-from", metavar="DECISION_ID", help=_OTHER)


_REASON = click.option("--reason", default="", help="Why, without report text.")


@click.group()
def review() -> None:
    """Review drafts."""


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
@click.option("--reviewer", default="", metavar="NAME", help="Reviewer who sees their own first decision.")
@json_option
def show(example_id: str, reviewer: str, is_json: bool) -> None:
    """Show one draft with its flags and decisions.

    A first decision stays hidden until the second is recorded.
    """
    settings = load_settings()
    with open_desk(settings) as desk:
        draft = desk.draft(example_id)
        reviewer = authenticate(desk.ledger, reviewer, Action.REVIEW).name if reviewer else ""
        blind = is_blind_review(desk.rules)
        entries = list_history(desk.ledger, example_id, viewer=reviewer, can_see_all=False, is_blind=blind)
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
@click.argument("example_id")
@_REVIEWER
@_REPAIRED
@_REPAIR_FROM
def approve(example_id: str, reviewer: str, repair_file: Path | None, repair_from: str | None) -> None:
    """Approve a draft, with or without a repair.

    The text of --repair must not contain identifiers: it is not scrubbed.
    """
    with open_desk(load_settings()) as desk:
        output = _repaired_output(desk, example_id, repair_file, repair_from)
        state, name = _decide(desk, example_id, DecisionSubmission(reviewer, "review", "approve", output, "", "", ""))
    click.echo(f"{example_id} approved by {name}: {state}")


@review.command()
@click.argument("example_id")
@_REVIEWER
@_CODE
@_REASON
def reject(example_id: str, reviewer: str, code: str, reason: str) -> None:
    """Reject a draft.

    A rejected draft is never trained on.
    """
    with open_desk(load_settings()) as desk:
        submission = DecisionSubmission(reviewer, "review", "reject", None, code, reason, "")
        state, name = _decide(desk, example_id, submission)
    click.echo(f"{example_id} rejected by {name}: {state}")


@review.command()
@click.argument("example_id")
@click.argument("decision", type=click.Choice(["approve", "reject"]))
@click.option("--reviewer", required=True, metavar="NAME", help="Desk user with the role approver.")
@_REPAIRED
@_REPAIR_FROM
@_CODE
@_REASON
def adjudicate(
    example_id: str,
    decision: str,
    reviewer: str,
    repair_file: Path | None,
    repair_from: str | None,
    code: str,
    reason: str,
) -> None:
    """Settle a disagreement, as an approver."""
    with open_desk(load_settings()) as desk:
        desk.draft(example_id)  # raises for an unknown id before anything else
        output = _repaired_output(desk, example_id, repair_file, repair_from)
        code = code if decision == "reject" else ""
        submission = DecisionSubmission(reviewer, "adjudicate", decision, output, code, reason, "")
        state, name = _decide(desk, example_id, submission)
    click.echo(f"{example_id} adjudicated by {name}: {state}")


@review.command()
@click.argument("decision_id")
@click.option("--reviewer", required=True, metavar="NAME", help="Who decided, or an approver.")
@click.option("--reason", required=True, help="Why, without report text.")
def revoke(decision_id: str, reviewer: str, reason: str) -> None:
    """Revoke a decision.

    Reviewers revoke their own decisions, approvers any. The example returns to the queue, and assets that depend on it are
    materialized again.
    """
    settings = load_settings()
    require_recipe_of_services(settings)
    rules = load_recipe(settings.recipe).review
    with closing(open_ledger(settings)) as ledger:
        user = authenticate(ledger, reviewer, Action.REVOKE_DECISIONS)
        name = user.name
        _require_own_or_approver(ledger, decision_id, user)
        item = revoke_decision(ledger, decision_id, by=name, reason=reason, rules=rules, now=datetime.now(UTC))
    click.echo(f"{decision_id} revoked by {name}" + (f"; {item.example_id} is {item.state}" if item else ""))


@review.command()
@json_option
def progress(is_json: bool) -> None:
    """Count examples by task and state."""
    with open_desk(load_settings()) as desk:
        tasks, _ = count_queue(desk.ledger)
    rows = [{"task": task.task, **{state: task.counts.get(state, 0) for state in STATES}} for task in tasks]
    show_rows(rows, {name: name for name in ("task", *STATES)}, is_json=is_json, is_titled=True)
    if not is_json:
        click.echo(f"{sum(task.open for task in tasks)} of {sum(task.total for task in tasks)} are open")


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


def _require_own_or_approver(ledger: Ledger, decision_id: str, user: User) -> None:
    """As on the desk. An unknown decision is reported when it is revoked."""
    with ledger.read() as connection:
        found = find_decision(connection, decision_id)
    if (
        found is not None
        and not is_same_person(found.decision.reviewer, user.name)
        and not may(user.roles, Action.REVOKE_ANY_DECISION)
    ):
        raise AuthenticationError(f"Only {found.decision.reviewer} or an approver can revoke decision {decision_id}.")


def _decide(desk: ReviewDesk, example_id: str, submission: DecisionSubmission) -> tuple[str, str]:
    """The new state of the example, and the reviewer's name as it is recorded."""
    draft = desk.draft(example_id)
    needed = Action.ADJUDICATE if submission.role == "adjudicate" else Action.REVIEW
    name = authenticate(desk.ledger, submission.reviewer, needed).name
    with desk.ledger.read() as connection:
        version = require_item(connection, example_id).version
    item = submit_decision(
        desk.ledger,
        draft,
        replace(submission, reviewer=name),
        version=version,
        rules=desk.rules,
        author=desk.authors.get(draft.report_id),
        now=datetime.now(UTC),
    )
    return item.state, name


def _repaired_output(desk: ReviewDesk, example_id: str, file: Path | None, repair_from: str | None) -> str | None:
    """The repaired output, from a file or from an earlier decision. Raises ReviewError."""
    if file is not None and repair_from is not None:
        raise ReviewError("Use either --repair or --repair-from, not both.")
    if file is not None:
        return read_text(file)
    if repair_from is None:
        return None
    entries = list_history(desk.ledger, example_id, viewer="", can_see_all=False, is_blind=is_blind_review(desk.rules))
    found = next((one for one in entries if one.decision_id == repair_from and one.decision == "approve"), None)
    if found is None:
        raise ReviewError(
            f"{repair_from} is not a visible approval of {example_id}. `fine-tune review show {example_id}` lists them."
        )
    return found.output


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
