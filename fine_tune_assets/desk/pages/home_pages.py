"""The home page: the pipeline, the user's open tasks, alerts, what was left out, running steps and the production model.

Decides which role sees which part. Only the examples of answers contain report text; only approvers read them.
"""

from collections.abc import Collection
from contextlib import suppress
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
from starlette.responses import Response

from fine_tune_assets.core.dagster_ui import PATH_PREFIX
from fine_tune_assets.core.errors import TableError
from fine_tune_assets.core.permissions import Action, may
from fine_tune_assets.core.progress import format_duration
from fine_tune_assets.desk.asset_failures import list_failures
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.first_steps import FirstStep, list_first_steps
from fine_tune_assets.desk.graded_examples import GradedExample, find_graded_examples
from fine_tune_assets.desk.model_summary import ModelSummary, read_model_summary
from fine_tune_assets.desk.open_work import (
    Alert,
    LeftOutRow,
    OpenTask,
    WaitingWork,
    list_alerts,
    list_gate_alerts,
    list_left_out_rows,
    list_open_tasks,
)
from fine_tune_assets.desk.pages.quarantine_pages import list_pending
from fine_tune_assets.desk.pages.scan_notes import find_suspected_examples
from fine_tune_assets.desk.pages.spot_check_pages import (
    count_answers_to_rate,
    find_showable_examples,
    list_unrated,
    select_answers_to_rate,
)
from fine_tune_assets.desk.pipeline import PipelineFacts, build_pipeline, read_facts
from fine_tune_assets.desk.rendering import render_page
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.desk.review_pace import MAX_DECISIONS, estimate_minutes
from fine_tune_assets.drift.drift_metrics import drifted_features
from fine_tune_assets.ledger.people.users import FIRST_USER, list_users
from fine_tune_assets.ledger.reviews.decision_records import list_decision_times
from fine_tune_assets.ledger.reviews.proposal_records import count_waiting
from fine_tune_assets.ledger.reviews.review_items import count_reviewable
from fine_tune_assets.lineage.account_reasons import SCRUB
from fine_tune_assets.lineage.left_out import describe_omissions

BUSY_POLL_SECONDS, IDLE_POLL_SECONDS = 3, 20
"""Polling interval of an open home page, while something runs and otherwise."""


def show_home(desk: Desk, context: RequestContext) -> Response:
    return render_page(
        desk,
        context,
        "home.html",
        may_ask=may(context.user.roles, Action.ASK),
        may_compare=may(context.user.roles, Action.COMPARE_ANSWERS),
        **_make_overview_context(desk, context),
    )


def show_overview(desk: Desk, context: RequestContext) -> Response:
    """The part of the home page that changes while steps run; the page polls it."""
    return render_page(desk, context, "overview.html", **_make_overview_context(desk, context))


def show_failures(desk: Desk, context: RequestContext) -> Response:
    """The part of the home page about failed runs and checks, which takes Dagster some time."""
    failures = None
    with suppress(httpx.HTTPError):
        failures = list_failures(desk.settings.installation.layout.run, desk.settings.line)
    return render_page(desk, context, "failures.html", failures=failures)


def show_graded_examples(desk: Desk, context: RequestContext) -> Response:
    """A well and a badly graded answer of the newest candidate, next to the compared model's.

    A user who may still rate answers of the sample blindly sees none.
    """
    judged = desk.judged_answers.latest()
    if judged is None or count_answers_to_rate(desk, context):
        return render_page(desk, context, "graded_examples.html", comparison=None, questions={})
    questions: dict[str, str] = {}

    def may_show(example: GradedExample) -> bool:
        question = desk.judged_answers.read_question(judged, example.example_id)
        if question is None or not find_showable_examples(desk, judged, [example.example_id]):
            return False
        questions[example.example_id] = question
        answers = [answer.text for answer in (example.candidate, example.other) if answer is not None]
        return not desk.withheld.has_missed_term(example.subject_key, "\n".join([question, *answers]))

    comparison = find_graded_examples(desk.settings.layout, may_show)
    model = read_model_summary(desk.ledger).production
    is_live = comparison is not None and model is not None and model.adapter_id == comparison.adapter_id
    return render_page(
        desk, context, "graded_examples.html", comparison=comparison, questions=questions, is_live=is_live
    )


