"""Deciding: what a reviewer's click or command does to the ledger, in one transaction, or why it does nothing.

Owns who may decide what and when, what a signature says, the lock against overwriting, and what the queue holds: an item a
draft, in the state that the gate makes of the same decisions (`approvals`). The desk and the command line both decide through
here.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import pyarrow as pa
import sqlalchemy as sa

from fine_tune_assets.approval.approvals import CountedDecisions, QueuedDraft, count_about, count_decisions, is_trusted
from fine_tune_assets.approval.flags import kind_of
from fine_tune_assets.approval.signatures import (
    StaleItemError,
    Word,
    approved_content,
    completed,
    require_author_is_another,
    require_may_adjudicate,
    require_may_review,
)
from fine_tune_assets.approval.states import Standing
from fine_tune_assets.approval.vote_counts import DraftKeys
from fine_tune_assets.core.records import Decision
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.review_items import (
    find_item,
    present_item,
    related_items,
    require_free,
    set_states,
    sync_items,
)
from fine_tune_assets.ledger.reviews.review_rows import NewItem, ReviewItem, SyncCounts
from fine_tune_assets.ledger.reviews.reviews import (
    add_decision,
    decisions_about,
    list_decisions,
    list_records,
    revoke_decision,
    revoked_reviewers,
)
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval import DraftedExample
from fine_tune_assets.tables.records import records_of


def decide(
    ledger: Ledger,
    draft: DraftedExample,
    word: Word,
    *,
    version: int,
    rules: ReviewSettings,
    author: str | None,
    now: datetime,
) -> ReviewItem:
    """Record a word about the draft and return its item as it then is.

    A word with the role `adjudicate` settles a disagreement, as a third person's. `version` is the item's when it was opened.
    Raises StaleItemError, NotAllowedError, ReviewError, AssignedError or UnknownRecordError, and then nothing was recorded.
    """
    word = replace(word, reviewer=word.reviewer.strip())
    with ledger.begin() as connection:
        item = present_item(connection, draft.example_id)
        _require_unchanged(connection, item, draft.fingerprint, version)
        require_free(item, word.reviewer, now)
        say(connection, draft, word, rules, author, decision_id=uuid.uuid4().hex, decided_at=now)
        return present_item(connection, item.example_id)


def revoke(
    ledger: Ledger, decision_id: str, *, by: str, reason: str, rules: ReviewSettings, now: datetime
) -> ReviewItem | None:
    """Take a decision back: what it approved waits again, and what was built on it is out of date.

    Returns the item of its example, None if there is none any more. Raises UnknownRecordError, LedgerError.
    """
    with ledger.begin() as connection:
        revoked = revoke_decision(connection, decision_id, by, reason, now)
        _bring_up(connection, revoked, (), rules)
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
    """Make the queue hold exactly these drafts of a product line, in the states that the decisions of this moment give them."""
    with ledger.begin() as connection:
        decisions, revoked = list_decisions(connection), revoked_reviewers(connection)
        new = queue_items(drafts, line, decisions, trusted_sources, rules, authors, revoked)
        return sync_items(connection, new, now)


def queue_items(
    drafts: pa.Table,
    line: str,
    decisions: Sequence[Decision],
    trusted_sources: Mapping[str, str],
    rules: ReviewSettings,
    authors: Mapping[str, str],
    revoked: Mapping[str, Collection[str]],
) -> list[NewItem]:
    """An item for each draft: what `approve_examples` approves is `approved` or `trusted` here, and nothing else is.

    `decisions` are those that were not revoked, `revoked` maps a content to the keys of those who had one revoked.
    """
    counted = count_decisions(drafts, decisions, authors, rules)
    items = []
    for draft in records_of(QueuedDraft, drafts):
        trusted = is_trusted(draft, trusted_sources)
        item = NewItem(
            example_id=draft.example_id,
            fingerprint=draft.fingerprint,
            report_id=draft.report_id,
            patient_key=draft.patient_key,
            line=line,
            task=draft.task,
            source=draft.source,
            author=authors.get(draft.report_id),
            is_trusted=trusted,
            flag_count=len(draft.flags),
            flag_kinds=tuple(sorted({kind_of(flag) for flag in draft.flags})),
            state=counted.state(draft.example_id, trusted),
            decided_by=who_decided(counted.standing(draft.example_id), rules, revoked.get(draft.fingerprint, ())),
        )
        items.append(item)
    return items


def who_decided(standing: Standing, rules: ReviewSettings, revoked: Collection[str]) -> tuple[str, ...]:
    """Keys of those who have no say any more: who decided, and where the second look is blind, who did before."""
    is_blind_look = rules.reviewers == 2 and standing.state == "second_review"
    return (*standing.people, *sorted(set(revoked) - set(standing.people))) if is_blind_look else standing.people


def say(
    connection: sa.Connection,
    draft: DraftedExample,
    word: Word,
    rules: ReviewSettings,
    author: str | None,
    *,
    decision_id: str,
    decided_at: datetime,
) -> None:
    """Record the word and bring up every item that it changes, in a transaction of the caller's. Raises as `decide` does."""
    word = completed(word, draft)
    item = present_item(connection, draft.example_id)
    related = related_items(connection, item.fingerprint, item.report_id, item.task)
    authors = {author, *(other.author for other in related if other.example_id == item.example_id)}
    require_author_is_another(word, draft, authors)
    standing = _count(connection, related, [draft], rules).standing(item.example_id)
    if word.role == "adjudicate":
        require_may_adjudicate(word, draft, standing, rules)
    else:
        revoked = revoked_reviewers(connection, [item.fingerprint]).get(item.fingerprint, ())
        require_may_review(word, item.example_id, standing, rules, revoked)
    made = Decision(
        decision_id=decision_id,
        example_id=draft.example_id,
        fingerprint=draft.fingerprint,
        report_id=draft.report_id,
        task=draft.task,
        decision=word.decision,  # type: ignore[arg-type]
        output=word.output,
        reviewer=word.reviewer,
        decided_at=decided_at,
        role=word.role,
        approved_fingerprint=approved_content(word, draft),
        meaning=word.meaning,
        reason_code=word.reason_code,
    )
    add_decision(connection, made, word.reason)
    _bring_up(connection, made, [draft], rules)


