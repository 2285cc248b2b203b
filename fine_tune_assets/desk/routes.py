"""Every address of the desk and who may use it: one table. Whatever is not in it does not exist.

A route can't be written without saying whom it is for.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from starlette.responses import JSONResponse, Response

from fine_tune_assets.desk.application import Desk, MenuEntry
from fine_tune_assets.desk.oidc import RETURN_PATH
from fine_tune_assets.desk.pages import (
    agreement_pages,
    ask_pages,
    audit_pages,
    decision_pages,
    disagreement_pages,
    item_pages,
    overview_pages,
    quarantine_pages,
    queue_pages,
    sign_in_pages,
    spot_check_pages,
    trace_pages,
    user_pages,
    verdict_pages,
)
from fine_tune_assets.desk.templating import static_response
from fine_tune_assets.desk.visits import Anybody, Endpoint, Users, Visit, is_for, one_of


@dataclass(frozen=True)
class Route:
    method: Literal["GET", "POST"]
    path: str
    endpoint: Endpoint
    allowed: Anybody | Users
    label: str = ""
    """What the menu calls it; empty if it is not in the menu."""
    about: str = ""
    is_by_itself: bool = False
    """An open page asks for it without a click, so it does not keep a session from ending."""


def _static(_desk: Desk, visit: Visit) -> Response:
    return static_response(visit.path("name"))


def _health(_desk: Desk, _visit: Visit) -> Response:
    """Whether the process answers; says nothing about anything else."""
    return JSONResponse({"status": "ok"})


ANYBODY = Anybody()
ANY_USER = Users()
REVIEWER = one_of("reviewer")
APPROVER = one_of("approver")
OPERATOR = one_of("operator")
AUDITOR = one_of("auditor")
BRINGERS = one_of("ingest", "operator")
DECIDES = one_of("reviewer", "approver")
ASKS = overview_pages.ASKS
TRACERS = overview_pages.SEES_VERDICTS
WHO_SEES_HISTORY = one_of("reviewer", "approver", "operator", "auditor")

ROUTES: tuple[Route, ...] = (
    Route("GET", "/health", _health, ANYBODY),
    Route("GET", "/static/{name}", _static, ANYBODY),
    Route("GET", "/sign-in", sign_in_pages.show_sign_in, ANYBODY),
    Route("POST", "/sign-in", sign_in_pages.sign_in_by_password, ANYBODY),
    Route("GET", "/sign-in/oidc", sign_in_pages.go_to_provider, ANYBODY),
    Route("GET", RETURN_PATH, sign_in_pages.come_back, ANYBODY),
    Route("GET", sign_in_pages.LINK_PATH, sign_in_pages.show_link, ANYBODY),
    Route("POST", sign_in_pages.LINK_PATH, sign_in_pages.sign_in_by_link, ANYBODY),
    Route("POST", "/sign-out", sign_in_pages.sign_out, ANY_USER),
    Route("GET", "/", overview_pages.show_home, ANY_USER),
    Route("GET", "/overview", overview_pages.show_overview, ANY_USER, is_by_itself=True),
    Route("GET", "/account", user_pages.show_account, ANY_USER),
    Route("POST", "/account/password", user_pages.change_password, ANY_USER),
    Route("GET", "/ask", ask_pages.show_ask, ASKS, "Ask", "Ask the model that is live, and correct its answers."),
    Route("POST", "/ask", ask_pages.answer_question, ASKS),
    Route("POST", "/ask/stream", ask_pages.stream_answer, ASKS),
    Route("POST", "/ask/correct", ask_pages.correct_answer, ASKS),
    Route("POST", "/ask/rate", ask_pages.rate_answer, ASKS),
    Route("GET", "/queue", queue_pages.show_queue, REVIEWER, "Queue", "Drafts that wait for a reviewer."),
    Route("GET", "/queue/next", queue_pages.open_next, REVIEWER),
    Route("GET", "/items/{example_id}", item_pages.show_item, REVIEWER),
    Route("POST", "/items/{example_id}/open", item_pages.open_with_text, REVIEWER),
    Route("POST", "/items/{example_id}/diff", item_pages.show_diff, REVIEWER),
    Route("POST", "/items/{example_id}/signing", item_pages.show_signing, REVIEWER),
    Route("POST", "/items/{example_id}/decide", decision_pages.decide_item, REVIEWER),
    Route("POST", "/items/{example_id}/skip", decision_pages.skip_item, REVIEWER),
    Route("POST", "/items/{example_id}/mark", decision_pages.mark_identifier, REVIEWER),
    Route("GET", "/items/{example_id}/history", trace_pages.show_history, WHO_SEES_HISTORY),
    Route(
        "GET",
        "/decisions",
        decision_pages.show_decisions,
        DECIDES,
        "My decisions",
        "What you decided, and taking it back.",
    ),
    Route("POST", "/decisions/{decision_id}/revoke", decision_pages.revoke_decision, DECIDES),
    Route(
        "GET",
        "/disagreements",
        disagreement_pages.show_disagreements,
        APPROVER,
        "Disagreements",
        "What two reviewers see differently, for you to settle.",
    ),
    Route("GET", "/disagreements/next", disagreement_pages.open_next_disagreement, APPROVER),
    Route("GET", "/disagreements/{example_id}", disagreement_pages.show_disagreement, APPROVER),
    Route("POST", "/disagreements/{example_id}/settle", disagreement_pages.settle, APPROVER),
    Route(
        "GET",
        "/quarantine",
        quarantine_pages.show_quarantine,
        APPROVER,
        "Quarantine",
        "Corrections that were kept apart, for you to let through or reject.",
    ),
    Route("GET", "/quarantine/{correction_id}", quarantine_pages.show_quarantined, APPROVER),
    Route("POST", "/quarantine/{correction_id}/decide", quarantine_pages.decide, APPROVER),
    Route(
        "GET",
        "/value",
        overview_pages.show_value,
        one_of("approver", "auditor"),
        "What corrections bring",
        "Corrections, errors and thumbs from release to release.",
    ),
    Route("GET", "/value.json", overview_pages.value_as_json, one_of("approver", "auditor")),
    Route(
        "GET",
        "/spot-checks",
        spot_check_pages.show_spot_checks,
        REVIEWER,
        "Spot-checks",
        "Answers of models for you to rate, without knowing who gave them.",
    ),
    Route("GET", "/spot-checks/next", spot_check_pages.open_next_check, REVIEWER),
    Route("GET", "/spot-checks/{answer_id}", spot_check_pages.show_check, REVIEWER),
    Route("POST", "/spot-checks/{answer_id}/rate", spot_check_pages.rate, REVIEWER),
    Route(
        "GET",
        "/verdicts",
        verdict_pages.show_verdicts,
        TRACERS,
        "Verdicts",
        "Which candidates may be served, and why or why not.",
    ),
    Route("GET", "/verdicts/{verdict_id}", verdict_pages.show_verdict, TRACERS),
    Route("POST", "/verdicts/{verdict_id}/sign", verdict_pages.sign, APPROVER),
    Route(
        "GET",
        "/agreement",
        agreement_pages.show_agreement,
        one_of("approver", "operator", "auditor"),
        "Agreement",
        "How well two reviewers agree, by reviewer and task.",
    ),
    Route(
        "GET",
        "/arrivals",
        overview_pages.show_arrivals,
        BRINGERS,
        "Arrivals",
        "Batches that were read, and files that were not.",
    ),
    Route("GET", "/arrivals/{batch}", overview_pages.show_batch, BRINGERS),
    Route(
        "GET",
        "/patients",
        trace_pages.ask_for_patient,
        TRACERS,
        "Patients",
        "Which models saw a patient, by patient key.",
    ),
    Route("POST", "/patients", trace_pages.show_patient, TRACERS),
    Route("GET", "/users", user_pages.show_users, OPERATOR, "Users", "Who may sign in, and what they may do."),
    Route("POST", "/users", user_pages.add_user, OPERATOR),
    Route("POST", "/users/{user_id}/roles", user_pages.change_roles, OPERATOR),
    Route("POST", "/users/{user_id}/labels", user_pages.change_labels, OPERATOR),
    Route("POST", "/users/{user_id}/reset", user_pages.reset_password, OPERATOR),
    Route("POST", "/users/{user_id}/disable", user_pages.disable, OPERATOR),
    Route("POST", "/users/{user_id}/enable", user_pages.enable, OPERATOR),
    Route(
        "GET",
        "/audit",
        audit_pages.show_audit,
        AUDITOR,
        "Audit log",
        "Who did what, and that nothing was changed since.",
    ),
)


def menu(roles: Collection[str]) -> tuple[MenuEntry, ...]:
    """The pages that somebody with these roles may open, in the order of the table."""
    return tuple(MenuEntry(r.path, r.label, r.about) for r in ROUTES if r.label and is_for(r.allowed, roles))