def _make_overview_context(desk: Desk, context: RequestContext) -> dict[str, Any]:
    roles, now = context.user.roles, context.now.timestamp()
    models = read_model_summary(desk.ledger) if may(roles, Action.VIEW_PRODUCTION_MODEL) else None
    facts = _read_facts(desk, now) if may(roles, Action.VIEW_STAGES) else None
    running = () if facts is None else facts.running
    gates = [] if facts is None else desk.gates.latest()
    suspected = [] if facts is None else find_suspected_examples(desk)
    is_busy = bool(running) or (models is not None and models.candidate is not None)
    return {
        "models": models,
        "sees_verdicts": may(roles, Action.VIEW_VERDICTS),
        "steps": []
        if facts is None
        else build_pipeline(
            facts,
            models,
            roles,
            context.now,
            _name_model(desk, context, models),
            desk.settings.line,
            {gate.closes_stage for gate in gates} | ({"s05_instruction_sets"} if suspected else set()),
        ),
        "running": running,
        "tasks": [] if facts is None else _list_tasks(desk, context, facts, models, suspected),
        "alerts": []
        if facts is None
        else [*list_gate_alerts(gates, suspected, roles), *_list_alerts(desk, facts, models, roles)],
        "left_out": [] if facts is None else _list_left_out(desk, roles),
        "first_steps": [] if facts is None else _list_first_steps(desk, facts, roles),
        "graph": PATH_PREFIX if may(roles, Action.VIEW_DAGSTER) else "",
        "seconds": BUSY_POLL_SECONDS if is_busy else IDLE_POLL_SECONDS,
        "unix_now": now,
        "duration": format_duration,
    }


def _name_model(desk: Desk, context: RequestContext, models: ModelSummary | None) -> str:
    """Such as "SmolLM2 + adapter 3"; empty without a production model."""
    live = None if models is None else models.production
    return "" if live is None else desk.names.at(context.now).released_model(live.release_id)


def _read_facts(desk: Desk, now: float) -> PipelineFacts:
    withheld = None
    with suppress(TableError, OSError, pa.ArrowInvalid):  # replaced while it was read, or damaged
        withheld = desk.read_account().count_omitted(SCRUB)
    return read_facts(desk.settings.layout, desk.ledger, desk.table_counts, withheld, now)


def _list_tasks(
    desk: Desk, context: RequestContext, facts: PipelineFacts, models: ModelSummary | None, suspected: list[str]
) -> list[OpenTask]:
    roles, name = context.user.roles, context.user.name
    block = None if models is None else models.blocking_verdict
    reviews = count_reviewable(desk.ledger, name, desk.withheld.example_ids()) if may(roles, Action.REVIEW) else 0
    times = list_decision_times(desk.ledger, name, MAX_DECISIONS) if reviews else []
    work = WaitingWork(
        reviews=reviews,
        review_minutes=estimate_minutes(times, reviews),
        proposals=count_waiting(desk.ledger, name) if may(roles, Action.SIGN_PROPOSALS) else 0,
        spot_checks=_count_spot_checks(desk, name) if may(roles, Action.REVIEW) else 0,
        disagreements=facts.records.disagreements,
        quarantined=_count_quarantined(desk) if may(roles, Action.DECIDE_QUARANTINE) else 0,
        unsigned_hold=block if block is not None and block.decision == "hold" else None,
        unread_batches=_count_unread_batches(desk) if may(roles, Action.VIEW_INTAKE) else 0,
        suspected=suspected,
    )
    return list_open_tasks(work, roles)


def _count_spot_checks(desk: Desk, rater: str) -> int:
    """As `count_answers_to_rate`, from a sample that may be some seconds old."""
    judged = desk.judged_answers.latest()
    if judged is None:
        return 0
    return len(list_unrated(desk, rater, desk.answers_to_rate.get(lambda: select_answers_to_rate(desk, judged))))


def _count_quarantined(desk: Desk) -> int:
    try:
        return len(list_pending(desk))
    except (OSError, pa.ArrowInvalid):  # replaced while it was read, or damaged
        return 0


def _count_unread_batches(desk: Desk) -> int:
    try:
        return len(desk.intake.list_unread_batches())
    except OSError:  # the raw reports may be on an unavailable network drive
        return 0


def _list_alerts(desk: Desk, facts: PipelineFacts, models: ModelSummary | None, roles: Collection[str]) -> list[Alert]:
    block = None if models is None or not may(roles, Action.VIEW_VERDICTS) else models.blocking_verdict
    return list_alerts(facts, _read_drifted_features(desk), block, roles, desk.settings.line)


def _list_left_out(desk: Desk, roles: Collection[str]) -> list[LeftOutRow]:
    try:
        found = [*describe_omissions(desk.read_account()), *desk.left_out.latest()]
        return list_left_out_rows(found, roles, desk.settings.line)
    except (TableError, OSError, pa.ArrowInvalid):  # replaced while it was read, or damaged
        return []


def _read_drifted_features(desk: Desk) -> list[str]:
    path = desk.settings.layout.table("production_drift")
    columns = ["window_end", "feature", "exceeds_threshold"]
    try:
        return drifted_features(pq.read_table(path, columns=columns).to_pylist()) if path.is_file() else []
    except (OSError, pa.ArrowInvalid):  # replaced while it was read, or damaged
        return []


def _list_first_steps(desk: Desk, facts: PipelineFacts, roles: Collection[str]) -> list[FirstStep]:
    if facts.adapters or not may(roles, Action.VIEW_INTAKE):
        return []
    has_reviewers = any(may(user.roles, Action.REVIEW) and user.name != FIRST_USER for user in list_users(desk.ledger))
    return list_first_steps(facts, str(desk.settings.layout.raw_reports), has_reviewers, roles)
