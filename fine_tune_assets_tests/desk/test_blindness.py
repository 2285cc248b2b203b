"""Nobody who may still decide on an item learns anywhere how others did; who decides on nothing sees everything."""

import re
from collections.abc import Callable

import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.ledger.reviews.reviews import list_decisions
from fine_tune_assets.tables.approval import ApprovedExample
from fine_tune_assets.tables.records import table_of
from fine_tune_assets_tests.desk.conftest import Site, Visitor
from fine_tune_assets_tests.desk.installation import drafts_of

Ward = Callable[..., Site]
REASON = "Zyxomarkwort"
PEOPLE = {
    "First": ["reviewer"],
    "Second": ["reviewer", "auditor", "operator"],
    "Chief": ["approver", "auditor"],
    "Auditor": ["auditor"],
    "Reader": ["reviewer"],
}


@pytest.fixture
def site(ward: Ward) -> Site:
    made = ward(reviewers=2)
    for name, roles in PEOPLE.items():
        made.add(name, *roles)
    return made


def audit_lines(visitor: Visitor, example_id: str) -> list[str]:
    """What the audit page says was done about an example, the newest first."""
    found = re.findall(r"<td>([^<]*)</td><td class=\"id\">([^<]*)</td>", visitor.get("/audit").text)
    return [what for what, about in found if about == f"example {example_id}"]


def test_while_the_second_look_is_to_come_it_is_told_that_somebody_decided_and_no_more(site: Site) -> None:
    """Not in the audit log, which an auditor who also reviews may open, and not in the example's history."""
    draft = drafts_of(site.settings)[0]
    example_id = draft["example_id"]
    site.signed_in("First").reject(draft, "wrong_value", reason=REASON)
    second, chief, auditor = (site.signed_in(name) for name in ("Second", "Chief", "Auditor"))
    for visitor in (second, chief):
        assert audit_lines(visitor, example_id) == ["decided"]
        shown = visitor.get(f"/items/{example_id}/history").text
        assert "Somebody decided" in shown
        assert not {"First", "reject", "wrong_value", REASON} & set(re.findall(r"\w+", shown))
    assert audit_lines(auditor, example_id) == ["decided reject"]
    assert REASON in auditor.get(f"/items/{example_id}/history").text

    second.approve(draft)
    # They disagree: who settles it sees both, and so does each their own; whoever else reviews sees neither.
    assert audit_lines(chief, example_id) == ["decided approve", "decided reject"]
    assert REASON in chief.get(f"/items/{example_id}/history").text
    assert audit_lines(second, example_id) == ["decided approve", "decided"]
    assert REASON not in site.signed_in("Reader").get(f"/items/{example_id}/history").text

    version = re.search(r'name="version" value="(\d+)"', chief.get(f"/disagreements/{example_id}").text)
    assert version is not None
    settle = {"choice": "reject", "reason_code": "style", "version": version[1]}
    assert chief.post(f"/disagreements/{example_id}/settle", settle, page="/account").status_code == 303
    assert audit_lines(second, example_id) == ["adjudicated reject", "decided approve", "decided reject"]
    assert REASON in site.signed_in("Reader").get(f"/items/{example_id}/history").text


def test_a_patients_page_does_not_name_who_approved_what_is_open_again(site: Site) -> None:
    """The table of approved examples is of the last run: one of its two approvals was taken back since."""
    draft = drafts_of(site.settings)[0]
    first, second = site.signed_in("First"), site.signed_in("Second")
    first.approve(draft)
    second.approve(draft)
    row = {name: draft.get(name) for name in ApprovedExample.SCHEMA.names}
    row |= {"approved_by": "First, Second", "approval_kind": "expert"}
    write_table(site.settings.layout.table("approved_examples"), table_of([row], ApprovedExample.SCHEMA))
    chief, auditor = site.signed_in("Chief"), site.signed_in("Auditor")

    def shown(visitor: Visitor) -> str:
        return visitor.post("/patients", {"patient_key": draft["patient_key"]}, page="/patients").text

    assert "approved by First, Second" in shown(chief)
    own = list_decisions(site.ledger)[1].decision_id
    assert second.post(f"/decisions/{own}/revoke", {"reason": "slip"}, page="/account").status_code == 303
    assert "approved by" not in shown(chief)
    assert "still open" in shown(chief)
    assert "approved by First, Second" in shown(auditor)


def test_an_approver_can_take_back_a_decision_without_learning_it(site: Site) -> None:
    """What an approver may do does not end where they may not look."""
    draft = drafts_of(site.settings)[0]
    site.signed_in("First").approve(draft)
    (decision,) = list_decisions(site.ledger)
    chief, history = site.signed_in("Chief"), f"/items/{draft['example_id']}/history"
    assert f"/decisions/{decision.decision_id}/revoke" in chief.get(history).text
    form = {"reason": "left the ward", "back": history}
    assert chief.post(f"/decisions/{decision.decision_id}/revoke", form, page="/account").status_code == 303
    assert list_decisions(site.ledger) == []


def test_with_one_reviewer_nothing_is_hidden(ward: Ward) -> None:
    """A second person is asked about a repair, which they have to see."""
    site = ward(own_edits="second_person")
    for name, roles in PEOPLE.items():
        site.add(name, *roles)
    draft = drafts_of(site.settings)[0]
    site.signed_in("First").approve(draft, "Cough and fever for two days.")
    second = site.signed_in("Second")
    assert audit_lines(second, draft["example_id"]) == ["decided approve"]
    assert "First" in second.get(f"/items/{draft['example_id']}/history").text
