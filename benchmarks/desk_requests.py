"""Every request that the desk is measured with, by its route in the desk's table: a new route is missing here until it is added.

The last request of each function is the one that is timed; what it needs before is not.
"""

import html
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import httpx
from desk_made import EXAMPLES_OF_A_PATIENT, HOLDS, PASSWORD, decision_id_of, patient_of

from fine_tune_assets.core.settings import Settings
from fine_tune_assets_tests.desk.installation import BATCH

HOST = "http://127.0.0.1:8070"
LEFT_OUT: Mapping[str, str] = MappingProxyType(
    {
        "POST /ask": "waits for the model",
        "POST /ask/stream": "waits for the model",
        "POST /ask/correct": "waits for the gateway, which `make bench-corrections` measures",
        "POST /ask/rate": "waits for the gateway; writes one row",
        "GET /quarantine/{correction_id}": "needs a correction in quarantine; reads one row, as a spot-check does",
        "POST /quarantine/{correction_id}/decide": "needs a correction in quarantine; writes one row",
        "GET /proposals": "needs imported decisions; counts rows",
        "GET /proposals/{file_id}": "needs imported decisions; checks the flags and the permission of up to 50 lines",
        "POST /proposals/{file_id}/sign": "needs imported decisions; decides on up to 50 examples",
        "POST /proposals/{file_id}/withdraw": "needs imported decisions; writes a row for each line",
        "GET /docs": "redirects",
        "GET /lines/{name}": "reads nothing; sets a cookie and redirects",
        "GET /failures": "waits for Dagster's webserver",
        "GET /sign-in/link": "reads nothing",
        "POST /sign-in/link": "uses a link up; writes one row",
        "GET /sign-in/oidc": "waits for the OpenID provider",
        "GET /sign-in/oidc/callback": "waits for the OpenID provider",
    }
)


@dataclass
class Visits:
    """A user with every role, and a second browser, on a desk in this process."""

    client: httpx.AsyncClient
    other: httpx.AsyncClient
    settings: Settings
    rows: list[dict[str, Any]]
    """The drafts in the order of the queue."""
    token: str = ""
    taken_ms: float = 0.0
    """By the last request."""
    worked_ms: float = 0.0
    """Processor time of the last request, which other work on the machine affects less."""
    passwords: list[str] = field(default_factory=lambda: [PASSWORD])

    async def get(self, path: str) -> httpx.Response:
        return await self._timed(self.client.get(path))

    async def post(self, path: str, **form: str | list[str]) -> httpx.Response:
        return await self._timed(self._send(self.client, path, self.token, form))

    async def get_as_other(self, path: str) -> httpx.Response:
        return await self._timed(self.other.get(path))

    async def post_as_other(self, path: str, page: str, **form: str) -> httpx.Response:
        """With the token of a page that shows a form."""
        token = form_token(await self.other.get(page))
        return await self._timed(self._send(self.other, path, token, form))

    async def sign_in(self, name: str, password: str) -> httpx.Response:
        self.other.cookies.clear()
        return await self.post_as_other("/sign-in", "/sign-in", name=name, password=password)

    def waits(self, of: int, number: int) -> dict[str, Any]:
        """An undecided draft, a different one for each request."""
        return self.rows[2::3][100 * of + number]

    def disagreeing(self, of: int, number: int) -> dict[str, Any]:
        return self.rows[0::6][100 * of + number]

    async def _timed(self, asking: Awaitable[httpx.Response]) -> httpx.Response:
        started, worked = time.perf_counter(), time.process_time()
        reply = await asking
        self.taken_ms = (time.perf_counter() - started) * 1000
        self.worked_ms = (time.process_time() - worked) * 1000
        return reply

    async def _send(
        self, client: httpx.AsyncClient, path: str, token: str, form: Mapping[str, str | list[str]]
    ) -> httpx.Response:
        return await client.post(path, data={"form_token": token, **form}, headers={"origin": HOST})


Ask = Callable[[Visits, int], Awaitable[httpx.Response]]


