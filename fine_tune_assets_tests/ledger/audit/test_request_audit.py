"""The chain of request entries: tampering is detected, and old entries can be pruned."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.audit.request_log import (
    count_answers_by_release,
    list_recent_answers,
    prune_requests,
    record_requests,
    verify_requests,
)
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import deployments, request_entries
from fine_tune_assets.ledger.serving.deployments import request_deployment
from fine_tune_assets_tests.ledger.audit.audit_lines import NOW, a_line
from fine_tune_assets_tests.ledger.ledger_rows import record_promoted


def fill(ledger: Ledger, count: int = 5, at: datetime = NOW) -> None:
    record_requests(ledger, [a_line(number, at) for number in range(count)], {}, NOW)


def test_untouched_chain_is_intact(ledger: Ledger) -> None:
    """Also over several batches, and when it is empty."""
    assert verify_requests(ledger).is_intact
    fill(ledger)
    fill(ledger, 3)
    record_requests(ledger, [], {}, NOW)
    assert (verify_requests(ledger).is_intact, verify_requests(ledger).entry_count) == (True, 8)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("caller", "key:9"),
        ("release_id", "r-2"),
        ("tokens_out", 9),
        ("status", 500),
        ("prompt_hash", None),
        ("request_count", 2),
        ("labels", "hr"),
    ],
)
def test_changed_entry_is_detected(ledger: Ledger, column: str, value: object) -> None:
    """Each of its fields is evidence."""
    fill(ledger)
    with ledger.begin() as connection:
        connection.execute(request_entries.update().where(request_entries.c.position == 3).values({column: value}))
    assert verify_requests(ledger).reason == "line 3 was changed"


@pytest.mark.parametrize("value", [None, "", "hr pharmacy"])
def test_asserted_labels_are_evidence(ledger: Ledger, value: str | None) -> None:
    """What a caller could read must be unchangeable, including the difference between no labels and an empty list."""
    record_requests(ledger, [replace(a_line(1), labels="hr"), a_line(2)], {}, NOW)
    assert verify_requests(ledger).is_intact
    with ledger.begin() as connection:
        connection.execute(request_entries.update().where(request_entries.c.position == 1).values(labels=value))
    assert verify_requests(ledger).reason == "line 1 was changed"


@pytest.mark.parametrize("position", [1, 3])
def test_removed_entry_is_detected(ledger: Ledger, position: int) -> None:
    """Including the first one: pruning requires an entry in the audit log."""
    fill(ledger)
    with ledger.begin() as connection:
        connection.execute(request_entries.delete().where(request_entries.c.position == position))
    assert verify_requests(ledger).reason == f"line {position} is missing"


def test_swapped_entries_are_detected(ledger: Ledger) -> None:
    """The order of requests can matter."""
    fill(ledger)
    with ledger.begin() as connection:
        for old, new in ((2, 90), (3, 2), (90, 3)):
            here = request_entries.c.position == old
            connection.execute(request_entries.update().where(here).values(position=new))
    assert verify_requests(ledger).reason == "line 2 does not follow the line before it"


def test_old_entries_are_pruned_and_the_rest_stays_verifiable(ledger: Ledger) -> None:
    """Also if all entries are pruned before new ones arrive."""
    fill(ledger, 3, NOW - timedelta(days=40))
    fill(ledger, 2)
    assert prune_requests(ledger, NOW - timedelta(days=30)) == 3
    assert prune_requests(ledger, NOW - timedelta(days=30)) == 0
    assert (verify_requests(ledger).is_intact, verify_requests(ledger).entry_count) == (True, 2)
    assert [line.action for line in audit.list_entries(ledger)] == ["pruned request log up to"]
    assert prune_requests(ledger, NOW + timedelta(days=1)) == 2
    assert verify_requests(ledger).is_intact
    fill(ledger, 2)
    check = verify_requests(ledger)
    assert (check.is_intact, check.entry_count) == (True, 2)
    with ledger.read() as connection:
        assert connection.execute(sa.select(sa.func.min(request_entries.c.position))).scalar() == 6


def test_unrecorded_pruning_is_detected(ledger: Ledger) -> None:
    """Otherwise an attacker could hide the beginning by deleting it."""
    fill(ledger, 3, NOW - timedelta(days=40))
    fill(ledger, 2)
    prune_requests(ledger, NOW - timedelta(days=30))
    with ledger.begin() as connection:
        connection.execute(request_entries.delete().where(request_entries.c.position == 4))
    assert verify_requests(ledger).reason == "line 4 is missing"


def test_concurrent_processes_keep_one_chain(ledger: Ledger, ledger_url: str) -> None:
    """Gateway workers write in parallel; entries of one batch stay together."""
    code = (
        "import sys; from datetime import UTC, datetime; from pathlib import Path;"
        "from fine_tune_assets.ledger.database import open_database;"
        "from fine_tune_assets.ledger.audit.request_log import RequestEntry, record_requests;"
        "ledger = open_database(sys.argv[1], Path(sys.argv[2])); now = datetime.now(UTC);"
        "line = RequestEntry(now, None, '/v1/models', 200, None, None, None, None, 5, None, None);"
        "[record_requests(ledger, [line] * 7, {}, now) for _ in range(15)]"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, ledger_url, str(ledger.keys)]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    check = verify_requests(ledger)
    assert (check.is_intact, check.entry_count) == (True, 210)


def test_answers_are_counted_by_release_unless_some_were_pruned(ledger: Ledger) -> None:
    """Shares of the remaining answers would be too large. Incomplete answers don't count."""
    now = datetime.now(UTC)
    old = now - timedelta(days=9)
    for release in ("r-1", "r-2"):
        record_promoted(ledger, release)
    request_deployment(ledger, "r-1")
    with ledger.begin() as connection:
        connection.execute(deployments.update().values(requested_at=old))
    request_deployment(ledger, "r-2")
    answer, refused = a_line(1, old), replace(a_line(1, now), status=422)
    correction, left = (
        replace(a_line(1, now), route="/v1/corrections"),
        replace(a_line(1, now), code="client_disconnected"),
    )
    later = replace(a_line(1, datetime.now(UTC)), release_id="r-2")
    record_requests(ledger, [answer, a_line(2, now), refused, correction, left, later, later], {}, now)
    assert count_answers_by_release(ledger) == {"r-1": 2, "r-2": 2}
    assert len(list_recent_answers(ledger, "r-1", limit=9)) == 2
    ((at, milliseconds, _tokens),) = list_recent_answers(ledger, "r-1", limit=1)
    assert (at, milliseconds) == (now, a_line(2, now).milliseconds)
    prune_requests(ledger, now)
    assert count_answers_by_release(ledger) == {"r-2": 2}
