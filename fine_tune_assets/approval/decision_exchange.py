"""Exports decisions as JSONL, and imports decisions of another tool as proposals.

A name in a file proves nothing: a proposal counts only after its person has signed it on the desk (`proposal_signatures`).
Importing twice adds nothing. An unusable line is reported by number and skipped. Lines contain outputs, which are report text.
"""

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.approval.proposal_signatures import require_open, require_signer
from fine_tune_assets.approval.sign_off import (
    MEANINGS,
    DecisionSubmission,
    ReviewError,
    complete_submission,
    fingerprint_approved_content,
    make_decision,
    require_not_author,
)
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.core.shared_records import Decision
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.decision_records import DecisionRecord, find_decision
from fine_tune_assets.ledger.reviews.proposal_records import Proposal, add_proposal, find_proposal, has_waiting
from fine_tune_assets.ledger.reviews.review_items import require_item
from fine_tune_assets.tables.approval_rows import DraftedExample

FindDraft = Callable[[str], DraftedExample | None]
"""Returns the draft of an example id."""
_LINES_PER_TRANSACTION = 200
"""Lines per transaction, so that other writers get a turn."""
MAX_OUTPUT_CHARACTERS = 100_000
_MAX_REASON_CHARACTERS = 2_000
"""As in the forms of the desk."""
_REQUIRED_FIELDS = ("id", "example_id", "fingerprint", "decision", "reviewer")
_EXPORTED_FIELDS = (
    "example_id",
    "fingerprint",
    "report_id",
    "task",
    "decision",
    "output",
    "reviewer",
    "role",
    "reason_code",
)
_TEXT_FIELDS = ("output", "reason_code", "reason", "role", "decided_at", "meaning", "approved_fingerprint")


@dataclass(frozen=True)
class ImportedDecision:
    """A decision from another tool."""

    location: str
    """Its place in the file, such as `line 3`."""
    external_id: str
    """Its id in the other tool; the same id is the same decision."""
    example_id: str
    fingerprint: str
    """Fingerprint of the content that was decided."""
    submission: DecisionSubmission
    """Includes the signed meaning, if the line states it."""
    decided_at: datetime | None
    approved_fingerprint: str | None
    """Fingerprint of the signed text; None if the line omits it."""
    is_unsigned: bool = False
    """The line states that its repair was never signed."""


@dataclass(frozen=True)
class ImportIssue:
    location: str
    reason: str


@dataclass(frozen=True)
class ImportSummary:
    proposed: int
    already_known: int
    """Decisions and proposals that the ledger already contained."""
    issues: tuple[ImportIssue, ...]


def export_decision(record: DecisionRecord) -> dict[str, Any]:
    """A decision as a JSON object, with times in ISO 8601."""
    recorded = record.decision
    line: dict[str, Any] = {
        "id": recorded.decision_id,
        **{name: getattr(recorded, name) for name in _EXPORTED_FIELDS},
        "reason": record.reason,
        "meaning": recorded.meaning,
        "approved_fingerprint": recorded.approved_fingerprint,
        "decided_at": recorded.decided_at.isoformat(),
    }
    if record.revoked_at is not None:
        line |= {"revoked_by": record.revoked_by, "revoked_at": record.revoked_at.isoformat()}
    return line


