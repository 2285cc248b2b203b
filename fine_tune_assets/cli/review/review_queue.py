"""Drafts and queue for `fine-tune review`, and its commands that export and import decisions.

The files contain examples, so only their owner can read them.
"""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from fine_tune_assets.approval.decision_exchange import (
    ImportedDecision,
    ImportIssue,
    ImportSummary,
    export_decision,
    import_decisions,
    parse_decision_lines,
)
from fine_tune_assets.approval.drafts import correction_authors
from fine_tune_assets.approval.label_studio import build_label_config, build_tasks, parse_export
from fine_tune_assets.approval.proposal_signatures import Signer, find_obstacles
from fine_tune_assets.approval.review_actions import refresh_items
from fine_tune_assets.approval.sign_off import ReviewError
from fine_tune_assets.cli.identity import operating_system_user
from fine_tune_assets.cli.output import json_option, show_message, show_rows
from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.people.users import find_enabled_user
from fine_tune_assets.ledger.reviews.decision_records import list_decision_records
from fine_tune_assets.ledger.reviews.proposal_records import Proposal, list_waiting, withdraw_proposals
from fine_tune_assets.ledger.reviews.review_items import list_items
from fine_tune_assets.ledger.reviews.review_rows import OPEN, REVIEW_STATES, QueueFilter
from fine_tune_assets.phi.missed_identifiers.withheld_drafts import WithheldDrafts
from fine_tune_assets.phi.spans.vocabulary import load_vocabulary
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.serving.service_recipes import require_recipe_of_services
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection
from fine_tune_assets.tables.record_classes import conform, iter_records


@dataclass(frozen=True)
class ReviewDesk:
    """Drafts, authors of corrections (report id → name), review rules and ledger."""

    drafts: pa.Table
    authors: dict[str, str]
    rules: ReviewSettings
    ledger: Ledger
    withheld: frozenset[str]
    """Ids of drafts that still contain a marked identifier; no command shows them."""

    def find_draft(self, example_id: str) -> DraftedExample | None:
        found = self.drafts.filter(pc.equal(self.drafts.column("example_id"), example_id))
        return next(iter_records(DraftedExample, found), None)

    def draft(self, example_id: str) -> DraftedExample:
        """Raises ReviewError if the draft does not exist or is withheld."""
        if example_id in self.withheld:
            raise withheld_error(example_id)
        found = self.find_draft(example_id)
        if found is None:
            raise ReviewError(f"Draft {example_id} does not exist. `fine-tune review list` shows open drafts.")
        return found

    def shown_drafts(self) -> pa.Table:
        """Without withheld drafts."""
        ids = self.drafts.column("example_id")
        return self.drafts.filter(pc.invert(pc.is_in(ids, value_set=pa.array(sorted(self.withheld), pa.string()))))


def withheld_error(example_id: str) -> ReviewError:
    return ReviewError(
        f"Example {example_id} is withheld: an identifier is marked in its report. It returns when the report is scrubbed again; "
        "if a reviewer typed the identifier into a repair, revoke that decision on the desk."
    )


def report_withheld(count: int, kind: str) -> None:
    if count:
        show_message(f"{count} {kind} withheld because of a mark (`fine-tune phi marks`)")


def open_withheld_drafts(settings: Settings, ledger: Ledger) -> WithheldDrafts:
    vocabulary = load_vocabulary(load_recipe(settings.recipe).domain)
    return WithheldDrafts(ledger, ledger.key, settings.layout, lambda: vocabulary)


