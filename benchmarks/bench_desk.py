"""How long the desk takes for each page with 10,000 items in the queue, on SQLite and on PostgreSQL. `make bench-desk`.

Measured is the server's side: the application is called without a network, from the first byte of the request to the last
of the answer. Notes of realistic length; every third decided on by two people.
"""

import argparse
import asyncio
import json
import re
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.desk.app import create_app
from fine_tune_assets.ledger.audit import append
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.schema import decisions
from fine_tune_assets.ledger.users import create_user
from fine_tune_assets_tests.desk.installation import drafts_of, fill, refresh_queue
from fine_tune_assets_tests.postgres import postgres_server

ITEMS = 10_000
ROUNDS = 30
PASSWORD = "seven grey herons at dusk"
LIMIT_MS = 200


@dataclass(frozen=True)
class Timing:
    page: str
    p50_ms: float
    p95_ms: float
    max_ms: float


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    found: dict[str, list[Timing]] = {}
    for name, url in _databases():
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(data_dir=Path(folder) / "data", ledger_url=url)
            found[name] = asyncio.run(_measure(settings, arguments.items, arguments.rounds))
            _show(name, arguments.items, found[name])
    print(json.dumps({"items": arguments.items, **{k: [vars(t) for t in v] for k, v in found.items()}}))


def _databases() -> Iterator[tuple[str, str]]:
    yield "sqlite", ""
    server = contextmanager(postgres_server.__wrapped__)  # type: ignore[attr-defined]
    with server() as postgres:
        yield "postgresql", postgres.url(postgres.create_database())


async def _measure(settings: Settings, items: int, rounds: int) -> list[Timing]:
    ledger = open_ledger(settings.database_url)
    settings = fill(settings, ledger, count=items, review={"reviewers": 2}, filler=12)
    rows = drafts_of(settings)
    _decide(ledger, rows)
    refresh_queue(settings, ledger)
    roles = ["ingest", "reviewer", "approver", "operator", "auditor"]
    create_user(ledger, "Reviewer", roles, password=PASSWORD, oidc_identity=None, now=datetime.now(UTC))
    for number in range(200):
        append(ledger, "Reviewer", "looked", f"line {number}")
    transport = httpx.ASGITransport(create_app(settings))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8070", timeout=60) as client:
        page = await client.get("/sign-in")
        form = {"form_token": _token(page), "name": "Reviewer", "password": PASSWORD}
        signed = await client.post("/sign-in", data=form, headers={"origin": "http://127.0.0.1:8070"})
        assert signed.status_code == 303, signed.status_code
        token = _token(await client.get("/account"))
        pages = _pages(client, token, rows)
        return [await _time(name, ask, rounds) for name, ask in pages.items()]


