import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import MIGRATIONS_DIR, Ledger, open_database
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.ledger_tables import metadata, review_items
from fine_tune_assets.ledger.reviews.review_items import find_item, list_identical_ids
from fine_tune_assets_tests.ledger.new_ledgers import keys_of

EARLIER_ITEM = {
    "is_trusted": False,
    "flag_count": 0,
    "flag_kinds": "",
    "state": "waiting",
    "arrived_at": datetime(2026, 1, 1, tzinfo=UTC),
    "decided_by": "",
    "version": 1,
}


def test_migrations_create_exactly_the_schema_tables(empty_url: str) -> None:
    """A column in the schema but not in a migration would be missing in every real installation."""
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


def test_a_ledger_of_an_earlier_revision_keeps_its_items(empty_url: str) -> None:
    """The review queue of an installation survives an upgrade; identical cases are found after the next refresh."""
    url = sa.make_url(empty_url)
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url.set(drivername="sqlite" if "sqlite" in url.drivername else "postgresql+psycopg2"))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_DIR))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "baseline_3")
        known = [column for column in review_items.columns if column.name != "case_key"]
        values = {column.name: EARLIER_ITEM.get(column.name, "x") for column in known if not column.nullable}
        connection.execute(review_items.insert().values(values))
    engine.dispose()
    ledger = open_database(empty_url, keys_of(empty_url))
    item = find_item(ledger, "x")
    assert item is not None
    assert (item.state, item.case_key) == ("waiting", "")
    assert list_identical_ids(ledger, "", viewer="Ann", now=item.arrived_at) == []
    ledger.close()


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
