"""`fine-tune trace`: the way of an example, which models saw a patient, whom a release saw; and a patient's key.

Owns the words on the terminal, and that a patient's id is never an argument: the shell's history and the list of processes
would keep it. The steps are `lineage`'s.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from fine_tune_assets.approval.still_approved import decided_now, why_not_approved
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.keys import PATIENTS_KEY, read_key
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.sample_subjects import sample_subject_key
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.tables.instructions import ProvenanceRow
from fine_tune_assets.tables.stored_tables import read_rows

if TYPE_CHECKING:
    from fine_tune_assets.lineage.records import (
        CorrectionTrace,
        DocumentStep,
        ExampleTrace,
        PatientTrace,
        ReleaseTrace,
        ReportStep,
        TrainingStep,
        WhyNot,
    )

_AS_JSON = click.option("--json", "is_json", is_flag=True, help="As one JSON object.")


class PatientIdError(FineTuneError):
    """No key can be made from what was entered."""


@click.group()
def trace() -> None:
    """Follow an example, a patient or a release through every step. Ids only, never text."""


@trace.command()
@click.argument("example_id")
@_AS_JSON
def example(example_id: str, is_json: bool) -> None:
    """Show from which report an example came, who decided about it, and which models saw it."""
    from fine_tune_assets.lineage.traces import trace_example

    with _opened() as (layout, ledger):
        found = trace_example(layout, ledger, example_id, why_not_approved_now(load_settings(), ledger))
    _print(found, is_json, _example_lines(found))


@trace.command()
@click.argument("patient_key")
@_AS_JSON
def patient(patient_key: str, is_json: bool) -> None:
    """Show which reports and examples are a patient's, and which models saw them, also as a copy of another patient's."""
    from fine_tune_assets.lineage.traces import trace_patient

    with _opened() as (layout, ledger):
        found = trace_patient(layout, ledger, patient_key)
    _print(found, is_json, _patient_lines(found))


@trace.command()
@click.argument("release_id")
@_AS_JSON
def release(release_id: str, is_json: bool) -> None:
    """Show what a release rests on, how many patients it saw, which of them were erased since, and which examples that it
    learned from are not approved any more."""
    from fine_tune_assets.lineage.traces import trace_release

    with _opened() as (layout, ledger):
        found = trace_release(layout, ledger, release_id, why_not_approved_now(load_settings(), ledger))
    _print(found, is_json, _release_lines(found))


@trace.command()
@click.argument("correction_id")
@_AS_JSON
def correction(correction_id: str, is_json: bool) -> None:
    """Show what became of a user's correction: quarantine, decisions, and which models learned from it."""
    from fine_tune_assets.lineage.traces import trace_correction

    with _opened() as (layout, ledger):
        found = trace_correction(layout, ledger, correction_id, why_not_approved_now(load_settings(), ledger))
    _print(found, is_json, _correction_lines(found))


