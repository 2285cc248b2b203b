"""Users who may still decide on an item never see other users' decisions; users without a deciding role see everything."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.requests import Request

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.permissions import PERMISSIONS, Action
from fine_tune_assets.desk.request_context import Form, RequestContext, can_adjudicate, can_see_all
from fine_tune_assets.ledger.people.sessions import Session
from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets.tables.approval_rows import ApprovedExample
from fine_tune_assets.tables.record_classes import table_from_rows
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


def audit_entries(visitor: Visitor, example_id: str) -> list[str]:
    """Actions on an example on the audit page, newest first."""
    found = re.findall(
        r'data-label="Action">([^<]*)</td>.*?<span class="id[^"]*">([^<]*)</span>', visitor.get("/audit").text
    )
    return [what for what, about in found if about.partition(";")[0] == f"example {example_id}"]


def test_before_the_second_review_only_the_existence_of_a_decision_is_shown(site: Site) -> None:
    """In the audit log of an auditor who also reviews, and in the example's history."""
    draft = drafts_of(site.settings)[0]
    example_id = draft["example_id"]
    site.signed_in("First").reject(draft, "wrong_value", reason=REASON)
    second, chief, auditor = (site.signed_in(name) for name in ("Second", "Chief", "Auditor"))
    for visitor in (second, chief):
        assert audit_entries(visitor, example_id) == ["decided"]
        shown = visitor.get(f"/items/{example_id}/history").text
        assert "Reviewer and outcome are hidden" in shown
        assert not {"First", "reject", "wrong_value", REASON} & set(re.findall(r"\w+", shown))
    assert audit_entries(auditor, example_id) == ["decided reject"]
    assert REASON in auditor.get(f"/items/{example_id}/history").text

    second.approve(draft)
    # Disagreement: the adjudicator sees both decisions, each reviewer their own, other reviewers neither.
    assert audit_entries(chief, example_id) == ["decided approve", "decided reject"]
    assert REASON in chief.get(f"/items/{example_id}/history").text
    assert audit_entries(second, example_id) == ["decided approve", "decided"]
    assert REASON not in site.signed_in("Reader").get(f"/items/{example_id}/history").text

    version = re.search(r'name="version" value="(\d+)"', chief.get(f"/disagreements/{example_id}").text)
    assert version is not None
    settle = {"choice": "reject", "reason_code": "style", "version": version[1]}
    assert chief.post(f"/disagreements/{example_id}/adjudicate", settle, page="/account").status_code == 303
    assert audit_entries(second, example_id) == ["adjudicated reject", "decided approve", "decided reject"]
    assert REASON in site.signed_in("Reader").get(f"/items/{example_id}/history").text


def test_the_subject_page_hides_the_approver_of_a_reopened_example(site: Site) -> None:
    """The stored table still has both approvals; one was revoked since."""
    draft = drafts_of(site.settings)[0]
    first, second = site.signed_in("First"), site.signed_in("Second")
    first.approve(draft)
    second.approve(draft)
    row = {name: draft.get(name) for name in ApprovedExample.SCHEMA.names}
    row |= {"approved_by": "First, Second", "approval_kind": "expert"}
    write_table(site.settings.layout.table("approved_examples"), table_from_rows([row], ApprovedExample.SCHEMA))
    chief, auditor = site.signed_in("Chief"), site.signed_in("Auditor")

    def shown(visitor: Visitor) -> str:
        return visitor.post("/subjects", {"subject_key": draft["subject_key"]}, page="/subjects").text

    assert "approved by First, Second" in shown(chief)
    own = list_decisions(site.ledger)[1].decision_id
    assert second.post(f"/decisions/{own}/revoke", {"reason": "slip"}, page="/account").status_code == 303
    assert "approved by" not in shown(chief)
    assert "still open" in shown(chief)
    assert "approved by First, Second" in shown(auditor)


def test_an_approver_can_revoke_a_decision_without_seeing_it(site: Site) -> None:
    """Blindness does not limit an approver's rights."""
    draft = drafts_of(site.settings)[0]
    site.signed_in("First").approve(draft)
    (decision,) = list_decisions(site.ledger)
    chief, history = site.signed_in("Chief"), f"/items/{draft['example_id']}/history"
    assert f"/decisions/{decision.decision_id}/revoke" in chief.get(history).text
    form: dict[str, object] = {"reason": "left the ward", "back": history}
    assert chief.post(f"/decisions/{decision.decision_id}/revoke", form, page="/account").status_code == 303
    assert list_decisions(site.ledger) == []


def test_with_one_reviewer_nothing_is_hidden(ward: Ward) -> None:
    """The second person confirms a repair and must see it."""
    site = ward(own_edits="second_person")
    for name, roles in PEOPLE.items():
        site.add(name, *roles)
    draft = drafts_of(site.settings)[0]
    site.signed_in("First").approve(draft, "Cough and fever for two days.")
    second = site.signed_in("Second")
    assert audit_entries(second, draft["example_id"]) == ["decided approve"]
    assert "First" in second.get(f"/items/{draft['example_id']}/history").text


@pytest.mark.parametrize("deciding", [Action.REVIEW, Action.ADJUDICATE])
@pytest.mark.parametrize("other", [None, *Action])
def test_no_role_that_may_decide_sees_every_decision(
    deciding: Action, other: Action | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the role is called, and whatever else it may do: a role that is added later too."""
    permissions: Any = PERMISSIONS
    for action in Action:
        if action in (deciding, other):
            monkeypatch.setitem(permissions, action, replace(permissions[action], roles=frozenset({"new"})))
    session = Session("token", "id", "Newcomer", frozenset({"new"}))
    context = RequestContext(Request({"type": "http"}), session, Form({}), datetime.now(UTC), "browser", False)
    assert not can_see_all(context)
    assert can_adjudicate(context) == (Action.ADJUDICATE in (deciding, other))
