"""The matrix of roles and actions that the desk, the Dagster UI and the gateway enforce.

People have roles, applications have API keys with scopes. An action without roles is refused to every person.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

Role = Literal["user", "ingest", "reviewer", "approver", "operator", "auditor"]
ROLES: tuple[Role, ...] = get_args(Role)


class Action(StrEnum):
    ASK = "ask"
    CORRECT = "correct"
    EMBED = "embed"
    REPLACE_SYSTEM_PROMPT = "replace_system_prompt"
    SEND_RAW_PROMPTS = "send_raw_prompts"
    ACT_FOR_USERS = "act_for_users"
    PASS_ANY_LABEL = "pass_any_label"
    READ_METRICS = "read_metrics"
    VIEW_STAGES = "view_stages"
    VIEW_PRODUCTION_MODEL = "view_production_model"
    COMPARE_ANSWERS = "compare_answers"
    OVERRULE_JUDGE = "overrule_judge"
    COMPARE_RATINGS = "compare_ratings"
    VIEW_INTAKE = "view_intake"
    READ_MISSES = "read_misses"
    REVIEW = "review"
    SIGN_PROPOSALS = "sign_proposals"
    REVOKE_DECISIONS = "revoke_decisions"
    REVOKE_ANY_DECISION = "revoke_any_decision"
    VIEW_HISTORY = "view_history"
    ADJUDICATE = "adjudicate"
    DECIDE_QUARANTINE = "decide_quarantine"
    SIGN_VERDICTS = "sign_verdicts"
    VIEW_VERDICTS = "view_verdicts"
    VIEW_IMPACT = "view_impact"
    VIEW_AGREEMENT = "view_agreement"
    TRACE_SUBJECTS = "trace_subjects"
    READ_REPORT_NAMES = "read_report_names"
    MANAGE_USERS = "manage_users"
    READ_AUDIT_LOG = "read_audit_log"
    VIEW_DAGSTER = "view_dagster"
    READ_COMPUTE_LOGS = "read_compute_logs"
    LAUNCH_RUNS = "launch_runs"
    TERMINATE_RUNS = "terminate_runs"
    TOGGLE_AUTOMATION = "toggle_automation"
    EDIT_POOLS = "edit_pools"
    RELOAD_CODE = "reload_code"
    CHANGE_DAGSTER_RECORDS = "change_dagster_records"


@dataclass(frozen=True)
class Permission:
    meaning: str
    roles: frozenset[Role]
    scope: str = ""
    """Scope of API keys that grants it in the gateway; empty: keys never have it."""


def _permit(meaning: str, *roles: Role, scope: str = "") -> Permission:
    return Permission(meaning, frozenset(roles), scope)


PERMISSIONS: Mapping[Action, Permission] = {
    Action.ASK: _permit("ask the production model", "user", "reviewer", "approver", scope="chat"),
    Action.CORRECT: _permit("correct and rate answers", "user", "reviewer", "approver", scope="correct"),
    Action.EMBED: _permit("compute embeddings", scope="embed"),
    Action.READ_METRICS: _permit("read the gateway's metrics", scope="metrics"),
    Action.REPLACE_SYSTEM_PROMPT: _permit("replace the system prompt", scope="system_prompt"),
    Action.SEND_RAW_PROMPTS: _permit("send prompts without a template", scope="raw_completions"),
    Action.ACT_FOR_USERS: _permit("send requests for a user of the desk", scope="on_behalf_of"),
    Action.PASS_ANY_LABEL: _permit("pass any access label for a user", scope="on_behalf_of_any_label"),
    Action.VIEW_STAGES: _permit("see the stages", "ingest", "reviewer", "approver", "operator", "auditor"),
    Action.VIEW_PRODUCTION_MODEL: _permit(
        "see the production model", "user", "reviewer", "approver", "operator", "auditor"
    ),
    Action.COMPARE_ANSWERS: _permit("read graded answers of the newest candidate", "approver"),
    Action.OVERRULE_JUDGE: _permit("label statements of graded answers, against the judge", "approver"),
    Action.COMPARE_RATINGS: _permit("see how far ratings agree with the judge", "approver"),
    Action.VIEW_INTAKE: _permit("see batches and unreadable files", "ingest", "operator"),
    Action.READ_MISSES: _permit("read identifiers of labelled reports that the scrubber missed, in context", "ingest"),
    Action.REVIEW: _permit("review drafts, mark identifiers, withdraw own marks, rate answers blindly", "reviewer"),
    Action.SIGN_PROPOSALS: _permit("sign or withdraw own imported decisions", "reviewer", "approver"),
    Action.REVOKE_DECISIONS: _permit("revoke own decisions", "reviewer", "approver"),
    Action.REVOKE_ANY_DECISION: _permit("revoke decisions of others", "approver"),
    Action.VIEW_HISTORY: _permit("see the history of an example", "reviewer", "approver", "operator", "auditor"),
    Action.ADJUDICATE: _permit("adjudicate disagreements", "approver"),
    Action.DECIDE_QUARANTINE: _permit("decide on quarantined corrections", "approver"),
    Action.SIGN_VERDICTS: _permit("sign verdicts", "approver"),
    Action.VIEW_VERDICTS: _permit("see verdicts", "approver", "operator", "auditor"),
    Action.VIEW_IMPACT: _permit("see the impact of corrections", "approver", "auditor"),
    Action.VIEW_AGREEMENT: _permit("see the agreement of reviewers", "approver", "operator", "auditor"),
    Action.TRACE_SUBJECTS: _permit("find the models of a subject", "approver", "operator", "auditor"),
    Action.READ_REPORT_NAMES: _permit("see report ids and file names, which may contain a name", "operator"),
    Action.MANAGE_USERS: _permit("manage users", "operator"),
    Action.READ_AUDIT_LOG: _permit("read the audit log", "auditor"),
    Action.VIEW_DAGSTER: _permit("open the Dagster UI", "approver", "operator", "auditor"),
    Action.READ_COMPUTE_LOGS: _permit("read output of processes and the instance configuration", "operator"),
    Action.LAUNCH_RUNS: _permit("launch and re-execute runs and backfills", "operator"),
    Action.TERMINATE_RUNS: _permit("terminate runs and cancel backfills", "operator"),
    Action.TOGGLE_AUTOMATION: _permit("start and stop sensors and schedules", "operator"),
    Action.EDIT_POOLS: _permit("edit and free pools", "operator"),
    Action.RELOAD_CODE: _permit("reload definitions", "operator"),
    Action.CHANGE_DAGSTER_RECORDS: _permit(
        "wipe assets, delete runs, report events, edit partitions and cursors, test sensors"
    ),
}
SCOPES: tuple[str, ...] = tuple(permission.scope for permission in PERMISSIONS.values() if permission.scope)
"""Of API keys. Also valid: `label:NAME`, which grants access to documents with that label."""


def may(roles: Collection[str], action: Action) -> bool:
    return not PERMISSIONS[action].roles.isdisjoint(roles)


def scope_of(action: Action) -> str:
    """Raises KeyError for an action that no scope grants."""
    scope = PERMISSIONS[action].scope
    if not scope:
        raise KeyError(action)
    return scope
