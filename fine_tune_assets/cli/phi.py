"""`fine-tune phi`: a reviewer marks an identifier that the scrubber missed, and takes a wrong mark back.

Owns the words on the terminal, and that a term is never an argument: the shell's history and the list of processes would
keep it. What can be marked is `phi`'s; marks are kept in the ledger.
"""

import sys
from contextlib import closing

import click

from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.reviews.missed_identifiers import Mark, list_marks, withdraw_mark
from fine_tune_assets.phi.missed_identifiers.copied_reports import terms_with_copies
from fine_tune_assets.phi.missed_identifiers.marks import mark_missed
from fine_tune_assets.phi.missed_identifiers.terms import holds_any, texts_of_patients
from fine_tune_assets.phi.spans.kinds import KINDS


@click.group()
def phi() -> None:
    """Mark what the scrubber missed, and see what was marked."""


@phi.command()
@click.argument("report_id")
@click.option("--kind", required=True, type=click.Choice(KINDS, case_sensitive=False), help="What it is.")
@click.option("--by", required=True, metavar="NAME", help="Who marks it.")
def mark(report_id: str, kind: str, by: str) -> None:
    """Mark an identifier that is left in a report. It is asked for, or read from standard input.

    The report is held back at once, until it was scrubbed again without it.
    """
    term = click.prompt("What was missed", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read()
    settings = load_settings()
    with closing(open_ledger(settings.database_url)) as ledger:
        key = read_or_create_key(settings.layout.keys, KEY_NAME)
        mark_id = mark_missed(
            ledger, key, settings.layout, report_id=report_id, kind=kind.upper(), term=term, marked_by=by
        )
    click.echo(f"{mark_id}  {report_id} is held back until it was scrubbed again")


@phi.command()
@click.option("--all", "is_all", is_flag=True, help="Also those that were withdrawn.")
def marks(is_all: bool) -> None:
    """List the marks, with the state of each; never what was marked."""
    settings = load_settings()
    with closing(open_ledger(settings.database_url)) as ledger:
        found = list_marks(ledger)
        states = _states(settings, ledger, found)
    shown = [m for m in found if is_all or m.is_active]
    for m in shown:
        click.echo(
            f"{m.mark_id}  {m.kind:<8}  {states[m.mark_id]:<9}  {m.marked_at:%Y-%m-%d}  {m.marked_by}  {m.report_id}"
        )
    counts = {state: sum(states[m.mark_id] == state for m in found) for state in ("held back", "removed", "withdrawn")}
    click.echo(", ".join(f"{count} {state}" for state, count in counts.items()))


@phi.command()
@click.argument("mark_id")
@click.option("--by", required=True, metavar="NAME", help="Who withdraws it.")
def unmark(mark_id: str, by: str) -> None:
    """Withdraw a mark that was wrong: the batches of its patient are scrubbed again without it."""
    with closing(open_ledger(load_settings().database_url)) as ledger:
        withdrawn = withdraw_mark(ledger, mark_id, by)
    click.echo(f"{mark_id}  withdrawn; the batches of that patient, {withdrawn.batch} among them, are scrubbed again")


def _states(settings: Settings, ledger: Ledger, found: list[Mark]) -> dict[str, str]:
    """Mark id → whether a scrubbed report of its patient, or of one with a copy, still holds the term."""
    states = {m.mark_id: "removed" if m.is_active else "withdrawn" for m in found}
    if not any(m.is_active for m in found):
        return states
    terms = terms_with_copies(ledger, read_or_create_key(settings.layout.keys, KEY_NAME), settings.layout.tables)
    for patient, text in texts_of_patients(settings.layout.tables / "scrubbed_reports", sorted(terms)):
        states |= {term.mark_id: "held back" for term in terms[patient] if holds_any(text, [term])}
    return states
