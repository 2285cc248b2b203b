import stat
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.errors import LedgerError
from fine_tune_assets.ledger.schema import metadata


def test_migrations_make_exactly_the_tables_of_the_schema(empty_url: str) -> None:
    """A column that is in the schema and not in a migration would be missing in every real installation."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with open_ledger(empty_url).read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_ledger_of_an_unknown_version_is_refused_and_left_as_it_is(empty_url: str) -> None:
    """Writing into tables that another version made would lose what this one does not know."""
    ledger = open_ledger(empty_url)
    audit.append(ledger, "tester", "said", "something")
    with ledger.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0016'"))
    with pytest.raises(LedgerError, match="schema revision 0016"):
        open_ledger(empty_url)
    with ledger.read() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == "0016"
    assert [line.about for line in audit.lines(ledger)] == ["something"]


def test_several_processes_may_open_a_new_ledger_at_once(empty_url: str) -> None:
    """`fine-tune up` starts the supervisor, the gateway and Dagster together on a fresh installation. What each wrote stays."""
    code = (
        "import sys; from fine_tune_assets.ledger.database import open_ledger;"
        "from fine_tune_assets.ledger.audit import audit;"
        "audit.append(open_ledger(sys.argv[1]), 'tester', 'opened', 'it')"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, empty_url], stderr=subprocess.PIPE) for _ in range(4)]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0], errors
    check = audit.verify(open_ledger(empty_url))
    assert check.is_intact
    assert check.lines == 4


def test_a_failed_transaction_leaves_nothing_behind(ledger: Ledger) -> None:
    """A decision without its audit line, or the other way round, must not exist."""

    def fail_half_way() -> None:
        with ledger.begin() as connection:
            audit.append(connection, "tester", "said", "something")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert audit.lines(ledger) == []


def test_a_sqlite_ledger_is_private_durable_and_in_wal_mode(tmp_path: Path) -> None:
    """It holds key hashes and encrypted corrections; readers must not wait for writers."""
    path = tmp_path / "new" / "ledger.db"
    ledger = open_ledger(f"sqlite:///{path}")
    with ledger.begin() as connection:
        found = {
            name: connection.execute(sa.text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2, "busy_timeout": 30_000}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_only_who_asks_for_it_writes_without_waiting_for_the_disk(tmp_path: Path) -> None:
    """On one connection in turns: a correction after a request's line must wait again. No end of a process loses either."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = open_ledger(url)
    for is_synced, level in ((False, 1), (True, 2), (False, 1)):
        with ledger.begin(is_synced=is_synced) as connection:
            assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == level
    code = (
        "import os, sys; from fine_tune_assets.ledger.audit import audit\n"
        "from fine_tune_assets.ledger.database import open_ledger\n"
        "with open_ledger(sys.argv[1]).begin(is_synced=False) as connection: audit.append(connection, 'a', 'wrote', 'x')\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, url], check=False).returncode == -9
    assert [line.what for line in audit.lines(ledger)] == ["wrote"]
    ledger.sync()
    ledger.close()


@pytest.mark.parametrize("url", ["mysql://localhost/x", "sqlite://", "nonsense", "postgresql+asyncpg://localhost/x"])
def test_another_kind_of_database_is_refused_with_a_clear_error(url: str) -> None:
    """A ledger in memory would forget every approval."""
    with pytest.raises(LedgerError):
        open_ledger(url)


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    """The message lands in logs."""
    with pytest.raises(LedgerError, match=r"127\.0\.0\.1:1/x") as caught:
        open_ledger("postgresql://user:hunter2@127.0.0.1:1/x")
    assert "hunter2" not in str(caught.value)
