"""What a reviewer types is kept on the server until they decide: for this reviewer and this draft only."""

import re
from collections.abc import Callable
from html import unescape

import pytest
import sqlalchemy as sa

from fine_tune_assets.ledger.ledger_tables import saved_edits
from fine_tune_assets_tests.desk.conftest import Site, Visitor
from fine_tune_assets_tests.desk.installation import MISSED, add_correction, drafts_of, scrub_again

TYPED = "Cough since Monday,\nno fever."
Ward = Callable[..., Site]


@pytest.fixture
def site(ward: Ward) -> Site:
    made = ward()
    for name in ("Reviewer One", "Reviewer Two"):
        made.add(name, "reviewer")
    return made


@pytest.fixture
def one(site: Site) -> Visitor:
    return site.signed_in("Reviewer One")


def type_text(visitor: Visitor, item: str, text: str = TYPED) -> None:
    assert visitor.post(f"{item}/diff", {"output": text}, page="/account").status_code == 200


def editor_text(visitor: Visitor, item: str) -> str:
    found = re.search(r'<textarea id="output"[^>]*>(.*?)</textarea>', visitor.get(item).text, re.DOTALL)
    assert found is not None
    return unescape(found[1])


def is_restored(visitor: Visitor, item: str) -> bool:
    return "/discard-edit" in visitor.get(item).text


def count_edits(site: Site) -> int:
    with site.ledger.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(saved_edits)).scalar_one()


def test_an_edit_is_restored_on_any_machine_and_can_be_discarded(site: Site, one: Visitor) -> None:
    """The review is continued after a break, at another computer of the ward."""
    draft = drafts_of(site.settings)[0]
    item = f"/items/{draft['example_id']}"
    assert not is_restored(one, item)
    type_text(one, item)
    elsewhere = site.signed_in("Reviewer One")
    assert editor_text(elsewhere, item) == TYPED
    assert is_restored(elsewhere, item)
    elsewhere.post(f"{item}/discard-edit", {}, page="/account")
    assert (editor_text(one, item), is_restored(one, item), count_edits(site)) == (draft["output"], False, 0)


def test_another_reviewer_does_not_get_the_edit(site: Site, one: Visitor) -> None:
    """A second opinion must be their own, and unfinished text is nobody else's."""
    draft = drafts_of(site.settings)[0]
    item = f"/items/{draft['example_id']}"
    type_text(one, item)
    one.post(f"{item}/skip", {}, page="/account")
    two = site.signed_in("Reviewer Two")
    assert editor_text(two, item) == draft["output"]
    two.post(f"{item}/discard-edit", {}, page="/account")
    two.post(f"{item}/skip", {}, page="/account")
    assert editor_text(one, item) == TYPED


def test_typing_the_draft_again_and_deciding_both_delete_the_edit(site: Site, one: Visitor) -> None:
    """Nothing stays behind that no page shows."""
    first, second, third = drafts_of(site.settings)[:3]
    for draft in (first, second, third):
        type_text(one, f"/items/{draft['example_id']}")
    assert count_edits(site) == 3
    type_text(one, f"/items/{first['example_id']}", f" {first['output']}")
    assert count_edits(site) == 2
    one.approve(second)
    one.reject(third)
    assert count_edits(site) == 0


def test_a_late_comparison_after_the_decision_keeps_nothing_and_claims_nothing(ward: Ward) -> None:
    """The request of the last key can arrive after the decision."""
    site = ward(reviewers=2)
    for name in ("Reviewer One", "Reviewer Two"):
        site.add(name, "reviewer")
    one, draft = site.signed_in("Reviewer One"), drafts_of(site.settings)[0]
    item = f"/items/{draft['example_id']}"
    one.approve(draft, TYPED)
    type_text(one, item)
    assert count_edits(site) == 0
    assert site.signed_in("Reviewer Two").get(item).status_code == 200


def test_the_edit_of_a_draft_that_changed_is_ignored(site: Site, one: Visitor) -> None:
    """It would repair a text that no longer exists."""
    draft = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    item = f"/items/{draft['example_id']}"
    type_text(one, item)
    scrub_again(site.settings, site.ledger, MISSED)
    assert TYPED not in one.get(item).text
    changed = next(now for now in drafts_of(site.settings) if now["report_id"] == draft["report_id"])
    with site.ledger.begin() as connection:
        connection.execute(saved_edits.delete())
    item = f"/items/{changed['example_id']}"
    type_text(one, item)
    with site.ledger.begin() as connection:
        connection.execute(saved_edits.update().values(base_fingerprint=draft["fingerprint"]))
    assert (editor_text(one, item), is_restored(one, item)) == (changed["output"], False)


def test_the_edit_of_a_repair_is_ignored_when_the_repair_is_revoked(ward: Ward) -> None:
    """The second reviewer edited a text that the page no longer shows."""
    site = ward(own_edits="second_person")
    for name in ("Reviewer One", "Reviewer Two"):
        site.add(name, "reviewer")
    one, two = site.signed_in("Reviewer One"), site.signed_in("Reviewer Two")
    draft = drafts_of(site.settings)[0]
    item = f"/items/{draft['example_id']}"
    one.approve(draft, "Cough since Sunday.")
    type_text(two, item)
    assert editor_text(two, item) == TYPED
    (decision,) = re.findall(r'action="/decisions/([0-9a-f]+)/revoke"', one.get("/decisions").text)
    two.post(f"{item}/skip", {}, page="/account")
    one.post(f"/decisions/{decision}/revoke", {"reason": "read again"}, page="/account")
    assert (editor_text(two, item), is_restored(two, item)) == (draft["output"], False)


def test_an_edit_with_a_marked_identifier_is_not_restored(site: Site, one: Visitor) -> None:
    """The mark does not withhold another draft of the subject, in which the reviewer repeated the name."""
    marked = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    add_correction(site.settings, site.ledger, "ward-a", subject_key=marked["subject_key"])
    draft = next(draft for draft in drafts_of(site.settings) if draft["source"] == "correction")
    item = f"/items/{draft['example_id']}"
    type_text(one, item, f"Ask the pharmacist of {MISSED}.")
    assert is_restored(one, item)
    one.post(f"/items/{marked['example_id']}/mark", {"kind": "NAME", "term": MISSED}, page="/account")
    shown = one.get(item)
    assert (shown.status_code, MISSED in shown.text, is_restored(one, item)) == (200, False, False)


def test_the_edit_is_encrypted(site: Site, one: Visitor) -> None:
    """Like every text in the ledger that can contain an identifier."""
    type_text(one, f"/items/{drafts_of(site.settings)[0]['example_id']}", "Zyxomarkwort since Monday.")
    with site.ledger.read() as connection:
        (row,) = connection.execute(sa.select(saved_edits)).mappings()
    assert b"Zyxomarkwort" not in bytes(row["text"])
    files = site.settings.data_dir.rglob("ledger.db*")
    assert not any(b"Zyxomarkwort" in path.read_bytes() for path in files)
