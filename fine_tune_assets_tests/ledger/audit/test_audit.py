import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import audit_lines


def _fill(ledger: Ledger, count: int = 5) -> None:
    for number in range(count):
        audit.append(ledger, "tester", "did", f"thing {number}")


def test_an_untouched_chain_is_whole(ledger: Ledger) -> None:
    """The empty log is whole too."""
    assert audit.verify(ledger).is_intact
    _fill(ledger)
    check = audit.verify(ledger)
    assert (check.is_intact, check.lines, check.newest_hash) == (True, 5, audit.lines(ledger)[-1].line_hash)


@pytest.mark.parametrize("column", ["who", "what", "about"])
def test_a_changed_line_breaks_the_chain_where_it_is(ledger: Ledger, column: str) -> None:
    """Rewriting who did what must be seen."""
    _fill(ledger)
    with ledger.begin() as connection:
        connection.execute(audit_lines.update().where(audit_lines.c.position == 3).values({column: "somebody else"}))
    check = audit.verify(ledger)
    assert (check.broken_at, check.lines, check.reason) == (3, 2, "line 3 was changed")


def test_a_removed_line_breaks_the_chain(ledger: Ledger) -> None:
    """So must leaving something out."""
    _fill(ledger)
    with ledger.begin() as connection:
        connection.execute(audit_lines.delete().where(audit_lines.c.position == 2))
    assert audit.verify(ledger).reason == "line 2 is missing"


def test_a_line_rewritten_with_its_own_hash_does_not_fit_the_next(ledger: Ledger) -> None:
    """Someone who knows how the hash is made would have to rewrite every later line too."""
    _fill(ledger)
    line = audit.lines(ledger)[2]
    forged: dict[str, Any] = {"who": "somebody else", "line_hash": audit.hash_line(
        line.position, line.at, "somebody else", line.what, line.about, line.previous_hash
    )}  # fmt: skip
    with ledger.begin() as connection:
        connection.execute(audit_lines.update().where(audit_lines.c.position == 3).values(forged))
    assert audit.verify(ledger).reason == "line 4 does not follow the line before it"


def test_many_writers_at_once_keep_one_chain(ledger: Ledger) -> None:
    """Gateway, desk and supervisor all write; two lines that follow the same one would break it."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: _fill(ledger, 10), range(8)))
    check = audit.verify(ledger)
    assert (check.is_intact, check.lines) == (True, 80)


def test_many_processes_at_once_keep_one_chain(ledger: Ledger, ledger_url: str) -> None:
    """The services are processes of their own."""
    code = (
        "import sys; from fine_tune_assets.ledger.database import open_ledger;"
        "from fine_tune_assets.ledger.audit import audit;"
        "ledger = open_ledger(sys.argv[1]); [audit.append(ledger, 'tester', 'did', str(n)) for n in range(20)]"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, ledger_url]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    check = audit.verify(ledger)
    assert (check.is_intact, check.lines) == (True, 60)
