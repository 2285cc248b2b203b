"""Reviewing over HTTP: the queue, one item, deciding, and that two people never overwrite each other."""

import re
from collections.abc import Callable

import pytest

from fine_tune_assets.approval.flags import kinds_of
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.reviews.missed_identifiers import list_marks, record_mark
from fine_tune_assets.ledger.reviews.review_items import find_item
from fine_tune_assets.ledger.reviews.reviews import list_decisions
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


def test_the_queue_lists_what_waits_the_most_flagged_first(site: Site, one: Visitor) -> None:
    """Reviewers' time goes where the doubt is."""
    assert listed(one) == [draft["example_id"] for draft in drafts_of(site.settings)]


def test_filters_narrow_the_list_and_an_unknown_value_is_no_error(site: Site, one: Visitor) -> None:
    """A link from a mail of last month must not break."""
    kind = "number not in input: "
    flagged = [d["example_id"] for d in drafts_of(site.settings) if any(flag.startswith(kind) for flag in d["flags"])]
    assert listed(one, "/queue?flag=number+not+in+input") == flagged
    assert listed(one, "/queue?task=chief_complaint&source=" + SOURCE + "&state=waiting&age=new") == listed(one)
    assert "Nothing matches" in one.get("/queue?task=other").text
    assert "Nothing matches" in one.get("/queue?age=7").text
    assert one.get("/queue?state=x&age=x&after=x&mine=x").status_code == 200
    assert listed(one, "/queue?mine=yes") == []
    one.get(f"/items/{flagged[0]}")
    assert listed(one, "/queue?mine=yes") == [flagged[0]]


def test_a_long_queue_comes_in_parts_without_a_gap_or_a_repeat(ward: Ward) -> None:
    """Keyset paging: what is decided meanwhile moves nothing."""
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
    """Who, when, what exactly, and what the signature means."""
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
    assert any(line.who == "Reviewer One" and line.what == "decided approve" for line in audit.lines(site.ledger))


def test_a_repair_is_kept_as_typed_and_line_ends_of_a_browser_are_no_repair(site: Site, one: Visitor) -> None:
    """Browsers send CR LF; the draft has LF."""
    first, second = drafts_of(site.settings)[:2]
    one.approve(first, "Cough and fever\r\nfor two days.")
    one.approve(second)
    assert [decision.output for decision in list_decisions(site.ledger)] == ["Cough and fever\nfor two days.", None]


def test_what_is_marked_in_a_repaired_text_is_what_that_text_says(ward: Ward) -> None:
    """The number that the first reviewer put right is no fault any more; the one that they brought in is."""
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
    assert "as somebody repaired it" in two.get(item).text
    assert marked(two.get(item).text) == {"39.9"}


def marked(page: str) -> set[str]:
    """What is marked itself, not only for its sentence: the first number of it."""
    found = re.findall(r'<mark title="[^"]*">(?:<ins>)?([^<]*)', page)
    return {number[0] for text in found if (number := re.search(r"[\d.]+\d|\d", text))}


def test_what_was_signed_must_be_what_is_decided(site: Site, one: Visitor) -> None:
    """Signed "as drafted" for another text: nothing is recorded, and the text is still on the page."""
    first = drafts_of(site.settings)[0]
    reply = one.approve(first, "Cough for two days.", meaning="approve")
    assert reply.status_code == 400
    assert "Cough for two days." in reply.text
    assert list_decisions(site.ledger) == []


def test_an_approval_names_the_fingerprint_of_the_text_that_was_shown(site: Site, one: Visitor) -> None:
    """The text in the dialog is the text that is recorded: one that was exchanged on its way is not."""
    first, second = drafts_of(site.settings)[:2]
    shown = one.post(
        f"/items/{first['example_id']}/signing", {"output": "  Cough\r\nand fever. "}, page="/account"
    ).text
    assert ">Cough\nand fever.<" in shown
    assert "as I repaired it" in shown
    signed = one.signed(first, "Cough\nand fever.")
    for other in ("", one.signed(second, "Cough\nand fever."), one.signed(first, "Cough and fever.")):
        reply = one.approve(first, "Cough\nand fever.", signed=other)
        assert (reply.status_code, "not the text that was shown" in reply.text) == (400, True)
    assert list_decisions(site.ledger) == []
    one.approve(first, "Cough\nand fever.")
    assert list_decisions(site.ledger)[0].approved_fingerprint == signed
    assert "is empty" in one.post(f"/items/{second['example_id']}/signing", {"output": " "}, page="/account").text


