"""`fine-tune trace`: every step of an example, a subject, a release or a correction. Ids only, never text."""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from fine_tune_assets.approval.lapsed_approvals import find_lapse_reason, read_current_decisions
from fine_tune_assets.cli.output import json_option, show_json
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.line_names import name_line
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.recipes.loader import load_recipe

if TYPE_CHECKING:
    from fine_tune_assets.lineage.trace_records import (
        CorrectionTrace,
        DocumentStep,
        ExampleTrace,
        ReleaseTrace,
        ReportStep,
        RevocationReason,
        SubjectTrace,
        TrainingStep,
    )


@click.group()
def trace() -> None:
    """Trace an example, subject or release."""


@trace.command()
@click.argument("example_id")
@json_option
def example(example_id: str, is_json: bool) -> None:
    """Trace an example from report to models."""
    from fine_tune_assets.lineage.traces import trace_example

    with _opened() as (layout, ledger):
        found = trace_example(layout, ledger, example_id, find_current_lapse(load_settings(), ledger))
    _print(found, is_json, _example_lines(found))


@trace.command()
@click.argument("subject_key")
@json_option
def subject(subject_key: str, is_json: bool) -> None:
    """Trace the reports and examples of a subject.

    Shows which models used them, also through a copy of another subject's report.
    """
    from fine_tune_assets.lineage.traces import trace_subject

    with _opened() as (layout, ledger):
        found = trace_subject(layout, ledger, subject_key)
    _print(found, is_json, _subject_lines(found))


@trace.command()
@click.argument("release_id")
@json_option
def release(release_id: str, is_json: bool) -> None:
    """Trace a release back to its training data.

    Shows how many subjects it used, which were erased since, and which of its examples are no longer approved.
    """
    from fine_tune_assets.lineage.traces import trace_release

    with _opened() as (layout, ledger):
        found = trace_release(layout, ledger, release_id, find_current_lapse(load_settings(), ledger))
    _print(found, is_json, _release_lines(found))


@trace.command()
@click.argument("correction_id")
@json_option
def correction(correction_id: str, is_json: bool) -> None:
    """Trace a correction to trained models."""
    from fine_tune_assets.lineage.traces import trace_correction

    with _opened() as (layout, ledger):
        found = trace_correction(layout, ledger, correction_id, find_current_lapse(load_settings(), ledger))
    _print(found, is_json, _correction_lines(found))


def find_current_lapse(settings: Settings, ledger: Ledger) -> "RevocationReason":
    """A function: row of an instruction set → why it is no longer approved, by the decisions recorded now."""
    now = read_current_decisions(ledger, load_recipe(settings.recipe).review)
    return lambda row: find_lapse_reason(row, now)


@contextmanager
def _opened() -> Iterator[tuple[Layout, Ledger]]:
    settings = load_settings()
    with closing(open_ledger(settings)) as ledger:
        yield settings.layout, ledger


def _print(found: Any, is_json: bool, lines: Iterator[str]) -> None:
    if is_json:
        show_json(asdict(found))
    else:
        for line in lines:
            click.echo(line)


