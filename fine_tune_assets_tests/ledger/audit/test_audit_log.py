import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import audit_entries


def _fill(ledger: Ledger, count: int = 5) -> None:
    for number in range(count):
        audit.append(ledger, "tester", "did", f"thing {number}")


def test_untouched_chain_is_intact(ledger: Ledger) -> None:
    """An empty log is intact too."""
    assert audit.verify_entries(ledger).is_intact
    _fill(ledger)
    check = audit.verify_entries(ledger)
    assert (check.is_intact, check.entry_count, check.newest_hash) == (
        True,
        5,
        audit.list_entries(ledger)[-1].entry_hash,
    )


@pytest.mark.parametrize("column", ["actor", "action", "resource"])
def test_changed_entry_breaks_the_chain_at_its_position(ledger: Ledger, column: str) -> None:
    """Rewriting who did what must be detected."""
    _fill(ledger)
    with ledger.begin() as connection:
        connection.execute(
            audit_entries.update().where(audit_entries.c.position == 3).values({column: "another person"})
        )
    check = audit.verify_entries(ledger)
    assert (check.broken_at, check.entry_count, check.reason) == (3, 2, "line 3 was changed")


def test_removed_entry_breaks_the_chain(ledger: Ledger) -> None:
    """An omission must be detected too."""
    _fill(ledger)
    with ledger.begin() as connection:
        connection.execute(audit_entries.delete().where(audit_entries.c.position == 2))
    assert audit.verify_entries(ledger).reason == "line 2 is missing"


def test_entry_rewritten_with_its_own_hash_does_not_fit_the_next(ledger: Ledger) -> None:
    """An attacker who knows the hash function would have to rewrite every later entry too."""
    _fill(ledger)
    line = audit.list_entries(ledger)[2]
    forged: dict[str, Any] = {"actor": "another person", "entry_hash": audit.hash_entry(
        ledger.key,         line.position, line.at, "another person", line.action, line.resource, line.previous_hash
    )}  # fmt: skip
    with ledger.begin() as connection:
        connection.execute(audit_entries.update().where(audit_entries.c.position == 3).values(forged))
    assert audit.verify_entries(ledger).reason == "line 4 does not follow the line before it"


def test_concurrent_threads_keep_one_chain(ledger: Ledger) -> None:
    """Gateway, desk and supervisor all write; two entries with the same predecessor would break it."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: _fill(ledger, 10), range(8)))
    check = audit.verify_entries(ledger)
    assert (check.is_intact, check.entry_count) == (True, 80)


def test_concurrent_processes_keep_one_chain(ledger: Ledger, ledger_url: str) -> None:
    """The services are separate processes."""
    code = (
        "import sys; from pathlib import Path; from fine_tune_assets.ledger.database import open_database;"
        "from fine_tune_assets.ledger.audit import audit_log as audit;"
        "ledger = open_database(sys.argv[1], Path(sys.argv[2])); "
        "[audit.append(ledger, 'tester', 'did', str(n)) for n in range(20)]"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, ledger_url, str(ledger.keys)]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    check = audit.verify_entries(ledger)
    assert (check.is_intact, check.entry_count) == (True, 60)
