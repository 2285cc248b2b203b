"""The audit page verifies every entry on each request, however long the log is."""

import re
import time
from collections.abc import Callable

import pytest
from sqlalchemy.exc import SQLAlchemyError

from fine_tune_assets.desk.background_checks import ChainCheckRun, ChainVerifier
from fine_tune_assets.ledger.audit.audit_log import append
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import audit_entries
from fine_tune_assets_tests.desk.conftest import Site


def lengthen(ledger: Ledger, count: int) -> None:
    with ledger.begin() as connection:
        for number in range(count):
            append(connection, "tester", "did", f"thing {number}")


def change_line(ledger: Ledger, position: int) -> None:
    with ledger.begin() as connection:
        connection.execute(
            audit_entries.update().where(audit_entries.c.position == position).values(actor="another user")
        )


def finished(checks: ChainVerifier, begun: ChainCheckRun) -> ChainCheckRun:
    """The finished run."""
    for _ in range(600):
        found = checks.find_run(begun.number)
        assert found is not None
        if not found.is_running:
            return found
        time.sleep(0.05)
    raise AssertionError("the check never ended")


def test_an_entry_changed_after_a_verification_is_found(serve: Callable[..., Site]) -> None:
    """No result of an earlier verification is reused, because the log can change after it."""
    site = serve()
    site.add("Auditor One", "auditor")
    auditor = site.signed_in("Auditor One")
    shown = auditor.get("/audit?verify=1").text
    assert "The chain is intact" in shown
    assert re.search(r"Check started \d{4}-\d\d-\d\d \d\d:\d\d UTC", shown)
    change_line(site.ledger, 1)
    shown = auditor.get("/audit?verify=1").text
    assert re.search(r"The chain is broken: \D+ 1 \D+ 0 entries before it are intact", shown)


def test_a_long_log_is_verified_in_the_background_by_one_run(ledger: Ledger) -> None:
    """Many entries take longer than a page may; a reload finds the same run."""
    lengthen(ledger, 2500)
    checks = ChainVerifier(ledger)
    begun = checks.start()
    assert begun.number == 1
    found = finished(checks, begun)
    assert (found.number, found.started_at) == (1, begun.started_at)
    assert found.result is not None
    assert (found.result.is_intact, found.result.entry_count) == (True, 2500)
    change_line(ledger, 2300)
    again = finished(checks, checks.start())
    assert again.number == 2
    assert again.result is not None
    assert (again.result.broken_at, again.result.entry_count) == (2300, 2299)


def test_an_unknown_run_number_shows_no_result(serve: Callable[..., Site]) -> None:
    """After a restart, or for an invalid number, the page shows no result instead of a wrong one."""
    site = serve()
    site.add("Auditor One", "auditor")
    for number in ("7", "0", "x", "9999999999"):
        shown = site.signed_in("Auditor One").get(f"/audit?check={number}").text
        assert "The chain is" not in shown


def test_an_interrupted_check_has_no_result(ledger: Ledger) -> None:
    """If the ledger fails during a run, its result is unknown and a new run can start."""
    with ledger.begin() as connection:
        audit_entries.drop(connection)
    checks = ChainVerifier(ledger)
    broken = finished(checks, checks.start())
    assert (broken.result, broken.is_running) == (None, False)
    assert checks.start().number == 2
    with pytest.raises(SQLAlchemyError):
        append(ledger, "tester", "did", "thing")
