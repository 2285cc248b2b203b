"""The chain of request lines: what breaks it is found, and old lines can go without breaking it."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.audit.requests import (
    RequestLine,
    answered_by_release,
    cut_requests,
    record_requests,
    verify_requests,
)
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import deployments, request_lines
from fine_tune_assets.ledger.serving.deployments import want_release
from fine_tune_assets_tests.ledger.made import record_promoted

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def a_line(number: int, at: datetime = NOW) -> RequestLine:
    return RequestLine(at, f"key:{number}", "/v1/chat/completions", 200, None, "r-1", 10, number, 5, "0f", None)


def fill(ledger: Ledger, count: int = 5, at: datetime = NOW) -> None:
    record_requests(ledger, [a_line(number, at) for number in range(count)], {}, NOW)


def test_an_untouched_chain_is_whole(ledger: Ledger) -> None:
    """Also over several batches, and when it is empty."""
    assert verify_requests(ledger).is_intact
    fill(ledger)
    fill(ledger, 3)
    record_requests(ledger, [], {}, NOW)
    assert (verify_requests(ledger).is_intact, verify_requests(ledger).lines) == (True, 8)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("who", "key:9"),
        ("release_id", "r-2"),
        ("tokens_out", 9),
        ("status", 500),
        ("prompt_hash", None),
        ("requests", 2),
        ("labels", "hr"),
    ],
)
def test_a_changed_line_is_found(ledger: Ledger, column: str, value: object) -> None:
    """Each of its fields is evidence."""
    fill(ledger)
    with ledger.begin() as connection:
        connection.execute(request_lines.update().where(request_lines.c.position == 3).values({column: value}))
    assert verify_requests(ledger).reason == "line 3 was changed"


@pytest.mark.parametrize("value", [None, "", "hr pharmacy"])
def test_labels_that_were_handed_on_are_evidence(ledger: Ledger, value: str | None) -> None:
    """What somebody could read can't be changed or taken away afterwards, nor can "none were said" become "there are none"."""
    record_requests(ledger, [replace(a_line(1), labels="hr"), a_line(2)], {}, NOW)
    assert verify_requests(ledger).is_intact
    with ledger.begin() as connection:
        connection.execute(request_lines.update().where(request_lines.c.position == 1).values(labels=value))
    assert verify_requests(ledger).reason == "line 1 was changed"


def test_lines_of_before_there_were_labels_keep_their_hash(ledger: Ledger) -> None:
    """An update must not break a year's chain. The hash below was made by the version before."""
    fill(ledger, 1)
    with ledger.read() as connection:
        (kept,) = connection.execute(sa.select(request_lines.c.line_hash)).scalars()
    assert kept == "b2a2e4053b54aa667000247a61d09ff6f7f40537fa4f6154efbba412ffbd2833"


@pytest.mark.parametrize("position", [1, 3])
def test_a_removed_line_is_found(ledger: Ledger, position: int) -> None:
    """Also the first one: lines are cut off only with a line of the audit log about it."""
    fill(ledger)
    with ledger.begin() as connection:
        connection.execute(request_lines.delete().where(request_lines.c.position == position))
    assert verify_requests(ledger).reason == f"line {position} is missing"


def test_two_lines_in_each_others_place_are_found(ledger: Ledger) -> None:
    """Which request came first can matter."""
    fill(ledger)
    with ledger.begin() as connection:
        for old, new in ((2, 90), (3, 2), (90, 3)):
            here = request_lines.c.position == old
            connection.execute(request_lines.update().where(here).values(position=new))
    assert verify_requests(ledger).reason == "line 2 does not follow the line before it"


def test_old_lines_go_and_the_rest_stays_a_chain(ledger: Ledger) -> None:
    """Nobody keeps years of requests; what is kept must still prove itself, also when all went and new ones come."""
    fill(ledger, 3, NOW - timedelta(days=40))
    fill(ledger, 2)
    assert cut_requests(ledger, NOW - timedelta(days=30)) == 3
    assert cut_requests(ledger, NOW - timedelta(days=30)) == 0
    assert (verify_requests(ledger).is_intact, verify_requests(ledger).lines) == (True, 2)
    assert [line.what for line in audit.lines(ledger)] == ["cut off old request lines up to"]
    assert cut_requests(ledger, NOW + timedelta(days=1)) == 2
    assert verify_requests(ledger).is_intact
    fill(ledger, 2)
    check = verify_requests(ledger)
    assert (check.is_intact, check.lines) == (True, 2)
    with ledger.read() as connection:
        assert connection.execute(sa.select(sa.func.min(request_lines.c.position))).scalar() == 6


def test_a_cut_that_nobody_wrote_down_is_found(ledger: Ledger) -> None:
    """Else whoever wants to hide the beginning just cuts it off."""
    fill(ledger, 3, NOW - timedelta(days=40))
    fill(ledger, 2)
    cut_requests(ledger, NOW - timedelta(days=30))
    with ledger.begin() as connection:
        connection.execute(request_lines.delete().where(request_lines.c.position == 4))
    assert verify_requests(ledger).reason == "line 4 is missing"


def test_several_processes_at_once_keep_one_chain(ledger: Ledger, ledger_url: str) -> None:
    """Gateway workers write side by side; lines of one batch stay together."""
    code = (
        "import sys; from datetime import UTC, datetime; from fine_tune_assets.ledger.database import open_ledger;"
        "from fine_tune_assets.ledger.audit.requests import RequestLine, record_requests;"
        "ledger = open_ledger(sys.argv[1]); now = datetime.now(UTC);"
        "line = RequestLine(now, None, '/v1/models', 200, None, None, None, None, 5, None, None);"
        "[record_requests(ledger, [line] * 7, {}, now) for _ in range(15)]"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, ledger_url]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    check = verify_requests(ledger)
    assert (check.is_intact, check.lines) == (True, 210)


def test_answers_are_counted_by_release_as_long_as_none_of_them_was_cut_off(ledger: Ledger) -> None:
    """A share of what is left of the answers would be too large; what is no whole answer is none."""
    now = datetime.now(UTC)
    old = now - timedelta(days=9)
    for release in ("r-1", "r-2"):
        record_promoted(ledger, release)
    want_release(ledger, "r-1")
    with ledger.begin() as connection:
        connection.execute(deployments.update().values(wanted_at=old))
    want_release(ledger, "r-2")
    answer, refused = a_line(1, old), replace(a_line(1, now), status=422)
    correction, left = replace(a_line(1, now), route="/v1/corrections"), replace(a_line(1, now), code="left")
    later = replace(a_line(1, datetime.now(UTC)), release_id="r-2")
    record_requests(ledger, [answer, a_line(2, now), refused, correction, left, later, later], {}, now)
    assert answered_by_release(ledger) == {"r-1": 2, "r-2": 2}
    cut_requests(ledger, now)
    assert answered_by_release(ledger) == {"r-2": 2}
