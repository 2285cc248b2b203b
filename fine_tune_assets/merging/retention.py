"""Decides which releases to keep, and removes the others and unused weights.

Never removes the production model, its predecessor, a release in flight, or one named in the table of releases. The ledger keeps
all records. Adapters, instruction sets and verdicts are kept too: they are small, and evidence depends on them.
"""

import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import GateClosedError, SettingsError
from fine_tune_assets.core.files import remove_folder
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.release_records import RecordedRelease, list_recorded_releases
from fine_tune_assets.ledger.serving.release_removal import list_releases_in_use, mark_removed

_REMOVED_PREFIX = ".removed-"
_PROBES_SUFFIX = ".probes.json"
_PATH_COLUMNS = ("folder", "path", "probes_file")
"""Columns of `merged_weights` and `quantized_weights` that contain paths."""


@dataclass(frozen=True)
class RetentionRule:
    """A release is removed if it is neither one of the last `keep_last` nor younger than `keep_days`."""

    keep_last: int
    keep_days: int

    def __post_init__(self) -> None:
        if self.keep_last < 1 or self.keep_days < 0:
            raise SettingsError("release.keep_last must be at least 1, and release.keep_days at least 0.")


@dataclass(frozen=True)
class RetentionDecision:
    """An existing release and the reason to keep it; an empty reason means removal."""

    recorded: RecordedRelease
    keep_reason: str

    @property
    def release_id(self) -> str:
        return self.recorded.release.release_id


@dataclass(frozen=True)
class PruneResult:
    releases: tuple[str, ...]
    weights: tuple[str, ...]
    """Names below `data/weights`."""


def decide_retention(
    recorded: Sequence[RecordedRelease], in_use: Mapping[str, str], rule: RetentionRule, now: datetime
) -> list[RetentionDecision]:
    """Decide for each existing release, in the given order (oldest first). `in_use`: release id → reason to keep it."""
    there = [one for one in recorded if one.removed_at is None]
    last = {one.release.release_id for one in there[-rule.keep_last :]}
    return [RetentionDecision(one, _keep_reason(one, in_use, last, rule, now)) for one in there]


def _keep_reason(
    one: RecordedRelease, in_use: Mapping[str, str], last: Collection[str], rule: RetentionRule, now: datetime
) -> str:
    if one.release.release_id in in_use:
        return in_use[one.release.release_id]
    if one.release.release_id in last:
        return f"one of the last {rule.keep_last}"
    if now - one.recorded_at < timedelta(days=rule.keep_days):
        return f"younger than {rule.keep_days} days"
    return ""


def current_retention(
    ledger: Ledger, rule: RetentionRule, now: datetime, referenced_ids: Iterable[str]
) -> list[RetentionDecision]:
    """Decide from the ledger. `referenced_ids` are always kept, such as those in the table of releases."""
    in_use = dict.fromkeys(referenced_ids, "named in the table of releases") | list_releases_in_use(ledger)
    return decide_retention(list_recorded_releases(ledger), in_use, rule, now)


def prune(
    ledger: Ledger,
    layout: Layout,
    rule: RetentionRule,
    now: datetime,
    *,
    referenced_ids: Iterable[str],
    used_paths: Collection[Path],
    by: str,
) -> PruneResult:
    """Remove releases and unused weights. `used_paths` are weights named in tables. Also removes leftovers of a killed call."""
    for left in layout.releases.glob(f"{_REMOVED_PREFIX}*"):
        remove_folder(left)
    decisions = current_retention(ledger, rule, now, referenced_ids)
    expired = [one for one in decisions if not one.keep_reason]
    removed = tuple(one.release_id for one in expired if remove_release(ledger, layout, one.recorded, by))
    kept = [one for one in decisions if one.release_id not in removed]
    weights = find_unused_weights(layout, [*used_paths, *merged_weights_paths(layout, kept)], rule, now)
    for path in (layout.weights / name for name in weights):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return PruneResult(removed, tuple(weights))


def merged_weights_paths(layout: Layout, kept: Iterable[RetentionDecision]) -> list[Path]:
    """Merged weights of the kept releases.

    A candidate on another base model is compared with the production model's merged weights, whichever format is served.
    """
    return [layout.weights / short(one.recorded.release.weights_fingerprint) for one in kept]


def referenced_paths(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Paths of merged and exported weights in table rows."""
    return [str(row[name]) for row in rows for name in _PATH_COLUMNS if row.get(name)]


def remove_release(ledger: Ledger, layout: Layout, recorded: RecordedRelease, by: str) -> bool:
    """Return False if the release came into use meanwhile.

    Marks and renames the folder in one transaction, so that no deployment can start in between.
    """
    folder = layout.data_dir / recorded.release.folder
    aside = folder.with_name(f"{_REMOVED_PREFIX}{folder.name}")
    try:
        with ledger.begin() as connection:
            mark_removed(connection, recorded.release.release_id, by)
            # Only delete folders below the releases folder, whatever path the ledger states.
            if folder.resolve().parent == layout.releases.resolve() and folder.is_dir():
                os.replace(folder, aside)
    except GateClosedError:
        return False
    if aside.exists():
        remove_folder(aside)
    return True


def find_unused_weights(layout: Layout, used_paths: Collection[Path], rule: RetentionRule, now: datetime) -> list[str]:
    """Names below `data/weights`. Waits at least a day, because a run names its weights only after writing them."""
    before = now - timedelta(days=max(1, rule.keep_days))
    return [path.name for path in unused_weight_paths(layout.weights, used_paths, before)]


def unused_weight_paths(weights_dir: Path, used_paths: Collection[Path], before: datetime) -> list[Path]:
    """Merged and exported weights that no table names and that are older than `before`. The answers to their probes are removed
    with them, not earlier."""
    together: dict[str, list[Path]] = {}
    for path in weights_dir.glob("*"):
        if not path.name.startswith(".") and not path.is_symlink():  # links are never ours
            together.setdefault(_weights_name(path.name), []).append(path)
    unused = (paths for paths in together.values() if all(_is_unused(path, used_paths, before) for path in paths))
    return sorted(path for paths in unused for path in paths)


def _weights_name(name: str) -> str:
    """Map weights and their probes to the same name: `<id>` (probes: `<id>.safetensors.probes.json`), `<id>.q8_0.gguf` and
    `<id>.w4a16` (`<id>.<format>.probes.json`)."""
    return name.removesuffix(_PROBES_SUFFIX).removesuffix(".safetensors").removesuffix(".gguf")


def _is_unused(path: Path, used_paths: Collection[Path], before: datetime) -> bool:
    is_used = any(one == path or path in one.parents for one in used_paths)
    return not is_used and path.stat().st_mtime < before.timestamp()
