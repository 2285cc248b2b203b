"""Page of the audit log, with verification of its hash chain.

Each verification starts at the first entry, because any entry may have been changed since the last one. An auditor who may also
decide does not see other users' decisions on open items.
"""

from collections.abc import Sequence
from dataclasses import replace

from starlette.responses import Response

from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.desk.background_checks import ChainCheckRun
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.rendering import render_page
from fine_tune_assets.desk.request_context import RequestContext, find_hidden_examples
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.audit.audit_log import AuditEntry

PAGE_LINES = 40
_OUTCOMES = frozenset(f"{verb} {what}" for verb in ("decided", "adjudicated") for what in ("approve", "reject"))
_EXAMPLE_PREFIX = "example "


def show_audit(desk: Desk, context: RequestContext) -> Response:
    before = context.query_number("before")
    rows = audit.list_newest_entries(desk.ledger, before, PAGE_LINES + 1)
    shown = _hide_outcomes(desk, context, rows[:PAGE_LINES])
    return render_page(
        desk,
        context,
        "audit.html",
        rows=shown,
        known=_find_names(desk, context, shown),
        has_hidden=shown != rows[:PAGE_LINES],
        is_older=len(rows) > PAGE_LINES,
        is_paged=before is not None,
        check=_find_chain_check(desk, context),
    )


def _find_names(desk: Desk, context: RequestContext, rows: Sequence[AuditEntry]) -> dict[int, str]:
    """Position of an entry → readable name of what it is about. Other entries are absent."""
    names = desk.names.at(context.now)
    examples = names.examples(
        {word for row in rows if row.resource.startswith(_EXAMPLE_PREFIX) for word in row.resource.split()}
    )
    found = {
        row.position: next(
            (name.text for word in row.resource.split() if (name := examples.get(word) or names.find(word)).text), ""
        )
        for row in rows
    }
    return {position: text for position, text in found.items() if text}


def _find_chain_check(desk: Desk, context: RequestContext) -> ChainCheckRun | None:
    """Start the requested check, or find the one that the page waits for."""
    if context.query_param("verify"):
        return desk.chain_checks.start()
    number = context.query_number("check")
    return None if number is None else desk.chain_checks.find_run(number)


def _hide_outcomes(desk: Desk, context: RequestContext, rows: Sequence[AuditEntry]) -> list[AuditEntry]:
    """The entries, without the outcome of other users' decisions on open items."""
    decided = {_find_example(row) for row in rows if row.action in _OUTCOMES}
    hidden = find_hidden_examples(desk, context, decided)
    return [
        # Only approvals count acknowledged flags, so the count is hidden too.
        replace(row, action=row.action.partition(" ")[0], resource=f"{_EXAMPLE_PREFIX}{_find_example(row)}")
        if row.action in _OUTCOMES and _find_example(row) in hidden and not is_same_person(row.actor, context.user.name)
        else row
        for row in rows
    ]


def _find_example(row: AuditEntry) -> str:
    return row.resource.removeprefix(_EXAMPLE_PREFIX).partition(";")[0]
