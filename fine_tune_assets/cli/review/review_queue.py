"""What the commands of `fine-tune review` share: the drafts, the queue, and files for a team that decides elsewhere.

What a line or a task holds, and which of them count, is `approval`'s. The files hold text of examples, so only their owner can
read them.
"""

import json
import os
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

from fine_tune_assets.approval.drafts import correction_authors
from fine_tune_assets.approval.exchange import Entry, Fault, ImportReport, import_decisions, line_of, read_lines
from fine_tune_assets.approval.label_studio import label_config, read_export, tasks_of
from fine_tune_assets.approval.review_actions import refresh_items
from fine_tune_assets.approval.signatures import ReviewError
from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.reviews.review_items import REVIEW_STATES, list_items
from fine_tune_assets.ledger.reviews.review_rows import OPEN, QueueFilter
from fine_tune_assets.ledger.reviews.reviews import list_records
from fine_tune_assets.phi.missed_identifiers.held_drafts import HeldBack
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval import DraftedExample
from fine_tune_assets.tables.corrections import ScrubbedCorrection
from fine_tune_assets.tables.records import conform, records_of


@dataclass(frozen=True)
class Desk:
    """What a review needs: the drafts, who wrote the corrections among them, the rules, and the ledger."""

    drafts: pa.Table
    authors: dict[str, str]
    rules: ReviewSettings
    ledger: Ledger
    held: frozenset[str]
    """Ids of the drafts that nobody is shown: somebody marked an identifier that is still in them."""

    def find_draft(self, example_id: str) -> DraftedExample | None:
        found = self.drafts.filter(pc.equal(self.drafts.column("example_id"), example_id))
        return next(records_of(DraftedExample, found), None)

    def draft(self, example_id: str) -> DraftedExample:
        """Raises ReviewError if no draft has this id now, or it is held back."""
        if example_id in self.held:
            raise held_back(example_id)
        found = self.find_draft(example_id)
        if found is None:
            raise ReviewError(f"There is no draft {example_id}. List what waits: `fine-tune review list`.")
        return found

    def shown_drafts(self) -> pa.Table:
        """Without those that are held back."""
        ids = self.drafts.column("example_id")
        return self.drafts.filter(pc.invert(pc.is_in(ids, value_set=pa.array(sorted(self.held), pa.string()))))


def held_back(example_id: str) -> ReviewError:
    return ReviewError(
        f"Example {example_id} is held back: somebody marked an identifier in its report. It comes back by itself when the "
        "report was scrubbed again without it; if a reviewer typed it into a repaired text, when that decision is revoked."
    )


def tell_held_back(count: int, what: str) -> None:
    if count:
        click.echo(f"{count} {what} left out: held back because of a mark (`fine-tune phi marks`)")


def held_drafts(settings: Settings, ledger: Ledger) -> HeldBack:
    return HeldBack(ledger, read_or_create_key(settings.layout.keys, KEY_NAME), settings.layout)


@contextmanager
def open_desk(settings: Settings) -> Iterator[Desk]:
    """The desk of this installation, with its queue brought up to what is drafted now."""
    path = settings.layout.table("drafted_examples")
    if not path.is_file():
        raise ReviewError(f"Nothing was drafted yet. {materialize_hint('drafted_examples')}")
    corrections = settings.layout.table("scrubbed_corrections")
    known = conform(pq.read_table(corrections), ScrubbedCorrection.SCHEMA) if corrections.is_file() else None
    authors = correction_authors(known) if known is not None else {}
    drafts, recipe = conform(pq.read_table(path), DraftedExample.SCHEMA), load_recipe(settings.recipe)
    with closing(open_ledger(settings.database_url)) as ledger:
        desk = Desk(drafts, authors, recipe.review, ledger, held_drafts(settings, ledger).example_ids())
        refresh_items(
            ledger, desk.drafts, recipe.name, recipe.trusted_sources, recipe.review, authors, datetime.now(UTC)
        )
        yield desk


