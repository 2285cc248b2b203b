"""`fine-tune phi mark`: mark identifiers that the scrubber missed, list the marks, withdraw a wrong one.

The identifier is never an argument: the shell history and the process list would keep it.
"""

import sys
from contextlib import closing

import click

from fine_tune_assets.cli.identity import operating_system_user
from fine_tune_assets.cli.output import json_option, show_rows
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.reviews.identifier_marks import IdentifierMark, list_marks, withdraw_mark
from fine_tune_assets.phi.missed_identifiers.copied_reports import find_terms_with_copies
from fine_tune_assets.phi.missed_identifiers.marks import mark_missed_identifier
from fine_tune_assets.phi.missed_identifiers.missed_terms import has_any_term, read_subject_texts
from fine_tune_assets.phi.spans.vocabulary import load_vocabulary
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.recipes.loader import load_recipe

_STATES = ("withheld", "removed", "withdrawn")


@click.group()
def phi() -> None:
    """Mark identifiers that the scrubber missed."""


@phi.group()
def mark() -> None:
    """Mark identifiers that the scrubber missed."""


def _check_kind(_context: click.Context, _option: click.Parameter, value: str) -> str:
    """A kind of the recipe's domain, in capitals."""
    kinds = load_pack(load_recipe(load_settings().recipe).domain).pack.kinds
    if value.upper() not in kinds:
        raise click.BadParameter(f"choose one of {', '.join(kinds)}")
    return value.upper()


@mark.command()
@click.argument("report_id")
@click.option("--kind", required=True, metavar="KIND", callback=_check_kind, help="Kind of identifier, such as NAME.")
def add(report_id: str, kind: str) -> None:
    """Mark an identifier that is still in a report.

    The identifier is prompted for, or read from standard input. The report is withheld until it has been scrubbed again and the
    identifier is gone.
    """
    term = click.prompt("Missed identifier", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read()
    settings = load_settings()
    with closing(open_ledger(settings)) as ledger:
        mark_id = mark_missed_identifier(
            ledger,
            ledger.key,
            settings.layout,
            load_vocabulary(load_recipe(settings.recipe).domain),
            report_id=report_id,
            kind=kind,
            term=term,
            marked_by=operating_system_user(),
        )
    click.echo(f"{mark_id}  {report_id} is withheld until it is scrubbed again")


@mark.command("list")
@click.option("--all", "includes_withdrawn", is_flag=True, help="Include withdrawn marks.")
@json_option
def list_command(includes_withdrawn: bool, is_json: bool) -> None:
    """List the marks and their states.

    Identifiers are never printed.
    """
    settings = load_settings()
    with closing(open_ledger(settings)) as ledger:
        found = list_marks(ledger)
        states = _states(settings, ledger, found)
    rows = [
        {
            "mark_id": one.mark_id,
            "kind": one.kind,
            "state": states[one.mark_id],
            "marked_at": one.marked_at,
            "marked_by": one.marked_by,
            "report_id": one.report_id,
        }
        for one in found
        if includes_withdrawn or one.is_active
    ]
    headers = {
        name: name.replace("_", " ") for name in ("mark_id", "kind", "state", "marked_at", "marked_by", "report_id")
    }
    show_rows(rows, headers, is_json=is_json)
    if not is_json:
        counts = {state: sum(states[one.mark_id] == state for one in found) for state in _STATES}
        click.echo(", ".join(f"{count} {state}" for state, count in counts.items()))


@mark.command()
@click.argument("mark_id")
def withdraw(mark_id: str) -> None:
    """Withdraw a wrong mark.

    The batches of its subject are scrubbed again without it.
    """
    with closing(open_ledger(load_settings())) as ledger:
        withdrawn = withdraw_mark(ledger, mark_id, operating_system_user())
    click.echo(f"{mark_id}  withdrawn; {withdrawn.batch} and other batches of this subject are scrubbed again")


def _states(settings: Settings, ledger: Ledger, found: list[IdentifierMark]) -> dict[str, str]:
    """Mark id → `withheld` while a scrubbed report of the subject, or of one with a copy, still has the identifier."""
    states = {one.mark_id: "removed" if one.is_active else "withdrawn" for one in found}
    if not any(one.is_active for one in found):
        return states
    vocabulary = load_vocabulary(load_recipe(settings.recipe).domain)
    terms = find_terms_with_copies(ledger, ledger.key, settings.layout.tables, vocabulary)
    for subject, text in read_subject_texts(settings.layout.tables / "scrubbed_reports", sorted(terms)):
        states |= {term.mark_id: "withheld" for term in terms[subject] if has_any_term(text, [term], vocabulary)}
    return states
