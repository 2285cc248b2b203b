"""`fine-tune review`: what waits for an expert, and the expert's word on it.

Owns the words on the terminal. What counts as waiting is `approval`'s; decisions are kept in the ledger.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fine_tune_assets.approval.approving import is_same_person
from fine_tune_assets.approval.drafting import CORRECTION, correction_authors
from fine_tune_assets.approval.queue import waiting_drafts
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.reviews import list_decisions, record_decision
from fine_tune_assets.recipes.loading import load_recipe

_SHOWN = 50


class ReviewError(FineTuneError):
    """A review can't be recorded as it was asked for."""


@dataclass(frozen=True)
class Desk:
    """What a review needs: the drafts, who wrote the corrections among them, and the ledger."""

    drafts: pa.Table
    authors: dict[str, str]
    trusted_sources: dict[str, str]
    ledger: Ledger

    def waiting(self) -> pa.Table:
        return waiting_drafts(self.drafts, list_decisions(self.ledger), self.trusted_sources, self.authors)

    def draft(self, example_id: str) -> dict[str, Any]:
        """Raises ReviewError if no draft has this id now."""
        found = self.drafts.filter(pc.equal(self.drafts.column("example_id"), example_id)).to_pylist()
        if not found:
            raise ReviewError(f"There is no draft {example_id}. List what waits: fine-tune review list.")
        return dict(found[0])


@contextmanager
def open_desk(settings: Settings) -> Iterator[Desk]:
    path = settings.layout.table("drafted_examples")
    if not path.is_file():
        raise ReviewError("Nothing was drafted yet. Materialise drafted_examples first.")
    corrections = settings.layout.table("scrubbed_corrections")
    authors = correction_authors(pq.read_table(corrections)) if corrections.is_file() else {}
    ledger = open_ledger(settings.database_url)
    try:
        yield Desk(pq.read_table(path), authors, load_recipe(settings.recipe).trusted_sources, ledger)
    finally:
        ledger.close()


def decide(desk: Desk, example_id: str, decision: str, reviewer: str, output: str | None, reason: str) -> None:
    """Record a decision about the draft as it is now. Raises ReviewError where it could not count."""
    draft = desk.draft(example_id)
    author = desk.authors.get(draft["report_id"])
    if draft["source"] == CORRECTION and author is None:
        raise ReviewError(f"The author of the correction behind {example_id} is not known, so nobody can decide on it.")
    if author is not None and is_same_person(author, reviewer):
        raise ReviewError(f"{reviewer} wrote the correction behind {example_id}. Another reviewer has to decide.")
    if output is not None and not output.strip():
        raise ReviewError(f"The repaired output of {example_id} is empty. Reject the draft instead.")
    record_decision(
        desk.ledger,
        example_id=example_id,
        fingerprint=draft["fingerprint"],
        report_id=draft["report_id"],
        task=draft["task"],
        decision=decision,  # type: ignore[arg-type]
        output=output,
        reviewer=reviewer,
        reason=reason,
    )


def _said_plainly(command: Callable[..., None]) -> Callable[..., None]:
    """Errors that are meant to be read come without a traceback."""

    @wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except FineTuneError as error:
            raise click.ClickException(str(error)) from error

    return run


@click.group()
def review() -> None:
    """See what waits for an expert, and approve or reject it."""


@review.command("list")
@click.option("--limit", default=_SHOWN, show_default=True, type=click.IntRange(min=1), help="Rows to print.")
@_said_plainly
def list_waiting(limit: int) -> None:
    """List the drafts that wait, those with the most flags first."""
    with open_desk(load_settings()) as desk:
        waiting = desk.waiting().select(["example_id", "task", "source", "flags"]).to_pylist()
    waiting.sort(key=lambda row: (-len(row["flags"]), row["example_id"]))
    for row in waiting[:limit]:
        click.echo(f"{row['example_id']}  {row['task']:<24} {len(row['flags']):>3} flags  {row['source']}")
    click.echo(f"{len(waiting)} waiting" + (f", {limit} shown" if len(waiting) > limit else ""))


@review.command()
@click.argument("example_id")
@_said_plainly
def show(example_id: str) -> None:
    """Print one draft with its flags."""
    with open_desk(load_settings()) as desk:
        draft = desk.draft(example_id)
    for name in ("example_id", "report_id", "source", "task", "instruction", "input", "output"):
        click.echo(f"{click.style(name, bold=True)}\n{draft[name]}\n")
    click.echo("\n".join(draft["flags"]) or "no flags")


@review.command()
@click.argument("example_id")
@click.option("--reviewer", required=True, help="Who decides.")
@click.option(
    "--output-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="UTF-8 text that takes the place of the drafted output. It must hold no identifiers.",
)
@_said_plainly
def approve(example_id: str, reviewer: str, output_file: Path | None) -> None:
    """Approve a draft as it is, or with a repaired output."""
    output = _read_output(output_file) if output_file else None
    with open_desk(load_settings()) as desk:
        decide(desk, example_id, "approve", reviewer, output, reason="")
    click.echo(f"{example_id} approved by {reviewer}")


@review.command()
@click.argument("example_id")
@click.option("--reviewer", required=True, help="Who decides.")
@click.option("--reason", required=True, help="Why; without report text.")
@_said_plainly
def reject(example_id: str, reviewer: str, reason: str) -> None:
    """Reject a draft: it is never trained on, whatever its source."""
    with open_desk(load_settings()) as desk:
        decide(desk, example_id, "reject", reviewer, None, reason)
    click.echo(f"{example_id} rejected by {reviewer}")


def _read_output(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise ReviewError(f"{path.name} is not UTF-8 text.") from error
