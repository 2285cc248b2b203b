"""A line for each request of the gateway, as a chain of its own: who asked what for, when, of which release, and how it ended.

Owns appending, checking, cutting off old lines, and counting answers. Never text: what was asked is there as a keyed hash. What
was cut off is named, with its last hash, by a line of the audit log, so that the rest can still be checked and nobody cuts in
silence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.ledger import audit
from fine_tune_assets.ledger.caller_usage import add_tokens
from fine_tune_assets.ledger.chains import Chain, ChainCheck, Start
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import deployments, request_lines

ANSWERING = ("/v1/chat/completions", "/v1/completions")
"""Routes whose answers are a release's."""
_CUT_BY, _CUT = "gateway", "cut off old request lines up to"


@dataclass(frozen=True)
class RequestLine:
    """The columns of `request_lines`, but for the chain's own."""

    at: datetime
    who: str | None
    route: str
    status: int
    code: str | None
    release_id: str | None
    tokens_in: int | None
    tokens_out: int | None
    milliseconds: int
    prompt_hash: str | None
    identifiers: int | None
    requests: int = 1
    labels: str | None = None


_LATER = ("labels",)
_CHAIN = Chain(
    request_lines, tuple(name for name in RequestLine.__dataclass_fields__ if name not in ("at", *_LATER)), _LATER
)


def record_requests(
    ledger: Ledger, lines: Sequence[RequestLine], tokens: Mapping[str, int], now: datetime, *, is_synced: bool = True
) -> None:
    """All lines, and what callers with a budget used (caller → tokens), or nothing. `is_synced`: as `Ledger.begin` has it."""
    with ledger.begin(is_synced=is_synced) as connection:
        _CHAIN.append(connection, [vars(line) for line in lines], _start)
        add_tokens(connection, tokens, now)


def verify_requests(ledger: Ledger) -> ChainCheck:
    while True:
        with ledger.read() as connection:
            start = _start(connection)
        check = _CHAIN.verify(ledger, start)
        with ledger.read() as connection:
            if check.is_intact or _start(connection) == start:  # else lines were cut off meanwhile
                return check


def cut_requests(ledger: Ledger, before: datetime) -> int:
    """Remove the lines at the chain's beginning that are older; return how many."""
    columns = request_lines.c
    with ledger.begin() as connection:
        kept = connection.execute(sa.select(sa.func.min(columns.position)).where(columns.at >= before)).scalar()
        old = sa.select(columns.position, columns.line_hash).order_by(columns.position.desc()).limit(1)
        last = connection.execute(old if kept is None else old.where(columns.position < kept)).first()
        if last is None:
            return 0
        gone = connection.execute(request_lines.delete().where(columns.position <= last.position))
        audit.append(connection, _CUT_BY, _CUT, f"{last.position} {last.line_hash}")
        return int(gone.rowcount)


def answered_by_release(ledger: Ledger) -> dict[str, int]:
    """Release → whole answers that it gave users.

    A release is absent that was wanted before the oldest line that is kept: some of its answers may have been cut off.
    """
    columns = request_lines.c
    is_answer = columns.route.in_(ANSWERING) & (columns.status == 200) & columns.code.is_(None)
    query = sa.select(columns.release_id, sa.func.count()).where(is_answer, columns.release_id.is_not(None))
    with ledger.read() as connection:
        counted = {name: int(count) for name, count in connection.execute(query.group_by(columns.release_id))}
        if _start(connection) is None:  # nothing was ever cut off
            return counted
        oldest = connection.execute(sa.select(sa.func.min(columns.at))).scalar()
        older = sa.select(deployments.c.release_id).where(deployments.c.wanted_at < oldest)
        wanted_earlier = set(connection.execute(older).scalars())
    return {name: count for name, count in counted.items() if name not in wanted_earlier}


def _start(connection: sa.Connection) -> Start | None:
    about = audit.newest_about(connection, _CUT_BY, _CUT)
    if about is None:
        return None
    position, _, line_hash = about.partition(" ")
    return Start(int(position), line_hash)