@trace.command("patient-key")
@click.option("--by-name", is_flag=True, help="Enter the name of a patient whose reports state no id.")
def patient_key(by_name: bool) -> None:
    """Print the key of a patient. The id is asked for, or read from standard input."""
    from fine_tune_assets.reports.identifiers import patient_of, values_of

    wanted = "name" if by_name else "id"
    said = click.prompt(f"Patient's {wanted}", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read()
    text = next(iter(values_of(said)), "")
    layout = load_settings().layout
    path = layout.keys / f"{PATIENTS_KEY}.key"
    if not text:
        raise PatientIdError(f"No {wanted} was entered.")
    if not path.is_file():
        raise PatientIdError("There is no key for patients yet: no report was read here.")
    for key in _keys_of(layout, patient_of("" if by_name else text, text if by_name else ""), read_key(path)):
        click.echo(key)


def _keys_of(layout: Layout, patient: str, secret: bytes) -> list[str]:
    """The key that the installation's secret makes; for a subject of the unchanged sample, the public one. Both, where the
    sample's subject and another one have the same id."""
    from fine_tune_assets.reports.identifiers import patient_key

    keys = [sample_subject_key(patient), patient_key(secret, patient)]
    files = sorted((layout.tables / "reports").glob("*.parquet"))
    rows = (row for file in files for row in read_rows(file, "reports", "patient_key", keys, ("patient_key",)))
    stored = {row["patient_key"] for row in rows}
    return [key for key in keys if key in stored] or keys[1:]


def why_not_approved_now(settings: Settings, ledger: Ledger) -> "WhyNot":
    """A row of a set → why it is not approved any more, by the decisions of this moment and this installation's recipe."""
    corrections = settings.layout.table("scrubbed_corrections")
    now = decided_now(ledger, corrections, load_recipe(settings.recipe).review)
    return lambda row: why_not_approved(ProvenanceRow.of(row), now)


@contextmanager
def _opened() -> Iterator[tuple[Layout, Ledger]]:
    settings = load_settings()
    with closing(open_ledger(settings.database_url)) as ledger:
        yield settings.layout, ledger


def _print(found: Any, is_json: bool, lines: Iterator[str]) -> None:
    if is_json:
        click.echo(json.dumps(asdict(found), default=_plain, indent=2))
    else:
        for line in lines:
            click.echo(line)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _day(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else "?"


def _example_lines(found: "ExampleTrace") -> Iterator[str]:
    yield f"Example        {found.example_id}  task {found.task or '?'}  source {found.source or '?'}"
    yield f"Patient        {found.patient_key or 'none'}"
    if found.report:
        yield from _report_lines(found.report)
    for document in found.documents:
        yield f"With passage   {_passage(document)}"
    yield f"Draft          {'there is one now' if found.is_drafted else 'none now'}"
    for step in found.decisions:
        revoked = f", revoked by {step.revoked_by} {_day(step.revoked_at)}" if step.revoked_by else ""
        repaired = ", repaired" if step.is_repaired else ""
        yield f"Decision       {step.decision} by {step.reviewer} {_day(step.decided_at)} ({step.role}{repaired}{revoked})"
    if found.approved_by:
        yield f"Approved       by {found.approved_by} ({found.approval_kind})"
    for place in found.sets:
        gone = "  erased since" if place.is_erased else ""
        fallen = f"  not approved any more: {place.not_approved}" if place.not_approved else ""
        yield f"Set            {place.instruction_set}  {place.split}{gone}{fallen}"
    for training in found.trainings:
        yield from _training_lines(training)


def _correction_lines(found: "CorrectionTrace") -> Iterator[str]:
    yield f"Correction     {found.correction_id}  by {found.author} {_day(found.received_at)}"
    yield f"Corrects       an answer of release {found.release_id}"
    if found.knowledge_index:
        yield f"Answered from  knowledge index {short(found.knowledge_index)}"
    for document in found.documents:
        yield f"Passage        {_passage(document)}"
    yield f"Quarantine     {found.quarantine or 'never kept apart'}"
    if not found.examples:
        yield "Example        none: it waits to be scrubbed or let through, or was held back"
    for example in found.examples:
        yield from _example_lines(example)


def _passage(step: "DocumentStep") -> str:
    if step.source is None:
        return f"{step.passage_id}, in no index any more when the correction came"
    return f"{step.passage_id} of {step.source} version {step.version}"


def _report_lines(step: "ReportStep") -> Iterator[str]:
    scrubber = short(step.scrubber_version) if step.scrubber_version else "not scrubbed"
    held = ", held back" if step.is_held_back else ""
    yield f"Report         {step.report_id}  scrubber {scrubber}{held}"
    if step.kept_instead:
        yield f"Duplicate      {step.kept_instead} stays in its place"
    if step.duplicates:
        yield f"Duplicates     {', '.join(step.duplicates)} were dropped for it"


def _training_lines(step: "TrainingStep") -> Iterator[str]:
    unsure = "" if step.is_too_long_known else ", unless it was left out as too long, which was not kept then"
    yield f"Adapter        {short(step.adapter_id)}  {step.use}{unsure}"
    for verdict in step.verdicts:
        yield f"Verdict        {verdict.verdict_id}  {verdict.decision} {_day(verdict.recorded_at)}"
    for made in step.releases:
        states = ", ".join(f"{d.state} on {d.colour} since {_day(d.changed_at)}" for d in made.deployments)
        yield f"Release        {made.release_id}  {states or 'never served'}"


def _patient_lines(found: "PatientTrace") -> Iterator[str]:
    yield f"Patient        {found.patient_key}"
    if found.erased_at:
        state = "" if found.is_erasure_finished else ", not finished: run `fine-tune erase` again"
        yield f"Erased         {_day(found.erased_at)}{state}"
    for report in found.reports:
        yield from _report_lines(report)
    seen = _releases(found.examples)
    for one in found.examples:
        uses = sorted({f"{short(t.adapter_id)} {t.use}" for t in one.trainings})
        yield f"Example        {one.example_id}  {'; '.join(uses) or 'in no training'}"
    for copy in found.copies:
        uses = sorted({f"{short(t.adapter_id)} {t.use}" for t in copy.example.trainings})
        yield f"Copy           {copy.example.example_id}, another patient's, of {copy.own} ({copy.likeness})  {'; '.join(uses)}"
    for release_id, use, state in sorted(seen):
        yield f"Release        {release_id}  {use}  {state}"
    for release_id, use, state in sorted(_releases(copy.example for copy in found.copies)):
        yield f"Release        {release_id}  {use}  {state}  by a copy"
    for mark in found.erased_in_releases:
        yield f"Release        {mark.release_id}  {mark.use}  before it was erased"
    for mark in found.erased_copies:
        yield f"Release        {mark.release_id}  {mark.use}  by a copy, which is another patient's and was not erased"
    if not found.is_seen:
        yield "Release        none saw this patient"


def _releases(examples: "Iterable[ExampleTrace]") -> set[tuple[str, str, str]]:
    """Id, use and whether it is live of every release that saw one of the examples."""
    return {
        (made.release_id, training.use, "live" if made.is_live else "not live")
        for one in examples
        for training in one.trainings
        for made in training.releases
    }


def _release_lines(found: "ReleaseTrace") -> Iterator[str]:
    from fine_tune_assets.lineage.records import USE_OF_SPLIT

    yield f"Release        {found.release_id}"
    yield f"Adapter        {short(found.adapter_id)} on base {short(found.base_fingerprint)}"
    yield f"Set            {found.instruction_set}{'  erased since' if found.is_set_erased else ''}"
    for split in found.splits:
        general = f", {split.general_examples} of general data" if split.general_examples else ""
        yield f"  {split.split:<12} {split.examples} examples of {split.patients} patients{general}  ({split.use})"
    if found.corrections:
        yield f"Corrections    {len(found.corrections)} were learned from: {', '.join(found.corrections)}"
    left_out = "not known" if found.left_out_as_too_long is None else str(found.left_out_as_too_long)
    yield f"Too long       {left_out} left out"
    for verdict in found.verdicts:
        yield f"Verdict        {verdict.verdict_id}  {verdict.decision} {_day(verdict.recorded_at)}"
    for step in found.deployments:
        yield f"Deployment     {step.colour} {step.state}  wanted {_day(step.wanted_at)}  since {_day(step.changed_at)}"
    for mark in found.erased:
        yield f"Saw            an erased patient ({mark.use}, {mark.split})"
    for fallen in found.not_approved or ():
        yield f"Not approved   {fallen.example_id} any more ({USE_OF_SPLIT[fallen.split]}): {fallen.why}"
    if found.not_approved:
        yield f"Not approved   it learned from {len(found.not_approved)} examples that are not approved any more: train again"
    if found.erased_patients_learned_from:
        yield f"Erased         it learned from {found.erased_patients_learned_from} patients who were erased: train again"
