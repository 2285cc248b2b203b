"""A loop that looks only after a commit must see every commit of every process."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fine_tune_assets.core.settings import PREFIX, load_settings
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.commit_counter import CommitCounter
from fine_tune_assets.ledger.database import Ledger, open_database

_APPEND = """
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import open_ledger
audit.append(open_ledger(load_settings()), "me", "did", "it")
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(open_database(f"sqlite:///{tmp_path / 'ledger.sqlite'}", tmp_path / "keys")) as opened:
        yield opened


def test_each_commit_is_seen_and_reading_is_none(ledger: Ledger) -> None:
    counter = CommitCounter(str(ledger.engine.url))
    for _ in range(3):
        before = counter.read()
        assert before is not None
        audit.list_entries(ledger)
        assert counter.read() == before
        audit.append(ledger, "me", "did", "it")
        assert counter.read() != before


def test_a_commit_of_another_process_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path))
    settings = load_settings()
    open_database(settings.database_url, settings.layout.keys).close()
    counter = CommitCounter(settings.database_url)
    before = counter.read()
    assert before is not None
    subprocess.run([sys.executable, "-c", _APPEND], check=True)
    assert counter.read() != before


def test_a_ledger_that_does_not_exist_counts_as_unknown(tmp_path: Path) -> None:
    """And is not created. Unknown means that the loop looks."""
    counter = CommitCounter(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    assert counter.read() is None
    assert list(tmp_path.iterdir()) == []
    open_database(f"sqlite:///{tmp_path / 'ledger.sqlite'}", tmp_path / "keys").close()
    assert counter.read() is not None


def test_a_ledger_in_postgresql_counts_as_unknown() -> None:
    assert CommitCounter("postgresql+psycopg2://me@localhost:1/none").read() is None
