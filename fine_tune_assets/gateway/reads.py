"""Short reads of the ledger that an answer waits for.

Owns where they are done. A SQLite file is read on the event loop: nothing is waited for there, and the turn of another thread
costs more than the read where the engine keeps every core busy. PostgreSQL is a network away: it is asked in a thread.
"""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from starlette.concurrency import run_in_threadpool

from fine_tune_assets.ledger.database import Ledger

P = ParamSpec("P")
T = TypeVar("T")


async def read_ledger(
    query: Callable[Concatenate[Ledger, P], T], ledger: Ledger, *args: P.args, **kwargs: P.kwargs
) -> T:
    """`query`: reads only, one row or a few by an index."""
    here = ledger.without_waiting
    return await run_in_threadpool(query, ledger, *args, **kwargs) if here is None else query(here, *args, **kwargs)