def test_a_diff_of_a_long_text_that_was_written_anew_says_that_it_is_coarse(site: Site, one: Visitor) -> None:
    """Whole parts stand there as removed and added: the reviewer must not take them for what was changed."""
    first = drafts_of(site.settings)[0]["example_id"]
    words = (f"word{number * 7919 % 10_007}{'.' if number % 9 == 0 else ''}" for number in range(33_000))
    one.get(f"/items/{first}")
    short, long = (
        one.post(f"/items/{first}/diff", {"output": text}, page="/account").text for text in ("Cough.", " ".join(words))
    )
    assert ("too much to compare every word" in short, "too much to compare every word" in long) == (False, True)


def test_a_text_that_is_too_long_to_be_checked_says_so(site: Site, one: Visitor) -> None:
    """No flag must not be taken for no fault."""
    first = drafts_of(site.settings)[0]["example_id"]
    one.get(f"/items/{first}")
    for count, is_checked in ((2, True), (2_000, False)):
        form = {"output": "He takes 77 mg. " * count}
        shown = one.post(f"/items/{first}/diff", form, page="/account").text
        assert ("number not in input" in shown, "not checked" in shown) == (is_checked, not is_checked)


def test_a_rejection_needs_a_reason_from_the_list(site: Site, one: Visitor) -> None:
    """Free text alone can't be counted."""
    first = drafts_of(site.settings)[0]
    assert one.reject(first, reason_code="").status_code == 400
    assert one.reject(first, reason_code="other").status_code == 400
    assert one.reject(first, reason_code="wrong_value", reason="the days").status_code == 303
    assert state(site, first["example_id"]) == "rejected"


def test_who_opens_an_item_has_it_and_the_other_is_told_by_whom(site: Site, one: Visitor, two: Visitor) -> None:
    """Two people never edit one item; skipping frees it."""
    first = drafts_of(site.settings)[0]["example_id"]
    assert one.get(f"/items/{first}").status_code == 200
    taken = two.get(f"/items/{first}")
    assert taken.status_code == 409
    assert "Reviewer One has this item" in taken.text
    assert two.get("/queue/next").headers["location"] != f"/items/{first}"
    one.post(f"/items/{first}/skip", {}, page="/account")
    assert two.get(f"/items/{first}").status_code == 200


def test_a_decision_about_an_older_state_is_refused_and_the_text_is_kept(
    site: Site, one: Visitor, two: Visitor
) -> None:
    """The tab that was left open over lunch: the other's decision stands, and nothing that was typed is lost."""
    first = drafts_of(site.settings)[0]
    old = one.version(first["example_id"])
    one.post(f"/items/{first['example_id']}/skip", {}, page="/account")
    two.approve(first)
    form = {"decision": "approve", "output": "My own long text.", "meaning": "approve_repaired", "version": old}
    form["signed"] = one.signed(first, form["output"])
    reply = one.post(f"/items/{first['example_id']}/decide", form, page="/account")
    assert reply.status_code == 409
    assert "My own long text." in reply.text
    assert "Reviewer Two decided" in reply.text
    assert [decision.reviewer for decision in list_decisions(site.ledger)] == ["Reviewer Two"]
    again = one.post(f"/items/{first['example_id']}/open", {"output": "My own long text."}, page="/account")
    assert "This item is approved" in again.text
    assert "My own long text." in again.text


def test_a_second_reviewer_sees_nothing_of_the_first(ward: Ward) -> None:
    """Blind: not on the item, not in its history, not in the queue."""
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
    assert "You gave the first look" in one.get(f"/items/{first['example_id']}").text
    assert "Reviewer One" in one.get(f"/items/{first['example_id']}/history").text
    two.approve(first, "Cough and fever for two days, repaired.")
    assert state(site, first["example_id"]) == "approved"


def test_what_is_marked_as_phi_leaves_at_once_and_comes_back_when_it_was_scrubbed(site: Site, one: Visitor) -> None:
    """From the click on nobody sees, approves or trains on it. The term itself is in no answer but the dialog's own page."""
    marked = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    item = f"/items/{marked['example_id']}"
    reply = one.post(f"{item}/mark", {"kind": "NAME", "term": MISSED}, page=item)
    assert reply.status_code == 303
    assert "said=marked" in reply.headers["location"]
    assert MISSED not in reply.headers["location"]
    assert [(mark.kind, mark.marked_by) for mark in list_marks(site.ledger)] == [("NAME", "Reviewer One")]
    assert marked["example_id"] not in listed(one)
    held = one.get(item)
    assert held.status_code == 409
    assert "held back" in held.text
    assert MISSED not in held.text
    decide = {"decision": "approve", "output": "Half a repair.", "meaning": "approve_repaired", "version": "1"}
    late = one.post(f"{item}/decide", decide, page="/account")
    assert (late.status_code, "Half a repair." in late.text) == (409, True)
    assert list_decisions(site.ledger) == []
    scrub_again(site.settings, site.ledger, MISSED)
    assert len(listed(one)) == len(drafts_of(site.settings))


