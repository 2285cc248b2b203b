"""Decisions as JSONL, out and in: so that a team may decide elsewhere, and take its decisions along.

Owns the fields of a line, that each line goes through the same rules as a click, and that importing twice adds nothing. A
line that can't be used is named by its number and leaves the others alone. Lines hold outputs: text.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.approval.review_actions import say
from fine_tune_assets.approval.signatures import MEANINGS, ReviewError, Word, approved_content, completed
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.core.records import Decision
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.reviews import DecisionRecord, find_decision
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval import DraftedExample

FindDraft = Callable[[str], DraftedExample | None]
"""By its example id."""
_RECORDED_AT_ONCE = 200
"""Lines of one transaction: others may write in between."""
_REQUIRED = ("id", "example_id", "fingerprint", "decision", "reviewer")
_EXPORTED = ("example_id", "fingerprint", "report_id", "task", "decision", "output", "reviewer", "role", "reason_code")
_TEXTS = ("output", "reason_code", "reason", "role", "decided_at", "meaning", "approved_fingerprint")


@dataclass(frozen=True)
class Entry:
    """A decision that was made elsewhere."""

    place: str
    """Where it stands in the file, such as `line 3`."""
    external_id: str
    """Its id where it was made: the same id is the same decision."""
    example_id: str
    fingerprint: str
    """Content that was decided on."""
    word: Word
    """With the meaning that was signed, if the line says it."""
    decided_at: datetime | None
    approved_fingerprint: str | None
    """Of what was signed; None where the line does not say it."""
    is_unsigned: bool = False
    """The line says itself that its repair was never signed."""


@dataclass(frozen=True)
class Fault:
    place: str
    reason: str


@dataclass(frozen=True)
class ImportReport:
    recorded: int
    known: int
    """Decisions that were here already."""
    faults: tuple[Fault, ...]


def line_of(record: DecisionRecord) -> dict[str, Any]:
    """A decision as one JSON object; times in ISO 8601."""
    made = record.decision
    line: dict[str, Any] = {
        "id": made.decision_id,
        **{name: getattr(made, name) for name in _EXPORTED},
        "reason": record.reason,
        "meaning": made.meaning,
        "approved_fingerprint": made.approved_fingerprint,
        "decided_at": made.decided_at.isoformat(),
    }
    if record.revoked_at is not None:
        line |= {"revoked_by": record.revoked_by, "revoked_at": record.revoked_at.isoformat()}
    return line


def read_lines(lines: Iterable[str]) -> Iterator[Entry | Fault]:
    """The decisions of a JSONL file; lines that were revoked where they come from, and blank ones, are passed over."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            if not isinstance(value, dict):
                raise ReviewError("it is no JSON object")
            if value.get("revoked_at") is None:
                yield entry_of(f"line {number}", value)
        except json.JSONDecodeError:
            yield Fault(f"line {number}", "it is no JSON object")
        except ReviewError as error:
            yield Fault(f"line {number}", str(error))


def entry_of(place: str, value: Mapping[str, Any]) -> Entry:
    """One JSON object as a decision. Raises ReviewError, which never quotes a value."""
    for name in _REQUIRED:
        if not isinstance(value.get(name), str) or not value[name].strip():
            raise ReviewError(f"it has no {name}")
    for name in _TEXTS:
        if value.get(name) is not None and not isinstance(value[name], str):
            raise ReviewError(f"its {name} is no text")
    if value.get("role") not in (None, "", "review", "adjudicate"):
        raise ReviewError("its role is neither review nor adjudicate")
    word = Word(
        reviewer=value["reviewer"],
        role="adjudicate" if value.get("role") == "adjudicate" else "review",
        decision=value["decision"],
        output=value.get("output"),
        reason_code=value.get("reason_code") or "",
        reason=value.get("reason") or "",
        meaning=value.get("meaning") or "",
    )
    signed = value.get("approved_fingerprint") or None
    return Entry(
        place,
        value["id"],
        value["example_id"],
        value["fingerprint"],
        word,
        _time_of(value.get("decided_at")),
        approved_fingerprint=signed,
        # Other tools leave the field out; an export of ours has it, and of before signatures were kept it is empty.
        is_unsigned=signed is None and "approved_fingerprint" in value and word.output is not None,
    )


