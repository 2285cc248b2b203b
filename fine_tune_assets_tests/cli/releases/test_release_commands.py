"""`fine-tune releases` and `fine-tune keys signing`: the words on the terminal, and what they do."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.settings import PREFIX, Settings
from fine_tune_assets.ledger.audit.audit_log import list_entries
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.deployments import request_deployment
from fine_tune_assets.tables.merging_rows import BuiltRelease
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.cli.desk_users import OS_USER
from fine_tune_assets_tests.ledger.ledger_rows import record_promoted
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger


def run(*words: str) -> Result:
    return CliRunner().invoke(main, [*words])


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    for name, value in (("DATA_DIR", str(tmp_path)), ("RELEASE_KEEP_LAST", "1"), ("RELEASE_KEEP_DAYS", "0")):
        monkeypatch.setenv(PREFIX + name, value)
    opened = fresh_ledger(Settings(data_dir=tmp_path))
    yield opened
    opened.close()


def _releases(ledger: Ledger, root: Path, *names: str) -> None:
    for name in names:
        (root / "releases" / name).mkdir(parents=True)
        record_promoted(ledger, name, f"releases/{name}")


def listed() -> dict[str, str]:
    """Release id → state, in the order of the list."""
    return {row["release_id"]: row["state"] for row in json.loads(run("releases", "list", "--json").stdout)}


def _removed_by(ledger: Ledger) -> list[str]:
    return [entry.actor for entry in list_entries(ledger) if entry.action == "removed release"]


def test_list_shows_why_each_release_stays_and_prune_previews_its_removals(ledger: Ledger, tmp_path: Path) -> None:
    """Users can review before they delete gigabytes."""
    assert listed() == {}
    _releases(ledger, tmp_path, "r1", "r2", "r3")
    request_deployment(ledger, "r2")
    assert list(listed()) == ["r1", "r2", "r3"]
    assert listed()["r1"] == "removed at the next prune"
    assert listed()["r2"] == "in flight"
    assert len(set(listed().values())) == 3
    assert run("releases", "prune", "--dry-run").output == "Would remove release r1\n"
    assert (tmp_path / "releases" / "r1").is_dir()
    assert run("releases", "prune").output == "Removed release r1\n"
    assert not (tmp_path / "releases" / "r1").exists()
    assert run("releases", "prune").output == "Nothing to remove.\n"
    assert listed()["r1"].startswith("removed 2")
    assert _removed_by(ledger) == [OS_USER]


def test_a_dry_run_names_the_weights_that_the_prune_removes(ledger: Ledger, tmp_path: Path) -> None:
    """Not those that a release which stays was made from."""
    for name in ("r1", "r2"):
        (tmp_path / "releases" / name).mkdir(parents=True)
        record_promoted(ledger, name, f"releases/{name}", weights=f"merged-{name}")
        (tmp_path / "weights" / f"merged-{name}").mkdir(parents=True)
        os.utime(tmp_path / "weights" / f"merged-{name}", (0, 0))
    assert run("releases", "prune", "--dry-run").output == ("Would remove release r1\nWould remove weights merged-r1\n")
    assert run("releases", "prune").output == "Removed release r1\nRemoved weights merged-r1\n"


def test_remove_takes_one_before_its_time_but_none_that_is_in_use(ledger: Ledger, tmp_path: Path) -> None:
    """Such as one that learned from a patient who was erased."""
    _releases(ledger, tmp_path, "r1", "r2", "r3")
    request_deployment(ledger, "r2")
    row = dict.fromkeys(BuiltRelease.SCHEMA.names, "x") | {"release_id": "r1"}
    write_table(tmp_path / "tables" / "releases" / "releases.parquet", table_from_rows([row], BuiltRelease.SCHEMA))
    for name in ("r1", "r2"):
        refused = run("releases", "remove", name)
        assert (refused.exit_code, name in refused.output) == (1, True)
        assert (tmp_path / "releases" / name).is_dir()
    assert run("releases", "remove", "r3").output == "Removed release r3\n"
    again = run("releases", "remove", "r3")
    assert (again.exit_code, "fine-tune releases list" in again.output) == (1, True)
    assert _removed_by(ledger) == [OS_USER]
    assert run("releases", "remove", "r1", "--by", "An Operator").exit_code == 2  # a typed name is never recorded


def test_a_setting_that_would_keep_nothing_removes_nothing(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _releases(ledger, tmp_path, "r1")
    monkeypatch.setenv(f"{PREFIX}RELEASE_KEEP_LAST", "0")
    assert run("releases", "prune").exit_code == 1
    assert (tmp_path / "releases" / "r1").is_dir()


def test_the_public_key_is_shown_and_made_once(ledger: Ledger, tmp_path: Path) -> None:  # noqa: ARG001
    first = run("keys", "signing")
    assert first.output == run("keys", "signing").output
    assert str(tmp_path / "keys" / "releases.pub") in first.output
    assert "PRIVATE" not in first.output
