"""Review pages over HTTP: queue, items, decisions, and concurrent reviewers."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pyarrow.parquet as pq
import pytest

from fine_tune_assets.approval.approvals import approve_examples
from fine_tune_assets.approval.flags import distinct_kinds
from fine_tune_assets.core.error_kinds import ERROR_KINDS
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.desk.rendering import NOTICES
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets.ledger.reviews.identifier_marks import list_marks, record_mark
from fine_tune_assets.ledger.reviews.review_items import find_item
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets.tables.record_classes import conform
from fine_tune_assets_tests.desk.conftest import Site, Visitor
from fine_tune_assets_tests.desk.installation import (
    BATCH,
    INVENTED,
    MISSED,
    SOURCE,
    add_copy,
    add_correction,
    add_dropped,
    drafts_of,
    scrub_again,
)

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


@pytest.fixture
def two(site: Site) -> Visitor:
    return site.signed_in("Reviewer Two")


def listed(visitor: Visitor, path: str = "/queue") -> list[str]:
    return re.findall(r'<a href="/items/([0-9a-f]{16})', visitor.get(path).text)


def state(site: Site, example_id: str) -> str:
    item = find_item(site.ledger, example_id)
    assert item is not None
    return item.state


def test_the_queue_lists_the_most_flagged_items_first(site: Site, one: Visitor) -> None:
    """Reviewers' time goes to doubtful items first."""
    assert listed(one) == [draft["example_id"] for draft in drafts_of(site.settings)]


def test_filters_narrow_the_list_and_unknown_values_are_ignored(site: Site, one: Visitor) -> None:
    """Old links must keep working."""
    kind = "number not in input: "
    flagged = [d["example_id"] for d in drafts_of(site.settings) if any(flag.startswith(kind) for flag in d["flags"])]
    assert listed(one, "/queue?flag=number+not+in+input") == flagged
    assert listed(one, "/queue?task=chief_complaint&source=" + SOURCE + "&state=waiting&age=new") == listed(one)
    assert "No item matches this filter" in one.get("/queue?task=other").text
    assert "No item matches this filter" in one.get("/queue?age=7").text
    assert one.get("/queue?state=x&age=x&after=x&mine=x").status_code == 200
    assert listed(one, "/queue?mine=yes") == []
    one.get(f"/items/{flagged[0]}")
    assert listed(one, "/queue?mine=yes") == [flagged[0]]


def test_a_long_queue_is_paged_without_gaps_or_repeats(ward: Ward) -> None:
    """Keyset paging: decisions made meanwhile do not shift the pages."""
    site = ward(count=120)
    site.add("Reviewer One", "reviewer")
    visitor, seen, path = site.signed_in("Reviewer One"), list[str](), "/queue"
    while path:
        text = visitor.get(path, headers={"hx-request": "true"} if seen else {}).text
        seen += re.findall(r'<a href="/items/([0-9a-f]{16})', text)
        more = re.search(r'hx-get="([^"]+)"', text)
        path = more[1].replace("&amp;", "&") if more else ""
    assert seen == [draft["example_id"] for draft in drafts_of(site.settings)]


def test_an_approval_is_signed_recorded_and_leads_to_the_next_item(site: Site, one: Visitor) -> None:
    """The record has reviewer, time, content and meaning."""
    first, second = drafts_of(site.settings)[:2]
    reply = one.approve(first)
    assert reply.status_code == 303
    assert one.get(reply.headers["location"]).headers["location"].startswith(f"/items/{second['example_id']}?")
    decision = list_decisions(site.ledger)[0]
    assert (decision.reviewer, decision.output, decision.approved_fingerprint) == (
        "Reviewer One",
        None,
        first["fingerprint"],
    )
    assert "right as drafted" in decision.meaning
    assert state(site, first["example_id"]) == "approved"
    assert any(
        line.actor == "Reviewer One" and line.action == "decided approve" for line in audit.list_entries(site.ledger)
    )


def test_a_repair_is_recorded_as_typed_and_crlf_is_not_a_repair(site: Site, one: Visitor) -> None:
    """Browsers send CR LF; the draft has LF."""
    first, second = drafts_of(site.settings)[:2]
    one.approve(first, "Cough and fever\r\nfor two days.")
    one.approve(second)
    assert [decision.output for decision in list_decisions(site.ledger)] == ["Cough and fever\nfor two days.", None]