def test_a_copy_of_a_marked_report_leaves_with_it_whoever_it_is_filed_under(site: Site, one: Visitor) -> None:
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


def test_a_marked_name_that_a_reviewer_types_holds_the_item_back_until_the_decision_is_revoked(
    site: Site, one: Visitor, two: Visitor
) -> None:
    """What a person types is scrubbed by nobody; the next one to look must not read it."""
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


def test_a_mark_that_can_not_be_is_refused_without_repeating_it_and_the_text_is_kept(site: Site, one: Visitor) -> None:
    """An invented name is nobody's; the message must not carry what was selected into a log or a screenshot."""
    first = drafts_of(site.settings)[0]
    item = f"/items/{first['example_id']}"
    form = {"kind": "NAME", "term": "Zyxomarkwort", "output": "Half a repair."}
    reply = one.post(f"{item}/mark", form, page=item)
    assert reply.status_code == 400
    assert "Zyxomarkwort" not in reply.text
    assert "Half a repair." in reply.text
    assert list_marks(site.ledger) == []


@pytest.mark.parametrize("term", ["Otto Reiher", "Reiher", "otto", "Zyxomarkwort", INVENTED, "NAME", "[NAME]", "ough"])
def test_marking_tells_nothing_of_what_the_report_does_not_show(site: Site, one: Visitor, term: str) -> None:
    """The raw report is not to be read guess by guess: the patient's own name gets the answer that a made-up one gets."""
    first = drafts_of(site.settings)[0]
    item = f"/items/{first['example_id']}"
    answers = set()
    for guess in (term, "Zyxomarkwort"):
        reply = one.post(f"{item}/mark", {"kind": "NAME", "term": guess, "output": f"I typed {guess}"}, page="/account")
        answers.add((reply.status_code, re.search(r'role="alert">([^<]+)<', reply.text)[1]))  # type: ignore[index]
    assert len(answers) == 1
    assert list_marks(site.ledger) == []


def test_a_term_as_long_as_a_book_is_not_searched_for(site: Site, one: Visitor) -> None:
    """Looking for 800,000 characters took 13 seconds of the server."""
    marked = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    item = f"/items/{marked['example_id']}"
    reply = one.post(f"{item}/mark", {"kind": "NAME", "term": f"{MISSED}{' ' * 500}"}, page="/account")
    assert (reply.status_code, "Nothing was marked" in reply.text) == (400, True)


def test_an_item_that_is_decided_can_still_be_marked(site: Site, one: Visitor, two: Visitor) -> None:
    """Whoever reads it later may be the first to see the name. What is refused is shown to read only."""
    marked = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    item = f"/items/{marked['example_id']}"
    one.approve(marked)
    assert "I see PHI here" in two.get(item).text
    refused = two.post(f"{item}/mark", {"kind": "NAME", "term": "Zyxomarkwort"}, page="/account").text
    assert "Nothing was marked" in refused
    assert "Sign and approve" not in refused
    assert two.post(f"{item}/mark", {"kind": "NAME", "term": MISSED}, page="/account").status_code == 303
    assert two.get(item).status_code == 409


def test_the_name_of_a_file_is_for_those_who_handle_the_files(ward: Ward) -> None:
    """A file is often called as its patient is, and a report's id is made of it."""
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
            shown += visitor.post("/patients", {"patient_key": first["patient_key"]}, page="/patients").text
        file = report_id.partition("/")[2]
        assert (report_id in shown, f"{int(file)}.txt" in shown) == (role == "operator",) * 2, role
        assert SOURCE in shown


def test_only_the_own_decision_or_an_approver_can_take_it_back(site: Site, one: Visitor, two: Visitor) -> None:
    """And then it waits again, with the reason on record."""
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


