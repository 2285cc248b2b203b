"""`fine-tune releases` and `fine-tune keys signing`: the words on the terminal, and what they do."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.settings import PREFIX, Settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.deployments import want_release
from fine_tune_assets.tables.merging import BuiltRelease
from fine_tune_assets.tables.records import table_of
from fine_tune_assets_tests.ledger.fresh import fresh_ledger
from fine_tune_assets_tests.ledger.made import record_promoted


def run(*words: str) -> Result:
    return CliRunner().invoke(main, [*words])


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    for name, value in (("DATA_DIR", str(tmp_path)), ("RELEASE_KEEP_LAST", "1"), ("RELEASE_KEEP_DAYS", "0")):
        monkeypatch.setenv(PREFIX + name, value)
    opened = fresh_ledger(Settings(data_dir=tmp_path).database_url)
    yield opened
    opened.close()


def _releases(ledger: Ledger, root: Path, *names: str) -> None:
    for name in names:
        (root / "releases" / name).mkdir(parents=True)
        record_promoted(ledger, name, f"releases/{name}")


def test_list_says_why_each_stays_and_prune_says_what_it_would_do(ledger: Ledger, tmp_path: Path) -> None:
    """Nobody removes gigabytes without a look."""
    assert "There is no release yet." in run("releases", "list").output
    _releases(ledger, tmp_path, "r1", "r2", "r3")
    want_release(ledger, "r2")
    listed = run("releases", "list").output.splitlines()
    assert [line.split("  ")[-1] for line in listed] == ["goes at the next prune", "on its way", "one of the last 1"]
    assert run("releases", "prune", "--dry-run").output == "Would remove release r1\n"
    assert (tmp_path / "releases" / "r1").is_dir()
    assert run("releases", "prune", "--by", "An Operator").output == "Removed release r1\n"
    assert not (tmp_path / "releases" / "r1").exists()
    assert run("releases", "prune").output == "Nothing to remove.\n"
    assert "removed 2" in run("releases", "list").output.splitlines()[0]


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
    want_release(ledger, "r2")
    row = dict.fromkeys(BuiltRelease.SCHEMA.names, "x") | {"release_id": "r1"}
    write_table(tmp_path / "tables" / "releases" / "releases.parquet", table_of([row], BuiltRelease.SCHEMA))
    for name in ("r1", "r2"):
        refused = run("releases", "remove", name, "--by", "An Operator")
        assert (refused.exit_code, "is in use, or the next to be served" in refused.output) == (1, True)
    assert run("releases", "remove", "r3", "--by", "An Operator").output == "Removed release r3\n"
    again = run("releases", "remove", "r3", "--by", "An Operator")
    assert (again.exit_code, "removed already" in again.output) == (1, True)
    assert run("releases", "remove", "r1").exit_code == 2  # who does it is asked for


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
