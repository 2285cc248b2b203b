"""`fine-tune audit verify`: its exit status tells a nightly job whether a log was changed."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.settings import PREFIX, load_settings
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.audit.request_log import RequestEntry, record_requests
from fine_tune_assets.ledger.ledger_tables import audit_entries, request_entries
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CHAINS = {"audit log": audit_entries, "request log": request_entries}


@pytest.fixture(autouse=True)
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five lines in each log."""
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path))
    ledger = fresh_ledger(load_settings())
    for number in range(5):
        audit.append(ledger, "tester", "did", f"thing {number}")
    lines = [RequestEntry(NOW, f"key:{n}", "/v1/models", 200, None, "r-1", 1, n, 5, None, None) for n in range(5)]
    record_requests(ledger, lines, {}, NOW)
    ledger.close()


def verify(*options: str) -> Result:
    return CliRunner().invoke(main, ["audit", "verify", *options])


def checks() -> dict[str, dict[str, object]]:
    found = dict(json.loads(verify("--json").stdout))
    return {name: found[name] for name in CHAINS}


def tamper(table: sa.Table, change: Callable[[sa.Connection, sa.Table], object]) -> None:
    ledger = fresh_ledger(load_settings())
    with ledger.begin() as connection:
        change(connection, table)
    ledger.close()


def _change(connection: sa.Connection, table: sa.Table) -> None:
    column = "resource" if table is audit_entries else "tokens_out"
    connection.execute(table.update().where(table.c.position == 3).values({column: 9}))


def _remove(connection: sa.Connection, table: sa.Table) -> None:
    connection.execute(table.delete().where(table.c.position == 3))


def _swap(connection: sa.Connection, table: sa.Table) -> None:
    for before, after in ((3, 99), (4, 3), (99, 4)):
        connection.execute(table.update().where(table.c.position == before).values(position=after))


def test_two_intact_logs_exit_with_0() -> None:
    """Prints the newest hashes, which an auditor keeps elsewhere."""
    found = checks()
    assert {name: (check["is_intact"], check["entry_count"]) for name, check in found.items()} == dict.fromkeys(
        CHAINS, (True, 5)
    )
    printed = verify()
    assert printed.exit_code == 0
    assert all(str(check["newest_hash"]) in printed.stdout for check in found.values())


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize(
    "change",
    [_change, _remove, _swap],
    ids=["changed", "removed", "re-ordered"],
)
def test_a_log_that_was_changed_is_named_and_the_exit_status_is_1(
    name: str, change: Callable[[sa.Connection, sa.Table], object]
) -> None:
    """The other log is still reported as intact."""
    tamper(CHAINS[name], change)
    (other,) = set(CHAINS) - {name}
    found = verify()
    assert found.exit_code == 1
    assert (name in found.stderr, other in found.stderr, other in found.stdout) == (True, False, True)
    found_checks = checks()
    assert (found_checks[name]["is_intact"], found_checks[name]["entry_count"]) == (False, 2)
    assert "3" in str(found_checks[name]["reason"])
    assert found_checks[other]["is_intact"] is True
