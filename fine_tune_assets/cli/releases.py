"""`fine-tune releases`: which releases are there, and removing those that nobody needs any more."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pyarrow.parquet as pq

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.releases import recorded_releases
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

_BY = click.option("--by", required=True, help="Who removes them; kept in the audit log.")


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
        return RetentionRule(self.settings.release_keep_last, self.settings.release_keep_days)

    @property
    def named(self) -> list[str]:
        return [row["release_id"] for row in self._rows("releases")]

    @property
    def used(self) -> list[Path]:
        rows = [row for name in ("merged_weights", "quantized_weights") for row in self._rows(name)]
        return [self.layout.data_dir / path for path in named_paths(rows)]

    def standings(self) -> list[Standing]:
        return releases_of_now(self.ledger, self.rule, self.now, self.named)

    def _rows(self, table: str) -> list[dict[str, Any]]:
        path = self.layout.table(table)
        return list(pq.read_table(path).to_pylist()) if path.is_file() else []


@contextmanager
def _here() -> Iterator[_Here]:
    settings = load_settings()
    ledger = open_ledger(settings.database_url)
    try:
        yield _Here(settings, ledger, datetime.now(UTC))
    finally:
        ledger.close()


@click.group()
def releases() -> None:
    """Releases: list them, and remove those that nobody needs any more."""


@releases.command("list")
def list_them() -> None:
    """List the releases, the oldest first: when each was built, and why it stays or when it was removed."""
    with _here() as here:
        standing = {one.release_id: one.kept_because or "goes at the next prune" for one in here.standings()}
        found = recorded_releases(here.ledger)
    for one in found:
        name = one.release.release_id
        why = f"removed {one.removed_at:%Y-%m-%d}" if one.removed_at else standing[name]
        click.echo(f"{name}  {one.recorded_at:%Y-%m-%d}  adapter {one.release.adapter_id[:16]}  {why}")
    if not found:
        click.echo("There is no release yet.")


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
@_BY
def remove(release_id: str, by: str) -> None:
    """Remove one release before the settings would, such as one that learned from an erased patient."""
    with _here() as here:
        standing = {one.release_id: one for one in here.standings()}
        if release_id not in standing:
            raise FineTuneError(f"There is no release {release_id}, or it was removed already. fine-tune releases list")
        if release_id in here.named or not remove_release(here.ledger, here.layout, standing[release_id].recorded, by):
            raise FineTuneError(f"Release {release_id} is in use, or the next to be served: it is not removed.")
    click.echo(f"Removed release {release_id}")
