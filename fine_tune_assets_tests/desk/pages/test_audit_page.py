"""The check of the audit log on its page: every line each time it is asked for, however long the log is."""

import re
import time
from collections.abc import Callable

import pytest
from sqlalchemy.exc import SQLAlchemyError

from fine_tune_assets.desk.background_figures import ChainChecks, Check
from fine_tune_assets.ledger.audit.audit import append
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import audit_lines
from fine_tune_assets_tests.desk.conftest import Site


def lengthen(ledger: Ledger, count: int) -> None:
    with ledger.begin() as connection:
        for number in range(count):
            append(connection, "tester", "did", f"thing {number}")


def change_line(ledger: Ledger, position: int) -> None:
    with ledger.begin() as connection:
        connection.execute(audit_lines.update().where(audit_lines.c.position == position).values(who="somebody else"))


def finished(checks: ChainChecks, begun: Check) -> Check:
    """The same check at its end."""
    for _ in range(600):
        found = checks.of_number(begun.number)
        assert found is not None
        if not found.is_running:
            return found
        time.sleep(0.05)
    raise AssertionError("the check never ended")


def test_a_line_that_was_changed_after_it_was_found_sound_is_found(serve: Callable[..., Site]) -> None:
    """Nothing is carried over from the check before: who can write into the log can wait until it was checked."""
    site = serve()
    site.add("Auditor One", "auditor")
    auditor = site.signed_in("Auditor One")
    shown = auditor.get("/audit?verify=1").text
    assert "The chain is sound" in shown
    assert re.search(r"The check began on \d{4}-\d\d-\d\d \d\d:\d\d UTC", shown)
    change_line(site.ledger, 1)
    shown = auditor.get("/audit?verify=1").text
    assert "The chain is broken: line 1 was changed. 0 lines before it are sound." in shown


def test_a_long_log_is_checked_beside_the_page_which_waits_for_that_very_check(ledger: Ledger) -> None:
    """Twenty thousand lines take longer than a page may; the page that asks again does not begin anew."""
    lengthen(ledger, 2500)
    checks = ChainChecks(ledger)
    begun = checks.begin()
    assert begun.number == 1
    found = finished(checks, begun)
    assert (found.number, found.began_at) == (1, begun.began_at)
    assert found.found is not None
    assert (found.found.is_intact, found.found.lines) == (True, 2500)
    change_line(ledger, 2300)
    again = finished(checks, checks.begin())
    assert again.number == 2
    assert again.found is not None
    assert (again.found.broken_at, again.found.lines) == (2300, 2299)


def test_a_check_that_this_process_did_not_begin_is_no_check(serve: Callable[..., Site]) -> None:
    """After the desk was started anew, or with a number that somebody typed: no verdict, rather than one of another log."""
    site = serve()
    site.add("Auditor One", "auditor")
    for asked in ("7", "0", "x", "9999999999"):
        shown = site.signed_in("Auditor One").get(f"/audit?check={asked}").text
        assert "The chain is" not in shown


def test_a_check_that_broke_off_is_not_called_sound(ledger: Ledger) -> None:
    """The ledger went away in its middle: that is no verdict, and the next check begins."""
    with ledger.begin() as connection:
        audit_lines.drop(connection)
    checks = ChainChecks(ledger)
    broken = finished(checks, checks.begin())
    assert (broken.found, broken.is_running) == (None, False)
    assert checks.begin().number == 2
    with pytest.raises(SQLAlchemyError):
        append(ledger, "tester", "did", "thing")
