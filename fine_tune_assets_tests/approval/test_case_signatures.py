"""One signature for identical cases on both databases: a decision for each case, and a refused case stops no other."""

from dataclasses import replace

import pyarrow as pa
import pytest

from fine_tune_assets.approval.case_signatures import (
    MAX_CASES,
    SignedCase,
    case_key_of,
    submit_case_decisions,
)
from fine_tune_assets.approval.drafts import CORRECTION, content_fingerprint
from fine_tune_assets.approval.review_actions import refresh_items
from fine_tune_assets.approval.sign_off import DecisionSubmission, ReviewError
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets.ledger.reviews.review_items import claim_item, find_item, list_identical_ids
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets.tables.record_classes import table_from_records
from fine_tune_assets_tests.approval.examples import ONE, START

APPROVAL = DecisionSubmission("Ann", "review", "approve", None, "", "", "approve")


def case(name: str, **changes: object) -> DraftedExample:
    made = DraftedExample(
        example_id=name,
        report_id=f"b/{name}",
        source="clinic",
        subject_key="p",
        task="plan",
        instruction="State the plan.",
        input=f"Seen on day {name}.",
        output="None",
        drafted_by="sections",
        flags=("possibly truncated: yes",),
        needs_review=True,
        fingerprint="",
    )
    made = replace(made, **changes)  # type: ignore[arg-type]
    return replace(made, fingerprint=content_fingerprint(made.instruction, made.input, made.output))


CASES = [case(f"case-{number}") for number in range(4)]
KEY = case_key_of(CASES[0])


def refresh(ledger: Ledger, drafts: list[DraftedExample]) -> None:
    table: pa.Table = table_from_records(DraftedExample, drafts)
    refresh_items(ledger, table, "a-line", {}, ONE, {}, START)


def signed(ledger: Ledger, draft: DraftedExample) -> SignedCase:
    item = find_item(ledger, draft.example_id)
    assert item is not None
    return SignedCase(draft, item.version, draft.fingerprint)


def submit(ledger: Ledger, cases: list[SignedCase], word: DecisionSubmission = APPROVAL) -> list[str]:
    refused = submit_case_decisions(ledger, cases, word, case_key=KEY, rules=ONE, now=START)
    return [found.example_id for found in refused]


def test_each_case_has_its_own_decision_and_audit_entry(ledger: Ledger) -> None:
    """The record of one case must not depend on the others."""
    refresh(ledger, CASES)
    assert submit(ledger, [signed(ledger, draft) for draft in CASES[:3]]) == []
    made = list_decisions(ledger)
    assert [(d.example_id, d.approved_fingerprint) for d in made] == [(d.example_id, d.fingerprint) for d in CASES[:3]]
    assert len({d.decision_id for d in made}) == 3
    entries = [entry.resource for entry in audit.list_entries(ledger) if entry.action == "decided approve"]
    counted = "1 flag acknowledged: possibly truncated 1"
    assert entries == [f"example {draft.example_id}; {counted}" for draft in CASES[:3]]
    assert list_identical_ids(ledger, KEY, viewer="Ann", now=START) == ["case-3"]


def test_a_refused_case_stops_no_other(ledger: Ledger) -> None:
    """Claimed by another person, changed, of another fingerprint, or removed."""
    refresh(ledger, CASES)
    claimed, stale, forged, good = (signed(ledger, draft) for draft in CASES)
    claim_item(ledger, claimed.draft.example_id, "Ben", now=START, minutes=9)
    stale, forged = replace(stale, version=stale.version + 1), replace(forged, fingerprint=good.fingerprint)
    unknown = SignedCase(case("unknown"), 1, case("unknown").fingerprint)
    assert submit(ledger, [claimed, stale, forged, unknown, good]) == ["case-0", "case-1", "case-2", "unknown"]
    assert [made.example_id for made in list_decisions(ledger)] == ["case-3"]


@pytest.mark.parametrize(
    "changes",
    [{"task": "summary"}, {"instruction": "Sum up."}, {"output": "none"}, {"flags": ()}, {"source": CORRECTION}],
    ids=str,
)
def test_a_draft_that_differs_in_more_than_its_input_is_no_identical_case(
    ledger: Ledger, changes: dict[str, object]
) -> None:
    """The signature was given for one task, instruction, output and set of flags. A correction has an author and an error."""
    other = case("other", **changes)
    refresh(ledger, [CASES[0], other])
    assert case_key_of(other) != KEY
    assert submit(ledger, [signed(ledger, other)]) == ["other"]
    assert list_decisions(ledger) == []


def test_drafts_with_equal_content_are_decided_once(ledger: Ledger) -> None:
    """A decision counts for each draft with its content, so a second one is refused as a change."""
    copy = case("copy", input=CASES[0].input)
    refresh(ledger, [CASES[0], copy, CASES[1]])
    assert list_identical_ids(ledger, KEY, viewer="Ann", now=START) == ["case-0", "case-1"]
    assert submit(ledger, [signed(ledger, CASES[0]), signed(ledger, copy)]) == ["copy"]
    item = find_item(ledger, "copy")
    assert item is not None
    assert item.state == "approved"


@pytest.mark.parametrize(
    ("count", "word"),
    [
        (MAX_CASES + 1, APPROVAL),
        (1, replace(APPROVAL, meaning="reject")),
        (1, replace(APPROVAL, decision="reject", meaning="reject")),
        (1, replace(APPROVAL, reviewer=" ")),
    ],
)
def test_an_invalid_signature_records_nothing(ledger: Ledger, count: int, word: DecisionSubmission) -> None:
    """Too many cases, another meaning, a rejection without a reason, no name."""
    cases = [case(f"case-{number}") for number in range(count)]
    refresh(ledger, cases)
    with pytest.raises(ReviewError):
        submit(ledger, [signed(ledger, draft) for draft in cases], word)
    assert list_decisions(ledger) == []