@dataclass(frozen=True)
class Request:
    route: str
    """Method and path, as in the desk's table."""
    ask: Ask
    case: str = ""
    """Distinguishes several requests to one route."""
    status: int = 200
    is_slow_on_purpose: bool = False
    """A password is hashed, which takes long by design, and a refusal waits besides."""

    @property
    def name(self) -> str:
        return f"{self.route}, {self.case}" if self.case else self.route


def form_token(reply: httpx.Response) -> str:
    return _found('name="form_token" value="([0-9a-f]{64})"', reply)


def _found(pattern: str, reply: httpx.Response) -> str:
    found = re.search(pattern, reply.text)
    assert found is not None, (pattern, reply.status_code)
    return found[1]


def _get(path: str) -> Ask:
    return lambda visits, _: visits.get(path)


async def _later_part(visits: Visits, _: int) -> httpx.Response:
    return await visits.get(f"/queue?after={visits.rows[len(visits.rows) // 2]['example_id']}")


async def _item(visits: Visits, number: int) -> httpx.Response:
    return await visits.get(f"/items/{visits.waits(0, number)['example_id']}")


def _typed(path: str) -> Ask:
    async def ask(visits: Visits, number: int) -> httpx.Response:
        row = visits.waits(0, number)
        return await visits.post(f"/items/{row['example_id']}/{path}", output=row["output"] + " And more.")

    return ask


async def _restored(visits: Visits, number: int) -> httpx.Response:
    """An item with the reviewer's edit."""
    await _typed("diff")(visits, number)
    return await _item(visits, number)


async def _discard(visits: Visits, number: int) -> httpx.Response:
    await _typed("diff")(visits, number)
    return await visits.post(f"/items/{visits.waits(0, number)['example_id']}/discard-edit")


def _decide(of: int) -> Ask:
    async def ask(visits: Visits, number: int) -> httpx.Response:
        row = visits.waits(of, number)
        shown = await visits.get(f"/items/{row['example_id']}")
        form = {"decision": "approve", "output": row["output"], "meaning": "approve"}
        form["version"], form["signed"] = _version(shown), _found('name="signed" value="([0-9a-f]{64})"', shown)
        form["acknowledged"] = re.findall('name="acknowledged" value="([0-9a-f]{64})"', shown.text)
        return await visits.post(f"/items/{row['example_id']}/decide", **form)

    return ask


async def _reject(visits: Visits, number: int) -> httpx.Response:
    item = f"/items/{visits.waits(3, number)['example_id']}"
    form = {"decision": "reject", "reason_code": "unsupported", "meaning": "reject"}
    return await visits.post(f"{item}/decide", version=_version(await visits.get(item)), **form)


def _version(shown: httpx.Response) -> str:
    return _found(r'name="version" value="(\d+)"', shown)


async def _skip(visits: Visits, number: int) -> httpx.Response:
    item = f"/items/{visits.waits(4, number)['example_id']}"
    await visits.get(item)
    return await visits.post(f"{item}/skip")


async def _mark(visits: Visits, number: int, of: int = 5) -> httpx.Response:
    """Mark words that occur in this report only."""
    row = visits.waits(of, number)
    shown = await visits.get(f"/items/{row['example_id']}")
    term = _found(r"(\d+-year-old)", shown)
    return await visits.post(f"/items/{row['example_id']}/mark", kind="ID", term=term)


async def _after_a_mark(visits: Visits, number: int) -> httpx.Response:
    await _mark(visits, 50 + number)
    return await visits.get("/queue")


async def _withheld(visits: Visits, number: int) -> httpx.Response:
    await _mark(visits, number, of=6)
    return await visits.get(f"/items/{visits.waits(6, number)['example_id']}")


async def _withdraw(visits: Visits, number: int) -> httpx.Response:
    await _mark(visits, number, of=7)
    page = await visits.get("/decisions")
    return await visits.post(_found(r'action="(/marks/[0-9a-f]+/withdraw)"', page))


async def _after_a_decision(visits: Visits, number: int) -> httpx.Response:
    await _decide(2)(visits, number)
    return await visits.get("/agreement")


