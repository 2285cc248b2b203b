"""Records decisions and revocations in one transaction, for the desk and the command line.

Checks permissions, signatures and concurrent changes, and keeps the review queue in the states that `approvals` derives from the
same decisions.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa
import sqlalchemy as sa

from fine_tune_assets.approval.approvals import (
    CountedDecisions,
    QueuedDraft,
    count_decisions,
    count_related_decisions,
    is_trusted,
)
from fine_tune_assets.approval.drafts import identical_case_key
from fine_tune_assets.approval.flags import flag_kind
from fine_tune_assets.approval.review_states import ReviewStatus
from fine_tune_assets.approval.sign_off import (
    DecisionSubmission,
    StaleItemError,
    complete_submission,
    make_decision,
    require_adjudication_permission,
    require_not_author,
    require_review_permission,
)
from fine_tune_assets.approval.vote_counts import DraftKeys
from fine_tune_assets.core.shared_records import Decision
from fine_tune_assets.ledger.database import Ledger, write_transaction
from fine_tune_assets.ledger.reviews.decision_records import (
    add_decision,
    find_revoked_reviewers,
    list_decision_records,
    list_decisions,
    list_decisions_about,
    revoke_decision,
)
from fine_tune_assets.ledger.reviews.review_items import (
    find_item,
    find_items,
    list_related_items,
    require_available,
    require_item,
    require_present,
    set_states,
    sync_items,
)
from fine_tune_assets.ledger.reviews.review_rows import NewItem, ReviewItem, SyncCounts
from fine_tune_assets.ledger.reviews.saved_edits import delete_edit
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets.tables.record_classes import iter_records


class QueuedText(QueuedDraft):
    """A draft for the queue, with the texts by which identical cases are found."""

    instruction: str
    output: str


def submit_decision(
    target: Ledger | sa.Connection,
    draft: DraftedExample,
    submission: DecisionSubmission,
    *,
    version: int,
    rules: ReviewSettings,
    author: str | None,
    now: datetime,
    decision_id: str | None = None,
) -> ReviewItem:
    """Record a decision and return the updated item. With a connection from `Ledger.begin()` it is part of that transaction.

    With the role `adjudicate` it resolves a disagreement. `version` is the item's version when it was opened. Raises
    StaleItemError, NotAllowedError, ReviewError, AssignedError or UnknownRecordError, without recording anything.
    """
    submission = replace(submission, reviewer=submission.reviewer.strip())
    with write_transaction(target) as connection:
        item = require_item(connection, draft.example_id)
        _require_unchanged(connection, item, draft.fingerprint, version)
        require_available(item, submission.reviewer, now)
        decision_id = decision_id or uuid.uuid4().hex
        _apply_decision(connection, draft, submission, rules, author, decision_id=decision_id, decided_at=now)
        return require_item(connection, item.example_id)


def revoke(
    target: Ledger | sa.Connection, decision_id: str, *, by: str, reason: str, rules: ReviewSettings, now: datetime
) -> ReviewItem | None:
    """Revoke a decision: its draft needs review again, unless its source is trusted, and whatever used its approval is stale.

    Returns the item of its example, None if it no longer exists. Raises UnknownRecordError, LedgerError. With a connection from
    `Ledger.begin()` it is part of that transaction.
    """
    with write_transaction(target) as connection:
        revoked = revoke_decision(connection, decision_id, by, reason, now)
        _update_related_items(connection, revoked, (), rules)
        return find_item(connection, revoked.example_id)


def refresh_items(
    ledger: Ledger,
    drafts: pa.Table,
    line: str,
    trusted_sources: Mapping[str, str],
    rules: ReviewSettings,
    authors: Mapping[str, str],
    now: datetime,
) -> SyncCounts:
    """Make the queue match these drafts of a product line, in the states given by the current decisions."""
    with ledger.begin() as connection:
        decisions, revoked = list_decisions(connection), find_revoked_reviewers(connection)
        new = build_queue_items(drafts, line, decisions, trusted_sources, rules, authors, revoked)
        return sync_items(connection, new, now)


def build_queue_items(
    drafts: pa.Table,
    line: str,
    decisions: Sequence[Decision],
    trusted_sources: Mapping[str, str],
    rules: ReviewSettings,
    authors: Mapping[str, str],
    revoked: Mapping[str, Collection[str]],
) -> list[NewItem]:
    """An item for each draft; `approved` or `trusted` exactly if `approve_examples` approves it.

    `decisions` are the active ones; `revoked` maps a content to the keys of people with a revoked decision about it.
    """
    counted = count_decisions(drafts, decisions, authors, rules)
    items = []
    for draft in iter_records(QueuedText, drafts):
        trusted = is_trusted(draft, trusted_sources)
        item = NewItem(
            example_id=draft.example_id,
            fingerprint=draft.fingerprint,
            report_id=draft.report_id,
            subject_key=draft.subject_key,
            line=line,
            task=draft.task,
            source=draft.source,
            author=authors.get(draft.report_id),
            is_trusted=trusted,
            flag_count=len(draft.flags),
            flag_kinds=tuple(sorted({flag_kind(flag) for flag in draft.flags})),
            state=counted.state(draft.example_id, trusted),
            decided_by=find_ineligible_reviewers(
                counted.status(draft.example_id), rules, revoked.get(draft.fingerprint, ())
            ),
            case_key=identical_case_key(draft.task, draft.source, draft.instruction, draft.output, draft.flags),
        )
        items.append(item)
    return items


def find_ineligible_reviewers(
    standing: ReviewStatus, rules: ReviewSettings, revoked: Collection[str]
) -> tuple[str, ...]:
    """Keys of people who may not decide: those with a decision and, if the second review is blind, those with a revoked one."""
    is_blind_look = rules.reviewers == 2 and standing.state == "second_review"
    return (
        (*standing.reviewer_keys, *sorted(set(revoked) - set(standing.reviewer_keys)))
        if is_blind_look
        else standing.reviewer_keys
    )


@dataclass(frozen=True)
class ReviewStandings:
    """What decides who may decide on some drafts, read with the same few queries for any number of drafts."""

    items: Mapping[str, ReviewItem]
    """Example → item, including removed ones."""
    rules: ReviewSettings
    _counted: CountedDecisions
    _authors: Mapping[str, str | None]
    """Example → author of its text."""
    _revoked: Mapping[str, Collection[str]]
    """Content → people whose decision on it was revoked."""

    def require_permission(self, draft: DraftedExample, submission: DecisionSubmission, author: str | None) -> None:
        """Raise the errors of `submit_decision` unless this person may make this complete submission now."""
        item = require_present(self.items.get(draft.example_id), draft.example_id)
        require_not_author(submission, draft, {author, self._authors.get(item.example_id)})
        standing = self._counted.status(item.example_id)
        if submission.role == "adjudicate":
            require_adjudication_permission(submission, draft, standing, self.rules)
        else:
            revoked = self._revoked.get(item.fingerprint, ())
            require_review_permission(submission, item.example_id, standing, self.rules, revoked)


def read_standings(
    connection: sa.Connection, drafts: Sequence[DraftedExample], rules: ReviewSettings
) -> ReviewStandings:
    """For at most 500 drafts."""
    items = find_items(connection, {draft.example_id for draft in drafts})
    present = [item for item in items.values() if item.removed_at is None]
    contents = {item.fingerprint for item in present}
    related = list_related_items(connection, contents, {(item.report_id, item.task) for item in present})
    counted = _count_for_items(connection, related, drafts, rules)
    authors = {new.example_id: new.author for new in related}
    return ReviewStandings(items, rules, counted, authors, find_revoked_reviewers(connection, contents))


def _apply_decision(
    connection: sa.Connection,
    draft: DraftedExample,
    submission: DecisionSubmission,
    rules: ReviewSettings,
    author: str | None,
    *,
    decision_id: str,
    decided_at: datetime,
) -> None:
    """Record a decision and update every affected item, in the caller's transaction. Raises the errors of `submit_decision`."""
    submission = complete_submission(submission, draft)
    read_standings(connection, [draft], rules).require_permission(draft, submission, author)
    decision = make_decision(submission, draft, decision_id=decision_id, decided_at=decided_at)
    add_decision(connection, decision, submission.reason, submission.acknowledged_kinds)
    delete_edit(connection, draft.example_id, submission.reviewer)
    _update_related_items(connection, decision, [draft], rules)


