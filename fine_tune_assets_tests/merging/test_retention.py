"""Which releases go and which never do, and that what went is known of for ever."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import GateClosedError, SettingsError
from fine_tune_assets.core.fingerprints import fingerprint_text, short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.deployments import current_deployments, report_state, switch_live, want_release
from fine_tune_assets.ledger.serving.releases import RecordedRelease, find_release, recorded_releases
from fine_tune_assets.ledger.serving.switch_log import record_switch
from fine_tune_assets.merging.retention import (
    Pruned,
    RetentionRule,
    prune,
    remove_release,
    standings,
    unused_weights,
)
from fine_tune_assets_tests.ledger.fresh import fresh_ledger
from fine_tune_assets_tests.ledger.made import make_release, make_verdict, record_promoted

NOW = datetime(2026, 6, 1, tzinfo=UTC)
RULE = RetentionRule(keep_last=1, keep_days=0)


def _recorded(release_id: str, days_ago: int) -> RecordedRelease:
    return RecordedRelease(make_release(make_verdict("promote"), release_id), NOW - timedelta(days=days_ago), None)


def test_the_last_few_the_young_and_those_in_use_stay() -> None:
    """The rule, without a disk: both of number and age have to let a release go."""
    releases = [_recorded(name, days) for name, days in (("r1", 90), ("r2", 80), ("r3", 70), ("r4", 20), ("r5", 10))]
    found = standings(releases, {"r1": "live"}, RetentionRule(1, 30), NOW)
    assert [one.kept_because for one in found] == ["live", "", "", "younger than 30 days", "one of the last 1"]
    assert [one.kept_because for one in standings(releases, {}, RetentionRule(4, 0), NOW)] == [
        "",
        *["one of the last 4"] * 4,
    ]


@pytest.mark.parametrize(("last", "days"), [(0, 30), (-1, 30), (1, -1)])
def test_a_rule_that_would_keep_nothing_is_refused(last: int, days: int) -> None:
    """A slip in the settings must not empty the disk."""
    with pytest.raises(SettingsError, match="at least 1"):
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
    deployment = want_release(ledger, release_id)
    report_state(ledger, deployment.deployment_id, "starting")
    report_state(ledger, deployment.deployment_id, "ready", engine_url="http://127.0.0.1:1/v1", engine_key=b"k")
    switch_live(ledger, deployment.deployment_id)
    for old in current_deployments(ledger):
        if old.state == "draining":
            report_state(ledger, old.deployment_id, "stopped")


def _prune(ledger: Ledger, layout: Layout, *named: str) -> Pruned:
    later = datetime.now(UTC) + timedelta(days=400)
    return prune(ledger, layout, RULE, later, named=named, used=[], by="a test")


def _there(layout: Layout) -> list[str]:
    return sorted(path.name for path in layout.releases.iterdir())


def test_what_serves_what_served_before_and_what_is_on_its_way_are_never_removed(
    ledger: Ledger, layout: Layout
) -> None:
    """A rollback goes to the one before; a switch that is going on must find its folder."""
    for number in range(6):
        _release(ledger, layout, f"r{number}")
        _switch(ledger, f"r{number}")
    _release(ledger, layout, "wanted")
    want_release(ledger, "wanted")
    for name in ("named", "newest"):
        _release(ledger, layout, name)
    assert _prune(ledger, layout, "named").releases == ("r0", "r1", "r2")
    assert _there(layout) == ["named", "newest", "r3", "r4", "r5", "wanted"]
    assert _prune(ledger, layout, "named") == Pruned((), ())


def test_after_a_rollback_the_other_one_is_the_one_before(ledger: Ledger, layout: Layout) -> None:
    """Whoever went back may go forth again."""
    for name in ("r1", "r2"):
        _release(ledger, layout, name)
        _switch(ledger, name)
    with ledger.begin() as connection:
        record_switch(connection, "operator", "blue", "r1")
    _release(ledger, layout, "newest")
    assert _prune(ledger, layout).releases == ()


def test_what_is_removed_stays_known_and_can_not_be_wanted(ledger: Ledger, layout: Layout) -> None:
    """The row with its day, a line in the audit log, and a clear word to who asks for it."""
    for name in ("old", "new"):
        _release(ledger, layout, name)
    _prune(ledger, layout)
    old, new = recorded_releases(ledger)
    assert old.removed_at is not None
    assert new.removed_at is None
    assert find_release(ledger, "old") == old.release
    assert [(line.who, line.about) for line in audit.lines(ledger) if line.what == "removed release"] == [
        ("a test", "old")
    ]
    with pytest.raises(GateClosedError, match=r"Release old was removed on .*`fine-tune materialize releases`"):
        want_release(ledger, "old")


def test_one_that_comes_into_use_meanwhile_is_not_removed(ledger: Ledger, layout: Layout) -> None:
    """The decision is taken again in the transaction that acts on it."""
    _release(ledger, layout, "r1")
    (recorded,) = recorded_releases(ledger)
    want_release(ledger, "r1")
    assert not remove_release(ledger, layout, recorded, "a test")
    assert _there(layout) == ["r1"]


def test_what_a_killed_call_left_is_removed_by_the_next(ledger: Ledger, layout: Layout) -> None:
    (layout.releases / ".removed-r0").mkdir(parents=True)
    (layout.releases / ".removed-r0" / "model.gguf").write_bytes(b"x")
    _prune(ledger, layout)
    assert _there(layout) == []


def test_a_folder_outside_of_the_releases_is_not_removed(ledger: Ledger, layout: Layout) -> None:
    """Who can write to the ledger can't have another folder deleted."""
    (layout.data_dir / "keys").mkdir(parents=True)
    record_promoted(ledger, "r1", "releases/../keys")
    record_promoted(ledger, "r2", layout.data_dir / "keys")
    _release(ledger, layout, "newest")
    _prune(ledger, layout)
    assert (layout.data_dir / "keys").is_dir()