def _bring_up(
    connection: sa.Connection, made: Decision, texts: Sequence[DraftedExample], rules: ReviewSettings
) -> None:
    """Give every item that the decision is about the state that the gate would give it now."""
    related = related_items(connection, made.fingerprint, made.report_id, made.task)
    counted = _count(connection, related, texts, rules)
    revoked = revoked_reviewers(connection, {new.fingerprint for new in related})
    changed = {}
    for new in related:
        key = new.example_id
        decided_by = who_decided(counted.standing(key), rules, revoked.get(new.fingerprint, ()))
        now = (counted.state(key, new.is_trusted), decided_by)
        if key == made.example_id or now != (new.state, new.decided_by):
            changed[key] = now
    set_states(connection, changed, free=[made.example_id])


def _count(
    connection: sa.Connection, related: Sequence[NewItem], texts: Sequence[DraftedExample], rules: ReviewSettings
) -> CountedDecisions:
    """What the decisions of this moment make of these items. What was drafted of their reports before counts too."""
    reports = {new.report_id for new in related}
    contents = {new.fingerprint for new in related}
    contents |= {made.fingerprint for made in decisions_about(connection, contents, reports)}
    authors = {new.report_id: new.author for new in related if new.author is not None}
    by_content = {text.fingerprint: [text] for text in texts}
    return count_about(
        [DraftKeys.of(vars(new)) for new in related], by_content, decisions_about(connection, contents), authors, rules
    )


def _require_unchanged(connection: sa.Connection, item: ReviewItem, fingerprint: str, version: int) -> None:
    if item.version == version and item.fingerprint == fingerprint:
        return
    raise StaleItemError(
        f"Example {item.example_id} was changed since you opened it: {_last_change(connection, item)}. Nothing of yours was "
        "recorded. Open it again before you decide."
    )


def _last_change(connection: sa.Connection, item: ReviewItem) -> str:
    """Who changed it last and when; not how they decided, which a second reviewer may not know."""
    records = list_records(connection, item.fingerprint)
    changes = [(r.decision.decided_at, f"{r.decision.reviewer} decided") for r in records]
    changes += [(r.revoked_at, f"{r.revoked_by} revoked a decision") for r in records if r.revoked_at is not None]
    if changes:
        at, what = max(changes)
        return f"{what} at {at:%Y-%m-%d %H:%M} UTC"
    if item.assigned_to is not None:
        return f"{item.assigned_to} took it"
    return "its draft or its flags were made again"
