"""Absent items and wrong marks: the item's page says why it is absent, and the reviewer who marked can withdraw the mark."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.ledger_tables import review_items as items
from fine_tune_assets.ledger.reviews.identifier_marks import list_marks
from fine_tune_assets.ledger.reviews.review_items import find_item
from fine_tune_assets_tests.desk.accessibility import check, look
from fine_tune_assets_tests.desk.conftest import Site, Visitor, browser, page, sign_in_at
from fine_tune_assets_tests.desk.installation import INVENTED, MISSED, add_copy, draft, drafts_of, scrub_again

__all__ = ["browser", "look", "page"]


@pytest.fixture
def site(ward: Callable[..., Site]) -> Site:
    made = ward()
    for name, role in (("Reviewer One", "reviewer"), ("Reviewer Two", "reviewer"), ("Approver One", "approver")):
        made.add(name, role)
    return made


@pytest.fixture
def one(site: Site) -> Visitor:
    return site.signed_in("Reviewer One")


def mark_a_wrong_word(site: Site, visitor: Visitor) -> dict[str, Any]:
    """Mark a word of the first note, and return its draft."""
    marked = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    path = f"/items/{marked['example_id']}"
    assert visitor.post(f"{path}/mark", {"kind": "NAME", "term": MISSED}, page=path).status_code == 303
    return marked


def withdraw_paths(text: str) -> list[str]:
    return re.findall(r'action="(/marks/[0-9a-f]+/withdraw)"', text)


def test_the_reviewer_who_marked_withdraws_the_mark_on_the_page_of_the_withheld_item(site: Site, one: Visitor) -> None:
    """A slip must not keep a report away until an operator runs a command."""
    path = f"/items/{mark_a_wrong_word(site, one)['example_id']}"
    shown = one.get(path)
    assert (shown.status_code, MISSED in shown.text) == (409, False)
    (action,) = withdraw_paths(shown.text)
    reply = one.post(action, {"back": path}, page="/account")
    assert (reply.status_code, reply.headers["location"]) == (303, f"{path}?notice=withdrawn")
    assert one.get(path).status_code == 200
    assert [mark.withdrawn_by for mark in list_marks(site.ledger)] == ["Reviewer One"]
    assert audit.list_entries(site.ledger)[-1].action == "withdrew a missed identifier"
    assert one.post(action, {}, page="/account").headers["location"] == "/decisions?notice=withdrawn"


def test_only_the_reviewer_who_marked_may_withdraw_the_mark(site: Site, one: Visitor) -> None:
    """Others see who marked what kind, but not the words, so they can't know that the mark is wrong."""
    path = f"/items/{mark_a_wrong_word(site, one)['example_id']}"
    (mark,) = list_marks(site.ledger)
    two, approver = site.signed_in("Reviewer Two"), site.signed_in("Approver One")
    shown = two.get(path).text
    assert withdraw_paths(shown) == []
    assert "Reviewer One" in shown
    for visitor in (two, approver):
        assert visitor.post(f"/marks/{mark.mark_id}/withdraw", {}, page="/account").status_code == 403
    assert one.post("/marks/0123/withdraw", {}, page="/account").status_code == 404
    assert list_marks(site.ledger)[0].is_active


def test_the_page_of_a_draft_that_was_scrubbed_again_leads_to_the_current_draft_and_to_the_mark(
    site: Site, one: Visitor
) -> None:
    """After the next run the marked draft has another text and id, and the old link must still explain itself."""
    marked = mark_a_wrong_word(site, one)
    scrub_again(site.settings, site.ledger, MISSED)
    path = f"/items/{marked['example_id']}"
    shown = one.get(path)
    (current,) = (d["example_id"] for d in drafts_of(site.settings) if d["report_id"] == marked["report_id"])
    assert (shown.status_code, MISSED in shown.text) == (410, False)
    assert f'href="/items/{current}"' in shown.text
    assert one.get(f"/items/{current}").status_code == 200
    (action,) = withdraw_paths(shown.text)
    assert one.post(action, {}, page="/account").status_code == 303
    assert withdraw_paths(one.get(path).text) == []


def test_the_page_of_a_removed_draft_names_no_mark_of_another_report(site: Site, one: Visitor) -> None:
    """Withdrawing a correct mark elsewhere would show its identifier again, and bring nothing back."""
    marked = mark_a_wrong_word(site, one)
    other = next(d for d in drafts_of(site.settings) if d["report_id"] != marked["report_id"])
    with site.ledger.begin() as connection:
        same_subject = {"subject_key": marked["subject_key"], "removed_at": datetime.now(UTC)}
        connection.execute(items.update().where(items.c.example_id == other["example_id"]).values(same_subject))
    shown = one.get(f"/items/{other['example_id']}")
    assert (shown.status_code, withdraw_paths(shown.text)) == (410, [])


