"""Reads that take no thread: a SQLite file is read at once, whoever writes and however many connections are out."""

import threading
import time
from contextlib import ExitStack

import pytest
import sqlalchemy as sa

from fine_tune_assets.gateway.callers.callers import read_ledger
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError
from fine_tune_assets.ledger.people.api_keys import create_key, list_keys

POOL = 15
"""Connections that SQLAlchemy gives out before it lets others wait."""


def _thread_of(ledger: Ledger) -> tuple[int, int]:
    with ledger.read() as connection:
        return threading.get_ident(), int(connection.execute(sa.text("SELECT 1")).scalar_one())


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_file_is_read_where_it_is_asked_and_a_server_in_a_thread(ledger: Ledger) -> None:
    """What waits for a network would hold up every other request."""
    thread, found = await read_ledger(_thread_of, ledger)
    assert found == 1
    assert (thread == threading.get_ident()) == (ledger.engine.dialect.name == "sqlite")


def test_it_waits_for_no_writer_and_for_no_connection_of_the_others(ledger: Ledger) -> None:
    """The event loop would stand still: for 30 s, as long as a connection is waited for."""
    if ledger.engine.dialect.name != "sqlite":
        assert ledger.without_waiting is None
        return
    with ExitStack() as held:
        held.enter_context(ledger.begin())
        for _ in range(POOL - 1):
            held.enter_context(ledger.read())
        assert ledger.without_waiting is not None
        began = time.monotonic()
        _thread_of(ledger.without_waiting)
        assert time.monotonic() - began < 5


@pytest.fixture
def kept(ledger: Ledger) -> Ledger:
    if ledger.without_waiting is None:
        pytest.skip("A server is asked in a thread.")
    return ledger.without_waiting


def test_each_read_sees_what_was_written_before_it(ledger: Ledger, kept: Ledger) -> None:
    """A connection that stays open must not stay at what it saw first: a revoked key would open for ever."""
    assert list_keys(kept) == []
    create_key(ledger, "one", ["chat"])
    assert [key.name for key in list_keys(kept)] == ["one"]


def test_one_read_sees_one_state(ledger: Ledger, kept: Ledger) -> None:
    """A trial and the verdict on it are looked up one after the other: nothing may come in between."""
    count = sa.text("SELECT count(*) FROM api_keys")
    with kept.read() as connection:
        before = connection.execute(count).scalar_one()
        create_key(ledger, "one", ["chat"])
        assert connection.execute(count).scalar_one() == before
    with kept.read() as connection:
        assert connection.execute(count).scalar_one() == before + 1


def test_nothing_is_written_with_it(kept: Ledger) -> None:
    """It would go round the lock that keeps the chains one line after the other."""
    with pytest.raises(LedgerError):
        audit.append(kept, "somebody", "wrote", "something")
    with pytest.raises(sa.exc.OperationalError), kept.read() as connection:
        connection.execute(sa.text("DELETE FROM api_keys"))


def test_after_an_error_the_next_read_is_answered(ledger: Ledger, kept: Ledger) -> None:
    """A disk that failed once must not shut the door until somebody restarts the gateway."""
    create_key(ledger, "one", ["chat"])
    with pytest.raises(sa.exc.OperationalError), kept.read() as connection:
        connection.execute(sa.text("SELECT * FROM no_such_table"))
    with kept.read() as connection:
        driver = connection.connection.driver_connection
    assert driver is not None
    driver.close()
    with pytest.raises(sa.exc.OperationalError):  # what the gateway answers with "ask again"
        list_keys(kept)
    assert [key.name for key in list_keys(kept)] == ["one"]


def test_what_a_query_refuses_leaves_the_connection_as_it_was(ledger: Ledger, kept: Ledger) -> None:
    """An error of ours is none of the connection's: it is kept, and holds no old state."""
    with kept.read() as connection:
        first = connection
    with pytest.raises(LedgerError), kept.read():
        raise LedgerError("refused")
    create_key(ledger, "one", ["chat"])
    with kept.read() as connection:
        assert connection is first
    assert [key.name for key in list_keys(kept)] == ["one"]