def import_decisions(
    ledger: Ledger,
    entries: Iterable[Entry | Fault],
    find_draft: FindDraft,
    *,
    by: str,
    rules: ReviewSettings,
    authors: Mapping[str, str],
    now: datetime,
) -> ImportReport:
    """Record what can be recorded, in the order in which it was decided; `by` is who brings the file."""
    if not by.strip():
        raise ReviewError("Say who imports the decisions.")
    read = list(entries)
    faults = [entry for entry in read if isinstance(entry, Fault)]
    usable = sorted((e for e in read if isinstance(e, Entry)), key=lambda e: e.decided_at or now)
    recorded = known = 0
    for start in range(0, len(usable), _RECORDED_AT_ONCE):
        with ledger.begin() as connection:
            for entry in usable[start : start + _RECORDED_AT_ONCE]:
                try:
                    with connection.begin_nested():
                        is_new = _import_one(connection, entry, find_draft(entry.example_id), by, rules, authors, now)
                except FineTuneError as error:
                    faults.append(Fault(entry.place, str(error)))
                else:
                    recorded, known = recorded + is_new, known + (not is_new)
    return ImportReport(recorded, known, tuple(faults))


def _import_one(
    connection: sa.Connection,
    entry: Entry,
    draft: DraftedExample | None,
    by: str,
    rules: ReviewSettings,
    authors: Mapping[str, str],
    now: datetime,
) -> bool:
    """Whether it was recorded; False if it was here already. Raises ReviewError and whatever `say` raises."""
    decision_id = fingerprint_json(["imported", entry.external_id])[:32]
    present = find_decision(connection, decision_id) or find_decision(connection, entry.external_id)
    if present is not None:
        _require_same(present, entry, draft)
        return False
    if draft is None:
        raise ReviewError(f"there is no draft {entry.example_id} now")
    if draft.fingerprint != entry.fingerprint:
        raise ReviewError(f"example {entry.example_id} has another content than was decided on")
    if entry.is_unsigned:
        raise ReviewError("its repair was never signed: decide on the example anew")
    if entry.approved_fingerprint not in (None, approved_content(completed(entry.word, draft), draft)):
        raise ReviewError("it was signed for another text than it would approve")
    if entry.decided_at is not None and entry.decided_at > now:
        raise ReviewError("it was decided in the future")
    author = authors.get(draft.report_id)
    decided_at = entry.decided_at or now
    say(connection, draft, entry.word, rules, author, decision_id=decision_id, decided_at=decided_at)
    audit.append(connection, by.strip(), "imported a decision", f"decision {decision_id}")
    return True


def _require_same(present: DecisionRecord, entry: Entry, draft: DraftedExample | None) -> None:
    """An annotation that was changed after its import must not be passed over as known."""
    made, word = present.decision, entry.word
    same = (made.fingerprint, made.decision, made.role) == (entry.fingerprint, word.decision, word.role)
    same = same and is_same_person(made.reviewer, word.reviewer) and _is_same_signature(made, entry)
    if not same or _output_differs(made, entry, draft):
        raise ReviewError(
            "its id stands for another decision here: revoke that one, and give this one an id of its own"
        )


def _is_same_signature(made: Decision, entry: Entry) -> bool:
    """Whether the same text was signed with the same words, as far as the line says it."""
    if entry.is_unsigned and made.approved_fingerprint is not None:
        return False
    # An old approval of a draft as it is was not signed, and is bound by the draft's fingerprint.
    signed = made.approved_fingerprint or (None if made.output is not None else made.fingerprint)
    if entry.approved_fingerprint not in (None, signed):
        return False
    return not entry.word.meaning or MEANINGS.get(entry.word.meaning, entry.word.meaning) == made.meaning


def _output_differs(made: Decision, entry: Entry, draft: DraftedExample | None) -> bool:
    if made.decision == "reject":
        return False
    if draft is not None and draft.fingerprint == entry.fingerprint:
        return completed(entry.word, draft).output != made.output
    return (entry.word.output or "").strip() != (made.output or "")


def _time_of(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ReviewError("its decided_at is no ISO 8601 time") from None
    if found.tzinfo is None:
        raise ReviewError("its decided_at has no time zone")
    return found