def test_flags_of_a_repaired_text_refer_to_that_text(ward: Ward) -> None:
    """A number that the first reviewer corrected is no longer flagged; a new unsupported one is."""
    site = ward(own_edits="second_person")
    for name in ("Reviewer One", "Reviewer Two"):
        site.add(name, "reviewer")
    one, two = site.signed_in("Reviewer One"), site.signed_in("Reviewer Two")
    draft = next(d for d in drafts_of(site.settings) if "for 3 days" in d["output"])
    assert any("3 days" in flag for flag in draft["flags"])
    item = f"/items/{draft['example_id']}"
    assert marked(one.get(item).text) == {"3"}
    typed = {"output": "Cough and fever for 2 days,\r\ntemperature 39.9 C."}
    assert marked(one.post(f"{item}/diff", typed, page=item).text) == {"39.9"}
    one.approve(draft, typed["output"])
    assert 'id="shown-text"' in two.get(item).text
    assert marked(two.get(item).text) == {"39.9"}


def marked(page: str) -> set[str]:
    """The first number of each flagged place, without its sentence."""
    found = re.findall(r'<mark title="[^"]*" data-flags[^>]*>(?:<ins>)?([^<]*)', page)
    return {number[0] for text in found if (number := re.search(r"[\d.]+\d|\d", text))}


def test_the_signed_meaning_must_match_the_decision(site: Site, one: Visitor) -> None:
    """Signing "as drafted" for a changed text records nothing, and the page keeps the text."""
    first = drafts_of(site.settings)[0]
    reply = one.approve(first, "Cough for two days.", meaning="approve")
    assert reply.status_code == 400
    assert "Cough for two days." in reply.text
    assert list_decisions(site.ledger) == []


def test_an_approval_must_carry_the_fingerprint_of_the_text_shown(site: Site, one: Visitor) -> None:
    """A text exchanged after the dialog was shown is refused."""
    first, second = drafts_of(site.settings)[:2]
    shown = one.post(
        f"/items/{first['example_id']}/signature-preview", {"output": "  Cough\r\nand fever. "}, page="/account"
    ).text
    assert ">Cough\nand fever.<" in shown
    assert "as I repaired it" in shown
    signed = one.signature(first, "Cough\nand fever.")["signed"]
    others = ((second, "Cough\nand fever."), (first, "Cough and fever."))
    for other in ("", *(one.signature(*of)["signed"] for of in others)):
        reply = one.approve(first, "Cough\nand fever.", signed=other)
        assert (reply.status_code, 'role="alert"' in reply.text) == (400, True)
    assert list_decisions(site.ledger) == []
    one.approve(first, "Cough\nand fever.")
    assert list_decisions(site.ledger)[0].approved_fingerprint == signed
    assert (
        "is empty"
        in one.post(f"/items/{second['example_id']}/signature-preview", {"output": " "}, page="/account").text
    )


def test_a_diff_of_a_long_rewritten_text_says_that_it_is_coarse(site: Site, one: Visitor) -> None:
    """The reviewer must know that parts shown as changed can contain unchanged words."""
    first = drafts_of(site.settings)[0]["example_id"]
    words = (f"word{number * 7919 % 10_007}{'.' if number % 9 == 0 else ''}" for number in range(33_000))
    one.get(f"/items/{first}")
    short, long = (
        one.post(f"/items/{first}/diff", {"output": text}, page="/account").text for text in ("Cough.", " ".join(words))
    )
    assert ("too much to compare every word" in short, "too much to compare every word" in long) == (False, True)


def test_a_text_too_long_to_check_says_so(site: Site, one: Visitor) -> None:
    """A missing flag must not look like a passed check."""
    first = drafts_of(site.settings)[0]["example_id"]
    one.get(f"/items/{first}")
    for count, is_checked in ((2, True), (2_000, False)):
        form = {"output": "He takes 77 mg. " * count}
        shown = one.post(f"/items/{first}/diff", form, page="/account").text.lower()
        assert ("number not in input" in shown, "not checked" in shown) == (is_checked, not is_checked)


def test_a_rejection_needs_a_reason_from_the_list(site: Site, one: Visitor) -> None:
    """Reasons are counted, so free text alone is not enough."""
    first = drafts_of(site.settings)[0]
    assert one.reject(first, reason_code="").status_code == 400
    assert one.reject(first, reason_code="other").status_code == 400
    assert one.reject(first, reason_code="wrong_value", reason="the days").status_code == 303
    assert state(site, first["example_id"]) == "rejected"