def test_a_draft_returns_when_its_text_is_drafted_again(site: Site, one: Visitor) -> None:
    """As the page says: the run after a withdrawal restores the item under its id."""
    marked = mark_a_wrong_word(site, one)
    table = site.settings.layout.table("scrubbed_reports", marked["report_id"].partition("/")[0])
    before = table.read_bytes()
    scrub_again(site.settings, site.ledger, MISSED)
    one.post(withdraw_paths(one.get("/decisions").text)[0], {}, page="/account")
    table.write_bytes(before)
    draft(site.settings, site.ledger)
    assert one.get(f"/items/{marked['example_id']}").status_code == 200


def test_the_marks_of_a_user_are_listed_with_their_items(site: Site, one: Visitor) -> None:
    """The next item opens after a mark, so the user needs a way back to the marked one."""
    marked = mark_a_wrong_word(site, one)
    shown = one.get("/decisions").text
    assert f'href="/items/{marked["example_id"]}"' in shown
    assert (len(withdraw_paths(shown)), MISSED in shown) == (1, False)
    assert withdraw_paths(site.signed_in("Reviewer Two").get("/decisions").text) == []
    assert site.signed_in("Approver One").get("/decisions").status_code == 200


def test_a_copy_that_is_withheld_names_the_mark_of_the_original(site: Site, one: Visitor) -> None:
    """The copy belongs to another subject, and its own report has no mark."""
    report_id = add_copy(site.settings, site.ledger)
    holding = [draft for draft in drafts_of(site.settings) if MISSED in draft["input"]]
    copy, original = sorted(holding, key=lambda draft: draft["report_id"] != report_id)
    path = f"/items/{original['example_id']}"
    one.post(f"{path}/mark", {"kind": "NAME", "term": MISSED}, page=path)
    assert len(withdraw_paths(one.get(f"/items/{copy['example_id']}").text)) == 1
    (unrelated,) = (d for d in drafts_of(site.settings)[:1] if d not in holding)
    assert one.get(f"/items/{unrelated['example_id']}").status_code == 200


def test_a_withheld_item_names_only_the_marks_that_withhold_it(site: Site, one: Visitor) -> None:
    """Withdrawing another mark of the same report would not bring the item back."""
    marked = mark_a_wrong_word(site, one)
    scrub_again(site.settings, site.ledger, MISSED)
    (current,) = (d for d in drafts_of(site.settings) if d["report_id"] == marked["report_id"])
    path = f"/items/{current['example_id']}"
    assert one.post(f"{path}/mark", {"kind": "ID", "term": "lisinopril"}, page=path).status_code == 303
    (second,) = (mark.mark_id for mark in list_marks(site.ledger) if mark.kind == "ID")
    assert withdraw_paths(one.get(path).text) == [f"/marks/{second}/withdraw"]
    assert INVENTED not in one.get(path).text


def test_a_mark_is_withdrawn_in_the_browser_after_a_confirmation(page: Page, site: Site, one: Visitor) -> None:
    """Withdrawing shows a report that a reviewer found unsafe, so one accidental click must not do it."""
    marked = mark_a_wrong_word(site, one)
    sign_in_at(page, site, "Reviewer One")
    page.goto(f"{site.url}/items/{marked['example_id']}")
    page.get_by_role("button", name="Withdraw the mark").click()
    page.get_by_role("button", name="Cancel").click()
    assert list_marks(site.ledger)[0].is_active
    page.get_by_role("button", name="Withdraw the mark").click()
    page.get_by_role("button", name="Confirm").click()
    page.wait_for_url("**?notice=withdrawn")
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    assert not list_marks(site.ledger)[0].is_active


@pytest.mark.slow
def test_these_pages_pass_the_accessibility_rules_in_every_look(look: Page, site: Site, one: Visitor) -> None:
    """A withheld item, a removed one, and the list of marks."""
    marked = mark_a_wrong_word(site, one)
    sign_in_at(look, site, "Reviewer One")
    for path in (f"/items/{marked['example_id']}", "/decisions"):
        look.goto(site.url + path)
        check(look, path)
    scrub_again(site.settings, site.ledger, MISSED)
    assert find_item(site.ledger, marked["example_id"]) is not None
    look.goto(f"{site.url}/items/{marked['example_id']}")
    check(look, "removed item")