def test_a_disagreement_is_settled_by_a_third_person_only(ward: Ward) -> None:
    """Both texts side by side; who took part can't settle it."""
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
    assert "States something that the input does not say" in shown
    version = re.search(r'name="version" value="(\d+)"', shown)
    assert version is not None
    settle = f"/disagreements/{example_id}/settle"
    assert third.post(settle, {"choice": "7", "version": version[1]}, page="/account").status_code == 400
    assert third.post(settle, {"choice": "0", "version": version[1]}, page="/account").status_code == 303
    assert state(site, example_id) == "approved"
    last = list_decisions(site.ledger)[-1]
    assert (last.role, last.reviewer, last.output) == ("adjudicate", "Third", "Cough and fever for two days.")
    assert "29 %" not in site.signed_in("Third").get("/agreement").text


def test_nothing_of_a_report_stands_in_an_address_or_a_log(
    site: Site, one: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    """Addresses are in the browser's history and in every proxy's log."""
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


def test_without_drafts_there_is_an_empty_queue_and_a_gone_item_says_so(serve: Callable[..., Site]) -> None:
    """The first day of an installation is no error."""
    site = serve()
    site.add("Reviewer One", "reviewer")
    one = site.signed_in("Reviewer One")
    assert "Nothing waits" in one.get("/queue").text
    assert one.get("/items/0123456789abcdef").status_code == 404
    assert one.get("/items/..%2f..%2fkeys").status_code == 404
    assert "Nothing is left here" in one.get(one.get("/queue/next").headers["location"]).text


def test_a_ledger_that_is_away_is_said_on_a_page(ward: Ward) -> None:
    """Not a traceback, and not "wrong password"."""
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


def test_who_wrote_the_correction_can_only_read_its_draft(site: Site, one: Visitor, two: Visitor) -> None:
    """Nobody approves what they wrote themselves: the page says so before they try, and refuses if they do."""
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
        "signed": two.signed(draft, draft["output"]),
    }
    two.post(f"{item}/skip", {}, page="/account")
    assert one.post(f"{item}/decide", form, page="/account").status_code == 409
    assert list_decisions(site.ledger) == []
    marked = two.post(f"{item}/mark", {"kind": "NAME", "term": "Ask"}, page="/account")
    assert (marked.status_code, "has no report" in marked.text) == (400, True)
    assert two.approve(draft).status_code == 303


def test_a_draft_that_a_dropped_near_copy_contradicts_shows_what_that_one_says(site: Site, one: Visitor) -> None:
    """Which of the two is right, a person can only say who reads both."""
    kept = add_dropped(site.settings, site.ledger, "No cough. Fever on the left side only, for 9 days.")
    draft = next(draft for draft in drafts_of(site.settings) if draft["report_id"] == kept)
    assert kinds_of(draft["flags"])[-1] == "contradiction"
    shown = one.get(f"/items/{draft['example_id']}").text
    assert "Dropped as nearly the same" in shown
    assert "Fever on the left side only" in shown
    assert "/near" not in shown, "an id can hold a patient's name"
    other = next(draft for draft in drafts_of(site.settings) if draft["report_id"] != kept)
    assert "Dropped as nearly the same" not in one.get(f"/items/{other['example_id']}").text


def test_a_dropped_near_copy_with_a_marked_identifier_is_not_shown(site: Site, one: Visitor) -> None:
    """It belongs to another patient, whose marks hold it back everywhere."""
    kept = add_dropped(site.settings, site.ledger, f"No cough. Left side, seen with {MISSED} for 9 days.")
    draft = next(draft for draft in drafts_of(site.settings) if draft["report_id"] == kept)
    item = f"/items/{draft['example_id']}"
    assert MISSED in one.get(item).text
    record_mark(
        site.ledger,
        read_or_create_key(site.settings.layout.keys, KEY_NAME),
        report_id=f"{BATCH}/near",
        batch=BATCH,
        patient_key=fingerprint_text("patient of the near copy"),
        kind="NAME",
        term=MISSED,
        labelled_case="{}",
        marked_by="Reviewer Two",
    )
    shown = one.get(item).text
    assert "Dropped as nearly the same" in shown
    assert MISSED not in shown


@pytest.mark.parametrize("template", ["Use these.\n\n{passages}\n\nQuestion: {question}", None])
def test_a_draft_with_passages_shows_the_documents_beside_what_is_trained(
    site: Site, one: Visitor, template: str | None
) -> None:
    """Who approves says that the answer follows from them. Where the example is without them they are not shown."""
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
    assert ("&lt;document 1&gt;" in shown, "stand before the question" in shown) == ((template is not None),) * 2
    assert ("there is no report behind it" in shown) == (template is None)
    assert one.approve(draft).status_code == 303
