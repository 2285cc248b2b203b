"""Flags are acknowledged one by one: the server records an approval only with exactly the flags of the signed text."""

import re
from collections.abc import Callable

import pytest

from fine_tune_assets.desk.pages.item_pages import MAX_CHECKED_CHARACTERS
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets_tests.desk.conftest import Site, Visitor
from fine_tune_assets_tests.desk.installation import drafts_of

FLAGGED = "Cough for 77 days, on the left side."
"""A repair with two flags in every draft of the ward."""


@pytest.fixture
def site(ward: Callable[..., Site]) -> Site:
    made = ward()
    made.add("Reviewer One", "reviewer")
    return made


@pytest.fixture
def one(site: Site) -> Visitor:
    return site.signed_in("Reviewer One")


def test_an_approval_without_acknowledged_flags_is_refused_and_keeps_the_text(site: Site, one: Visitor) -> None:
    """A reviewer who did not look at a flag has not reviewed the text."""
    draft = drafts_of(site.settings)[0]
    codes = one.signature(draft, FLAGGED)["acknowledged"]
    assert len(codes) == 2
    for sent in ([], codes[:1], [*codes, "0" * 64]):
        reply = one.approve(draft, FLAGGED, acknowledged=sent)
        assert (reply.status_code, 'role="alert"' in reply.text) == (400, True)
        assert re.search(rf'<textarea id="output"[^>]*>{FLAGGED}</textarea>', reply.text)
    assert list_decisions(site.ledger) == []
    assert one.approve(draft, FLAGGED).status_code == 303


def test_acknowledging_the_flags_of_another_text_or_draft_is_refused(site: Site, one: Visitor) -> None:
    """Flags change with the text: those that were read before an edit are not those of the signed text."""
    first, second = drafts_of(site.settings)[:2]
    of_draft = one.signature(first, first["output"])["acknowledged"]
    of_shorter = one.signature(first, "Cough for 77 days.")["acknowledged"]
    of_second = one.signature(second, FLAGGED)["acknowledged"]
    assert of_draft
    for codes in (of_draft, of_shorter, of_second):
        assert one.approve(first, FLAGGED, acknowledged=codes).status_code == 400
    assert list_decisions(site.ledger) == []


def test_a_text_without_flags_needs_no_acknowledgement_and_accepts_none(site: Site, one: Visitor) -> None:
    """A form with flags that the text does not have was made for another text."""
    draft = drafts_of(site.settings)[0]
    codes = one.signature(draft, FLAGGED)["acknowledged"]
    assert one.signature(draft, "Cough.")["acknowledged"] == []
    assert one.approve(draft, "Cough.", acknowledged=codes).status_code == 400
    assert one.approve(draft, "Cough.").status_code == 303


def test_a_text_that_is_too_long_to_check_is_acknowledged_too(site: Site, one: Visitor) -> None:
    """Without the check, the reviewer is the only one who can find an error."""
    draft = drafts_of(site.settings)[0]
    long = "He takes it daily. " * (MAX_CHECKED_CHARACTERS // 18)
    assert one.approve(draft, long, acknowledged=[]).status_code == 400
    assert one.approve(draft, long).status_code == 303


def test_a_rejection_needs_no_acknowledgement(site: Site, one: Visitor) -> None:
    """A rejected text is not trained on."""
    assert one.reject(drafts_of(site.settings)[0]).status_code == 303


def test_the_audit_entry_counts_the_acknowledged_flags_by_kind(site: Site, one: Visitor) -> None:
    """An auditor sees that flags were acknowledged, and no text."""
    first, second = drafts_of(site.settings)[:2]
    one.approve(first, FLAGGED)
    one.approve(second, "Cough.")
    made = {e.resource.partition(";")[0]: e for e in audit.list_entries(site.ledger) if e.action == "decided approve"}
    counted = made[f"example {first['example_id']}"].resource
    assert counted.endswith("; 2 flags acknowledged: number not in input 1, side not in input 1")
    assert made[f"example {second['example_id']}"].resource == f"example {second['example_id']}"
    assert not {"77", "left"} & set(counted.split())


def test_an_open_item_does_not_show_the_flags_of_a_first_review_in_the_audit_log(ward: Callable[..., Site]) -> None:
    """Only approvals acknowledge flags, so the count would tell the second reviewer the outcome."""
    site = ward(reviewers=2)
    site.add("Reviewer One", "reviewer")
    site.add("Second", "reviewer", "auditor")
    draft = drafts_of(site.settings)[0]
    site.signed_in("Reviewer One").approve(draft, FLAGGED)
    shown = site.signed_in("Second").get("/audit").text
    assert f"example {draft['example_id']}" in shown
    assert "acknowledged" not in shown
