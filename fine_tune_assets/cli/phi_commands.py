"""`fine-tune phi`: show what the scrubber misses on the labelled sets, and which identifiers reviewers marked on the desk.

No command prints an identifier.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict

import click
import pyarrow.parquet as pq

from fine_tune_assets.cli.identity import operating_system_user
from fine_tune_assets.cli.output import json_option, show_json, show_message, show_rows
from fine_tune_assets.core.errors import GATE_CLOSED, GateClosedError, materialize_hint
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.reviews.identifier_marks import IdentifierMark, list_marks, withdraw_mark
from fine_tune_assets.phi.measurement.miss_advice import advise
from fine_tune_assets.phi.measurement.recall_report import (
    MISSES_PAGE,
    RecallReport,
    measure_recipe_floors,
    report_recall,
)
from fine_tune_assets.phi.missed_identifiers.copied_reports import find_terms_with_copies
from fine_tune_assets.phi.missed_identifiers.missed_terms import has_any_term, read_subject_texts
from fine_tune_assets.phi.spans.vocabulary import load_vocabulary
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.tables.record_classes import conform, iter_records
from fine_tune_assets.tables.scrubbing_rows import LabelledMiss, ScrubRecall

_STATES = ("withheld", "removed", "withdrawn")


@click.group()
def phi() -> None:
    """Show misses of the scrubber, and marks."""


@phi.command("report")
@json_option
def report_command(is_json: bool) -> None:
    """Show what the scrubber misses.

    Prints the floors of the recipe, the misses by kind, the over-masking by labelled set, and what would catch the misses.
    Contains no text. Ends with status 3 if a floor is not met.
    """
    settings = load_settings()
    recipe = load_recipe(settings.recipe)
    table = settings.layout.table("scrub_recall")
    if not table.is_file():
        raise GateClosedError(f"The scrubber has not been measured. {materialize_hint('scrub_recall')}")
    recall, pack = conform(pq.read_table(table), ScrubRecall.SCHEMA), load_pack(recipe.domain).pack
    report = report_recall(recall, measure_recipe_floors(recall, recipe), pack.indirect_kinds)
    misses, page = _read_misses(settings), settings.desk_page_url(MISSES_PAGE)
    own_rules = [rule.name for one in pack.identifiers for rule in one.recognizers]
    causes = [
        {"kind": kind, "misses": count, "cause": cause, "rule": rule, **asdict(advise(cause, kind, rule, own_rules))}
        for (kind, cause, rule), count in Counter((m.label, m.cause, m.rule) for m in misses).most_common()
    ]
    if is_json:
        floors = [{**asdict(floor), "is_met": floor.is_met} for floor in report.floors]
        show_json({**asdict(report), "is_met": report.is_met, "floors": floors, "causes": causes, "page": page})
    else:
        _show_report(report, causes, page)
    if not report.is_met:
        raise SystemExit(GATE_CLOSED)


def _read_misses(settings: Settings) -> list[LabelledMiss]:
    table = settings.layout.table("labelled_misses")
    return list(iter_records(LabelledMiss, pq.read_table(table))) if table.is_file() else []


def _show_report(report: RecallReport, causes: Sequence[Mapping[str, object]], page: str) -> None:
    floors = (
        {
            "floor": f"{floor.label} identifiers",
            "required": floor.floor,
            "lowest": "not measured" if floor.recall is None else _share(floor.recall),
            "labelled_set": floor.labelled_set,
            "state": "met" if floor.is_met else "NOT MET",
        }
        for floor in report.floors
    )
    kinds = (
        {
            **asdict(kind),
            "recall": _share(kind.recall),
            "low": _share(kind.low),
            "is_direct": "yes" if kind.is_direct else "no",
        }
        for kind in report.kinds
        if kind.missed
    )
    sets = (
        {
            **asdict(one),
            "recall": _share(one.recall),
            "low": _share(one.low),
            "over_masking": None if one.over_masking is None else _share(one.over_masking),
            "floor": "yes" if one.has_floor else "no",
        }
        for one in report.sets
    )
    shares = {"identifiers": "identifiers", "missed": "missed", "recall": "removed", "low": "95 % from"}
    over = {"other_words": "other words", "over_masked": "over-masked", "over_masking": "share"}
    _show_table("Floors", floors, dict.fromkeys(("floor", "required", "lowest", "labelled_set", "state")))
    _show_table("By kind", kinds, {"name": "kind", "is_direct": "direct", **shares})
    if found := [f"{kind.name} {kind.identifiers}" for kind in report.kinds if not kind.missed]:
        click.echo(f"No misses: {', '.join(found)}")
    _show_table("By labelled set", sets, {"name": "labelled set", "floor": "floor", **shares, **over})
    if causes:
        click.echo("\nWhat would catch them")
    for cause in causes:
        click.echo(f"{cause['misses']} {cause['kind']}: {cause['explanation']}\n    {cause['remedy']}")
    if causes:
        show_message(
            f"\nThe misses in their context, for people with the role ingest: {page}. If the desk is stopped, run "
            "`fine-tune up desk` first."
        )
    for floor in report.floors:
        if not floor.is_met:
            click.echo(floor.describe(), err=True)


def _show_table(title: str, rows: Iterable[Mapping[str, object]], headers: Mapping[str, str | None]) -> None:
    """With its headers, also in a pipe: figures without them can't be read."""
    named = {name: (header or name).replace("_", " ") for name, header in headers.items()}
    click.echo(f"\n{title}")
    show_rows([named, *rows] if not sys.stdout.isatty() else list(rows), named, is_json=False)


def _share(value: float) -> str:
    return f"{value:.4f}"


@phi.command("marks")
@click.option("--all", "includes_withdrawn", is_flag=True, help="Include withdrawn marks.")
@json_option
def marks(includes_withdrawn: bool, is_json: bool) -> None:
    """List marked identifiers and their states.

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


@phi.command()
@click.argument("mark_id")
def withdraw(mark_id: str) -> None:
    """Withdraw an absent reviewer's mark.

    Reviewers withdraw their own marks on the desk. The batches of the subject are scrubbed again without the mark.
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
