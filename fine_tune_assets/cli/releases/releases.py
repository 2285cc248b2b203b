"""`fine-tune releases`: which releases are there, moving them between installations, and removing those that nobody needs."""

import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from fine_tune_assets.cli.releases.release_proofs import prove_release
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import HashedOnce, short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.releases.release_archives import write_release_archive
from fine_tune_assets.core.releases.release_folders import release_files
from fine_tune_assets.core.releases.release_keys import release_key_fingerprint
from fine_tune_assets.core.releases.release_signing import verifying_key
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.serving.imported_releases import find_import, key_of_import, list_imports
from fine_tune_assets.ledger.serving.releases import find_release, recorded_releases
from fine_tune_assets.merging.retention import (
    RetentionRule,
    Standing,
    merged_weights_of,
    named_paths,
    prune,
    releases_of_now,
    remove_release,
    unused_weights_of_now,
)
from fine_tune_assets.tables.stored_tables import rows_if_stored

_NEW_FILE = click.Path(dir_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_MOVED_BY = click.option("--by", default="command line", show_default=True, help="Who does it; kept in the audit log.")


@dataclass(frozen=True)
class _Here:
    """This installation, as these commands need it."""

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
        return [row["release_id"] for row in rows_if_stored(self.layout.table("releases"))]

    @property
    def used(self) -> list[Path]:
        tables = ("merged_weights", "quantized_weights")
        rows = [row for name in tables for row in rows_if_stored(self.layout.table(name))]
        return [self.layout.data_dir / path for path in named_paths(rows)]

    def standings(self) -> list[Standing]:
        return releases_of_now(self.ledger, self.rule, self.now, self.named)


@contextmanager
def _here() -> Iterator[_Here]:
    settings = load_settings()
    with closing(open_ledger(settings.database_url)) as ledger:
        yield _Here(settings, ledger, datetime.now(UTC))


@click.group()
def releases() -> None:
    """Releases: list them, move them to another installation, and remove those that nobody needs any more."""


@releases.command("list")
def list_them() -> None:
    """List the releases, the oldest first: when each was built, and why it stays or when it was removed."""
    with _here() as here:
        standing = {one.release_id: one.kept_because or "goes at the next prune" for one in here.standings()}
        found = recorded_releases(here.ledger)
        imported = {
            one.release_id: f"  imported, key {short(one.key_fingerprint)}" for one in list_imports(here.ledger)
        }
    for one in found:
        name = one.release.release_id
        why = f"removed {one.removed_at:%Y-%m-%d}" if one.removed_at else standing[name]
        origin = imported.get(name, "")
        click.echo(f"{name}  {one.recorded_at:%Y-%m-%d}  adapter {one.release.adapter_id[:16]}{origin}  {why}")
    if not found:
        click.echo("There is no release yet.")


@releases.command("export")
@click.argument("release_id")
@click.argument("file", type=_NEW_FILE)
@_MOVED_BY
def export(release_id: str, file: Path, by: str) -> None:
    """Pack release RELEASE_ID into FILE, for another installation.

    The same release gives the same bytes. Give its public key (`fine-tune keys signing`) on another way.
    """
    if file.exists():
        raise FineTuneError(f"{file} is there already. Name another file, or remove it.")
    with _here() as here:
        release = find_release(here.ledger, release_id)
        if release is None or not (here.layout.data_dir / release.folder).is_dir():
            raise FineTuneError(
                f"There is no release {release_id}, or it was removed. `fine-tune releases list` shows them."
            )
        folder, once = here.layout.data_dir / release.folder, HashedOnce()
        key = verifying_key(here.layout.keys, release_id, key_of_import(here.ledger, release_id))
        for _ in prove_release(folder, key, release_id, once):
            pass  # what could not be imported is not exported
        try:
            write_release_archive(folder, release_files(folder, once), file)
        except OSError as error:
            raise FineTuneError(f"{file} can't be written: {error.strerror or type(error).__name__}.") from error
        audit.append(here.ledger, by, "exported release", release_id)
    click.echo(f"Exported release {release_id} to {file}, {file.stat().st_size:,} bytes")
    click.echo(f"Import it with the public key {release_key_fingerprint(key)}, in the file {key}")


@releases.command("import")
@click.argument("file", type=_FILE)
@click.option(
    "--public-key", required=True, type=_FILE, help="Whose release it must be: releases.pub of its installation."
)
@click.option("--placeholder", is_flag=True, help="Until this installation promotes a release.")
@_MOVED_BY
def import_(file: Path, public_key: Path, placeholder: bool, by: str) -> None:
    """Take over the release in FILE from another installation.

    Verifies signature, files and evidence, and asks its probes on this machine. It serves nobody yet.

    Candidates that are trained here are compared with the release that serves. One that was imported cannot be compared,
    since its adapter is not here. With --placeholder they are compared with the base model, and the first that is promoted
    replaces it.
    """
    from fine_tune_assets.cli.releases.release_imports import Given, import_release

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the engine that is probed ends with this command
    with _here() as here:
        release_id = import_release(Given(file, public_key, by, placeholder), here.settings, here.ledger, click.echo)
    click.echo(f"Imported release {release_id}. To send users to it: `fine-tune releases serve {release_id}`")


@releases.command("serve")
@click.argument("release_id")
@_MOVED_BY
def serve(release_id: str, by: str) -> None:
    """Send users to imported release RELEASE_ID, by a blue/green switch behind the gate."""
    from fine_tune_assets.serving.switch import START_SECONDS, keeping_here, serve_release
    from fine_tune_assets.serving.trials import trial_plan

    with _here() as here:
        if find_import(here.ledger, release_id) is None:
            raise FineTuneError(
                f"Release {release_id} was not imported. One that was made here is served by "
                "`fine-tune materialize --only served_models`."
            )
        live = serve_release(
            here.ledger,
            release_id,
            timeout_seconds=START_SECONDS,
            by=by,
            keep_old=lambda: keeping_here(here.settings),
            trial=trial_plan(here.settings),
            progress=lambda done, total, what: click.echo(f"{done} of {total} {what}"),
        )
    click.echo(f"Release {live.release_id} is live on {live.colour}.")


@releases.command("prune")
@click.option("--by", default="command line", show_default=True, help="Who removes them; kept in the audit log.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def prune_(by: str, dry_run: bool) -> None:
    """Remove releases and weights that the settings don't keep. What serves, and what a rollback needs, always stays."""
    with _here() as here:
        if dry_run:
            standing = here.standings()
            gone = [one.release_id for one in standing if not one.kept_because]
            kept = merged_weights_of(here.layout, (one for one in standing if one.kept_because))
            weights = unused_weights_of_now(here.layout, [*here.used, *kept], here.rule, here.now)
        else:
            pruned = prune(here.ledger, here.layout, here.rule, here.now, named=here.named, used=here.used, by=by)
            gone, weights = list(pruned.releases), list(pruned.weights)
    word = "Would remove" if dry_run else "Removed"
    for kind, names in (("release", gone), ("weights", weights)):
        for name in names:
            click.echo(f"{word} {kind} {name}")
    if not gone and not weights:
        click.echo("Nothing to remove.")


@releases.command("remove")
@click.argument("release_id")
@click.option("--by", required=True, help="Who removes them; kept in the audit log.")
def remove(release_id: str, by: str) -> None:
    """Remove one release before the settings would, such as one that learned from an erased patient."""
    with _here() as here:
        standing = {one.release_id: one for one in here.standings()}
        if release_id not in standing:
            raise FineTuneError(
                f"There is no release {release_id}, or it was removed already. `fine-tune releases list` shows them."
            )
        if release_id in here.named or not remove_release(here.ledger, here.layout, standing[release_id].recorded, by):
            raise FineTuneError(f"Release {release_id} is in use, or the next to be served: it is not removed.")
    click.echo(f"Removed release {release_id}")
