"""Decides what the home page asks a user to do: tasks that wait for them, alerts with the next action, and the pages about what
was left out, by role.

Pure functions over counts. The texts contain no report text.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fine_tune_assets.core.dagster_ui import asset_path
from fine_tune_assets.core.permissions import Action, may
from fine_tune_assets.core.settings import DOCUMENTATION_PATH
from fine_tune_assets.desk.asset_failures import AssetFailure
from fine_tune_assets.desk.model_summary import VerdictSummary
from fine_tune_assets.desk.pipeline import PipelineFacts, find_page, pluralize
from fine_tune_assets.lineage.account_reasons import REASONS
from fine_tune_assets.lineage.left_out import LeftOut


@dataclass(frozen=True)
class OpenTask:
    text: str
    path: str
    minutes: int | None = None
    """Estimated time for all of them; None if unknown."""


@dataclass(frozen=True)
class WaitingWork:
    """Counts of what waits for one user."""

    reviews: int
    review_minutes: int | None
    """Estimated time for all reviews; None with too few decisions."""
    proposals: int
    """Imported decisions that this user has not signed."""
    spot_checks: int
    disagreements: int
    quarantined: int
    unsigned_hold: VerdictSummary | None
    """The newest verdict, if it is a hold that this user may sign."""
    unread_batches: int
    suspected: Sequence[str]
    """Approved examples in which the scan of the final texts found identifiers."""


def list_open_tasks(work: WaitingWork, roles: Collection[str]) -> list[OpenTask]:
    hold = work.unsigned_hold
    found = [
        (Action.REVIEW, work.reviews, "draft", "to review", "/queue/next", work.review_minutes),
        (Action.SIGN_PROPOSALS, work.proposals, "imported decision", "to sign", "/proposals", None),
        (Action.REVIEW, work.spot_checks, "answer", "to rate blindly", "/spot-checks/next", None),
        (Action.ADJUDICATE, work.disagreements, "disagreement", "to adjudicate", "/disagreements/next", None),
        (Action.DECIDE_QUARANTINE, work.quarantined, "quarantined correction", "to decide on", "/quarantine", None),
        (Action.VIEW_INTAKE, work.unread_batches, "batch", "to be read by the next run", "/intake", None),
    ]
    suspected = f"/items/{work.suspected[0]}" if work.suspected else ""
    found.insert(
        0, (Action.REVIEW, len(work.suspected), "approved example", "to check for identifiers", suspected, None)
    )
    tasks = [
        OpenTask(f"{pluralize(number, noun)} {verb}", path, minutes)
        for action, number, noun, verb, path, minutes in found
        if number and may(roles, action)
    ]
    if hold is not None and may(roles, Action.SIGN_VERDICTS):
        tasks.append(OpenTask("A candidate on hold to sign or leave", f"/verdicts/{hold.verdict_id}"))
    return tasks


@dataclass(frozen=True)
class Alert:
    level: Literal["warn", "bad"]
    text: str
    action: str
    path: str
    detail: str = ""
    items: tuple[str, ...] = ()
    """Examples that it concerns, each with a page that the user may open."""


MAX_ITEMS_LINKED = 20
_IDENTIFIER_GATE = "final_texts_contain_no_identifiers"


def list_gate_alerts(gates: Sequence[AssetFailure], suspected: Sequence[str], roles: Collection[str]) -> list[Alert]:
    """`gates`: the closed ones; users with the Dagster UI see them in the card about failed checks. `suspected`: approved
    examples in which the scan of the final texts found identifiers."""
    alerts: list[Alert] = []
    if suspected:
        count = len(suspected)
        text = (
            f"{pluralize(count, 'approved example')} {'seems' if count == 1 else 'seem'} to contain identifiers. Nothing is "
            f"trained until {'it is' if count == 1 else 'all are'} settled."
        )
        items = tuple(suspected[:MAX_ITEMS_LINKED]) if may(roles, Action.REVIEW) else ()
        alerts.append(Alert("bad", text, *_explain_gate(), items=items))
    if not may(roles, Action.VIEW_DAGSTER):
        alerts += [
            Alert("bad", f"A gate is closed: {gate.check} of {gate.asset}.", *_explain_gate(), gate.reason)
            for gate in gates
            if not (suspected and gate.check == _IDENTIFIER_GATE)
        ]
    return alerts


def _explain_gate() -> tuple[str, str]:
    return "What the gates check", f"{DOCUMENTATION_PATH}/reference/generated/assets-and-checks.md"


def list_alerts(
    facts: PipelineFacts, drifted: Sequence[str], block: VerdictSummary | None, roles: Collection[str], line: str = ""
) -> list[Alert]:
    """`drifted`: features of the newest window with drift. `block`: the newest verdict, if it blocks a release.

    `line`: the product line; empty: the main line.
    """
    alerts: list[Alert] = []
    if block is not None and may(roles, Action.VIEW_VERDICTS):
        text = f"{block.decision.capitalize()}: the newest candidate is not released."
        level: Literal["warn", "bad"] = "bad" if block.decision == "refuse" else "warn"
        alerts.append(Alert(level, text, "Read its verdict", f"/verdicts/{block.verdict_id}", " ".join(block.reasons)))
    flagged = facts.records.flagged_trusted
    if flagged and may(roles, Action.REVIEW):
        text = f"{pluralize(flagged, 'trusted example')} with flags {_are(flagged)} approved without a review."
        alerts.append(Alert("warn", text, "Review them", "/queue?state=trusted"))
    if drifted and may(roles, Action.VIEW_DAGSTER):
        text = f"Requests differ from the training data in {pluralize(len(drifted), 'feature')}."
        alerts.append(
            Alert("warn", text, "See the drift", asset_path("production_drift", line), f"{', '.join(drifted)}.")
        )
    return alerts


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


_LATER_PAGES: Mapping[str, Sequence[tuple[Action, str]]] = {
    "dropped_drafts": [(Action.VIEW_DAGSTER, "model_drafts")],
    "cut_drafts": [(Action.VIEW_DAGSTER, "model_drafts")],
    "too_long": [(Action.VIEW_DAGSTER, "training_plans")],
    "untested": [(Action.VIEW_VERDICTS, "/verdicts")],
    "ungraded": [(Action.VIEW_VERDICTS, "/verdicts")],
}


@dataclass(frozen=True)
class LeftOutRow:
    text: str
    remedy: str
    path: str
    """The page about it; empty if the user may open none."""


def list_left_out_rows(found: Sequence[LeftOut], roles: Collection[str], line: str = "") -> list[LeftOutRow]:
    """For every role that sees the pipeline: counts and settings only. `line`: the product line; empty: the main line."""
    return [LeftOutRow(one.text, one.remedy, find_page(_list_pages(one.kind), roles, line)) for one in found]


def _list_pages(kind: str) -> Sequence[tuple[Action, str]]:
    """Intake shows the whole account, by batch."""
    if kind not in REASONS:
        return _LATER_PAGES[kind]
    return [(Action.VIEW_INTAKE, "/intake"), (Action.VIEW_DAGSTER, REASONS[kind].stage.asset)]