async def _history(visits: Visits, number: int) -> httpx.Response:
    return await visits.get(f"/items/{visits.rows[3 * number + 1]['example_id']}/history")


async def _revoke(visits: Visits, number: int) -> httpx.Response:
    """A decision on an example that both approved."""
    return await visits.post(f"/decisions/{decision_id_of(12 * number + 2)}/revoke", reason="read again")


async def _undo(visits: Visits, number: int) -> httpx.Response:
    await _decide(8)(visits, number)
    page = await visits.get("/queue?notice=approved")
    return await visits.post("/decisions/undo", decision=_found(r'name="decision" value="(\w+)"', page))


async def _cases(visits: Visits, _: int) -> httpx.Response:
    return await visits.get(f"/items/{visits.waits(9, 0)['example_id']}/identical")


async def _decide_cases(visits: Visits, number: int) -> httpx.Response:
    """Half as many as one signature covers; each takes as long as a decision of its own."""
    path, page = f"/items/{visits.waits(9, 0)['example_id']}/identical", await _cases(visits, number)
    fields = dict(re.findall(r'type="hidden" name="((?:version|signed)_\w+)" value="(\w+)"', page.text))
    flags = [html.unescape(flag) for flag in re.findall(r'name="acknowledged" value="([^"]*)"', page.text)]
    read = [name.removeprefix("signed_") for name in fields if name.startswith("signed_")][:10]
    return await visits.post(f"{path}/decide", **fields, read=read, acknowledged=flags, meaning="approve")


async def _disagreement(visits: Visits, number: int) -> httpx.Response:
    return await visits.get(f"/disagreements/{visits.disagreeing(0, number)['example_id']}")


async def _settle(visits: Visits, number: int) -> httpx.Response:
    page = f"/disagreements/{visits.disagreeing(1, number)['example_id']}"
    return await visits.post(f"{page}/adjudicate", choice="0", version=_version(await visits.get(page)))


async def _spot_check(visits: Visits, _: int) -> httpx.Response:
    return await visits.get((await visits.get("/spot-checks/next")).headers["location"])


async def _rate(visits: Visits, _: int) -> httpx.Response:
    path = (await visits.get("/spot-checks/next")).headers["location"].partition("?")[0]
    return await visits.post(f"{path}/rate", score="7", error_kind="none")


async def _spot_checks_after_judging(visits: Visits, number: int) -> httpx.Response:
    os.utime(visits.settings.layout.table("judge_scores"), (number + 1, number + 1))
    return await visits.get("/spot-checks")


async def _judge_beside_experts(visits: Visits, number: int) -> httpx.Response:
    """As an approver who rates nothing."""
    if number == 0:
        await visits.sign_in("Chief", PASSWORD)
    return await visits.get_as_other("/agreement")


def _as_chief(path: str) -> Ask:
    """As an approver who rates nothing, and thus may read grades."""

    async def ask(visits: Visits, number: int) -> httpx.Response:
        if number == 0:
            await visits.sign_in("Chief", PASSWORD)
        return await visits.get_as_other(path)

    return ask


async def _graded_answer(visits: Visits, number: int) -> httpx.Response:
    page = await _as_chief("/graded-answers")(visits, number)
    paths = re.findall(r'href="(/graded-answers/[0-9a-f]+)"', page.text)
    return await visits.get_as_other(paths[number % len(paths)])


async def _label_statement(visits: Visits, number: int) -> httpx.Response:
    page = await _graded_answer(visits, number)
    form = {name: _found(rf'name="{name}" value="(\w+)"', page) for name in ("answer", "statement", "criterion")}
    path = _found('action="(/graded-answers/[0-9a-f]+/label)"', page)
    return await visits.post_as_other(path, "/account", support="contradicted", **form)


async def _verdict(visits: Visits, number: int) -> httpx.Response:
    return await visits.get(await _hold(visits, number))


async def _sign(visits: Visits, number: int) -> httpx.Response:
    return await visits.post(f"{await _hold(visits, number)}/sign", reason="Read by hand.")


