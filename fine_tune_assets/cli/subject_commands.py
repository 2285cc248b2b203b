"""`fine-tune subjects`: erase a subject everywhere, lift an erasure, print the key of a subject.

A subject's id is never an argument: the shell history and the process list would keep it. `defs/subject_erasure.py` decides what
is removed, and in which order.
"""

import re
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import click

from fine_tune_assets.cli.identity import operating_system_user
from fine_tune_assets.cli.output import json_option, show_rows
from fine_tune_assets.cli.service_commands import open_instance
from fine_tune_assets.core.errors import FineTuneError, materialize_hint
from fine_tune_assets.core.keys import SUBJECTS_KEY, read_key
from fine_tune_assets.core.line_names import MAIN_LINE, name_line
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.sample_subjects import SUBJECT_KEY, sample_subject_key
from fine_tune_assets.core.settings import Settings, list_lines, load_settings, working_on
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.ledger_errors import UnknownRecordError
from fine_tune_assets.ledger.reviews.erasures import find_erasure
from fine_tune_assets.tables.stored_tables import read_rows

if TYPE_CHECKING:
    from fine_tune_assets.defs.subject_erasure import ErasurePreview
    from fine_tune_assets.lineage.copies import ReportCopy
    from fine_tune_assets.reports.subject_files import SubjectFiles

_KEY = re.compile(SUBJECT_KEY)


class SubjectIdError(FineTuneError):
    """No key can be made from what was entered."""


@click.group()
def subjects() -> None:
    """Erase or restore a subject."""


_SUBJECT_KEY = click.argument("subject_key", callback=lambda _context, _parameter, value: _checked_key(value))
_REASON = click.option("--reason", required=True, metavar="TEXT", help="Why, without the subject's name.")
_YES = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def _checked_key(value: str) -> str:
    if not _KEY.fullmatch(value):
        raise click.BadParameter(name_line("A subject key has 64 characters, as `fine-tune subjects key` prints it."))
    return value


@subjects.command()
@_SUBJECT_KEY
@_REASON
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@_YES
def erase(subject_key: str, reason: str, dry_run: bool, yes: bool) -> None:
    """Erase a subject in every product line.

    Removes the subject from reports, examples and caches. SUBJECT_KEY is what `fine-tune subjects key` prints. Reports of this
    subject that arrive later are refused. If the command is interrupted, run it again: it resumes.
    """
    from fine_tune_assets.defs.subject_erasure import ErasureError, set_tombstone

    settings = load_settings()
    lines = [settings.line, *sorted({"", *list_lines(settings)} - {settings.line})]
    previews = _show_previews(lines, subject_key)
    if dry_run:
        return
    if not yes:
        click.confirm("This can't be undone here. Remove all of it?", abort=True)
    # All tombstones first: a run in one line must not let another line read new data of the subject.
    for line, preview in previews.items():
        with working_on(line) as selected, closing(open_ledger(selected)) as ledger:
            set_tombstone(ledger, preview, subject_key=subject_key, by=operating_system_user(), reason=reason)
    faults = list[str]()
    for line in lines:
        _name_line(line, lines)
        with working_on(line) as selected, closing(open_ledger(selected)) as ledger:
            try:
                _erase(selected, ledger, subject_key, reason)
            except ErasureError as error:
                faults.append(str(error))
                click.echo(str(error), err=True)
    if faults:
        raise ErasureError(
            f"The erasure is incomplete in {len(faults)} of {len(lines)} product lines. Run the command again."
        )
    click.echo(f"{materialize_hint()} A model keeps what it learned until a new one is trained and deployed.")


@subjects.command()
@_SUBJECT_KEY
@_REASON
@_YES
def restore(subject_key: str, reason: str, yes: bool) -> None:
    """Accept reports of an erased subject again.

    Applies to every product line. Restores no data: send the reports again.
    """
    from fine_tune_assets.defs.platform.resources import Installation
    from fine_tune_assets.defs.subject_erasure import restore_subject

    if not yes:
        click.confirm("Accept reports of this subject again?", abort=True)
    settings, is_found = load_settings(), False
    for line in ("", *list_lines(settings)):
        with working_on(line) as selected, closing(open_ledger(selected)) as ledger:
            if find_erasure(ledger, subject_key) is not None:
                restore_subject(
                    Installation(), ledger, subject_key=subject_key, by=operating_system_user(), reason=reason
                )
                is_found = True
    if not is_found:
        raise UnknownRecordError(f"Subject {subject_key} is not erased.")
    click.echo("Reports of this subject are accepted again. Send the removed reports again if you need them.")