@contextmanager
def open_desk(settings: Settings) -> Iterator[ReviewDesk]:
    """The drafts of this installation, with the queue updated first. Raises OtherRecipeError."""
    require_recipe_of_services(settings)
    path = settings.layout.table("drafted_examples")
    if not path.is_file():
        raise ReviewError(f"No drafts exist yet. {materialize_hint('drafted_examples')}")
    corrections = settings.layout.table("scrubbed_corrections")
    known = conform(pq.read_table(corrections), ScrubbedCorrection.SCHEMA) if corrections.is_file() else None
    authors = correction_authors(known) if known is not None else {}
    drafts, recipe = conform(pq.read_table(path), DraftedExample.SCHEMA), load_recipe(settings.recipe)
    with closing(open_ledger(settings)) as ledger:
        withheld = open_withheld_drafts(settings, ledger).example_ids()
        desk = ReviewDesk(drafts, authors, recipe.review, ledger, withheld)
        refresh_items(
            ledger, desk.drafts, recipe.name, recipe.trusted_sources, recipe.review, authors, datetime.now(UTC)
        )
        yield desk


def read_text(path: Path) -> str:
    """The text without a byte order mark. Raises ReviewError if the file is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReviewError(f"{path.name} is not UTF-8 text. Save it as UTF-8.") from error


_ALL = 1_000_000
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_NEW_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("export")
@click.option("--output", required=True, type=_NEW_FILE, help="JSONL file; contains repaired outputs.")
def export_decisions(output: Path) -> None:
    """Export all decisions as JSONL.

    Includes revoked decisions, excludes those about withheld drafts.
    """
    settings = load_settings()
    with closing(open_ledger(settings)) as ledger:
        records = list_decision_records(ledger)
        withheld = open_withheld_drafts(settings, ledger).decision_ids(records)
    shown = [export_decision(record) for record in records if record.decision.decision_id not in withheld]
    write_text(output, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in shown))
    click.echo(f"{len(shown)} decisions written to {output.name}")
    report_withheld(len(withheld), "decisions")


@click.command("import")
@click.argument("file", type=_FILE)
def import_file(file: Path) -> None:
    """Import decisions from JSONL as proposals.

    A proposal counts after its reviewer has signed it on the desk. Invalid lines are listed, and the others are still imported.
    """
    lines = read_text(file).split("\n")  # not splitlines: outputs may hold other line ends, such as U+2028
    with open_desk(load_settings()) as desk:
        _report(_import(desk, list(parse_decision_lines(lines))))


@click.command("export-label-studio")
@click.option("--output", required=True, type=_NEW_FILE, help="JSON file of tasks; contains examples.")
@click.option("--config", required=True, type=_NEW_FILE, help="XML file: the labelling interface.")
@click.option("--task", help="Only this task of the recipe.")
def export_label_studio(output: Path, config: Path, task: str | None) -> None:
    """Export open drafts for Label Studio.

    Writes the tasks and the labelling interface.
    """
    with open_desk(load_settings()) as desk:
        open_items = list_items(desk.ledger, QueueFilter(task=task, state=OPEN), viewer=None, limit=_ALL, after=None)
        wanted = {item.example_id for item in open_items if item.state in REVIEW_STATES}
        tasks = build_tasks(d for d in iter_records(DraftedExample, desk.shown_drafts()) if d.example_id in wanted)
        withheld_count = len(wanted & desk.withheld)
    write_text(output, json.dumps(tasks, ensure_ascii=False, indent=1))
    write_text(config, build_label_config())
    click.echo(f"{len(tasks)} tasks written to {output.name}, the labelling interface to {config.name}")
    report_withheld(withheld_count, "drafts")


@click.command("import-label-studio")
@click.argument("file", type=_FILE)
@click.option(
    "--reviewer",
    "reviewers",
    multiple=True,
    required=True,
    metavar="ANNOTATOR=NAME",
    help="Annotator, and who it is; repeatable.",
)
def import_label_studio(file: Path, reviewers: tuple[str, ...]) -> None:
    """Import Label Studio annotations as proposals.

    A proposal counts after its reviewer has signed it on the desk.

    FILE is an export of type JSON, not JSON-MIN. An ANNOTATOR is the e-mail address or number in that file, NAME the reviewer.
    """
    names = dict(_annotator(written) for written in reviewers)
    try:
        export: Any = json.loads(read_text(file))
    except json.JSONDecodeError:
        raise ReviewError(f"{file.name} is not valid JSON. Export from Label Studio as JSON.") from None
    with open_desk(load_settings()) as desk:
        _report(_import(desk, list(parse_export(export, names))))


@click.command()
@json_option
def proposals(is_json: bool) -> None:
    """List imported decisions without a signature.

    The reviewer signs or withdraws them on the desk. `obstacle` says why a proposal can't be signed now.
    """
    now = datetime.now(UTC)
    with open_desk(load_settings()) as desk, desk.ledger.read() as connection:
        rows = [_describe_proposal(desk, connection, proposal, now) for proposal in list_waiting(connection)]
    names = ("proposal_id", "file_id", "reviewer", "example_id", "imported_at", "imported_by", "obstacle")
    show_rows(rows, {name: name.replace("_", " ") for name in names}, is_json=is_json)


def _describe_proposal(
    desk: ReviewDesk, connection: sa.Connection, proposal: Proposal, now: datetime
) -> dict[str, Any]:
    """Without what was decided: a second reviewer must not see it."""
    name, example_id = proposal.proposed.reviewer, proposal.proposed.example_id
    user = find_enabled_user(connection, name)
    if user is None:
        obstacle = "Its reviewer is not a user of the desk."
    else:
        draft = None if example_id in desk.withheld else desk.find_draft(example_id)
        signer = Signer(user.name, user.roles)
        (obstacle,) = find_obstacles(connection, [(proposal, draft)], signer, desk.rules, now)
    return {
        "proposal_id": proposal.proposal_id,
        "file_id": proposal.file_id,
        "reviewer": name,
        "example_id": example_id,
        "imported_at": proposal.imported_at,
        "imported_by": proposal.imported_by,
        "obstacle": obstacle,
    }


@click.command("withdraw-proposals")
@click.argument("proposal_ids", nargs=-1, required=True, metavar="PROPOSAL_ID...")
def withdraw_command(proposal_ids: tuple[str, ...]) -> None:
    """Withdraw unsigned imported decisions.

    Use it for proposals that no one will sign. Decisions that were signed stay.
    """
    settings, by, now = load_settings(), operating_system_user(), datetime.now(UTC)
    with closing(open_ledger(settings)) as ledger, ledger.begin() as connection:
        waiting = {proposal.proposal_id: proposal for proposal in list_waiting(connection)}
        unknown = [proposal_id for proposal_id in proposal_ids if proposal_id not in waiting]
        if unknown:
            raise ReviewError(f"{', '.join(unknown)}: no such proposal waits. `fine-tune review proposals` lists them.")
        withdraw_proposals(connection, [waiting[proposal_id] for proposal_id in dict.fromkeys(proposal_ids)], by, now)
    click.echo(f"{len(set(proposal_ids))} withdrawn")


def _import(desk: ReviewDesk, entries: list[ImportedDecision | ImportIssue]) -> ImportSummary:
    wanted = {entry.example_id for entry in entries if isinstance(entry, ImportedDecision)}
    drafts = {d.example_id: d for d in iter_records(DraftedExample, desk.drafts) if d.example_id in wanted}

    def find_draft(example_id: str) -> DraftedExample | None:
        if example_id in desk.withheld:
            raise withheld_error(example_id)
        return drafts.get(example_id)

    return import_decisions(
        desk.ledger,
        entries,
        find_draft,
        by=operating_system_user(),
        authors=desk.authors,
        now=datetime.now(UTC),
    )


def _report(summary: ImportSummary) -> None:
    for issue in summary.issues:
        click.echo(f"{issue.location}: {issue.reason}", err=True)
    click.echo(f"{summary.proposed} proposed, {summary.already_known} already known, {len(summary.issues)} invalid")
    if summary.proposed:
        click.echo("Each reviewer signs their decisions on the desk: My decisions > Imported decisions.")
    if summary.issues:
        raise ReviewError("Correct the entries listed above and import the file again: `fine-tune review import`.")


def _annotator(written: str) -> tuple[str, str]:
    key, _, name = written.partition("=")
    if not key.strip() or not name.strip():
        raise ReviewError("Use --reviewer ANNOTATOR=NAME.")
    return key.strip(), name.strip()
