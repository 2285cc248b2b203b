"""`fine-tune erase`: remove a patient from everywhere, or let one in again.

Owns the words on the terminal and the question before anything is removed. What is removed, and in which order, is
`defs/erasure.py`'s.
"""

import re
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import click

from fine_tune_assets.cli.services import open_instance
from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.core.sample_subjects import SUBJECT_KEY
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.ledger.database import Ledger, open_ledger

if TYPE_CHECKING:
    from fine_tune_assets.defs.erasure import Outlook
    from fine_tune_assets.lineage.copies import ReportCopy
    from fine_tune_assets.reports.patient_files import PatientFiles

_KEY = re.compile(SUBJECT_KEY)


@click.command()
@click.argument("patient_key")
@click.option("--by", required=True, metavar="NAME", help="Who asks for it.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; without the patient's name.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--lift", "is_lift", is_flag=True, help="Let the patient in again. Brings nothing back by itself.")
def erase(patient_key: str, by: str, reason: str, dry_run: bool, yes: bool, is_lift: bool) -> None:
    """Remove the reports of a patient and all that was made of them, and refuse what arrives of the patient later.

    PATIENT_KEY is what `fine-tune trace patient-key` prints. Run again after a kill: it goes on where it was.
    """
    if not _KEY.fullmatch(patient_key):
        raise click.BadParameter("A patient's key has 64 characters, as `fine-tune trace patient-key` prints it.")
    settings = load_settings()
    with closing(open_ledger(settings.database_url)) as ledger:
        if is_lift:
            _lift(ledger, patient_key, by, reason, is_asked=not yes)
        else:
            _erase(settings, ledger, patient_key, by, reason, dry_run=dry_run, is_asked=not yes)


def _erase(
    settings: Settings, ledger: Ledger, patient_key: str, by: str, reason: str, *, dry_run: bool, is_asked: bool
) -> None:
    from fine_tune_assets.defs.erasure import erase_patient, look_ahead
    from fine_tune_assets.defs.platform.resources import Installation

    installation = Installation()
    _show_outlook(look_ahead(installation, ledger, patient_key))
    if dry_run:
        return
    if is_asked:
        click.confirm("Remove it? It can't be brought back from here", abort=True)
    with open_instance(settings) as instance:
        erased = erase_patient(
            instance,
            installation,
            ledger,
            patient_key=patient_key,
            by=by,
            reason=reason,
            tell=lambda step: click.echo(f"- {step}"),
        )
    for name, count in sorted(erased.erasure.removed.items()):
        click.echo(f"{count:>8}  {name}")
    _show_copies(erased.copies)
    _show_left_to_people(erased.files)
    click.echo(f"{materialize_hint()} What a model learned stays in it until a new one is trained.")


def _lift(ledger: Ledger, patient_key: str, by: str, reason: str, *, is_asked: bool) -> None:
    from fine_tune_assets.defs.erasure import lift
    from fine_tune_assets.defs.platform.resources import Installation

    if is_asked:
        click.confirm("Let this patient in again?", abort=True)
    lift(Installation(), ledger, patient_key=patient_key, by=by, reason=reason)
    click.echo("What arrives of this patient is read again. What was removed has to be sent again.")


def _show_outlook(outlook: "Outlook") -> None:
    ids = outlook.ids
    click.echo(f"Reports        {len(ids.report_ids)} in {len(ids.batches)} batches")
    click.echo(f"Examples       {len(ids.example_ids)}")
    click.echo(f"Raw files      {len(outlook.files.own)} hold nobody else and will be removed")
    for release_id, split in sorted(outlook.releases.items()):
        click.echo(f"Release        {release_id} saw the patient in its {split} split")
    for release_id, split in sorted(outlook.releases_by_copy.items()):
        click.echo(
            f"Release        {release_id} saw the patient's words in its {split} split, in a copy that is another patient's"
        )
    _show_copies(outlook.copies)
    _show_left_to_people(outlook.files)
    for fault in outlook.faults:
        click.echo(fault, err=True)


def _show_copies(copies: "Sequence[ReportCopy]") -> None:
    """What an erasure does not remove: the same words in a report that is somebody else's."""
    for copy in copies:
        alike = "the same words as" if copy.likeness == "exact" else "nearly the same words as"
        click.echo(
            f"Stays          {copy.other_report} has {alike} {copy.own_report} and is of another patient, "
            f"{copy.other_patient or 'whose key is not known any more'}. Is it the same person? Erase that key too"
        )


def _show_left_to_people(files: "PatientFiles") -> None:
    for shared in files.shared:
        where = f", records {', '.join(map(str, shared.records))}" if shared.records else ""
        click.echo(
            f"To repair      {shared.batch}/{shared.file}{where}: it holds others too. Take the patient out of it"
        )
    for name in files.to_look_at:
        click.echo(f"To look at     {name}: resources that reports refer to. Take the patient's out of it")
