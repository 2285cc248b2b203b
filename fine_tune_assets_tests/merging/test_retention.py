"""Which releases are removed, which never are, and that removed ones stay on record."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import GateClosedError, SettingsError
from fine_tune_assets.core.fingerprints import fingerprint_text, short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.deployments import (
    list_current_deployments,
    record_state,
    request_deployment,
    switch_traffic,
)
from fine_tune_assets.ledger.serving.release_records import RecordedRelease, find_release, list_recorded_releases
from fine_tune_assets.ledger.serving.switch_log import record_switch
from fine_tune_assets.merging.retention import (
    PruneResult,
    RetentionRule,
    decide_retention,
    prune,
    remove_release,
    unused_weight_paths,
)
from fine_tune_assets_tests.ledger.ledger_rows import make_release, make_verdict, record_promoted
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger

NOW = datetime(2026, 6, 1, tzinfo=UTC)
RULE = RetentionRule(keep_last=1, keep_days=0)


def _recorded(release_id: str, days_ago: int) -> RecordedRelease:
    return RecordedRelease(make_release(make_verdict("promote"), release_id), NOW - timedelta(days=days_ago), None)


def test_recent_young_and_used_releases_are_kept() -> None:
    """The pure rule: a release is removed only if both count and age allow it."""
    releases = [_recorded(name, days) for name, days in (("r1", 90), ("r2", 80), ("r3", 70), ("r4", 20), ("r5", 10))]
    decisions = decide_retention(releases, {"r1": "live"}, RetentionRule(1, 30), NOW)
    assert [one.keep_reason for one in decisions] == ["live", "", "", "younger than 30 days", "one of the last 1"]
    assert [one.keep_reason for one in decide_retention(releases, {}, RetentionRule(4, 0), NOW)] == [
        "",
        *["one of the last 4"] * 4,
    ]


@pytest.mark.parametrize(("last", "days"), [(0, 30), (-1, 30), (1, -1)])
def test_a_rule_that_would_keep_nothing_is_rejected(last: int, days: int) -> None:
    """A typo in the settings must not empty the disk."""
    with pytest.raises(SettingsError, match=r"release\.keep_last"):
        RetentionRule(last, days)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = fresh_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield opened
    opened.close()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "data")


def _release(ledger: Ledger, layout: Layout, release_id: str, weights: str = "weights-1") -> None:
    folder = layout.releases / release_id
    folder.mkdir(parents=True)
    (folder / "model.gguf").write_bytes(b"weights")
    record_promoted(ledger, release_id, f"releases/{release_id}", weights)


def _switch(ledger: Ledger, release_id: str) -> None:
    deployment = request_deployment(ledger, release_id)
    record_state(ledger, deployment.deployment_id, "starting")
    record_state(ledger, deployment.deployment_id, "ready", engine_url="http://127.0.0.1:1/v1", engine_key=b"k")
    switch_traffic(ledger, deployment.deployment_id)
    for old in list_current_deployments(ledger):
        if old.state == "draining":
            record_state(ledger, old.deployment_id, "stopped")


def _prune(ledger: Ledger, layout: Layout, *named: str) -> PruneResult:
    later = datetime.now(UTC) + timedelta(days=400)
    return prune(ledger, layout, RULE, later, referenced_ids=named, used_paths=[], by="a test")


def _existing(layout: Layout) -> list[str]:
    return sorted(path.name for path in layout.releases.iterdir())


def test_the_production_release_its_predecessor_and_releases_in_flight_are_kept(ledger: Ledger, layout: Layout) -> None:
    """A rollback needs the predecessor, and a switch in progress needs its folder."""
    for number in range(6):
        _release(ledger, layout, f"r{number}")
        _switch(ledger, f"r{number}")
    _release(ledger, layout, "wanted")
    request_deployment(ledger, "wanted")
    for name in ("named", "newest"):
        _release(ledger, layout, name)
    assert _prune(ledger, layout, "named").releases == ("r0", "r1", "r2")
    assert _existing(layout) == ["named", "newest", "r3", "r4", "r5", "wanted"]
    assert _prune(ledger, layout, "named") == PruneResult((), ())


def test_after_a_rollback_the_newer_release_is_the_predecessor(ledger: Ledger, layout: Layout) -> None:
    """After a rollback, operators may switch forward again."""
    for name in ("r1", "r2"):
        _release(ledger, layout, name)
        _switch(ledger, name)
    with ledger.begin() as connection:
        record_switch(connection, "operator", "blue", "r1")
    _release(ledger, layout, "newest")
    assert _prune(ledger, layout).releases == ()


def test_a_removed_release_stays_on_record_and_cannot_be_requested(ledger: Ledger, layout: Layout) -> None:
    """Its row has the date, the audit log an entry, and a request for it fails with the remedy."""
    for name in ("old", "new"):
        _release(ledger, layout, name)
    _prune(ledger, layout)
    old, new = list_recorded_releases(ledger)
    assert old.removed_at is not None
    assert new.removed_at is None
    assert find_release(ledger, "old") == old.release
    assert [(line.actor, line.resource) for line in audit.list_entries(ledger) if line.action == "removed release"] == [
        ("a test", "old")
    ]
    with pytest.raises(GateClosedError, match=r"old .*`fine-tune materialize releases`"):
        request_deployment(ledger, "old")


def test_a_release_that_comes_into_use_meanwhile_is_not_removed(ledger: Ledger, layout: Layout) -> None:
    """The decision is repeated in the transaction that acts on it."""
    _release(ledger, layout, "r1")
    (recorded,) = list_recorded_releases(ledger)
    request_deployment(ledger, "r1")
    assert not remove_release(ledger, layout, recorded, "a test")
    assert _existing(layout) == ["r1"]


def test_leftovers_of_a_killed_call_are_removed_by_the_next(ledger: Ledger, layout: Layout) -> None:
    (layout.releases / ".removed-r0").mkdir(parents=True)
    (layout.releases / ".removed-r0" / "model.gguf").write_bytes(b"x")
    _prune(ledger, layout)
    assert _existing(layout) == []


def test_a_folder_outside_the_releases_folder_is_not_removed(ledger: Ledger, layout: Layout) -> None:
    """Write access to the ledger must not allow deleting other folders."""
    (layout.data_dir / "keys").mkdir(parents=True)
    record_promoted(ledger, "r1", "releases/../keys")
    record_promoted(ledger, "r2", layout.data_dir / "keys")
    _release(ledger, layout, "newest")
    _prune(ledger, layout)
    assert (layout.data_dir / "keys").is_dir()


def test_weights_are_removed_only_if_unnamed_and_old(tmp_path: Path) -> None:
    """A release contains copies."""
    weights, old = tmp_path / "weights", NOW.timestamp() - 100
    for name in ("merged", "exported", "young", "unused", ".unused.tmp"):
        (weights / name / "inside").mkdir(parents=True)
        (weights / name / "inside" / "model").write_bytes(b"x")
        if name != "young":
            os.utime(weights / name, (old, old))
    os.utime(weights / "young", (NOW.timestamp(), NOW.timestamp()))
    used = [weights / "merged", weights / "exported" / "inside" / "model"]
    before = NOW - timedelta(seconds=50)
    assert unused_weight_paths(weights, used, before) == [weights / "unused"]
    assert unused_weight_paths(tmp_path / "absent", used, before) == []


EXPORTS = ("a1.q8_0.gguf", "a1.q8_0.probes.json", "a1.safetensors.probes.json", "a1.w4a16.probes.json")


def _written(weights: Path, *, old: float) -> None:
    """A merged model and its exports, with the names that merging and exporting give them."""
    for folder in ("a1", "a1.w4a16"):
        (weights / folder).mkdir(parents=True)
        (weights / folder / "model.safetensors").write_bytes(b"x")
    for file in (*EXPORTS, ".merging.lock"):
        (weights / file).write_bytes(b"x")
    for path in weights.iterdir():
        os.utime(path, (old, old))


def test_file_exports_are_removed_with_their_probe_answers(ledger: Ledger, layout: Layout) -> None:
    """llama.cpp serves files: if only folders were removed, pruning would free nothing."""
    layout.weights.mkdir(parents=True)
    _written(layout.weights, old=NOW.timestamp())
    assert _prune(ledger, layout) == PruneResult((), tuple(sorted(("a1", "a1.w4a16", *EXPORTS))))
    assert [path.name for path in layout.weights.iterdir()] == [".merging.lock"]


@pytest.mark.parametrize("kept", ["a1", "a1.safetensors.probes.json"])
def test_weights_and_their_probe_answers_stay_together(tmp_path: Path, kept: str) -> None:
    """With only one of the two, a release could not be built again."""
    _written(tmp_path, old=NOW.timestamp() - 100)
    unused = unused_weight_paths(tmp_path, [tmp_path / kept], NOW)
    assert [path.name for path in unused] == ["a1.q8_0.gguf", "a1.q8_0.probes.json", "a1.w4a16", "a1.w4a16.probes.json"]


@pytest.mark.parametrize("reason", ["named", "young"])
def test_a_file_export_is_kept_for_the_same_reasons_as_a_folder(tmp_path: Path, reason: str) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    _written(weights, old=NOW.timestamp() - 100)
    file = weights / "a1.q8_0.gguf"
    if reason == "young":
        os.utime(file, (NOW.timestamp(), NOW.timestamp()))
    unused = unused_weight_paths(weights, [file] if reason == "named" else [], NOW)
    assert [path.name for path in unused] == ["a1", "a1.safetensors.probes.json", "a1.w4a16", "a1.w4a16.probes.json"]


def test_a_link_among_the_weights_is_not_removed(tmp_path: Path) -> None:
    """Weights that were moved to another disk and linked are kept."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a1").symlink_to(tmp_path / "elsewhere")
    assert unused_weight_paths(tmp_path / "weights", [], datetime(2100, 1, 1, tzinfo=UTC)) == []


def test_exports_of_released_weights_are_removed(ledger: Ledger, layout: Layout) -> None:
    """Releases contain copies, so otherwise nothing would be freed."""
    for name in ("old", "new"):
        _release(ledger, layout, name)
        (layout.weights / name).mkdir(parents=True)
    assert _prune(ledger, layout) == PruneResult(("old",), ("new", "old"))
    assert list(layout.weights.iterdir()) == []


def test_merged_weights_of_kept_releases_are_kept(ledger: Ledger, layout: Layout) -> None:
    """llama.cpp serves an export, so no release shares a file with them, but candidates on another base model are compared with
    their answers."""
    for name in ("gone", "serves", "newest"):
        _release(ledger, layout, name, fingerprint_text(name))
        folder = layout.weights / short(fingerprint_text(name))
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"x")
        folder.with_name(f"{folder.name}.safetensors.probes.json").write_bytes(b"x")
    _switch(ledger, "serves")
    gone = short(fingerprint_text("gone"))
    assert _prune(ledger, layout) == PruneResult(("gone",), (gone, f"{gone}.safetensors.probes.json"))