def test_opening_an_item_claims_it_and_others_see_by_whom(site: Site, one: Visitor, two: Visitor) -> None:
    """Only one person edits an item at a time; skipping frees it."""
    first = drafts_of(site.settings)[0]["example_id"]
    assert one.get(f"/items/{first}").status_code == 200
    taken = two.get(f"/items/{first}")
    assert taken.status_code == 409
    assert "Reviewer One has this item" in taken.text
    assert two.get("/queue/next").headers["location"] != f"/items/{first}"
    one.post(f"/items/{first}/skip", {}, page="/account")
    assert two.get(f"/items/{first}").status_code == 200


def test_two_reviewers_who_continue_at_once_get_different_items(one: Visitor, two: Visitor) -> None:
    """The address of the next item was chosen before it was claimed, so that the slower of them met a refusal."""
    start = Barrier(2)

    def open_next(visitor: Visitor) -> str:
        start.wait(20)
        return visitor.get("/queue/next").headers["location"].partition("?")[0]

    for _ in range(4):
        with ThreadPoolExecutor(2) as pool:
            places = list(pool.map(open_next, (one, two)))
        assert len(set(places)) == 2
        for visitor, place in zip((one, two), places, strict=True):
            assert visitor.get(place).status_code == 200
            visitor.post(f"{place}/skip", {}, page="/account")


def test_a_stale_decision_is_refused_and_the_text_is_kept(site: Site, one: Visitor, two: Visitor) -> None:
    """After another reviewer decided, an old tab can't overwrite the decision and keeps its text."""
    first = drafts_of(site.settings)[0]
    old = one.version(first["example_id"])
    one.post(f"/items/{first['example_id']}/skip", {}, page="/account")
    two.approve(first)
    form = {"decision": "approve", "output": "My own long text.", "meaning": "approve_repaired", "version": old}
    form |= one.signature(first, form["output"])
    reply = one.post(f"/items/{first['example_id']}/decide", form, page="/account")
    assert reply.status_code == 409
    assert "My own long text." in reply.text
    assert "a decision was recorded" in reply.text
    assert [decision.reviewer for decision in list_decisions(site.ledger)] == ["Reviewer Two"]
    again = one.post(f"/items/{first['example_id']}/reopen", {"output": "My own long text."}, page="/account")
    assert "State: approved" in again.text
    assert "My own long text." in again.text


def test_a_second_reviewer_sees_nothing_of_the_first(ward: Ward) -> None:
    """Blind on the item, in its history and in the queue."""
    site = ward(reviewers=2)
    for name in ("Reviewer One", "Reviewer Two"):
        site.add(name, "reviewer")
    first = drafts_of(site.settings)[0]
    one, two = site.signed_in("Reviewer One"), site.signed_in("Reviewer Two")
    one.approve(first, "Cough and fever for two days, repaired.")
    for path in (
        f"/items/{first['example_id']}",
        f"/items/{first['example_id']}/history",
        "/queue",
        "/queue?state=second_review",
    ):
        text = two.get(path).text
        assert "Reviewer One" not in text, path
        assert "repaired." not in text, path
    assert first["example_id"] not in listed(one)
    assert "You gave the first review" in one.get(f"/items/{first['example_id']}").text
    assert "Reviewer One" in one.get(f"/items/{first['example_id']}/history").text
    two.approve(first, "Cough and fever for two days, repaired.")
    assert state(site, first["example_id"]) == "approved"


def test_a_marked_item_is_withheld_at_once_and_returns_after_scrubbing(site: Site, one: Visitor) -> None:
    """It is not shown, approved or trained on meanwhile. No response repeats the term."""
    marked = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    item = f"/items/{marked['example_id']}"
    reply = one.post(f"{item}/mark", {"kind": "NAME", "term": MISSED}, page=item)
    assert reply.status_code == 303
    assert "notice=marked" in reply.headers["location"]
    assert MISSED not in reply.headers["location"]
    assert [(mark.kind, mark.marked_by) for mark in list_marks(site.ledger)] == [("NAME", "Reviewer One")]
    assert marked["example_id"] not in listed(one)
    held = one.get(item)
    assert held.status_code == 409
    assert "This item is withheld" in held.text
    assert MISSED not in held.text
    decide = {"decision": "approve", "output": "Half a repair.", "meaning": "approve_repaired", "version": "1"}
    late = one.post(f"{item}/decide", decide, page="/account")
    assert (late.status_code, "Half a repair." in late.text) == (409, True)
    assert list_decisions(site.ledger) == []
    scrub_again(site.settings, site.ledger, MISSED)
    assert len(listed(one)) == len(drafts_of(site.settings))


