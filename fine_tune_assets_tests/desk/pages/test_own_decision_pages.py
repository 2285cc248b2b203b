"""My decisions and undo: what was signed, and taking it back within seconds or with a reason."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fine_tune_assets.desk.undo import LIMIT_SECONDS, OFFER_SECONDS, REASON
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.ledger_tables import decisions
from fine_tune_assets.ledger.reviews.decision_records import list_decision_records, list_decisions
from fine_tune_assets.ledger.reviews.review_items import find_item
from fine_tune_assets_tests.desk.conftest import Site, Visitor
from fine_tune_assets_tests.desk.installation import COMPLAINTS, MISSED, drafts_of, scrub_again
from fine_tune_assets_tests.desk.pages.case_forms import cases_with, sign

Ward = Callable[..., Site]


@pytest.fixture
def site(ward: Ward) -> Site:
    made = ward()
    for name in ("Reviewer One", "Reviewer Two"):
        made.add(name, "reviewer")
    made.add("Approver One", "approver")
    return made


@pytest.fixture
def one(site: Site) -> Visitor:
    return site.signed_in("Reviewer One")


def follow(visitor: Visitor, reply: Any) -> str:
    """The page after a form."""
    while reply.status_code == 303:
        reply = visitor.get(reply.headers["location"])
    return str(reply.text)


def offered(page: str) -> list[str]:
    """The decisions that the page offers to undo."""
    form = re.search(r'action="/decisions/undo">.*?</form>', page, re.DOTALL)
    return re.findall(r'name="decision" value="(\w+)"', form[0]) if form else []


def undo(visitor: Visitor, *decision_ids: str, **more: str) -> Any:
    return visitor.post("/decisions/undo", {"decision": list(decision_ids), **more}, page="/account")


def state(site: Site, draft: dict[str, Any]) -> str:
    item = find_item(site.ledger, draft["example_id"])
    assert item is not None
    return item.state


def make_older(site: Site, seconds: float) -> None:
    at = datetime.now(UTC) - timedelta(seconds=seconds)
    with site.ledger.begin() as connection:
        connection.execute(decisions.update().values(decided_at=at))


def test_the_page_after_a_decision_offers_to_undo_it(site: Site, one: Visitor) -> None:
    """Undoing is a revocation with a fixed reason: nothing is deleted, and the item opens again with the same filter."""
    first, second = drafts_of(site.settings)[:2]
    page = follow(one, one.approve(first, filter_task="chief_complaint"))
    (made,) = list_decisions(site.ledger)
    assert offered(page) == [made.decision_id]
    assert "Approved: Chief complaint" in page
    reply = undo(one, made.decision_id, filter_task="chief_complaint")
    assert reply.headers["location"] == f"/items/{first['example_id']}?task=chief_complaint&notice=undone"
    assert (list_decisions(site.ledger), state(site, first)) == ([], "waiting")
    (record,) = list_decision_records(site.ledger)
    assert (record.revoked_by, record.revocation_reason) == ("Reviewer One", REASON)
    entry = audit.list_entries(site.ledger)[-1]
    assert (entry.actor, entry.action, entry.resource) == (
        "Reviewer One",
        "revoked a decision",
        f"decision {made.decision_id}",
    )
    assert "Rejected: Chief complaint" in follow(one, one.reject(second))


def test_undo_is_offered_for_some_seconds_and_only_after_a_decision(site: Site, one: Visitor) -> None:
    """The address alone offers nothing: not later, not to others, and not after another action."""
    one.approve(drafts_of(site.settings)[0])
    assert offered(one.get("/queue?notice=approved").text)
    assert not offered(one.get("/queue").text)
    assert not offered(one.get("/queue?notice=skipped").text)
    assert not offered(site.signed_in("Reviewer Two").get("/queue?notice=approved").text)
    make_older(site, OFFER_SECONDS + 1)
    assert not offered(one.get("/queue?notice=approved").text)


def test_undo_is_refused_after_the_limit(site: Site, one: Visitor) -> None:
    """From then on, a revocation needs a reason."""
    one.approve(drafts_of(site.settings)[0])
    (made,) = list_decisions(site.ledger)
    make_older(site, LIMIT_SECONDS + 1)
    reply = undo(one, made.decision_id)
    assert (reply.status_code, f"/decisions/{made.decision_id}/revoke" in reply.text) == (400, True)
    assert len(list_decisions(site.ledger)) == 1
    make_older(site, LIMIT_SECONDS - 5)
    assert undo(one, made.decision_id).status_code == 303


def test_undoing_the_decision_of_another_person_is_refused(site: Site, one: Visitor) -> None:
    """Not even an approver, who can revoke it with a reason."""
    one.approve(drafts_of(site.settings)[0])
    site.add("All Roles", "reviewer", "approver")
    (made,) = list_decisions(site.ledger)
    for name in ("Reviewer Two", "All Roles", "Approver One"):
        assert undo(site.signed_in(name), made.decision_id).status_code == 403
    two = site.signed_in("Reviewer Two")
    two.approve(drafts_of(site.settings)[1])
    assert undo(two, list_decisions(site.ledger)[1].decision_id, made.decision_id).status_code == 403
    assert len(list_decisions(site.ledger)) == 2


def test_a_decision_is_undone_once(site: Site, one: Visitor) -> None:
    """A second press of the key changes nothing. Unknown decisions are not found."""
    one.approve(drafts_of(site.settings)[0])
    (made,) = list_decisions(site.ledger)
    assert undo(one, made.decision_id, made.decision_id).status_code == 303
    assert undo(one, made.decision_id).status_code == 400
    assert not offered(one.get("/queue?notice=approved").text)
    assert undo(one, "0" * 32).status_code == 404
    assert undo(one).status_code == 404
    assert len([record for record in list_decision_records(site.ledger) if record.is_revoked]) == 1


def test_undoing_a_repair_returns_to_its_text(site: Site, one: Visitor) -> None:
    """A reviewer who signed too early continues where they were."""
    draft = drafts_of(site.settings)[0]
    one.approve(draft, "Cough since Monday.")
    (made,) = list_decisions(site.ledger)
    page = follow(one, undo(one, made.decision_id))
    assert re.search(r'<textarea id="output"[^>]*>Cough since Monday\.</textarea>', page)
    assert f"/items/{draft['example_id']}/discard-edit" in page


def test_an_undone_second_review_goes_to_another_reviewer(ward: Ward) -> None:
    """Its author may know the first decision by then."""
    site = ward(reviewers=2)
    for name in ("Reviewer One", "Reviewer Two"):
        site.add(name, "reviewer")
    one, two, draft = site.signed_in("Reviewer One"), site.signed_in("Reviewer Two"), drafts_of(site.settings)[0]
    one.approve(draft)
    two.approve(draft)
    assert state(site, draft) == "approved"
    reply = undo(two, list_decisions(site.ledger)[1].decision_id)
    assert reply.headers["location"] == "/queue/next?notice=undone_closed"
    assert state(site, draft) == "second_review"


def test_a_signature_of_several_cases_is_undone_as_a_whole(ward: Ward) -> None:
    """In one transaction: a part of it that is too old keeps the others."""
    site = ward(count=3 * len(COMPLAINTS))
    site.add("Reviewer One", "reviewer")
    one, cases = site.signed_in("Reviewer One"), cases_with(site, COMPLAINTS[4])
    page = follow(one, sign(one, cases[0], [case["example_id"] for case in cases]))
    ids = [made.decision_id for made in list_decisions(site.ledger)]
    assert (sorted(offered(page)), len(ids)) == (sorted(ids), 3)
    with site.ledger.begin() as connection:
        old = decisions.update().where(decisions.c.decision_id == ids[0])
        connection.execute(old.values(decided_at=datetime.now(UTC) - timedelta(minutes=1)))
    assert undo(one, *ids).status_code == 400
    assert len(list_decisions(site.ledger)) == 3
    assert undo(one, *ids[1:]).status_code == 303
    assert [state(site, case) for case in cases].count("waiting") == 2


def test_own_decisions_show_the_signed_text_the_difference_and_the_reason(site: Site, one: Visitor) -> None:
    """Reviewers find what they signed without opening each item."""
    plain, repaired, rejected = (d for d in drafts_of(site.settings) if d["output"] in COMPLAINTS[1:4])
    one.approve(plain)
    one.approve(repaired, "A dry cough only.")
    one.reject(rejected, "style", reason="too terse")
    page = one.get("/decisions").text
    for text in (plain["output"], "A dry cough only.", "Not written in the required style", "too terse"):
        assert text in page
    assert re.search(r"<ins>[^<]*dry", page)
    assert "Reviewer One" not in site.signed_in("Reviewer Two").get("/decisions").text.partition('id="main"')[2]


def test_own_decisions_are_filtered_by_outcome_and_day(site: Site, one: Visitor) -> None:
    """Unknown values are ignored."""
    first, second, third = drafts_of(site.settings)[:3]
    one.approve(first)
    one.reject(second)
    one.approve(third, "Cough since Monday.")

    def found(query: str) -> set[str]:
        return set(re.findall(r'href="/items/(\w{16})/history"', one.get(f"/decisions?{query}").text))

    today = datetime.now(UTC).date()
    every = {draft["example_id"] for draft in (first, second, third)}
    assert found("outcome=rejected") == {second["example_id"]}
    assert found("outcome=repaired") == {third["example_id"]}
    assert found(f"since={today - timedelta(days=1)}&until={today + timedelta(days=1)}") == every
    assert found(f"until={today - timedelta(days=2)}") == set()
    assert found("outcome=x&since=x&until=2026-99-99") == every
    assert found("until=9999-12-31") == every


def test_own_decisions_show_the_state_of_the_second_review(ward: Ward) -> None:
    """And not the other reviewer's decision."""
    site = ward(reviewers=2)
    for name in ("Reviewer One", "Reviewer Two"):
        site.add(name, "reviewer")
    one, two = site.signed_in("Reviewer One"), site.signed_in("Reviewer Two")
    first, second, third = drafts_of(site.settings)[:3]
    for draft in (first, second, third):
        one.approve(draft)
    two.approve(first)
    two.reject(second, "wrong_value", reason="Zyxomarkwort")
    page = one.get("/decisions").text
    for words in ("Result: approved", "Reviewers disagree", "Second review pending"):
        assert page.count(words) == 1
    assert "Zyxomarkwort" not in page


def test_withheld_texts_are_hidden_among_own_decisions(site: Site, one: Visitor) -> None:
    """The text of a withheld draft, and a repair or reason with a marked identifier."""
    marked = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    one.approve(marked, f"Seen with {MISSED}.")
    undo(one, list_decisions(site.ledger)[0].decision_id)
    one.reject(marked, "style", reason=f"about {MISSED}")
    assert MISSED in one.get("/decisions").text
    path = f"/items/{marked['example_id']}"
    one.post(f"{path}/mark", {"kind": "NAME", "term": MISSED}, page=path)
    assert MISSED not in one.get("/decisions").text
    scrub_again(site.settings, site.ledger, MISSED)
    page = one.get("/decisions").text
    assert (MISSED in page, page.count("withheld because of a marked identifier")) == (False, 2)


def test_a_decision_whose_draft_was_removed_says_so(site: Site, one: Visitor) -> None:
    """The text of an unrepaired draft is stored with the draft only."""
    marked = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    one.approve(marked)
    scrub_again(site.settings, site.ledger, MISSED)
    page = one.get("/decisions").text
    assert "Draft removed" in page
    assert "no longer stored" in page