async def _hold(visits: Visits, number: int) -> str:
    """The address of one that is on hold, another one for each request: of the list's pages from the newest on."""
    pages = [await visits.get("/verdicts")]
    while len(pages) * 50 <= number % HOLDS:
        pages.append(await visits.get(_found(r'href="(/verdicts\?before=\d+)"', pages[-1])))
    return str(re.findall(r'href="(/verdicts/[0-9a-f]+)"', "".join(p.text for p in pages))[number % HOLDS])


async def _arrivals_after_a_run(visits: Visits, number: int) -> httpx.Response:
    os.utime(visits.settings.layout.table("reports", BATCH), (number + 1, number + 1))
    return await visits.get("/intake")


async def _patient(visits: Visits, number: int) -> httpx.Response:
    return await visits.post("/subjects", subject_key=patient_of(number * 3 * EXAMPLES_OF_A_PATIENT))


async def _patient_after_a_new_set(visits: Visits, number: int) -> httpx.Response:
    newest = sorted(visits.settings.layout.instruction_sets.iterdir())[-1]
    os.utime(newest / "provenance.parquet", (number + 1, number + 1))
    return await _patient(visits, number)


async def _refused_sign_in(visits: Visits, _: int) -> httpx.Response:
    return await visits.sign_in("Unknown", "wrong words, more of them")


async def _sign_in(visits: Visits, _: int) -> httpx.Response:
    return await visits.sign_in("Reviewer", PASSWORD)


async def _sign_out(visits: Visits, _: int) -> httpx.Response:
    await visits.sign_in("Reviewer", PASSWORD)
    return await visits.post_as_other("/sign-out", "/account")


async def _new_password(visits: Visits, number: int) -> httpx.Response:
    old, new = visits.passwords[-1], f"{PASSWORD} {number}"
    await visits.sign_in("Changer", old)
    visits.passwords.append(new)
    return await visits.post_as_other("/account/password", "/account", old=old, new=new, again=new)


async def _add_user(visits: Visits, number: int) -> httpx.Response:
    return await visits.post("/users", name=f"New {number}", role="reviewer")


def _of_user(what: str, **form: str) -> Ask:
    async def ask(visits: Visits, _: int) -> httpx.Response:
        ids = re.findall(rf'action="/users/([^/"]+)/{what}"', (await visits.get("/users")).text)
        return await visits.post(f"/users/{ids[len(ids) // 2]}/{what}", **form)

    return ask


async def _while_the_chain_is_checked(visits: Visits, _: int) -> httpx.Response:
    begun = await visits.get("/audit?verify=1")
    number = re.search(r"check=(\d+)", begun.text)
    return await visits.get(f"/audit?check={number[1] if number else 1}")