def test_a_copy_of_a_marked_report_is_withheld_under_any_subject(site: Site, one: Visitor) -> None:
    """The same words show the same identifier."""
    report_id = add_copy(site.settings, site.ledger)
    holding = [draft for draft in drafts_of(site.settings) if MISSED in draft["input"]]
    copy = next(draft for draft in holding if draft["report_id"] == report_id)
    original = next(draft for draft in holding if draft["report_id"] != report_id)
    item = f"/items/{original['example_id']}"
    assert one.post(f"{item}/mark", {"kind": "NAME", "term": MISSED}, page=item).status_code == 303
    held = one.get(f"/items/{copy['example_id']}")
    assert (held.status_code, MISSED in held.text) == (409, False)
    assert copy["example_id"] not in listed(one)
    scrub_again(site.settings, site.ledger, MISSED)
    assert len(listed(one)) == len(drafts_of(site.settings))


def test_an_item_with_a_marked_name_in_its_repair_is_withheld_until_the_decision_is_revoked(
    site: Site, one: Visitor, two: Visitor
) -> None:
    """Repairs are not scrubbed, so the next reviewer must not see the name."""
    holding = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    item = f"/items/{holding['example_id']}"
    one.post(f"{item}/mark", {"kind": "NAME", "term": MISSED}, page=item)
    scrub_again(site.settings, site.ledger, MISSED)
    draft = next(d for d in drafts_of(site.settings) if d["report_id"] == holding["report_id"])
    item = f"/items/{draft['example_id']}"
    assert one.approve(draft, f"Cough. Seen with {MISSED.lower()}.").status_code == 303
    held = two.get(item)
    assert (held.status_code, MISSED.lower() in held.text) == (409, False)
    (decision,) = list_decisions(site.ledger)
    assert (
        one.post(f"/decisions/{decision.decision_id}/revoke", {"reason": "a name"}, page="/account").status_code == 303
    )
    assert two.get(item).status_code == 200


def test_an_invalid_mark_is_refused_without_repeating_it_and_the_text_is_kept(site: Site, one: Visitor) -> None:
    """The message must not carry the selection into a log or a screenshot."""
    first = drafts_of(site.settings)[0]
    item = f"/items/{first['example_id']}"
    form = {"kind": "NAME", "term": "Zyxomarkwort", "output": "Half a repair."}
    reply = one.post(f"{item}/mark", form, page=item)
    assert reply.status_code == 400
    assert "Zyxomarkwort" not in reply.text
    assert "Half a repair." in reply.text
    assert list_marks(site.ledger) == []


@pytest.mark.parametrize("term", ["Otto Reiher", "Reiher", "otto", "Zyxomarkwort", INVENTED, "NAME", "[NAME]", "ough"])
def test_marking_reveals_nothing_about_the_raw_report(site: Site, one: Visitor, term: str) -> None:
    """Guesses must not reveal the raw report: the subject's real name gets the same response as an invented one."""
    first = drafts_of(site.settings)[0]
    item = f"/items/{first['example_id']}"
    answers = set()
    for guess in (term, "Zyxomarkwort"):
        reply = one.post(f"{item}/mark", {"kind": "NAME", "term": guess, "output": f"I typed {guess}"}, page="/account")
        answers.add((reply.status_code, re.search(r'role="alert">([^<]+)<', reply.text)[1]))  # type: ignore[index]
    assert len(answers) == 1
    assert list_marks(site.ledger) == []


def test_a_very_long_term_is_not_searched_for(site: Site, one: Visitor) -> None:
    """Searching for 800,000 characters took 13 seconds."""
    marked = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    item = f"/items/{marked['example_id']}"
    reply = one.post(f"{item}/mark", {"kind": "NAME", "term": f"{MISSED}{' ' * 500}"}, page="/account")
    assert (reply.status_code, "Nothing was marked" in reply.text) == (400, True)


def test_a_decided_item_can_still_be_marked(site: Site, one: Visitor, two: Visitor) -> None:
    """A later reader may be the first to notice the name. After a refused mark, the item is read-only."""
    marked = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    item = f"/items/{marked['example_id']}"
    one.approve(marked)
    assert "I see PHI here" in two.get(item).text
    refused = two.post(f"{item}/mark", {"kind": "NAME", "term": "Zyxomarkwort"}, page="/account").text
    assert "Nothing was marked" in refused
    assert "Sign and approve" not in refused
    assert two.post(f"{item}/mark", {"kind": "NAME", "term": MISSED}, page="/account").status_code == 303
    assert two.get(item).status_code == 409