def _day(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else "?"


def _example_lines(found: "ExampleTrace") -> Iterator[str]:
    yield f"Example        {found.example_id}  task {found.task or '?'}  source {found.source or '?'}"
    yield f"Subject        {found.subject_key or 'none'}"
    if found.report:
        yield from _report_lines(found.report)
    for document in found.documents:
        yield f"With passage   {_passage(document)}"
    yield f"Draft          {'current' if found.is_current_draft else 'none'}"
    for step in found.decisions:
        revoked = f", revoked by {step.revoked_by} {_day(step.revoked_at)}" if step.revoked_by else ""
        repaired = ", repaired" if step.is_repaired else ""
        yield f"Decision       {step.decision} by {step.reviewer} {_day(step.decided_at)} ({step.role}{repaired}{revoked})"
    if found.approved_by:
        yield f"Approved       by {found.approved_by} ({found.approval_kind})"
    for place in found.sets:
        gone = "  erased since" if place.is_erased else ""
        lapsed = f"  no longer approved: {place.revocation_reason}" if place.revocation_reason else ""
        yield f"Set            {place.instruction_set}  {place.split}{gone}{lapsed}"
    for training in found.trainings:
        yield from _training_lines(training)


def _correction_lines(found: "CorrectionTrace") -> Iterator[str]:
    yield f"Correction     {found.correction_id}  by {found.author} {_day(found.received_at)}"
    yield f"Corrects       an answer of release {found.release_id}"
    if found.knowledge_index:
        yield f"Answered from  knowledge index {short(found.knowledge_index)}"
    for document in found.documents:
        yield f"Passage        {_passage(document)}"
    yield f"Quarantine     {found.quarantine_state or 'never quarantined'}"
    if not found.examples:
        yield "Example        none: not scrubbed yet, in quarantine, or withheld"
    for example in found.examples:
        yield from _example_lines(example)


def _passage(step: "DocumentStep") -> str:
    if step.source is None:
        return f"{step.passage_id}, no longer in an index when the correction arrived"
    return f"{step.passage_id} of {step.source} version {step.version}"


def _report_lines(step: "ReportStep") -> Iterator[str]:
    scrubber = short(step.scrubber_version) if step.scrubber_version else "not scrubbed"
    held = ", withheld" if step.is_withheld else ""
    yield f"Report         {step.report_id}  scrubber {scrubber}{held}"
    if step.kept_report_id:
        yield f"Duplicate      {step.kept_report_id} is kept in its place"
    if step.duplicates:
        yield f"Duplicates     {', '.join(step.duplicates)} were dropped in its favour"


def _training_lines(step: "TrainingStep") -> Iterator[str]:
    unsure = "" if step.has_exclusion_record else ", unless it was too long (not recorded then)"
    yield f"Adapter        {short(step.adapter_id)}  {step.use}{unsure}"
    for verdict in step.verdicts:
        yield f"Verdict        {verdict.verdict_id}  {verdict.decision} {_day(verdict.recorded_at)}"
    for release in step.releases:
        states = ", ".join(f"{d.state} on {d.colour} since {_day(d.changed_at)}" for d in release.deployments)
        yield f"Release        {release.release_id}  {states or 'never served'}"


def _subject_lines(found: "SubjectTrace") -> Iterator[str]:
    yield f"Subject        {found.subject_key}"
    if found.erased_at:
        state = name_line("" if found.is_erasure_finished else ", not finished: run `fine-tune subjects erase` again")
        yield f"Erased         {_day(found.erased_at)}{state}"
    for report in found.reports:
        yield from _report_lines(report)
    seen = _releases(found.examples)
    for one in found.examples:
        uses = sorted({f"{short(t.adapter_id)} {t.use}" for t in one.trainings})
        yield f"Example        {one.example_id}  {'; '.join(uses) or 'in no training'}"
    for copy in found.copies:
        uses = sorted({f"{short(t.adapter_id)} {t.use}" for t in copy.example.trainings})
        yield f"Copy           {copy.example.example_id}, another subject's, of {copy.own_id} ({copy.kind})  {'; '.join(uses)}"
    for release_id, use, state in sorted(seen):
        yield f"Release        {release_id}  {use}  {state}"
    for release_id, use, state in sorted(_releases(copy.example for copy in found.copies)):
        yield f"Release        {release_id}  {use}  {state}  by a copy"
    for mark in found.erasure_marks:
        yield f"Release        {mark.release_id}  {mark.use}  before the erasure"
    for mark in found.erased_copies:
        yield f"Release        {mark.release_id}  {mark.use}  by a copy of another subject, which was not erased"
    if not found.is_in_any_release:
        yield "Release        none used this subject"


def _releases(examples: "Iterable[ExampleTrace]") -> set[tuple[str, str, str]]:
    """(Release id, use, live or not) of every release that used one of the examples."""
    return {
        (release.release_id, training.use, "live" if release.is_live else "not live")
        for one in examples
        for training in one.trainings
        for release in training.releases
    }


def _release_lines(found: "ReleaseTrace") -> Iterator[str]:
    from fine_tune_assets.lineage.trace_records import USE_BY_SPLIT

    yield f"Release        {found.release_id}"
    yield f"Adapter        {short(found.adapter_id)} on base {short(found.base_fingerprint)}"
    yield f"Set            {found.instruction_set}{'  erased since' if found.is_set_erased else ''}"
    for split in found.splits:
        general = f", {split.general_examples} of general data" if split.general_examples else ""
        yield f"  {split.split:<12} {split.examples} examples of {split.subjects} subjects{general}  ({split.use})"
    if found.corrections:
        yield f"Corrections    {len(found.corrections)} were trained on: {', '.join(found.corrections)}"
    excluded = found.excluded_as_too_long
    yield f"Too long       {'not recorded' if excluded is None else f'{excluded} excluded'}"
    for verdict in found.verdicts:
        yield f"Verdict        {verdict.verdict_id}  {verdict.decision} {_day(verdict.recorded_at)}"
    for step in found.deployments:
        yield f"Deployment     {step.colour} {step.state}  requested {_day(step.requested_at)}  since {_day(step.changed_at)}"
    for mark in found.erased:
        yield f"Erased         a subject ({mark.use}, {mark.split})"
    for lapsed in found.revoked_examples or ():
        yield f"Not approved   {lapsed.example_id} ({USE_BY_SPLIT[lapsed.split]}): {lapsed.reason}"
    if found.revoked_examples:
        yield f"Not approved   trained on {len(found.revoked_examples)} examples that are no longer approved: train again"
    if found.erased_training_subjects:
        yield f"Erased         trained on {found.erased_training_subjects} erased subjects: train again"