def test_weights_go_only_if_nothing_names_or_shares_them_and_nobody_wrote_to_them_lately(tmp_path: Path) -> None:
    """What a release is made of is a hard link to them."""
    weights, old = tmp_path / "weights", NOW.timestamp() - 100
    for name in ("merged", "exported", "shared", "young", "unused", ".unused.tmp"):
        (weights / name / "inside").mkdir(parents=True)
        (weights / name / "inside" / "model").write_bytes(b"x")
        if name != "young":
            os.utime(weights / name, (old, old))
    os.link(weights / "shared" / "inside" / "model", tmp_path / "release")
    os.utime(weights / "young", (NOW.timestamp(), NOW.timestamp()))
    used = [weights / "merged", weights / "exported" / "inside" / "model"]
    before = NOW - timedelta(seconds=50)
    assert unused_weights(weights, used, before) == [weights / "unused"]
    assert unused_weights(tmp_path / "absent", used, before) == []


EXPORTS = ("a1.q8_0.gguf", "a1.q8_0.probes.json", "a1.safetensors.probes.json", "a1.w4a16.probes.json")


def _written(weights: Path, *, old: float) -> None:
    """A merged model and its exports, by the names that merging and exporting give them."""
    for folder in ("a1", "a1.w4a16"):
        (weights / folder).mkdir(parents=True)
        (weights / folder / "model.safetensors").write_bytes(b"x")
    for file in (*EXPORTS, ".merging.lock"):
        (weights / file).write_bytes(b"x")
    for path in weights.iterdir():
        os.utime(path, (old, old))


def test_exports_that_are_files_go_with_the_answers_to_their_probes(ledger: Ledger, layout: Layout) -> None:
    """llama.cpp serves a file: if only folders went, removing a release would free nothing."""
    layout.weights.mkdir(parents=True)
    _written(layout.weights, old=NOW.timestamp())
    assert _prune(ledger, layout) == Pruned((), tuple(sorted(("a1", "a1.w4a16", *EXPORTS))))
    assert [path.name for path in layout.weights.iterdir()] == [".merging.lock"]


@pytest.mark.parametrize("kept", ["a1", "a1.safetensors.probes.json"])
def test_weights_and_the_answers_to_their_probes_stay_together(tmp_path: Path, kept: str) -> None:
    """A merge that is used without its answers, or the other way round, could not be released again."""
    _written(tmp_path, old=NOW.timestamp() - 100)
    found = unused_weights(tmp_path, [tmp_path / kept], NOW)
    assert [path.name for path in found] == ["a1.q8_0.gguf", "a1.q8_0.probes.json", "a1.w4a16", "a1.w4a16.probes.json"]


@pytest.mark.parametrize("why", ["named", "shared", "young"])
def test_an_export_that_is_a_file_stays_for_the_same_reasons_as_a_folder(tmp_path: Path, why: str) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    _written(weights, old=NOW.timestamp() - 100)
    file = weights / "a1.q8_0.gguf"
    if why == "shared":
        os.link(file, tmp_path / "model.gguf")
    if why == "young":
        os.utime(file, (NOW.timestamp(), NOW.timestamp()))
    found = unused_weights(weights, [file] if why == "named" else [], NOW)
    assert [path.name for path in found] == ["a1", "a1.safetensors.probes.json", "a1.w4a16", "a1.w4a16.probes.json"]


def test_a_link_among_the_weights_is_left_alone(tmp_path: Path) -> None:
    """Whoever put the weights on another disk keeps them."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a1").symlink_to(tmp_path / "elsewhere")
    assert unused_weights(tmp_path / "weights", [], datetime(2100, 1, 1, tzinfo=UTC)) == []


def test_weights_of_a_removed_release_go_with_it(ledger: Ledger, layout: Layout) -> None:
    """Otherwise nothing would be freed: both names are one file."""
    for name in ("old", "new"):
        _release(ledger, layout, name)
        (layout.weights / name).mkdir(parents=True)
        os.link(layout.releases / name / "model.gguf", layout.weights / name / "model.gguf")
    assert _prune(ledger, layout) == Pruned(("old",), ("old",))
    assert [path.name for path in layout.weights.iterdir()] == ["new"]


def test_the_merged_weights_of_releases_that_stay_are_kept(ledger: Ledger, layout: Layout) -> None:
    """llama.cpp serves an export, so no release shares a file with them; a candidate on another base model is compared with what
    they answer."""
    for name in ("gone", "serves", "newest"):
        _release(ledger, layout, name, fingerprint_text(name))
        folder = layout.weights / short(fingerprint_text(name))
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"x")
        folder.with_name(f"{folder.name}.safetensors.probes.json").write_bytes(b"x")
    _switch(ledger, "serves")
    gone = short(fingerprint_text("gone"))
    assert _prune(ledger, layout) == Pruned(("gone",), (gone, f"{gone}.safetensors.probes.json"))