REQUESTS: tuple[Request, ...] = (
    Request("GET /static/{name}", _get("/static/desk.css")),
    Request("GET /sign-in", _get("/sign-in"), status=303),
    Request("GET /", _get("/")),
    Request("GET /overview", _get("/overview")),
    Request("GET /graded-answers", _as_chief("/graded-answers")),
    Request("GET /graded-answers", _as_chief("/graded-answers?show=unsupported&start=50"), "filtered"),
    Request("GET /graded-answers/best-and-worst", _as_chief("/graded-answers/best-and-worst")),
    Request("GET /graded-answers/{example_id}", _graded_answer),
    Request("POST /graded-answers/{example_id}/label", _label_statement, status=303),
    Request("GET /account", _get("/account")),
    Request("GET /docs/{name:path}", _get("/docs/reference/generated/settings.md")),
    Request("GET /ask", _get("/ask")),
    Request("GET /queue", _get("/queue")),
    Request("GET /queue", _get("/queue?flag=number+not+in+input&state=waiting&age=new&source=ward"), "filtered"),
    Request("GET /queue", _later_part, "a later part"),
    Request("GET /queue", _get("/queue?state=all"), "everything"),
    Request("GET /queue/next", _get("/queue/next"), status=303),
    Request("GET /items/{example_id}", _item),
    Request("GET /items/{example_id}", _restored, "with an edit"),
    Request("POST /items/{example_id}/reopen", _typed("reopen")),
    Request("POST /items/{example_id}/diff", _typed("diff")),
    Request("POST /items/{example_id}/discard-edit", _discard, status=303),
    Request("POST /items/{example_id}/signature-preview", _typed("signature-preview")),
    Request("POST /items/{example_id}/decide", _decide(1), status=303),
    Request("POST /items/{example_id}/decide", _reject, "rejected", status=303),
    Request("POST /items/{example_id}/skip", _skip, status=303),
    Request("GET /items/{example_id}/identical", _cases),
    Request("GET /items/{example_id}/history", _history),
    Request("GET /decisions", _get("/decisions")),
    Request("GET /decisions", _get("/decisions?outcome=repaired&since=2020-01-01"), "filtered"),
    Request("POST /decisions/{decision_id}/revoke", _revoke, status=303),
    Request("POST /decisions/undo", _undo, status=303),
    Request("GET /disagreements", _get("/disagreements")),
    Request("GET /disagreements/next", _get("/disagreements/next"), status=303),
    Request("GET /disagreements/{example_id}", _disagreement),
    Request("POST /disagreements/{example_id}/adjudicate", _settle, status=303),
    Request("GET /quarantine", _get("/quarantine")),
    Request("GET /impact", _get("/impact")),
    Request("GET /impact.json", _get("/impact.json")),
    Request("GET /spot-checks", _get("/spot-checks")),
    Request("GET /spot-checks", _spot_checks_after_judging, "after judging"),
    Request("GET /spot-checks/next", _get("/spot-checks/next"), status=303),
    Request("GET /spot-checks/{answer_id}", _spot_check),
    Request("POST /spot-checks/{answer_id}/rate", _rate, status=303),
    Request("GET /verdicts", _get("/verdicts")),
    Request("GET /verdicts/{verdict_id}", _verdict),
    Request("POST /verdicts/{verdict_id}/sign", _sign, status=303),
    Request("GET /agreement", _get("/agreement")),
    Request("GET /agreement", _judge_beside_experts, "judge and experts"),
    Request("GET /agreement", _after_a_decision, "after a decision"),
    Request("GET /intake", _get("/intake")),
    Request("GET /intake", _arrivals_after_a_run, "after a run"),
    Request("GET /intake/{batch}", _get(f"/intake/{BATCH}")),
    Request("GET /corrections", _get("/corrections")),
    Request("GET /misses", _get("/misses")),
    Request("GET /subjects", _get("/subjects")),
    Request("POST /subjects", _patient),
    Request("POST /subjects", _patient_after_a_new_set, "after a new set"),
    Request("GET /users", _get("/users")),
    Request("POST /users", _add_user, is_slow_on_purpose=True),
    Request("POST /users/{user_id}/roles", _of_user("roles", role="reviewer")),
    Request("POST /users/{user_id}/labels", _of_user("labels", labels="pharmacy hr")),
    Request("POST /users/{user_id}/disable", _of_user("disable")),
    Request("POST /users/{user_id}/enable", _of_user("enable")),
    Request("POST /users/{user_id}/reset", _of_user("reset"), is_slow_on_purpose=True),
    Request("GET /audit", _get("/audit")),
    Request("GET /audit", _get("/audit?verify=1"), "checking the chain"),
    Request("GET /audit", _while_the_chain_is_checked, "while it is checked"),
    Request("POST /items/{example_id}/mark", _mark, status=303),
    Request("GET /queue", _after_a_mark, "after a mark"),
    Request("GET /items/{example_id}", _withheld, "withheld", status=409),
    Request("POST /marks/{mark_id}/withdraw", _withdraw, status=303),
    Request("GET /decisions", _get("/decisions"), "after marks"),
    Request("POST /items/{example_id}/identical/decide", _decide_cases, "10 cases", status=303),
    Request("GET /decisions", _get("/decisions"), "after many decisions"),
    Request("POST /sign-in", _sign_in, status=303, is_slow_on_purpose=True),
    Request("POST /sign-in", _refused_sign_in, "refused", status=401, is_slow_on_purpose=True),
    Request("POST /account/password", _new_password, is_slow_on_purpose=True),
    Request("POST /sign-out", _sign_out, status=303),
)
