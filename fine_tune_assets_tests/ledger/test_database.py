import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.ledger import database
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger, open_database
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.ledger_tables import metadata
from fine_tune_assets_tests.ledger.new_ledgers import keys_of

NEXT_MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "next", "{newest}"


def upgrade() -> None:
    op.add_column("audit_entries", sa.Column("remark", sa.String(20), nullable=False, server_default="none"))
"""


def test_a_new_ledger_has_exactly_the_declared_tables(empty_url: str) -> None:
    """With the newest revision, so that a later release migrates it."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with open_database(empty_url, keys_of(empty_url)).read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_no_key_is_created_beside_a_ledger_with_rows(ledger: Ledger, ledger_url: str, tmp_path: Path) -> None:
    """A second host, or a database restored without its key, would write rows that every other process refuses."""
    elsewhere = tmp_path / "second host"
    open_database(ledger_url, elsewhere).close()  # nothing depends on a key yet
    (elsewhere / "ledger.key").unlink()
    audit.append(ledger, "ann", "created a user", "user ann")
    with pytest.raises(SettingsError, match=r"ledger\.key"):
        open_database(ledger_url, elsewhere)
    assert not (elsewhere / "ledger.key").exists()
    open_database(ledger_url, ledger.keys).close()


def test_a_later_release_migrates_a_ledger_and_keeps_its_rows(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = open_database(empty_url, keys_of(empty_url))
    audit.append(ledger, "tester", "said", "something")
    ledger.close()
    later = shutil.copytree(database.MIGRATIONS_DIR, tmp_path / "migrations")
    newest = ScriptDirectory(str(later)).get_current_head()
    (later / "versions" / "next.py").write_text(NEXT_MIGRATION.format(newest=newest), encoding="utf-8")
    monkeypatch.setattr(database, "MIGRATIONS_DIR", later)
    database._revisions.cache_clear()
    try:
        migrated = open_database(empty_url, keys_of(empty_url))
    finally:
        database._revisions.cache_clear()
    assert [line.resource for line in audit.list_entries(migrated)] == ["something"]
    with migrated.read() as connection:
        assert connection.execute(sa.text("SELECT remark FROM audit_entries")).scalar() == "none"
    migrated.close()


def test_ledger_of_an_unknown_version_is_refused_and_unchanged(empty_url: str) -> None:
    """Writing to tables from another version would lose data that this version does not know."""
    ledger = open_database(empty_url, keys_of(empty_url))
    audit.append(ledger, "tester", "said", "something")
    with ledger.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0016'"))
    with pytest.raises(LedgerError, match="schema revision 0016"):
        open_database(empty_url, keys_of(empty_url))
    with ledger.read() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == "0016"
    assert [line.resource for line in audit.list_entries(ledger)] == ["something"]


def test_several_processes_can_open_a_new_ledger_at_once(empty_url: str) -> None:
    """`fine-tune up` starts the supervisor, the gateway and Dagster together on a fresh installation."""
    code = (
        "import sys; from pathlib import Path; from fine_tune_assets.ledger.database import open_database;"
        "from fine_tune_assets.ledger.audit import audit_log as audit;"
        "audit.append(open_database(sys.argv[1], Path(sys.argv[2])), 'tester', 'opened', 'it')"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, empty_url, str(keys_of(empty_url))], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0], errors
    check = audit.verify_entries(open_database(empty_url, keys_of(empty_url)))
    assert check.is_intact
    assert check.entry_count == 4


def test_failed_transaction_leaves_nothing_behind(ledger: Ledger) -> None:
    """A decision and its audit entry exist together or not at all."""

    def fail_half_way() -> None:
        with ledger.begin() as connection:
            audit.append(connection, "tester", "said", "something")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert audit.list_entries(ledger) == []


def test_a_sqlite_ledger_is_private_durable_and_in_wal_mode(tmp_path: Path) -> None:
    """It contains key hashes and encrypted corrections; readers must not wait for writers."""
    path = tmp_path / "new" / "ledger.db"
    ledger = open_database(f"sqlite:///{path}", tmp_path)
    with ledger.begin() as connection:
        found = {
            name: connection.execute(sa.text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2, "busy_timeout": 30_000}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_only_explicit_non_durable_writes_skip_fsync(tmp_path: Path) -> None:
    """The same connection must be durable again afterwards. A killed process loses neither kind of write."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = open_database(url, keys_of(url))
    for is_synced, level in ((False, 1), (True, 2), (False, 1)):
        with ledger.begin(is_durable=is_synced) as connection:
            assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == level
    code = (
        "import os, sys; from fine_tune_assets.ledger.audit import audit_log as audit\n"
        "from pathlib import Path; from fine_tune_assets.ledger.database import open_database\n"
        "with open_database(sys.argv[1], Path(sys.argv[2])).begin(is_durable=False) as connection:\n"
        "    audit.append(connection, 'a', 'wrote', 'x')\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, url, str(ledger.keys)], check=False).returncode == -9
    assert [line.action for line in audit.list_entries(ledger)] == ["wrote"]
    ledger.sync()
    ledger.close()


@pytest.mark.parametrize("url", ["mysql://localhost/x", "sqlite://", "nonsense", "postgresql+asyncpg://localhost/x"])
def test_other_kinds_of_database_are_refused(url: str, tmp_path: Path) -> None:
    """A ledger in memory would lose every approval."""
    with pytest.raises(LedgerError):
        open_database(url, tmp_path)


def test_unreachable_server_is_named_without_its_password(tmp_path: Path) -> None:
    """The message ends up in logs."""
    with pytest.raises(LedgerError, match=r"127\.0\.0\.1:1/x") as caught:
        open_database("postgresql://user:hunter2@127.0.0.1:1/x", tmp_path)
    assert "hunter2" not in str(caught.value)