def test_only_operators_see_file_names(ward: Ward) -> None:
    """File names often contain a subject's name, and report ids contain file names."""
    site = ward(reviewers=2)
    for role in ("reviewer", "approver", "auditor", "operator"):
        site.add(f"Some {role}", role)
    site.add("Reviewer Two", "reviewer")
    first = drafts_of(site.settings)[0]
    example_id, report_id = first["example_id"], first["report_id"]
    site.signed_in("Some reviewer").approve(first)
    site.signed_in("Reviewer Two").reject(first)
    paths = {"reviewer": [f"/items/{example_id}"], "approver": [f"/disagreements/{example_id}"]}
    for role in ("reviewer", "approver", "auditor", "operator"):
        visitor = site.signed_in(f"Some {role}")
        shown = "".join(visitor.get(path).text for path in [*paths.get(role, []), f"/items/{example_id}/history"])
        if role != "reviewer":
            shown += visitor.post("/subjects", {"subject_key": first["subject_key"]}, page="/subjects").text
        file = report_id.partition("/")[2]
        assert (report_id in shown, f"{int(file)}.txt" in shown) == (role == "operator",) * 2, role
        assert SOURCE in shown


def test_a_decision_can_be_revoked_only_by_its_author_or_an_approver(site: Site, one: Visitor, two: Visitor) -> None:
    """The item then waits again, and the reason is recorded."""
    first, second = drafts_of(site.settings)[:2]
    one.approve(first)
    one.approve(second)
    mine, other = (decision.decision_id for decision in list_decisions(site.ledger))
    assert two.post(f"/decisions/{mine}/revoke", {"reason": "no"}, page="/account").status_code == 403
    assert one.post(f"/decisions/{mine}/revoke", {"reason": " "}, page="/account").status_code == 400
    assert one.post(f"/decisions/{mine}/revoke", {"reason": "read it again"}, page="/account").status_code == 303
    approver = site.signed_in("Approver One")
    assert approver.post(f"/decisions/{other}/revoke", {"reason": "wrong"}, page="/account").status_code == 303
    assert [state(site, draft["example_id"]) for draft in (first, second)] == ["waiting", "waiting"]
    assert "revoked" in one.get("/decisions").text
    assert "read it again" in one.get(f"/items/{first['example_id']}/history").text


def test_only_a_third_person_can_adjudicate(ward: Ward) -> None:
    """Reviewers of the item can't adjudicate it."""
    site = ward(reviewers=2)
    for name, roles in {
        "Reviewer One": ["reviewer"],
        "Reviewer Two": ["reviewer", "approver"],
        "Third": ["approver"],
    }.items():
        site.add(name, *roles)
    first = drafts_of(site.settings)[0]
    example_id = first["example_id"]
    site.signed_in("Reviewer One").approve(first, "Cough and fever for two days.")
    second, third = site.signed_in("Reviewer Two"), site.signed_in("Third")
    second.reject(first)
    assert state(site, example_id) == "disagreement"
    assert example_id not in second.get("/disagreements").text
    assert example_id in third.get("/disagreements").text
    shown = third.get(f"/disagreements/{example_id}").text
    assert "Reviewer One" in shown
    assert "States something that the input does not" in shown
    version = re.search(r'name="version" value="(\d+)"', shown)
    assert version is not None
    settle = f"/disagreements/{example_id}/adjudicate"
    assert third.post(settle, {"choice": "7", "version": version[1]}, page="/account").status_code == 400
    assert third.post(settle, {"choice": "0", "version": version[1]}, page="/account").status_code == 303
    assert state(site, example_id) == "approved"
    last = list_decisions(site.ledger)[-1]
    assert (last.role, last.reviewer, last.output) == ("adjudicate", "Third", "Cough and fever for two days.")
    assert "29 %" not in site.signed_in("Third").get("/agreement").text