def parse_decision_lines(lines: Iterable[str]) -> Iterator[ImportedDecision | ImportIssue]:
    """The decisions in a JSONL file; skips blank lines and decisions revoked at their origin."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            if not isinstance(value, dict):
                raise ReviewError("not a JSON object")
            if value.get("revoked_at") is None:
                yield parse_decision(f"line {number}", value)
        except (json.JSONDecodeError, RecursionError):
            yield ImportIssue(f"line {number}", "not a JSON object")
        except ReviewError as error:
            yield ImportIssue(f"line {number}", str(error))


def parse_decision(place: str, value: Mapping[str, Any]) -> ImportedDecision:
    """Parse one JSON object. Raises ReviewError, which never quotes a value."""
    for name in _REQUIRED_FIELDS:
        if not isinstance(value.get(name), str) or not value[name].strip():
            raise ReviewError(f"{name} is missing")
    for name in _TEXT_FIELDS:
        if value.get(name) is not None and not isinstance(value[name], str):
            raise ReviewError(f"{name} is not a text")
    if any(_has_invalid_characters(value.get(name)) for name in (*_REQUIRED_FIELDS, *_TEXT_FIELDS)):
        raise ReviewError("it contains characters that can't be stored")
    if (
        len(value.get("output") or "") > MAX_OUTPUT_CHARACTERS
        or len(value.get("reason") or "") > _MAX_REASON_CHARACTERS
    ):
        raise ReviewError(
            f"an output can have {MAX_OUTPUT_CHARACTERS:,} characters, and a reason {_MAX_REASON_CHARACTERS:,}"
        )
    if value.get("role") not in (None, "", "review", "adjudicate"):
        raise ReviewError("role is neither review nor adjudicate")
    submission = DecisionSubmission(
        reviewer=value["reviewer"],
        role="adjudicate" if value.get("role") == "adjudicate" else "review",
        decision=value["decision"],
        output=value.get("output"),
        reason_code=value.get("reason_code") or "",
        reason=value.get("reason") or "",
        meaning=value.get("meaning") or "",
    )
    signed = value.get("approved_fingerprint") or None
    return ImportedDecision(
        place,
        value["id"],
        value["example_id"],
        value["fingerprint"],
        submission,
        _parse_time(value.get("decided_at")),
        approved_fingerprint=signed,
        # Other tools omit the field; this product exports it, empty for decisions from before signatures were stored.
        is_unsigned=signed is None and "approved_fingerprint" in value and submission.output is not None,
    )


def import_decisions(
    ledger: Ledger,
    entries: Iterable[ImportedDecision | ImportIssue],
    find_draft: FindDraft,
    *,
    by: str,
    authors: Mapping[str, str],
    now: datetime,
) -> ImportSummary:
    """Record all valid decisions as proposals of one file; `by` is the person who imports it."""
    if not by.strip():
        raise ReviewError("Importing decisions needs the name of the importer.")
    read = list(entries)
    faults = [entry for entry in read if isinstance(entry, ImportIssue)]
    usable = [entry for entry in read if isinstance(entry, ImportedDecision)]
    file = _File(uuid.uuid4().hex, by.strip(), now)
    proposed = known = 0
    for start in range(0, len(usable), _LINES_PER_TRANSACTION):
        with ledger.begin() as connection:
            for entry in usable[start : start + _LINES_PER_TRANSACTION]:
                try:
                    is_new = _propose(connection, entry, find_draft(entry.example_id), file, authors)
                except FineTuneError as error:  # raised before anything of the line is written
                    faults.append(ImportIssue(entry.location, str(error)))
                else:
                    proposed, known = proposed + is_new, known + (not is_new)
    if faults:
        audit.append(ledger, file.by, "was refused imported lines", f"file {file.file_id}: {len(faults)} lines")
    return ImportSummary(proposed, known, tuple(faults))


@dataclass(frozen=True)
class _File:
    file_id: str
    by: str
    now: datetime


def _propose(
    connection: sa.Connection,
    entry: ImportedDecision,
    draft: DraftedExample | None,
    file: _File,
    authors: Mapping[str, str],
) -> bool:
    """Record a proposal; False if it is already known. Raises ReviewError."""
    proposal_id = fingerprint_json(["imported", entry.external_id])[:32]
    present = _find_known(connection, proposal_id, entry.external_id)
    if present is not None:
        _require_same_decision(present, entry, draft)
        return False
    if draft is None:
        raise ReviewError(f"example {entry.example_id} has no current draft")
    if draft.fingerprint != entry.fingerprint:
        raise ReviewError(f"the content of example {entry.example_id} differs from the decided content")
    if entry.is_unsigned:
        raise ReviewError("its repair was never signed; decide on the example again")
    submission = complete_submission(entry.submission, draft)
    if entry.approved_fingerprint not in (None, fingerprint_approved_content(submission, draft)):
        raise ReviewError("the signed text differs from the text that it would approve")
    if entry.decided_at is not None and entry.decided_at > file.now:
        raise ReviewError("decided_at is in the future")
    signer = require_signer(connection, submission.reviewer, submission.role)
    submission = replace(submission, reviewer=signer)
    require_not_author(submission, draft, {authors.get(draft.report_id)})
    require_open(require_item(connection, draft.example_id))
    if has_waiting(connection, signer, draft.fingerprint, submission.role):
        raise ReviewError(f"a decision of {signer} on example {draft.example_id} already waits for a signature")
    proposed = make_decision(submission, draft, decision_id=proposal_id, decided_at=entry.decided_at or file.now)
    add_proposal(connection, Proposal(proposed, submission.reason, file.file_id, entry.location, file.by, file.now))
    return True


def _find_known(connection: sa.Connection, proposal_id: str, external_id: str) -> Decision | None:
    """The decision or proposal with this id. Raises ReviewError if it was withdrawn."""
    for known_id in (proposal_id, external_id):
        if (recorded := find_decision(connection, known_id)) is not None:
            return recorded.decision
    proposal = find_proposal(connection, proposal_id)
    if proposal is None:
        return None
    if proposal.withdrawn_by is not None:
        raise ReviewError(f"{proposal.withdrawn_by} withdrew it; to propose it again, give it a new id")
    signed = None if proposal.signed_id is None else find_decision(connection, proposal.signed_id)
    return proposal.proposed if signed is None else signed.decision


def _has_invalid_characters(value: str | None) -> bool:
    """NUL, which PostgreSQL rejects, and halves of characters, which are not text."""
    return value is not None and ("\0" in value or any("\ud800" <= character <= "\udfff" for character in value))


def _require_same_decision(recorded: Decision, entry: ImportedDecision, draft: DraftedExample | None) -> None:
    """Raise ReviewError if an annotation was changed after its import; it must not be skipped as known."""
    submission = entry.submission
    same = (recorded.fingerprint, recorded.decision, recorded.role) == (
        entry.fingerprint,
        submission.decision,
        submission.role,
    )
    same = same and is_same_person(recorded.reviewer, submission.reviewer) and _is_same_signature(recorded, entry)
    if not same or _has_different_output(recorded, entry, draft):
        raise ReviewError(
            "its id belongs to a different decision here; revoke that decision, and give this one a new id"
        )


def _is_same_signature(recorded: Decision, entry: ImportedDecision) -> bool:
    """Whether text and meaning of the signatures match, as far as the line states them."""
    if entry.is_unsigned and recorded.approved_fingerprint is not None:
        return False
    # Older approvals without a repair were not signed; the draft's fingerprint binds them.
    signed = recorded.approved_fingerprint or (None if recorded.output is not None else recorded.fingerprint)
    if entry.approved_fingerprint not in (None, signed):
        return False
    return (
        not entry.submission.meaning
        or MEANINGS.get(entry.submission.meaning, entry.submission.meaning) == recorded.meaning
    )


def _has_different_output(recorded: Decision, entry: ImportedDecision, draft: DraftedExample | None) -> bool:
    if recorded.decision == "reject":
        return False
    if draft is not None and draft.fingerprint == entry.fingerprint:
        return complete_submission(entry.submission, draft).output != recorded.output
    return (entry.submission.output or "").strip() != (recorded.output or "")


def _parse_time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ReviewError("decided_at is not an ISO 8601 time") from None
    if found.tzinfo is None:
        raise ReviewError("decided_at has no time zone")
    return found