def read_text(path: Path) -> str:
    """Raises ReviewError if the file is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ReviewError(f"{path.name} is not UTF-8 text.") from error


_EVERYTHING = 1_000_000
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_NEW_FILE = click.Path(dir_okay=False, path_type=Path)
_BY = click.option("--by", required=True, metavar="NAME", help="Who imports.")


@click.command("export")
@click.option("--output", required=True, type=_NEW_FILE, help="JSONL file to write; it holds repaired outputs.")
def export_decisions(output: Path) -> None:
    """Write every decision as a line of JSON, revoked ones too; without those about what is held back."""
    settings = load_settings()
    with closing(open_ledger(settings.database_url)) as ledger:
        records = list_records(ledger)
        held = held_drafts(settings, ledger).decision_ids(records)
    shown = [line_of(record) for record in records if record.decision.decision_id not in held]
    _write(output, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in shown))
    click.echo(f"{len(shown)} decisions written to {output.name}")
    tell_held_back(len(held), "decisions")


@click.command("import")
@click.argument("file", type=_FILE)
@_BY
def import_file(file: Path, by: str) -> None:
    """Record the decisions of a JSONL file. Lines that can't be used are named; the others are recorded, and only once."""
    lines = read_text(file).split("\n")  # not splitlines: outputs may hold other line ends, such as U+2028
    with open_desk(load_settings()) as desk:
        _tell(_import(desk, list(read_lines(lines)), by))


@click.command("export-label-studio")
@click.option("--output", required=True, type=_NEW_FILE, help="JSON file of tasks to write; it holds examples.")
@click.option("--config", required=True, type=_NEW_FILE, help="XML file to write: the labelling interface.")
@click.option("--task", help="Only of this task of the recipe.")
def export_label_studio(output: Path, config: Path, task: str | None) -> None:
    """Write the drafts that wait for a first or second look as Label Studio tasks, and its labelling interface."""
    with open_desk(load_settings()) as desk:
        waiting = list_items(
            desk.ledger, QueueFilter(task=task, state=OPEN), viewer=None, limit=_EVERYTHING, after=None
        )
        wanted = {item.example_id for item in waiting if item.state in REVIEW_STATES}
        tasks = tasks_of(d for d in records_of(DraftedExample, desk.shown_drafts()) if d.example_id in wanted)
        left_out = len(wanted & desk.held)
    _write(output, json.dumps(tasks, ensure_ascii=False, indent=1))
    _write(config, label_config())
    click.echo(f"{len(tasks)} tasks written to {output.name}, the labelling interface to {config.name}")
    tell_held_back(left_out, "drafts")


@click.command("import-label-studio")
@click.argument("file", type=_FILE)
@click.option(
    "--reviewer",
    "reviewers",
    multiple=True,
    required=True,
    metavar="ANNOTATOR=NAME",
    help="E-mail or number of an annotator there, and the reviewer's name here; once for each.",
)
@_BY
def import_label_studio(file: Path, reviewers: tuple[str, ...], by: str) -> None:
    """Record the annotations of a Label Studio export (JSON, not JSON-MIN) as decisions."""
    names = dict(_annotator(written) for written in reviewers)
    try:
        export: Any = json.loads(read_text(file))
    except json.JSONDecodeError:
        raise ReviewError(f"{file.name} is no JSON. Export as JSON.") from None
    with open_desk(load_settings()) as desk:
        _tell(_import(desk, list(read_export(export, names)), by))


def _import(desk: Desk, entries: list[Entry | Fault], by: str) -> ImportReport:
    wanted = {entry.example_id for entry in entries if isinstance(entry, Entry)}
    drafts = {d.example_id: d for d in records_of(DraftedExample, desk.drafts) if d.example_id in wanted}

    def find_draft(example_id: str) -> DraftedExample | None:
        if example_id in desk.held:
            raise held_back(example_id)
        return drafts.get(example_id)

    return import_decisions(
        desk.ledger, entries, find_draft, by=by, rules=desk.rules, authors=desk.authors, now=datetime.now(UTC)
    )


def _tell(report: ImportReport) -> None:
    for fault in report.faults:
        click.echo(f"{fault.place}: {fault.reason}", err=True)
    click.echo(f"{report.recorded} recorded, {report.known} known already, {len(report.faults)} not used")
    if report.faults:
        raise ReviewError("What was not used is named above; put it right and import the file again.")


def _annotator(written: str) -> tuple[str, str]:
    key, _, name = written.partition("=")
    if not key.strip() or not name.strip():
        raise ReviewError("Write --reviewer ANNOTATOR=NAME.")
    return key.strip(), name.strip()


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
