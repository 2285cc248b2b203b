"""How long the desk takes for each page with 10,000 items in the queue, on SQLite and on PostgreSQL. `make bench-desk`.

This measures the server side: the started application is called without a network, from the first byte of the request to the
last of the response. It requests every route of the desk (`desk_requests.py`) in an installation with 40 instruction sets of as
many examples and an audit log of 20,000 lines (`desk_made.py`). Exits with 1 if a request took longer than the
limit. Where a password is hashed that takes long on purpose, and a refused sign-in takes 0.6 s.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from desk_made import PASSWORD, make_installation
from desk_requests import HOST, REQUESTS, Request, Visits, form_token
from rich.console import Console
from rich.table import Table

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.desk.desk_app import create_app
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets_tests.desk.installation import drafts_of
from fine_tune_assets_tests.postgres import postgres_server

LIMIT_MS = 200


@dataclass(frozen=True)
class Size:
    items: int
    sets: int
    audit_entries: int
    people: int = 200


@dataclass(frozen=True)
class Timing:
    page: str
    p50_ms: float
    p95_ms: float
    max_ms: float
    p50_worked_ms: float
    """Of this process's processor time, the database server's not counted."""
    is_slow_on_purpose: bool

    @property
    def is_too_slow(self) -> bool:
        return self.max_ms >= LIMIT_MS and not self.is_slow_on_purpose


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--audit-entries", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), help="only this one")
    parser.add_argument("--routes", default="", help="only requests with this text in their name, such as `/queue`")
    arguments = parser.parse_args()
    size = Size(arguments.items, arguments.sets, arguments.audit_entries)
    found: dict[str, list[Timing]] = {}
    for name, url in _databases(arguments.database):
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(data_dir=Path(folder) / "data", ledger_url=url)
            found[name] = asyncio.run(_measure(settings, size, arguments.rounds, arguments.routes))
            _show(name, size, found[name])
    print(json.dumps({**asdict(size), **{name: [asdict(t) for t in timings] for name, timings in found.items()}}))
    too_slow = [f"{name}: {t.page}" for name, timings in found.items() for t in timings if t.is_too_slow]
    if too_slow:
        sys.exit(f"Not below {LIMIT_MS} ms: {'; '.join(too_slow)}")


def _databases(wanted: str | None) -> Iterator[tuple[str, str]]:
    if wanted != "postgresql":
        yield "sqlite", ""
    if wanted != "sqlite":
        server = contextmanager(postgres_server.__wrapped__)  # type: ignore[attr-defined]
        with server() as postgres:
            yield "postgresql", postgres.url(postgres.create_database())


async def _measure(settings: Settings, size: Size, rounds: int, routes: str) -> list[Timing]:
    ledger = open_ledger(settings)
    made = make_installation(
        settings, ledger, items=size.items, sets=size.sets, log_lines=size.audit_entries, people=size.people
    )
    ledger.close()
    app = create_app(made)
    async with app.router.lifespan_context(app), _browser(app) as client, _browser(app) as other:
        visits = Visits(client, other, made, drafts_of(made))
        form = {"form_token": form_token(await client.get("/sign-in")), "name": "Reviewer", "password": PASSWORD}
        signed = await client.post("/sign-in", data=form, headers={"origin": HOST})
        assert signed.status_code == 303, signed.status_code
        visits.token = form_token(await client.get("/account"))
        return [await _time(request, visits, rounds) for request in REQUESTS if routes in request.name]


def _browser(app: object) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOST, timeout=60)  # type: ignore[arg-type]


async def _time(request: Request, visits: Visits, rounds: int) -> Timing:
    taken, worked = [], []
    for number in range(rounds):
        reply = await request.ask(visits, number)
        assert reply.status_code == request.status, (request.name, reply.status_code)
        taken.append(visits.taken_ms)
        worked.append(visits.worked_ms)
    cuts = statistics.quantiles(taken, n=20, method="inclusive")
    figures = (statistics.median(taken), cuts[-1], max(taken), statistics.median(worked))
    p50, p95, slowest, p50_worked = (round(figure, 1) for figure in figures)
    return Timing(request.name, p50, p95, slowest, p50_worked, request.is_slow_on_purpose)


def _show(name: str, size: Size, timings: list[Timing]) -> None:
    table = Table(
        "page", "p50 ms", "p95 ms", "max ms", "p50 CPU ms", f"below {LIMIT_MS} ms", title=f"{size.items} items, {name}"
    )
    for timing in timings:
        word = "on purpose" if timing.is_slow_on_purpose else "no" if timing.is_too_slow else "yes"
        numbers = (timing.p50_ms, timing.p95_ms, timing.max_ms, timing.p50_worked_ms)
        table.add_row(timing.page, *(f"{number:.1f}" for number in numbers), word)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