def _pages(
    client: httpx.AsyncClient, token: str, rows: list[dict[str, Any]]
) -> dict[str, Callable[[int], Awaitable[httpx.Response]]]:
    waiting, disagreeing = rows[2::3], rows[0::6]
    headers = {"origin": "http://127.0.0.1:8070"}

    def get(path: str) -> Callable[[int], Awaitable[httpx.Response]]:
        return lambda _: client.get(path)

    async def decide(number: int) -> httpx.Response:
        row = waiting[1000 + number]
        shown = await client.get(f"/items/{row['example_id']}")
        form = {"form_token": token, "decision": "approve", "output": row["output"], "meaning": "approve"}
        for name, value in (("version", r"\d+"), ("signed", "[0-9a-f]{64}")):
            form[name] = re.search(f'name="{name}" value="({value})"', shown.text)[1]  # type: ignore[index]
        started = time.perf_counter()
        reply = await client.post(f"/items/{row['example_id']}/decide", data=form, headers=headers)
        reply.extensions["started"] = started
        return reply

    async def after_a_decision(number: int) -> httpx.Response:
        await decide(1000 + number)
        started = time.perf_counter()
        reply = await client.get("/agreement")
        reply.extensions["started"] = started
        return reply

    return {
        "GET /": get("/"),
        "GET /queue": get("/queue"),
        "GET /queue, filtered": get("/queue?flag=number+not+in+input&state=waiting&age=new&source=ward"),
        "GET /queue, a later part": get(f"/queue?after={rows[len(rows) // 2]['example_id']}"),
        "GET /queue/next": get("/queue/next"),
        "GET /items/{id}": lambda n: client.get(f"/items/{waiting[n * 7]['example_id']}"),
        "POST /items/{id}/diff": lambda n: client.post(
            f"/items/{waiting[n * 7]['example_id']}/diff",
            data={"form_token": token, "output": waiting[n * 7]["output"] + " And more."},
            headers=headers,
        ),
        "POST /items/{id}/signing": lambda n: client.post(
            f"/items/{waiting[n * 7]['example_id']}/signing",
            data={"form_token": token, "output": waiting[n * 7]["output"] + " And more."},
            headers=headers,
        ),
        "POST /items/{id}/decide": decide,
        "GET /items/{id}/history": lambda n: client.get(f"/items/{rows[n]['example_id']}/history"),
        "GET /decisions": get("/decisions"),
        "GET /disagreements": get("/disagreements"),
        "GET /disagreements/{id}": lambda n: client.get(f"/disagreements/{disagreeing[n]['example_id']}"),
        "GET /agreement": get("/agreement"),
        "GET /agreement, after a decision": after_a_decision,
        "GET /arrivals": get("/arrivals"),
        "GET /users": get("/users"),
        "GET /audit": get("/audit"),
        "GET /account": get("/account"),
    }


async def _time(name: str, ask: Callable[[int], Awaitable[httpx.Response]], rounds: int) -> Timing:
    taken = []
    for number in range(rounds):
        started = time.perf_counter()
        reply = await ask(number)
        taken.append((time.perf_counter() - reply.extensions.get("started", started)) * 1000)
        assert reply.status_code in (200, 303), (name, reply.status_code)
    cuts = statistics.quantiles(taken, n=20, method="inclusive")
    return Timing(name, *(round(value, 1) for value in (statistics.median(taken), cuts[-1], max(taken))))


def _decide(ledger: Ledger, rows: list[dict[str, Any]]) -> None:
    """Two words on two of three examples; every second pair disagrees."""
    said = []
    for number, row in enumerate(rows):
        if number % 3 == 2:
            continue
        for person in ("First", "Second"):
            is_rejected = person == "Second" and number % 3 == 0 and number % 6 == 0
            said.append(_decision(row, f"{person} {number % 7}", "reject" if is_rejected else "approve", len(said)))
    with ledger.begin() as connection:
        connection.execute(decisions.insert(), said)


def _decision(row: dict[str, Any], reviewer: str, decision: str, number: int) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("example_id", "fingerprint", "report_id", "task")},
        "decision_id": f"{number:032x}",
        "decision": decision,
        "output": None,
        "reviewer": reviewer,
        "reason": "",
        "reason_code": "unsupported" if decision == "reject" else "",
        "decided_at": datetime.now(UTC),
        "role": "review",
        "approved_fingerprint": None if decision == "reject" else row["fingerprint"],
        "meaning": "",
    }


def _token(reply: httpx.Response) -> str:
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', reply.text)
    assert found is not None
    return found[1]


def _show(name: str, items: int, timings: list[Timing]) -> None:
    table = Table("page", "p50 ms", "p95 ms", "max ms", f"below {LIMIT_MS} ms", title=f"{items} items, {name}")
    for timing in timings:
        word = "yes" if timing.max_ms < LIMIT_MS else "no"
        table.add_row(timing.page, f"{timing.p50_ms:.1f}", f"{timing.p95_ms:.1f}", f"{timing.max_ms:.1f}", word)
    Console().print(table)


if __name__ == "__main__":
    main()