def _update_related_items(
    connection: sa.Connection, decision: Decision, texts: Sequence[DraftedExample], rules: ReviewSettings
) -> None:
    """Set every item that the decision concerns to the state of the gate."""
    related = list_related_items(connection, {decision.fingerprint}, {(decision.report_id, decision.task)})
    counted = _count_for_items(connection, related, texts, rules)
    revoked = find_revoked_reviewers(connection, {new.fingerprint for new in related})
    changed = {}
    for new in related:
        key = new.example_id
        decided_by = find_ineligible_reviewers(counted.status(key), rules, revoked.get(new.fingerprint, ()))
        now = (counted.state(key, new.is_trusted), decided_by)
        if key == decision.example_id or now != (new.state, new.decided_by):
            changed[key] = now
    set_states(connection, changed, unassign=[decision.example_id])


def _count_for_items(
    connection: sa.Connection, related: Sequence[NewItem], texts: Sequence[DraftedExample], rules: ReviewSettings
) -> CountedDecisions:
    """The status of these items by the current decisions, including those about earlier drafts of their reports."""
    reports = {new.report_id for new in related}
    contents = {new.fingerprint for new in related}
    decisions = list_decisions_about(connection, contents, reports)
    earlier = {decision.fingerprint for decision in decisions} - contents
    if earlier:
        decisions = list_decisions_about(connection, contents | earlier)
    authors = {new.report_id: new.author for new in related if new.author is not None}
    by_content = {text.fingerprint: [text] for text in texts}
    return count_related_decisions(
        [DraftKeys.from_row(vars(new)) for new in related],
        by_content,
        decisions,
        authors,
        rules,
    )


def _require_unchanged(connection: sa.Connection, item: ReviewItem, fingerprint: str, version: int) -> None:
    if item.version == version and item.fingerprint == fingerprint:
        return
    raise StaleItemError(
        f"Example {item.example_id} changed since you opened it: {_last_change(connection, item)}. Nothing was "
        "recorded. Open it again, then decide."
    )


def _last_change(connection: sa.Connection, item: ReviewItem) -> str:
    """What changed the item last and when; neither the decision nor who made it, which a second reviewer may not know."""
    records = list_decision_records(connection, item.fingerprint)
    changes = [(r.decision.decided_at, "a decision was recorded") for r in records]
    changes += [(r.revoked_at, "a decision was revoked") for r in records if r.revoked_at is not None]
    if changes:
        at, what = max(changes)
        return f"{what} at {at:%Y-%m-%d %H:%M} UTC"
    if item.assigned_to is not None:
        return f"{item.assigned_to} claimed it"
    return "its draft or flags were regenerated"
