"""How long releases are kept, and taking those away that nobody needs any more.

Owns the rule, as a pure decision, and the removal of folders and files. Never removed: what serves, what served before it, what
is on its way, and what the table of releases names. What is known of a release stays in the ledger. Adapters, instruction sets
and verdicts stay too: they are small, and what is proven rests on them.
"""

import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import GateClosedError, SettingsError
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.release_removal import mark_removed, releases_in_use
from fine_tune_assets.ledger.serving.releases import RecordedRelease, recorded_releases

_GOING = ".removed-"
_PROBES = ".probes.json"
_PATHS = ("folder", "file", "probes_file")
"""Columns of `merged_weights` and `quantized_weights` that say where something lies."""


@dataclass(frozen=True)
class RetentionRule:
    """A release goes when it is neither one of the last few nor young."""

    keep_last: int
    keep_days: int

    def __post_init__(self) -> None:
        if self.keep_last < 1 or self.keep_days < 0:
            raise SettingsError("release.keep_last must be at least 1, and release.keep_days at least 0.")


@dataclass(frozen=True)
class Standing:
    """A release that is there, and why it stays; empty if it goes."""

    recorded: RecordedRelease
    kept_because: str

    @property
    def release_id(self) -> str:
        return self.recorded.release.release_id


@dataclass(frozen=True)
class Pruned:
    releases: tuple[str, ...]
    weights: tuple[str, ...]
    """Names below `data/weights`."""


def standings(
    recorded: Sequence[RecordedRelease], in_use: Mapping[str, str], rule: RetentionRule, now: datetime
) -> list[Standing]:
    """Of each release that is there, oldest first, as given. `in_use`: release → why it must stay."""
    there = [one for one in recorded if one.removed_at is None]
    last = {one.release.release_id for one in there[-rule.keep_last :]}
    return [Standing(one, _kept_because(one, in_use, last, rule, now)) for one in there]


def _kept_because(
    one: RecordedRelease, in_use: Mapping[str, str], last: Collection[str], rule: RetentionRule, now: datetime
) -> str:
    if one.release.release_id in in_use:
        return in_use[one.release.release_id]
    if one.release.release_id in last:
        return f"one of the last {rule.keep_last}"
    if now - one.recorded_at < timedelta(days=rule.keep_days):
        return f"younger than {rule.keep_days} days"
    return ""


def releases_of_now(ledger: Ledger, rule: RetentionRule, now: datetime, named: Iterable[str]) -> list[Standing]:
    """`named`: ids that must stay whatever the ledger says of them, such as that of the table of releases."""
    in_use = dict.fromkeys(named, "named by the table of releases") | releases_in_use(ledger)
    return standings(recorded_releases(ledger), in_use, rule, now)


def prune(
    ledger: Ledger,
    layout: Layout,
    rule: RetentionRule,
    now: datetime,
    *,
    named: Iterable[str],
    used: Collection[Path],
    by: str,
) -> Pruned:
    """Remove what the rule lets go. `used`: paths of weights that tables name. What a killed call left is removed too."""
    for left in layout.releases.glob(f"{_GOING}*"):
        shutil.rmtree(left)
    standing = releases_of_now(ledger, rule, now, named)
    going = [one for one in standing if not one.kept_because]
    gone = tuple(one.release_id for one in going if remove_release(ledger, layout, one.recorded, by))
    staying = [one for one in standing if one.release_id not in gone]
    weights = unused_weights_of_now(layout, [*used, *merged_weights_of(layout, staying)], rule, now)
    for path in (layout.weights / name for name in weights):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return Pruned(gone, tuple(weights))


def merged_weights_of(layout: Layout, staying: Iterable[Standing]) -> list[Path]:
    """What the releases that stay were made from. A candidate on another base model is judged against it: it answers for what
    serves now, whichever format of it does."""
    return [layout.weights / short(one.recorded.release.weights_fingerprint) for one in staying]


def named_paths(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """What rows of merged and exported weights name, as tables keep a path."""
    return [str(row[name]) for row in rows for name in _PATHS if row.get(name)]


def remove_release(ledger: Ledger, layout: Layout, recorded: RecordedRelease, by: str) -> bool:
    """False if it came into use meanwhile. The mark and the folder's new name are one transaction: nobody can want it between."""
    folder = layout.data_dir / recorded.release.folder
    aside = folder.with_name(f"{_GOING}{folder.name}")
    try:
        with ledger.begin() as connection:
            mark_removed(connection, recorded.release.release_id, by)
            # A folder elsewhere is none that we made; the ledger alone may not say what is removed.
            if folder.resolve().parent == layout.releases.resolve() and folder.is_dir():
                os.replace(folder, aside)
    except GateClosedError:
        return False
    shutil.rmtree(aside, ignore_errors=not aside.exists())
    return True


def unused_weights_of_now(layout: Layout, used: Collection[Path], rule: RetentionRule, now: datetime) -> list[str]:
    """Names below `data/weights`. A day at least: a run that is at work names its weights only when it has written them."""
    before = now - timedelta(days=max(1, rule.keep_days))
    return [path.name for path in unused_weights(layout.weights, used, before)]


def unused_weights(weights_dir: Path, used: Collection[Path], before: datetime) -> list[Path]:
    """Merged and exported weights, folders and files, that nothing names, no release shares a file with, and nobody wrote to
    since. The answers to their probes go with them, and not before."""
    together: dict[str, list[Path]] = {}
    for path in weights_dir.glob("*"):
        if not path.name.startswith(".") and not path.is_symlink():  # a link is none that we made
            together.setdefault(_weights_name(path.name), []).append(path)
    unused = (paths for paths in together.values() if all(_is_unused(path, used, before) for path in paths))
    return sorted(path for paths in unused for path in paths)


def _weights_name(name: str) -> str:
    """The same for weights and their probes: `<id>` (probes: `<id>.safetensors.probes.json`), `<id>.q8_0.gguf` and
    `<id>.w4a16` (`<id>.<format>.probes.json`)."""
    return name.removesuffix(_PROBES).removesuffix(".safetensors").removesuffix(".gguf")


def _is_unused(path: Path, used: Collection[Path], before: datetime) -> bool:
    files = [one for one in (path, *path.rglob("*")) if one.is_file()]
    return (
        not any(one == path or path in one.parents for one in used)
        and path.stat().st_mtime < before.timestamp()
        and all(one.stat().st_nlink == 1 for one in files)
    )
