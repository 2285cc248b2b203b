"""The table of the desk's routes, with the roles that may use each. A route can't be added without stating its access."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from starlette.responses import Response

from fine_tune_assets.core.dagster_ui import PATH_PREFIX
from fine_tune_assets.core.permissions import Action, may
from fine_tune_assets.core.settings import DOCUMENTATION_PATH, LINES_PATH
from fine_tune_assets.desk.desk_context import MENU_GROUPS, Desk, MenuEntry, MenuGroup
from fine_tune_assets.desk.oidc_sign_in import CALLBACK_PATH
from fine_tune_assets.desk.pages import (
    agreement_pages,
    ask_pages,
    audit_pages,
    case_pages,
    correction_pages,
    decision_pages,
    disagreement_pages,
    documentation_pages,
    graded_answer_pages,
    home_pages,
    item_pages,
    line_pages,
    mark_pages,
    miss_pages,
    overview_pages,
    own_decision_pages,
    proposal_pages,
    quarantine_pages,
    queue_pages,
    sign_in_pages,
    spot_check_pages,
    trace_pages,
    user_pages,
    verdict_pages,
)
from fine_tune_assets.desk.request_context import (
    Endpoint,
    PublicAccess,
    RequestContext,
    UserAccess,
    allow,
    is_allowed,
)
from fine_tune_assets.desk.templating import make_static_response
from fine_tune_assets.ledger.people.sessions import LINK_PATH
from fine_tune_assets.phi.measurement.recall_report import MISSES_PAGE


@dataclass(frozen=True)
class Route:
    method: Literal["GET", "POST"]
    path: str
    endpoint: Endpoint
    access: PublicAccess | UserAccess
    label: str = ""
    """Label in the menu; empty if it is not in the menu."""
    description: str = ""
    menu_group: MenuGroup = ""
    is_polled: bool = False
    """An open page requests it without user input, so it does not extend the session."""
    hashes_password: bool = False
    """It is slow on purpose, so it waits in a queue: one for strangers, another one for signed-in users."""


def _serve_static(_desk: Desk, context: RequestContext) -> Response:
    return make_static_response(context.path_param("name"))


ANYBODY = PublicAccess()
ANY_USER = UserAccess()
ROUTES: tuple[Route, ...] = (
    Route("GET", "/static/{name}", _serve_static, ANYBODY),
    Route("GET", f"{LINES_PATH}/{{name}}", line_pages.switch_line, ANYBODY),
    Route("GET", "/sign-in", sign_in_pages.show_sign_in, ANYBODY),
    Route("POST", "/sign-in", sign_in_pages.sign_in_by_password, ANYBODY, hashes_password=True),
    Route("GET", "/sign-in/oidc", sign_in_pages.redirect_to_provider, ANYBODY),
    Route("GET", CALLBACK_PATH, sign_in_pages.handle_callback, ANYBODY),
    Route("GET", LINK_PATH, sign_in_pages.show_link, ANYBODY),
    Route("POST", LINK_PATH, sign_in_pages.sign_in_by_link, ANYBODY, hashes_password=True),
    Route("POST", "/sign-out", sign_in_pages.sign_out, ANY_USER),
    Route("GET", "/", home_pages.show_home, ANY_USER),
    Route("GET", "/overview", home_pages.show_overview, ANY_USER, is_polled=True),
    Route("GET", "/failures", home_pages.show_failures, allow(Action.VIEW_DAGSTER), is_polled=True),
    Route("GET", "/account", user_pages.show_account, ANY_USER),
    Route("POST", "/account/password", user_pages.change_password, ANY_USER, hashes_password=True),
    Route(
        "GET",
        "/ask",
        ask_pages.show_ask_page,
        allow(Action.ASK),
        "Ask",
        "Ask the production model and correct its answers.",
        menu_group="Work",
    ),
    Route("POST", "/ask", ask_pages.answer_question, allow(Action.ASK)),
    Route("POST", "/ask/stream", ask_pages.stream_answer, allow(Action.ASK)),
    Route("POST", "/ask/correct", ask_pages.correct_answer, allow(Action.CORRECT)),
    Route("POST", "/ask/rate", ask_pages.rate_answer, allow(Action.CORRECT)),
    Route(
        "GET",
        "/corrections",
        correction_pages.show_corrections,
        allow(Action.CORRECT),
        "My corrections",
        "How far your corrections are.",
        menu_group="Work",
    ),
    Route(
        "GET",
        "/queue",
        queue_pages.show_queue,
        allow(Action.REVIEW),
        "Queue",
        "Drafts that wait for review.",
        menu_group="Work",
    ),
    Route("GET", "/queue/next", queue_pages.open_next_item, allow(Action.REVIEW)),
    Route("GET", "/items/{example_id}", item_pages.show_item, allow(Action.REVIEW)),
    Route("POST", "/items/{example_id}/reopen", item_pages.reopen_item, allow(Action.REVIEW)),
    Route("POST", "/items/{example_id}/diff", item_pages.show_diff, allow(Action.REVIEW)),
    Route("POST", "/items/{example_id}/discard-edit", item_pages.discard_edit, allow(Action.REVIEW)),
    Route("POST", "/items/{example_id}/signature-preview", item_pages.show_signature_preview, allow(Action.REVIEW)),
    Route("POST", "/items/{example_id}/decide", decision_pages.decide_item, allow(Action.REVIEW)),
    Route("GET", "/items/{example_id}/identical", case_pages.show_cases, allow(Action.REVIEW)),
    Route("POST", "/items/{example_id}/identical/decide", case_pages.decide_cases, allow(Action.REVIEW)),
    Route("POST", "/items/{example_id}/skip", decision_pages.skip_item, allow(Action.REVIEW)),
    Route("POST", "/items/{example_id}/mark", decision_pages.mark_identifier, allow(Action.REVIEW)),
    Route("POST", "/marks/{mark_id}/withdraw", mark_pages.withdraw_own_mark, allow(Action.REVIEW)),
    Route("GET", "/items/{example_id}/history", trace_pages.show_history, allow(Action.VIEW_HISTORY)),
    Route(
        "GET",
        "/decisions",
        own_decision_pages.show_decisions,
        allow(Action.REVOKE_DECISIONS),
        "My decisions",
        "Your decisions and marks; you can take them back here.",
        menu_group="Work",
    ),
    Route("POST", "/decisions/undo", own_decision_pages.undo_decisions, allow(Action.REVIEW)),
    Route(
        "POST", "/decisions/{decision_id}/revoke", own_decision_pages.revoke_decision, allow(Action.REVOKE_DECISIONS)
    ),
    Route("GET", "/proposals", proposal_pages.show_proposals, allow(Action.SIGN_PROPOSALS)),
    Route("GET", "/proposals/{file_id}", proposal_pages.show_file, allow(Action.SIGN_PROPOSALS)),
    Route("POST", "/proposals/{file_id}/sign", proposal_pages.sign_file, allow(Action.SIGN_PROPOSALS)),
    Route("POST", "/proposals/{file_id}/withdraw", proposal_pages.withdraw_lines, allow(Action.SIGN_PROPOSALS)),
    Route(
        "GET",
        "/disagreements",
        disagreement_pages.show_disagreements,
        allow(Action.ADJUDICATE),
        "Disagreements",
        "Examples that two reviewers decided differently, for you to adjudicate.",
        menu_group="Work",
    ),
    Route("GET", "/disagreements/next", disagreement_pages.open_next_disagreement, allow(Action.ADJUDICATE)),
    Route("GET", "/disagreements/{example_id}", disagreement_pages.show_disagreement, allow(Action.ADJUDICATE)),
    Route("POST", "/disagreements/{example_id}/adjudicate", disagreement_pages.adjudicate, allow(Action.ADJUDICATE)),
    Route(
        "GET",
        "/quarantine",
        quarantine_pages.show_quarantine,
        allow(Action.DECIDE_QUARANTINE),
        "Quarantine",
        "Quarantined corrections, for you to accept or reject.",
        menu_group="Work",
    ),
    Route(
        "GET",
        "/quarantine/{correction_id}",
        quarantine_pages.show_quarantined_correction,
        allow(Action.DECIDE_QUARANTINE),
    ),
    Route(
        "POST",
        "/quarantine/{correction_id}/decide",
        quarantine_pages.decide_correction,
        allow(Action.DECIDE_QUARANTINE),
    ),
    Route(
        "GET",
        "/impact",
        overview_pages.show_impact,
        allow(Action.VIEW_IMPACT),
        "Correction impact",
        "Corrections, errors and ratings by release.",
        menu_group="Models",
    ),
    Route("GET", "/impact.json", overview_pages.get_impact_json, allow(Action.VIEW_IMPACT)),
    Route(
        "GET",
        "/spot-checks",
        spot_check_pages.show_spot_checks,
        allow(Action.REVIEW),
        "Spot checks",
        "Model answers for you to rate blindly.",
        menu_group="Work",
    ),
    Route("GET", "/spot-checks/next", spot_check_pages.open_next_check, allow(Action.REVIEW)),
    Route("GET", "/spot-checks/{answer_id}", spot_check_pages.show_check, allow(Action.REVIEW)),
    Route("POST", "/spot-checks/{answer_id}/rate", spot_check_pages.record_rating, allow(Action.REVIEW)),
    Route(
        "GET",
        "/verdicts",
        verdict_pages.show_verdicts,
        allow(Action.VIEW_VERDICTS),
        "Verdicts",
        "Which candidates may be released, and why.",
        menu_group="Models",
    ),
    Route("GET", "/verdicts/{verdict_id}", verdict_pages.show_verdict, allow(Action.VIEW_VERDICTS)),
    Route("POST", "/verdicts/{verdict_id}/sign", verdict_pages.sign_verdict, allow(Action.SIGN_VERDICTS)),
    Route(
        "GET",
        "/graded-answers",
        graded_answer_pages.show_graded_answers,
        allow(Action.COMPARE_ANSWERS),
        "Graded answers",
        "What the judge read in each answer of the newest candidate.",
        menu_group="Models",
    ),
    Route("GET", "/graded-answers/best-and-worst", home_pages.show_graded_examples, allow(Action.COMPARE_ANSWERS)),
    Route("GET", "/graded-answers/{example_id}", graded_answer_pages.show_graded_answer, allow(Action.COMPARE_ANSWERS)),
    Route(
        "POST",
        "/graded-answers/{example_id}/label",
        graded_answer_pages.label_statement,
        allow(Action.OVERRULE_JUDGE),
    ),
    Route(
        "GET",
        "/agreement",
        agreement_pages.show_agreement,
        allow(Action.VIEW_AGREEMENT),
        "Agreement",
        "How well reviewers agree, by reviewer and task.",
        menu_group="Models",
    ),
    Route(
        "GET",
        "/intake",
        overview_pages.show_intake,
        allow(Action.VIEW_INTAKE),
        "Intake",
        "Batches that were read, and files that were not.",
        menu_group="Data",
    ),
    Route("GET", "/intake/{batch}", overview_pages.show_batch, allow(Action.VIEW_INTAKE)),
    Route(
        "GET",
        MISSES_PAGE,
        miss_pages.show_misses,
        allow(Action.READ_MISSES),
        "Missed identifiers",
        "What the scrubber left in the labelled reports, and what would catch it.",
        menu_group="Data",
    ),
    Route(
        "GET",
        "/subjects",
        trace_pages.show_subject_form,
        allow(Action.TRACE_SUBJECTS),
        "Subjects",
        "Find the models that were trained on a subject, by subject key.",
        menu_group="Data",
    ),
    Route("POST", "/subjects", trace_pages.show_subject, allow(Action.TRACE_SUBJECTS)),
    Route(
        "GET",
        "/users",
        user_pages.show_users,
        allow(Action.MANAGE_USERS),
        "Users",
        "Who may sign in, and what they may do.",
        menu_group="Oversight",
    ),
    Route("POST", "/users", user_pages.add_user, allow(Action.MANAGE_USERS), hashes_password=True),
    Route("POST", "/users/{user_id}/roles", user_pages.change_roles, allow(Action.MANAGE_USERS)),
    Route("POST", "/users/{user_id}/labels", user_pages.change_labels, allow(Action.MANAGE_USERS)),
    Route(
        "POST", "/users/{user_id}/reset", user_pages.reset_password, allow(Action.MANAGE_USERS), hashes_password=True
    ),
    Route("POST", "/users/{user_id}/disable", user_pages.disable_account, allow(Action.MANAGE_USERS)),
    Route("POST", "/users/{user_id}/enable", user_pages.enable_account, allow(Action.MANAGE_USERS)),
    Route(
        "GET",
        "/audit",
        audit_pages.show_audit,
        allow(Action.READ_AUDIT_LOG),
        "Audit log",
        "Who did what, and whether the log is intact.",
        menu_group="Oversight",
    ),
    Route("GET", DOCUMENTATION_PATH, documentation_pages.show_start_page, ANY_USER, "Help", "The documentation."),
    Route("GET", f"{DOCUMENTATION_PATH}/{{name:path}}", documentation_pages.show_documentation, ANY_USER),
)


_DAGSTER = MenuEntry(PATH_PREFIX, "Dagster", "Lineage, runs, sensors and schedules.", "Data")


def list_menu_entries(roles: Collection[str]) -> tuple[MenuEntry, ...]:
    """The pages that a user with these roles may open, by group, in the order of the table."""
    pages = [
        MenuEntry(route.path, route.label, route.description, route.menu_group)
        for route in ROUTES
        if route.label and is_allowed(route.access, roles)
    ]
    graph = [_DAGSTER] if may(roles, Action.VIEW_DAGSTER) else []
    return tuple(sorted([*pages, *graph], key=lambda entry: MENU_GROUPS.index(entry.group)))
