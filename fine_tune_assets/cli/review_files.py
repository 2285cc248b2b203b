"""`fine-tune review export` and `import`, and the same for Label Studio. Owns reading and writing the files.

What a line or a task holds, and which of them count, is `approval`'s. The files hold text of examples: they are made
readable to their owner only.
"""

import json
import os
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from fine_tune_assets.approval.exchange import Entry, Fault, ImportReport, import_decisions, line_of, read_lines
from fine_tune_assets.approval.label_studio import label_config, read_export, tasks_of
from fine_tune_assets.approval.signing import ReviewError
from fine_tune_assets.cli.review_desk import Desk, held_back, held_drafts, open_desk, read_text, tell_held_back
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.review_items import REVIEW_STATES, list_items
from fine_tune_assets.ledger.review_rows import OPEN, QueueFilter
from fine_tune_assets.ledger.reviews import list_records

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
        tasks = tasks_of(row for row in desk.shown_drafts().to_pylist() if row["example_id"] in wanted)
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
    drafts = {row["example_id"]: row for row in desk.drafts.to_pylist() if row["example_id"] in wanted}

    def find_draft(example_id: str) -> dict[str, Any] | None:
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