@subjects.command()
@click.option("--by-name", "by", flag_value="name", help="Enter a name, where reports have no id.")
@click.option("--by-report", "by", flag_value="report", help="Enter the id of a report without subject.")
@json_option
def key(by: str | None, is_json: bool) -> None:
    """Print the key of a subject.

    The id is prompted for, or read from standard input.
    """
    from fine_tune_assets.reports.stated_identifiers import identify_subject, own_subject, read_values

    wanted = {None: "id", "name": "name", "report": "report"}[by]
    entered = click.prompt(f"Subject {wanted}", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read()
    text = next(iter(read_values(entered)), "")
    settings = load_settings()
    layout, path = settings.layout, settings.subject_keys / f"{SUBJECTS_KEY}.key"
    if not text:
        raise SubjectIdError(f"No {wanted} was entered.")
    if not path.is_file():
        raise SubjectIdError(
            "This installation has no subject keys yet: no report has been read. Run `fine-tune materialize reports`."
        )
    subject = own_subject(text) if by == "report" else identify_subject(*(("", text) if by == "name" else (text, "")))
    show_rows(
        [{"subject_key": one} for one in _keys_of(layout, subject, read_key(path))],
        {"subject_key": ""},
        is_json=is_json,
    )


def _keys_of(layout: Layout, subject: str, secret: bytes) -> list[str]:
    """The key made with this installation's secret; for a subject of the unchanged sample, the public key. Both if the sample
    and another report have the same id."""
    from fine_tune_assets.reports.stated_identifiers import make_subject_key

    keys = [sample_subject_key(subject), make_subject_key(secret, subject)]
    files = sorted((layout.tables / "reports").glob("*.parquet"))
    rows = (row for file in files for row in read_rows(file, "reports", "subject_key", keys, ("subject_key",)))
    stored = {row["subject_key"] for row in rows}
    return [key for key in keys if key in stored] or keys[1:]


def _show_previews(lines: Sequence[str], subject_key: str) -> "dict[str, ErasurePreview]":
    """What an erasure would remove in each line. Raises ErasureError if no line has data of the subject."""
    from fine_tune_assets.defs.platform.resources import Installation
    from fine_tune_assets.defs.subject_erasure import preview_erasure, require_data

    previews = {}
    for line in lines:
        with working_on(line) as selected, closing(open_ledger(selected)) as ledger:
            previews[line] = preview_erasure(Installation(), ledger, subject_key)
    require_data(subject_key, list(previews.values()))
    for line, preview in previews.items():
        _name_line(line, lines)
        _show_preview(preview)
    return previews


def _name_line(line: str, lines: Sequence[str]) -> None:
    if len(lines) > 1:
        click.echo(f"Product line   {line or MAIN_LINE}")


def _erase(settings: Settings, ledger: Ledger, subject_key: str, reason: str) -> None:
    """In one product line. One without data of the subject refuses it from now on, too."""
    from fine_tune_assets.defs.platform.resources import Installation
    from fine_tune_assets.defs.subject_erasure import erase_subject

    with open_instance(settings) as instance:
        erased = erase_subject(
            instance,
            Installation(),
            ledger,
            subject_key=subject_key,
            by=operating_system_user(),
            reason=reason,
            on_step=lambda step: click.echo(f"- {step}"),
        )
    for name, count in sorted(erased.erasure.removed.items()):
        click.echo(f"{count:>8}  {name}")
    _show_copies(erased.copies)
    _show_manual_work(erased.files)


def _show_preview(preview: "ErasurePreview") -> None:
    ids = preview.ids
    click.echo(f"Reports        {len(ids.report_ids)} in {len(ids.batches)} batches")
    click.echo(f"Examples       {len(ids.example_ids)}")
    click.echo(f"Raw files      {len(preview.files.exclusive)} contain only this subject and will be removed")
    for release_id, split in sorted(preview.releases.items()):
        click.echo(f"Release        {release_id} used the subject in its {split} split")
    for release_id, split in sorted(preview.releases_by_copy.items()):
        click.echo(f"Release        {release_id} used the same words of another subject in its {split} split")
    _show_copies(preview.copies)
    _show_manual_work(preview.files)
    for fault in preview.faults:
        click.echo(fault, err=True)


def _show_copies(copies: "Sequence[ReportCopy]") -> None:
    """Reports of other subjects with the same words: an erasure does not remove them."""
    for copy in copies:
        similarity = "the same words as" if copy.kind == "exact" else "nearly the same words as"
        click.echo(
            f"Not removed    {copy.other_report} has {similarity} {copy.own_report} and belongs to another subject, "
            f"{copy.other_subject or 'whose key is unknown'}. If it is the same person, erase that key too"
        )


def _show_manual_work(files: "SubjectFiles") -> None:
    for shared in files.shared:
        where = f", records {', '.join(map(str, shared.records))}" if shared.records else ""
        click.echo(
            f"Edit           {shared.batch}/{shared.file}{where}: shared with other subjects; remove this one by hand"
        )
    for name in files.to_inspect:
        click.echo(f"Inspect        {name}: resources that reports refer to; remove this subject's by hand")
