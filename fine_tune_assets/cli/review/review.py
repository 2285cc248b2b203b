"""`fine-tune review`: what waits for an expert, and the expert's word on it.

Owns the words on the terminal. What may be decided is `approval`'s; decisions are kept in the ledger.
"""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import click

from fine_tune_assets.approval.agreement import (
    Agreement,
    count_stored_expert_examples,
    floor_in_words,
    judge_agreement,
    measured,
)
from fine_tune_assets.approval.review_actions import decide
from fine_tune_assets.approval.review_actions import revoke as revoke_decision
from fine_tune_assets.approval.review_history import DecisionLine, history, reviews_blind
from fine_tune_assets.approval.signatures import REASON_CODES, ReviewError, Word
from fine_tune_assets.cli.review.review_queue import (
    Desk,
    export_decisions,
    export_label_studio,
    import_file,
    import_label_studio,
    open_desk,
    read_text,
    tell_held_back,
)
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.reviews.review_items import list_items, present_item, queue_counts
from fine_tune_assets.ledger.reviews.review_rows import OPEN, STATES, QueueFilter
from fine_tune_assets.recipes.loader import load_recipe

_SHOWN = 50
_REPAIR = "UTF-8 text that takes the place of the drafted output. It must hold no identifiers."
_OTHER = "Approve the output as it was repaired in this decision."
_REVIEWER = click.option("--reviewer", required=True, metavar="NAME", help="Who decides.")
_CODE = click.option("--code", type=click.Choice(list(REASON_CODES)), default="other", help="Reason from the list.")
_OUTPUT = click.option("--output-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help=_REPAIR)
_AS = click.option("--as", "as_in", metavar="DECISION_ID", help=_OTHER)


@click.group()
def review() -> None:
    """See what waits for an expert, and approve or reject it."""


@review.command("list")
@click.option("--task", help="Only of this task.")
@click.option("--source", help="Only from this source.")
@click.option("--flag", help="Only with a flag of this kind.")
@click.option(
    "--state", type=click.Choice([OPEN, *STATES]), default=OPEN, show_default=True, help="Only in this state."
)
@click.option("--limit", default=_SHOWN, show_default=True, type=click.IntRange(min=1), help="Rows to print.")
def list_waiting(task: str | None, source: str | None, flag: str | None, state: str, limit: int) -> None:
    """List the drafts that wait, those with the most flags first."""
    chosen = QueueFilter(task=task, source=source, flag=flag, state=state)
    with open_desk(load_settings()) as desk:
        found = list_items(desk.ledger, chosen, viewer=None, limit=limit + len(desk.held), after=None)
        shown = [item for item in found if item.example_id not in desk.held][:limit]
        tasks, _ = queue_counts(desk.ledger)
    waiting = sum(task.open for task in tasks)
    for item in shown:
        click.echo(f"{item.example_id}  {item.task:<24} {item.flag_count:>3} flags  {item.state:<13}  {item.source}")
    click.echo(f"{waiting} waiting" + (f", {len(shown)} shown" if len(shown) < waiting else ""))
    tell_held_back(sum(item.example_id in desk.held for item in found), "drafts")


@review.command()
@click.argument("example_id")
@click.option(
    "--reviewer", default="", metavar="NAME", help="Who looks: their own decision is shown before the second one."
)
def show(example_id: str, reviewer: str) -> None:
    """Print one draft with its flags and decisions. A first decision is hidden until the second one is in."""
    with open_desk(load_settings()) as desk:
        draft = desk.draft(example_id)
        blind = reviews_blind(desk.rules)
        lines = history(desk.ledger, example_id, viewer=reviewer, may_see_all=False, is_blind=blind)
    for name in ("example_id", "report_id", "source", "task", "instruction", "input", "output"):
        click.echo(f"{click.style(name, bold=True)}\n{getattr(draft, name)}\n")
    click.echo("\n".join(draft.flags) or "no flags")
    for line in lines:
        click.echo(_history_line(line))


@review.command()
@click.argument("example_id")
@_REVIEWER
@_OUTPUT
@_AS
def approve(example_id: str, reviewer: str, output_file: Path | None, as_in: str | None) -> None:
    """Approve a draft as it is, or with a repaired output."""
    with open_desk(load_settings()) as desk:
        output = _output(desk, example_id, output_file, as_in)
        state = _decide(desk, example_id, Word(reviewer, "review", "approve", output, "", "", ""))
    click.echo(f"{example_id} approved by {reviewer}: {state}")


@review.command()
@click.argument("example_id")
@_REVIEWER
@_CODE
@click.option("--reason", default="", help="Why, in words; without report text.")
def reject(example_id: str, reviewer: str, code: str, reason: str) -> None:
    """Reject a draft: it is never trained on, whatever its source."""
    with open_desk(load_settings()) as desk:
        state = _decide(desk, example_id, Word(reviewer, "review", "reject", None, code, reason, ""))
    click.echo(f"{example_id} rejected by {reviewer}: {state}")


@review.command("adjudicate")
@click.argument("example_id")
@click.argument("decision", type=click.Choice(["approve", "reject"]))
@_REVIEWER
@_OUTPUT
@_AS
@_CODE
@click.option("--reason", default="", help="Why it is rejected, in words; without report text.")
def settle(
    example_id: str, decision: str, reviewer: str, output_file: Path | None, as_in: str | None, code: str, reason: str
) -> None:
    """Settle what two reviewers disagree on, as a third person."""
    with open_desk(load_settings()) as desk:
        desk.draft(example_id)  # first of all, it has to be there
        output = _output(desk, example_id, output_file, as_in)
        code = code if decision == "reject" else ""
        state = _decide(desk, example_id, Word(reviewer, "adjudicate", decision, output, code, reason, ""))
    click.echo(f"{example_id} settled by {reviewer}: {state}")


@review.command()
@click.argument("decision_id")
@click.option("--by", required=True, metavar="NAME", help="Who takes it back.")
@click.option("--reason", required=True, help="Why; without report text.")
def revoke(decision_id: str, by: str, reason: str) -> None:
    """Take a decision back: what it decided waits again, and what was built on it is made again."""
    settings = load_settings()
    rules = load_recipe(settings.recipe).review
    with closing(open_ledger(settings.database_url)) as ledger:
        item = revoke_decision(ledger, decision_id, by=by, reason=reason, rules=rules, now=datetime.now(UTC))
    click.echo(f"{decision_id} revoked by {by}" + (f"; {item.example_id} is {item.state}" if item else ""))


@review.command()
def progress() -> None:
    """Print how many examples of each task are in each state."""
    with open_desk(load_settings()) as desk:
        tasks, _ = queue_counts(desk.ledger)
    click.echo("  ".join([f"{'task':<24}", *(f"{state:>13}" for state in STATES)]))
    for task in tasks:
        click.echo("  ".join([f"{task.task:<24}", *(f"{task.counts.get(state, 0):>13}" for state in STATES)]))
    click.echo(f"{sum(task.open for task in tasks)} of {sum(task.total for task in tasks)} are open")


@review.command()
def agreement() -> None:
    """Print how well first and second reviewers agree: pairs, raw agreement, Cohen's kappa and its interval; and the gate."""
    settings = load_settings()
    rules = load_recipe(settings.recipe).review
    with closing(open_ledger(settings.database_url)) as ledger:
        report = measured(ledger)
    rows = {
        "all": report.overall,
        **{f"task {name}": found for name, found in report.by_task.items()},
        **{f"reviewer {name}": found for name, found in report.by_reviewer.items()},
        **{f"{one} and {other}": found for (one, other), found in report.by_pair.items()},
    }
    for name, found in rows.items():
        click.echo(f"{name:<40} {_figures(found)}")
    by_experts = count_stored_expert_examples(settings.layout.table("approved_examples"))
    click.echo(f"{floor_in_words(rules)} {judge_agreement(report.overall, rules, by_experts).reason}")


for command in (export_decisions, import_file, export_label_studio, import_label_studio):
    review.add_command(command)


def _decide(desk: Desk, example_id: str, word: Word) -> str:
    """The state that the example then is in."""
    draft = desk.draft(example_id)
    with desk.ledger.read() as connection:
        version = present_item(connection, example_id).version
    author = desk.authors.get(draft.report_id)
    now = datetime.now(UTC)
    return decide(desk.ledger, draft, word, version=version, rules=desk.rules, author=author, now=now).state


def _output(desk: Desk, example_id: str, file: Path | None, as_in: str | None) -> str | None:
    """The repaired output, from a file or as an earlier decision has it. Raises ReviewError."""
    if file is not None and as_in is not None:
        raise ReviewError("Give --output-file or --as, not both.")
    if file is not None:
        return read_text(file)
    if as_in is None:
        return None
    lines = history(desk.ledger, example_id, viewer="", may_see_all=False, is_blind=reviews_blind(desk.rules))
    found = next((line for line in lines if line.decision_id == as_in and line.decision == "approve"), None)
    if found is None:
        raise ReviewError(
            f"{as_in} is no approval of {example_id} that you may see. `fine-tune review show` lists them."
        )
    return found.output


def _history_line(line: DecisionLine) -> str:
    what = f"{line.role} {line.decision}" + (" repaired" if line.output is not None else "")
    gone = f"  revoked by {line.revoked_by}" if line.revoked_by else ""
    return f"{line.decision_id}  {line.decided_at:%Y-%m-%d %H:%M}  {line.reviewer}: {what} {line.reason_code}{gone}".rstrip()


def _figures(found: Agreement) -> str:
    if found.raw is None:
        return f"{found.pairs:>5} pairs  {found.reason}"
    raw = f"{found.pairs:>5} pairs  raw {found.raw:.3f} ({found.raw_low:.3f} to {found.raw_high:.3f})"
    if found.kappa is None:
        return f"{raw}  no kappa: {found.reason}"
    return f"{raw}  kappa {found.kappa:.3f} ({found.low:.3f} to {found.high:.3f})"