def test_no_report_text_appears_in_an_address_or_a_log(
    site: Site, one: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    """Browser histories and proxy logs contain addresses."""
    caplog.set_level("DEBUG")
    first = drafts_of(site.settings)[0]
    item = f"/items/{first['example_id']}"
    one.post(f"{item}/diff", {"output": "Zyxomarkwort"}, page=item)
    one.approve(first, "Zyxomarkwort in the output.")
    one.post(f"{item}/mark", {"kind": "NAME", "term": "Zyxomarkwort"}, page="/account")
    own = "\n".join(r.getMessage() for r in caplog.records if not r.name.startswith(("httpx", "httpcore")))
    assert "POST" in own
    for word in ("Zyxomarkwort", MISSED, "lisinopril", "Cough"):
        assert word not in own


def test_without_drafts_the_queue_is_empty_and_items_are_not_found(serve: Callable[..., Site]) -> None:
    """A new installation shows no error."""
    site = serve()
    site.add("Reviewer One", "reviewer")
    one = site.signed_in("Reviewer One")
    assert "The queue is empty" in one.get("/queue").text
    assert one.get("/items/0123456789abcdef").status_code == 404
    assert one.get("/items/..%2f..%2fkeys").status_code == 404
    assert one.get("/queue/next").headers["location"] == "/queue?notice=queue_empty"
    assert NOTICES["queue_empty"] in one.get("/queue?notice=queue_empty").text


def test_an_unavailable_ledger_is_reported_on_a_page(ward: Ward) -> None:
    """The page must show neither a traceback nor a failed sign-in."""
    site = ward()
    site.add("Reviewer One", "reviewer")
    one = site.signed_in("Reviewer One")
    _rename(site, "sessions", "sessions_away")
    reply = one.get("/queue")
    _rename(site, "sessions_away", "sessions")
    assert reply.status_code == 503
    assert "Go back and try again in a moment" in reply.text
    assert one.get("/queue").status_code == 200


def _rename(site: Site, old: str, new: str) -> None:
    with site.ledger.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")


def test_the_author_of_a_correction_can_only_read_its_draft(site: Site, one: Visitor, two: Visitor) -> None:
    """Authors can't approve their own corrections: the page says so, and the server refuses."""
    add_correction(site.settings, site.ledger, author="reviewer  ONE")
    draft = next(row for row in drafts_of(site.settings) if row["source"] == "correction")
    item = f"/items/{draft['example_id']}"
    assert draft["example_id"] not in listed(one)
    shown = one.get(item)
    assert "You wrote the correction" in shown.text
    assert "Sign and approve" not in shown.text
    two.get(item)
    two.post(f"{item}/skip", {}, page="/account")
    form = {
        "decision": "approve",
        "output": draft["output"],
        "meaning": "approve",
        "version": two.version(draft["example_id"]),
        **two.signature(draft, draft["output"]),
    }
    two.post(f"{item}/skip", {}, page="/account")
    assert one.post(f"{item}/decide", form, page="/account").status_code == 409
    assert list_decisions(site.ledger) == []
    marked = two.post(f"{item}/mark", {"kind": "NAME", "term": "Ask"}, page="/account")
    assert (marked.status_code, "has no report" in marked.text) == (400, True)
    assert two.approve(draft).status_code == 303


CORRECTED = {"answer": "Take two tablets.", "error_kind": "hallucination", "severity": "high"}


def test_the_draft_of_a_correction_shows_the_corrected_answer_and_its_error(site: Site, one: Visitor) -> None:
    """Whether the correction is right depends on what was wrong."""
    add_correction(site.settings, site.ledger, "ward-a", **CORRECTED)
    draft = next(row for row in drafts_of(site.settings) if row["source"] == "correction")
    shown = one.get(f"/items/{draft['example_id']}").text
    for word in (CORRECTED["answer"], ERROR_KINDS[CORRECTED["error_kind"]], "severity high"):
        assert word.lower() in shown.lower()
    other = next(row for row in drafts_of(site.settings) if row["source"] != "correction")
    assert "Severity" not in one.get(f"/items/{other['example_id']}").text


def test_a_correction_without_an_answer_or_error_says_so(site: Site, one: Visitor) -> None:
    """Users may send a correction without stating an error."""
    add_correction(site.settings, site.ledger, "ward-a")
    draft = next(row for row in drafts_of(site.settings) if row["source"] == "correction")
    shown = one.get(f"/items/{draft['example_id']}").text
    assert "The answer was not stored" in shown
    assert "Error not stated" in shown


def test_a_corrected_answer_with_a_marked_identifier_is_not_shown(site: Site, one: Visitor) -> None:
    """The answer is not part of the draft, so a mark does not withhold the draft because of it."""
    marked = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    one.post(f"/items/{marked['example_id']}/mark", {"kind": "NAME", "term": MISSED}, page="/account")
    answer = {**CORRECTED, "answer": f"Seen with {MISSED}.", "subject_key": marked["subject_key"]}
    add_correction(site.settings, site.ledger, "ward-a", **answer)
    draft = next(row for row in drafts_of(site.settings) if row["source"] == "correction")
    shown = one.get(f"/items/{draft['example_id']}")
    assert (shown.status_code, MISSED in shown.text) == (200, False)


def test_an_adjudicator_sees_the_corrected_answer_too(ward: Ward) -> None:
    """The third person decides on the same correction."""
    site = ward(reviewers=2)
    for name, role in (("One", "reviewer"), ("Two", "reviewer"), ("Chief", "approver")):
        site.add(name, role)
    add_correction(site.settings, site.ledger, "ward-a", **CORRECTED)
    draft = next(row for row in drafts_of(site.settings) if row["source"] == "correction")
    site.signed_in("One").approve(draft)
    site.signed_in("Two").reject(draft)
    shown = site.signed_in("Chief").get(f"/disagreements/{draft['example_id']}").text
    assert CORRECTED["answer"] in shown
    assert ERROR_KINDS[CORRECTED["error_kind"]].lower() in shown.lower()


def test_a_draft_contradicted_by_a_dropped_duplicate_shows_the_duplicate(site: Site, one: Visitor) -> None:
    """The reviewer must read both to decide which is right."""
    kept = add_dropped(site.settings, site.ledger, "No cough. Fever on the left side only, for 9 days.")
    draft = next(draft for draft in drafts_of(site.settings) if draft["report_id"] == kept)
    assert distinct_kinds(draft["flags"])[-1] == "contradiction"
    shown = one.get(f"/items/{draft['example_id']}").text
    assert "Dropped duplicate" in shown
    assert "Fever on the left side only" in shown
    assert "/near" not in shown, "an id can hold a patient's name"
    other = next(draft for draft in drafts_of(site.settings) if draft["report_id"] != kept)
    assert "Dropped duplicate" not in one.get(f"/items/{other['example_id']}").text


def test_a_dropped_duplicate_with_a_marked_identifier_is_not_shown(site: Site, one: Visitor) -> None:
    """It belongs to another subject, and that subject's marks withhold it."""
    kept = add_dropped(site.settings, site.ledger, f"No cough. Left side, seen with {MISSED} for 9 days.")
    draft = next(draft for draft in drafts_of(site.settings) if draft["report_id"] == kept)
    item = f"/items/{draft['example_id']}"
    assert MISSED in one.get(item).text
    record_mark(
        site.ledger,
        read_or_create_key(site.settings.layout.keys, KEY_NAME),
        report_id=f"{BATCH}/near",
        batch=BATCH,
        subject_key=fingerprint_text("patient of the near copy"),
        kind="NAME",
        term=MISSED,
        labelled_case="{}",
        marked_by="Reviewer Two",
    )
    shown = one.get(item).text
    assert "Dropped duplicate" in shown
    assert MISSED not in shown


@pytest.mark.parametrize("template", ["Use these.\n\n{passages}\n\nQuestion: {question}", None])
def test_a_draft_with_passages_shows_the_passages(site: Site, one: Visitor, template: str | None) -> None:
    """Approving states that the answer follows from the passages. An example without passages shows none."""
    passage = {
        "passage_id": "p1",
        "title": "Formulary",
        "source": "formulary.csv",
        "version": "7",
        "headings": ["Iron"],
    }
    passage |= {"text": "Ask the <pharmacist>.", "labels": ["everyone"]}
    add_correction(site.settings, site.ledger, "ward-a", [passage], template)
    draft = next(row for row in drafts_of(site.settings) if row["source"] == "correction")
    shown = one.get(f"/items/{draft['example_id']}").text
    beside = shown.partition('class="citations"')[2].partition("</ol>")[0]
    assert ("formulary.csv" in beside and "Ask the &lt;pharmacist&gt;." in beside) == (template is not None)
    assert ("&lt;document 1&gt;" in shown, "The answer was based on these passages" in shown) == (
        (template is not None),
    ) * 2
    assert 'id="h-report"' not in shown
    assert one.approve(draft).status_code == 303


def trusting(ward: Ward, **review: object) -> Site:
    """A desk with two reviewers whose recipe trusts the ward."""
    site = ward(fields={"trusted_sources": {SOURCE: "Experts of the ward"}}, **review)
    for name in ("Reviewer One", "Reviewer Two"):
        site.add(name, "reviewer")
    return site


def approved_outputs(site: Site) -> dict[str, str]:
    """Example id → output, of the examples that stage 4 approves."""
    recipe = load_recipe(site.settings.recipe)
    drafts = pq.read_table(site.settings.layout.table("drafted_examples"))
    drafts = conform(drafts, DraftedExample.SCHEMA)
    found = approve_examples(drafts, list_decisions(site.ledger), recipe.trusted_sources, recipe.review).approved
    return dict(zip(found["example_id"].to_pylist(), found["output"].to_pylist(), strict=True))


def test_a_trusted_draft_can_be_rejected_approved_or_repaired_like_others(ward: Ward) -> None:
    """A flag can be right about a trusted source: a wrong example must not stay approved because no decision can be revoked."""
    site = trusting(ward)
    one = site.signed_in("Reviewer One")
    wrong, repaired, right = (
        d for d in drafts_of(site.settings) if state(site, d["example_id"]) == "trusted" and d["flags"]
    )
    for draft in (wrong, repaired, right):
        assert draft["example_id"] in approved_outputs(site)
    one.reject(wrong)
    one.approve(repaired, "Cough and fever for two days.")
    one.approve(right)
    assert [state(site, draft["example_id"]) for draft in (wrong, repaired, right)] == [
        "rejected",
        "approved",
        "approved",
    ]
    approved = approved_outputs(site)
    assert wrong["example_id"] not in approved
    assert approved[repaired["example_id"]] == "Cough and fever for two days."
    assert approved[right["example_id"]] == right["output"]


def test_the_next_item_of_a_filter_for_trusted_drafts_is_a_trusted_draft(ward: Ward) -> None:
    """Without the filter, only drafts that wait for a decision are offered."""
    site = trusting(ward)
    one = site.signed_in("Reviewer One")
    trusted = [d["example_id"] for d in drafts_of(site.settings) if state(site, d["example_id"]) == "trusted"]
    opened = one.get("/queue/next?state=trusted").headers["location"]
    assert opened == f"/items/{trusted[0]}?state=trusted"
    assert one.get("/queue/next").headers["location"] == "/queue?notice=queue_empty"


def test_a_trusted_draft_with_a_revoked_decision_is_reviewed_blindly_again(ward: Ward) -> None:
    """Of two independent reviewers, the second must not learn what the first decided and revoked."""
    site = trusting(ward, reviewers=2)
    one, two = site.signed_in("Reviewer One"), site.signed_in("Reviewer Two")
    draft = next(d for d in drafts_of(site.settings) if state(site, d["example_id"]) == "trusted")
    one.reject(draft)
    assert (state(site, draft["example_id"]), draft["example_id"] in approved_outputs(site)) == ("second_review", False)
    (decision,) = list_decisions(site.ledger)
    revoked = one.post(f"/decisions/{decision.decision_id}/revoke", {"reason": "mistake"}, page="/account")
    # It does not wait for review again, which the usual message says.
    assert revoked.headers["location"] == "/decisions?notice=trusted_again"
    assert state(site, draft["example_id"]) == "trusted"
    assert "Reviewer One" in one.get(f"/items/{draft['example_id']}/history").text
    assert "Reviewer One" not in two.get(f"/items/{draft['example_id']}/history").text


def test_all_flagged_drafts_of_a_trusted_source_wait_if_the_recipe_says_so(ward: Ward) -> None:
    """`all` includes the kinds of flag that a later version adds."""
    site = ward(fields={"trusted_sources": {SOURCE: "Experts of the ward"}, "reviewed_flags": "all"})
    states = {bool(draft["flags"]): state(site, draft["example_id"]) for draft in drafts_of(site.settings)}
    assert states == {True: "waiting", False: "trusted"}


def crumb_links(page: str) -> list[str]:
    head = re.search(r'<div class="(?:crumbs|head)">.*?</div>', page, re.DOTALL)
    assert head is not None
    return re.findall(r'href="([^"]+)"', head[0])


def test_the_history_links_only_to_pages_that_the_user_may_open(ward: Ward) -> None:
    """Approvers, operators and auditors read the history but do not review; an approver adjudicates on another page."""
    site = ward(reviewers=2)
    for name, role in (
        ("One", "reviewer"),
        ("Two", "reviewer"),
        ("Chief", "approver"),
        ("Olga", "operator"),
        ("Ada", "auditor"),
    ):
        site.add(name, role)
    one, two, chief, *others = (site.signed_in(name) for name in ("One", "Two", "Chief", "Olga", "Ada"))
    first, second = (draft["example_id"] for draft in drafts_of(site.settings)[:2])
    one.approve(drafts_of(site.settings)[0])
    two.reject(drafts_of(site.settings)[0])
    assert crumb_links(one.get(f"/items/{second}/history").text) == [f"/items/{second}"]
    assert crumb_links(chief.get(f"/items/{first}/history").text) == [f"/disagreements/{first}"]
    assert chief.get(f"/disagreements/{first}").status_code == 200
    for visitor in (chief, *others):
        assert crumb_links(visitor.get(f"/items/{second}/history").text) == []
    scrub_again(site.settings, site.ledger, "lisinopril")
    removed = next(i for i in (first, second) if i not in {draft["example_id"] for draft in drafts_of(site.settings)})
    assert crumb_links(one.get(f"/items/{removed}/history").text) == []
