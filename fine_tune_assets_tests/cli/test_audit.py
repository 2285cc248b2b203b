"""`fine-tune audit verify`: a job that runs it each night knows by its exit status whether anybody touched a log."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.settings import PREFIX, load_settings
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.audit.requests import RequestLine, record_requests
from fine_tune_assets.ledger.schema import audit_lines, request_lines
from fine_tune_assets_tests.ledger.fresh import fresh_ledger

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CHAINS = {"audit log": audit_lines, "log of requests": request_lines}


@pytest.fixture(autouse=True)
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five lines in each log."""
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path))
    ledger = fresh_ledger(load_settings().database_url)
    for number in range(5):
        audit.append(ledger, "tester", "did", f"thing {number}")
    lines = [RequestLine(NOW, f"key:{n}", "/v1/models", 200, None, "r-1", 1, n, 5, None, None) for n in range(5)]
    record_requests(ledger, lines, {}, NOW)
    ledger.close()


def verify() -> Result:
    return CliRunner().invoke(main, ["audit", "verify"])


def tamper(table: sa.Table, change: Callable[[sa.Connection, sa.Table], object]) -> None:
    ledger = fresh_ledger(load_settings().database_url)
    with ledger.begin() as connection:
        change(connection, table)
    ledger.close()


def _change(connection: sa.Connection, table: sa.Table) -> None:
    column = "about" if table is audit_lines else "tokens_out"
    connection.execute(table.update().where(table.c.position == 3).values({column: 9}))


def _remove(connection: sa.Connection, table: sa.Table) -> None:
    connection.execute(table.delete().where(table.c.position == 3))


def _swap(connection: sa.Connection, table: sa.Table) -> None:
    for before, after in ((3, 99), (4, 3), (99, 4)):
        connection.execute(table.update().where(table.c.position == before).values(position=after))


def test_two_sound_logs_are_said_to_be_so_and_the_status_is_0() -> None:
    """With the newest hashes, which an auditor notes down elsewhere."""
    found = verify()
    assert found.exit_code == 0
    assert found.stdout.count("5 lines, an unbroken chain") == 2


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize(
    ("change", "reason"),
    [(_change, "line 3 was changed"), (_remove, "line 3 is missing"), (_swap, "line 3 ")],
    ids=["changed", "removed", "re-ordered"],
)
def test_a_log_that_somebody_touched_is_named_and_the_status_is_1(
    name: str, change: Callable[[sa.Connection, sa.Table], object], reason: str
) -> None:
    """And the other one is still said to be sound."""
    tamper(CHAINS[name], change)
    found = verify()
    assert found.exit_code == 1
    assert f"The {name} is broken: {reason}" in found.stderr
    assert "2 lines before it are sound" in found.stderr
    assert found.stdout.count("an unbroken chain") == 1
