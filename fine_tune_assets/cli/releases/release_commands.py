"""`fine-tune releases`: list, verify, move, deploy and remove releases."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from fine_tune_assets.cli.identity import operating_system_user
from fine_tune_assets.cli.output import json_option, show_message, show_rows
from fine_tune_assets.cli.releases.release_proofs import prove_release, verify_command
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import FileHashMemo, short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.processes.interrupts import reliable_interrupts
from fine_tune_assets.core.releases.release_archives import write_release_archive
from fine_tune_assets.core.releases.release_folders import hash_release_files
from fine_tune_assets.core.releases.release_keys import release_key_fingerprint
from fine_tune_assets.core.releases.release_signing import verifying_key
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.serving.imported_releases import find_import, find_import_key, list_imports
from fine_tune_assets.ledger.serving.release_records import find_release, list_recorded_releases
from fine_tune_assets.merging.retention import (
    RetentionDecision,
    RetentionRule,
    current_retention,
    find_unused_weights,
    merged_weights_paths,
    prune,
    referenced_paths,
    remove_release,
)
from fine_tune_assets.tables.stored_tables import read_rows_if_present

_NEW_FILE = click.Path(dir_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True)
class _Here:
    """This installation."""

    settings: Settings
    ledger: Ledger
    now: datetime

    @property
    def layout(self) -> Layout:
        return self.settings.layout

    @property
    def rule(self) -> RetentionRule:
        return RetentionRule(self.settings.release.keep_last, self.settings.release.keep_days)

    @property
    def named(self) -> list[str]:
        return [row["release_id"] for row in read_rows_if_present(self.layout.table("releases"))]

    @property
    def used(self) -> list[Path]:
        tables = ("merged_weights", "quantized_weights")
        rows = [row for name in tables for row in read_rows_if_present(self.layout.table(name))]
        return [self.layout.data_dir / path for path in referenced_paths(rows)]

    def standings(self) -> list[RetentionDecision]:
        return current_retention(self.ledger, self.rule, self.now, self.named)


@contextmanager
def _here() -> Iterator[_Here]:
    settings = load_settings()
    with closing(open_ledger(settings)) as ledger:
        yield _Here(settings, ledger, datetime.now(UTC))


@click.group()
def releases() -> None:
    """Verify, move, deploy and remove releases."""


releases.add_command(verify_command)


@releases.command("list")
@json_option
def list_command(is_json: bool) -> None:
    """List releases and why each is kept."""
    with _here() as here:
        kept = {one.release_id: one.keep_reason or "removed at the next prune" for one in here.standings()}
        found = list_recorded_releases(here.ledger)
        imported = {one.release_id: one.key_fingerprint for one in list_imports(here.ledger)}
    rows = [
        {
            "release_id": one.release.release_id,
            "recorded_at": one.recorded_at,
            "adapter": short(one.release.adapter_id),
            "origin": f"imported, key {short(imported[one.release.release_id])}"
            if one.release.release_id in imported
            else "built here",
            "state": f"removed {one.removed_at:%Y-%m-%d}" if one.removed_at else kept[one.release.release_id],
        }
        for one in found
    ]
    headers = {
        "release_id": "release",
        "recorded_at": "recorded",
        "adapter": "adapter",
        "origin": "origin",
        "state": "state",
    }
    show_rows(rows, headers, is_json=is_json, empty="No releases exist yet. Run `fine-tune materialize releases`.")


@releases.command("export")
@click.argument("release_id")
@click.argument("file", type=_NEW_FILE)
def export(release_id: str, file: Path) -> None:
    """Export a release to a file.

    The same release always gives the same bytes. Send its public key (`fine-tune keys signing`) through another channel.
    """
    if file.exists():
        raise FineTuneError(f"{file} exists. Remove it, or use another file.")
    with _here() as here:
        release = find_release(here.ledger, release_id)
        if release is None or not (here.layout.data_dir / release.folder).is_dir():
            raise FineTuneError(
                f"Release {release_id} does not exist, or it was removed. `fine-tune releases list` shows them."
            )
        folder, once = here.layout.data_dir / release.folder, FileHashMemo()
        key = verifying_key(here.layout.keys, release_id, find_import_key(here.ledger, release_id))
        for _ in prove_release(folder, key, release_id, once):
            pass  # raises for a release that could not be imported
        try:
            write_release_archive(folder, hash_release_files(folder, once), file)
        except OSError as error:
            raise FineTuneError(f"{file} can't be written: {error.strerror or type(error).__name__}.") from error
        audit.append(here.ledger, operating_system_user(), "exported release", release_id)
    click.echo(f"Exported release {release_id} to {file}, {file.stat().st_size:,} bytes")
    click.echo(f"Public key for the import: {key} (fingerprint {release_key_fingerprint(key)})")


@releases.command("import")
@click.argument("file", type=_FILE)
@click.option("--public-key", required=True, type=_FILE, help="releases.pub of the building installation.")
@click.option("--placeholder", is_flag=True, help="Replace it with the first promoted release.")
def import_command(file: Path, public_key: Path, placeholder: bool) -> None:
    """Import a release from another installation.

    Verifies signature, files and evidence, and runs its probes on this machine. Does not deploy it.

    Candidates that are trained here cannot be compared with an imported release, because its adapter is not here. With
    --placeholder they are compared with the base model, and the first promoted candidate replaces the import.
    """
    from fine_tune_assets.cli.releases.release_imports import ImportRequest, import_release

    with reliable_interrupts(), _here() as here:  # an interrupt stops the probed engine too
        release_id = import_release(
            ImportRequest(file, public_key, operating_system_user(), placeholder),
            here.settings,
            here.ledger,
            click.echo,
        )
    show_message(f"Imported release {release_id}. To deploy it, run `fine-tune releases deploy {release_id}`.")


@releases.command()
@click.argument("release_id")
def deploy(release_id: str) -> None:
    """Deploy an imported release."""
    from fine_tune_assets.serving.canary_releases import build_canary_plan
    from fine_tune_assets.serving.rollout import START_SECONDS, current_retention, deploy_release

    with _here() as here:
        if find_import(here.ledger, release_id) is None:
            raise FineTuneError(
                f"Release {release_id} was not imported. To deploy a release that was built here, run "
                "`fine-tune materialize served_models`."
            )
        live = deploy_release(
            here.ledger,
            release_id,
            timeout_seconds=START_SECONDS,
            by=operating_system_user(),
            retention=lambda: current_retention(here.settings),
            canary=build_canary_plan(here.settings),
            progress=lambda done, total, what: click.echo(f"{done} of {total} {what}"),
        )
    click.echo(f"Release {live.release_id} is live on {live.colour}.")


@releases.command("prune")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
def prune_command(dry_run: bool) -> None:
    """Remove releases that are not kept.

    Those are beyond the retention settings. The production model and releases that a rollback needs are always kept.
    """
    with _here() as here:
        if dry_run:
            standing = here.standings()
            gone = [one.release_id for one in standing if not one.keep_reason]
            kept = merged_weights_paths(here.layout, (one for one in standing if one.keep_reason))
            weights = find_unused_weights(here.layout, [*here.used, *kept], here.rule, here.now)
        else:
            pruned = prune(
                here.ledger,
                here.layout,
                here.rule,
                here.now,
                referenced_ids=here.named,
                used_paths=here.used,
                by=operating_system_user(),
            )
            gone, weights = list(pruned.releases), list(pruned.weights)
    word = "Would remove" if dry_run else "Removed"
    for kind, names in (("release", gone), ("weights", weights)):
        for name in names:
            click.echo(f"{word} {kind} {name}")
    if not gone and not weights:
        click.echo("Nothing to remove.")


@releases.command("remove")
@click.argument("release_id")
def remove(release_id: str) -> None:
    """Remove one release now.

    For example, one that was trained on an erased subject.
    """
    with _here() as here:
        standing = {one.release_id: one for one in here.standings()}
        if release_id not in standing:
            raise FineTuneError(
                f"Release {release_id} does not exist, or it was removed. `fine-tune releases list` shows them."
            )
        if release_id in here.named or not remove_release(
            here.ledger, here.layout, standing[release_id].recorded, operating_system_user()
        ):
            raise FineTuneError(
                f"Release {release_id} is in use, or next to be deployed. Deploy another one first: `fine-tune status`."
            )
    click.echo(f"Removed release {release_id}")
