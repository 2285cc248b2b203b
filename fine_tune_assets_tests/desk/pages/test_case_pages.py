"""Identical cases decided together: each gate of a single decision closes for each case."""

import html
import re
from typing import Any

import pytest

from fine_tune_assets.approval.case_signatures import MAX_CASES
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets.ledger.reviews.review_items import find_item
from fine_tune_assets_tests.desk.conftest import Site, Visitor
from fine_tune_assets_tests.desk.installation import BATCH, COMPLAINTS, MISSED, add_correction, drafts_of
from fine_tune_assets_tests.desk.pages.case_forms import Ward, cases_with, path_of, read_form, sign, site

__all__ = ["site"]

PLAIN, FLAGGED = COMPLAINTS[4], COMPLAINTS[0]


@pytest.fixture
def one(site: Site) -> Visitor:
    return site.signed_in("Reviewer One")


def decided(site: Site) -> dict[str, str]:
    return {made.example_id: made.decision for made in list_decisions(site.ledger)}


def state(site: Site, draft: dict[str, Any]) -> str:
    item = find_item(site.ledger, draft["example_id"])
    assert item is not None
    return item.state


def test_one_signature_records_a_decision_for_each_ticked_case(site: Site, one: Visitor) -> None:
    """Each with the fingerprint of its own content. What is not ticked stays unread, and open."""
    cases = cases_with(site, PLAIN)
    page = one.get(path_of(cases[0])).text
    assert all(case["fingerprint"][:16] in page and html.escape(case["input"]) in page for case in cases)
    ticked, unread = cases[:3], cases[3:]
    reply = sign(one, cases[0], [case["example_id"] for case in ticked])
    assert reply.status_code == 303
    made = list_decisions(site.ledger)
    assert [(d.example_id, d.approved_fingerprint) for d in made] == [
        (case["example_id"], case["fingerprint"]) for case in ticked
    ]
    assert {(d.reviewer, d.output, d.decision) for d in made} == {("Reviewer One", None, "approve")}
    assert all("right as drafted" in d.meaning for d in made)
    assert [state(site, case) for case in unread] == ["waiting"] * len(unread)


def test_a_rejection_of_cases_needs_a_reason(site: Site, one: Visitor) -> None:
    """As for a single item."""
    cases = cases_with(site, PLAIN)
    read = [case["example_id"] for case in cases]
    assert sign(one, cases[0], read, meaning="reject").status_code == 400
    assert decided(site) == {}
    assert sign(one, cases[0], read, meaning="reject", reason_code="style", reason="too short").status_code == 303
    assert decided(site) == dict.fromkeys(read, "reject")
    assert {d.reason_code for d in list_decisions(site.ledger)} == {"style"}


def test_an_approval_with_a_reason_to_reject_is_refused(site: Site, one: Visitor) -> None:
    """The Enter key in the list of reasons presses the first button of the form, which approves."""
    cases = cases_with(site, PLAIN)
    assert sign(one, cases[0], [cases[0]["example_id"]], reason_code="unsafe").status_code == 400
    assert decided(site) == {}


def test_a_signature_without_a_ticked_case_records_nothing(site: Site, one: Visitor) -> None:
    """An input that was not read is not part of a signature."""
    assert sign(one, cases_with(site, PLAIN)[0], []).status_code == 400
    assert decided(site) == {}


def test_every_flag_has_to_be_checked(site: Site, one: Visitor) -> None:
    """And the ticked cases stay ticked after the refusal."""
    cases = cases_with(site, FLAGGED)
    assert cases[0]["flags"]
    read = [case["example_id"] for case in cases]
    refused = sign(one, cases[0], read, acknowledged=cases[0]["flags"][1:])
    assert (refused.status_code, refused.text.count('name="read"'), refused.text.count(" checked> I read")) == (
        400,
        len(read),
        len(read),
    )
    assert decided(site) == {}
    assert sign(one, cases[0], read).status_code == 303
    assert set(decided(site)) == set(read)


def test_the_audit_log_counts_flags_of_the_signed_text_not_fields_of_the_form(site: Site, one: Visitor) -> None:
    """A value that is no flag is refused, and a repeated one counts once."""
    case = cases_with(site, FLAGGED)[0]
    flags, read = list(case["flags"]), [case["example_id"]]
    assert sign(one, case, read, acknowledged=[*flags, "Zyxomarkwort: of a report"]).status_code == 400
    assert decided(site) == {}
    assert sign(one, case, read, acknowledged=flags * 3).status_code == 303
    noun = "flag" if len(flags) == 1 else "flags"
    assert f"; {len(flags)} {noun} acknowledged: " in audit.list_entries(site.ledger)[-1].resource


def test_a_changed_case_is_refused_and_named_while_the_others_are_recorded(site: Site, one: Visitor) -> None:
    """Another reviewer opened one of them in the meantime."""
    cases = cases_with(site, PLAIN)
    taken = cases[1]["example_id"]
    form = read_form(one.get(path_of(cases[0])).text)
    site.signed_in("Reviewer Two").get(f"/items/{taken}")
    reply = sign(one, cases[0], [case["example_id"] for case in cases], **form)
    assert (reply.status_code, re.findall(r'<li><a class="id" href="/items/(\w+)', reply.text)) == (409, [taken])
    assert set(decided(site)) == {case["example_id"] for case in cases} - {taken}


def test_the_cases_are_shown_while_the_table_of_their_reports_is_damaged(site: Site, one: Visitor) -> None:
    """It only gives the numbers of the reports."""
    case = cases_with(site, PLAIN)[0]
    site.settings.layout.table("scrubbed_reports", BATCH).write_bytes(b"damaged")
    assert one.get(path_of(case)).status_code == 200
    one.approve(case)
    assert one.get("/decisions").status_code == 200


def test_a_forged_fingerprint_is_refused(site: Site, one: Visitor) -> None:
    """The fingerprint of another case, or none, is not the content that was shown."""
    cases = cases_with(site, PLAIN)
    first, second = cases[0]["example_id"], cases[1]["example_id"]
    for forged in ("", cases[1]["fingerprint"], "0" * 64):
        assert sign(one, cases[0], [first], **{f"signed_{first}": forged}).status_code == 409
    assert decided(site) == {}
    assert sign(one, cases[0], [first, second], **{f"signed_{first}": ""}).status_code == 409
    assert list(decided(site)) == [second]


def test_an_item_that_is_no_identical_case_is_refused(site: Site, one: Visitor) -> None:
    """Another output, and a correction, even with their correct fingerprints and versions."""
    add_correction(site.settings, site.ledger, "ward-a", output=PLAIN)
    case, other = cases_with(site, PLAIN)[1], cases_with(site, COMPLAINTS[5])[0]
    correction = next(draft for draft in drafts_of(site.settings) if draft["source"] == "correction")
    for foreign in (other, correction):
        item = find_item(site.ledger, foreign["example_id"])
        assert item is not None
        form = {f"version_{item.example_id}": str(item.version), f"signed_{item.example_id}": foreign["fingerprint"]}
        assert sign(one, case, [item.example_id], **form).status_code == 409
    assert decided(site) == {}


def test_a_correction_is_never_decided_together_with_others(site: Site, one: Visitor) -> None:
    """Its author, answer and error are part of its review."""
    add_correction(site.settings, site.ledger, "ward-a", output=PLAIN)
    correction = next(draft for draft in drafts_of(site.settings) if draft["source"] == "correction")
    page = one.get(path_of(correction))
    assert (page.status_code, read_form(page.text)) == (200, {})
    assert f"version_{correction['example_id']}" not in read_form(one.get(path_of(cases_with(site, PLAIN)[0])).text)


def test_a_withheld_case_is_neither_shown_nor_decided(site: Site, one: Visitor) -> None:
    """Its identifier may be in any of the texts."""
    cases = cases_with(site, FLAGGED)
    marked = next(draft for draft in cases if MISSED in draft["input"])
    others = [draft["example_id"] for draft in cases if draft is not marked]
    form = read_form(one.get(path_of(marked)).text)
    path = f"/items/{marked['example_id']}"
    assert one.post(f"{path}/mark", {"kind": "NAME", "term": MISSED}, page=path).status_code == 303
    page = one.get(path_of(cases[-1])).text
    assert (MISSED in page, marked["example_id"] in "".join(read_form(page))) == (False, False)
    reply = sign(one, cases[-1], [marked["example_id"], *others], **form)
    assert reply.status_code == 409
    assert MISSED not in reply.text
    assert marked["example_id"] not in decided(site)


def test_no_one_gives_the_second_review_of_cases(ward: Ward) -> None:
    """Only waiting drafts are offered, and the server refuses the others."""
    site = ward(count=2 * len(COMPLAINTS), reviewers=2)
    site.add("Reviewer One", "reviewer")
    one, (first, second) = site.signed_in("Reviewer One"), cases_with(site, PLAIN)
    assert sign(one, first, [first["example_id"]]).status_code == 303
    assert state(site, first) == "second_review"
    assert set(read_form(one.get(path_of(first)).text)) == {
        f"{f}_{second['example_id']}" for f in ("version", "signed")
    }
    item = find_item(site.ledger, first["example_id"])
    assert item is not None
    form = {f"version_{item.example_id}": str(item.version), f"signed_{item.example_id}": first["fingerprint"]}
    site.add("Reviewer Two", "reviewer")
    for reviewer in (one, site.signed_in("Reviewer Two")):
        assert sign(reviewer, first, [item.example_id], **form).status_code == 409
    assert len(list_decisions(site.ledger)) == 1


def test_a_second_review_has_no_link_to_the_cases_that_wait_for_a_first_one(ward: Ward) -> None:
    """The page behind it would not list the item."""
    site = ward(count=3 * len(COMPLAINTS), reviewers=2)
    for name in ("Reviewer One", "Reviewer Two"):
        site.add(name, "reviewer")
    first, *others = cases_with(site, PLAIN)
    site.signed_in("Reviewer One").approve(first)
    two = site.signed_in("Reviewer Two")
    assert path_of(first) not in two.get(f"/items/{first['example_id']}").text
    assert path_of(others[0]) in two.get(f"/items/{others[0]['example_id']}").text


def test_a_signature_covers_a_limited_number_of_cases(ward: Ward) -> None:
    """A person does not read more inputs than that in one go."""
    site = ward(count=(MAX_CASES + 1) * len(COMPLAINTS))
    site.add("Reviewer One", "reviewer")
    one, cases = site.signed_in("Reviewer One"), cases_with(site, PLAIN)
    form = read_form(one.get(path_of(cases[0])).text)
    assert len(form) == 2 * MAX_CASES
    left = next(case for case in cases if f"version_{case['example_id']}" not in form)
    assert sign(one, cases[0], [case["example_id"] for case in cases]).status_code == 400
    assert decided(site) == {}
    reply = sign(one, cases[0], [name.removeprefix("signed_") for name in form if name.startswith("signed_")])
    assert (reply.status_code, set(decided(site))) == (303, {c["example_id"] for c in cases if c is not left})


def test_only_reviewers_decide_cases(site: Site, one: Visitor) -> None:
    """Other roles neither read nor sign inputs."""
    case = cases_with(site, PLAIN)[0]
    form = {**read_form(one.get(path_of(case)).text), "read": case["example_id"], "meaning": "approve"}
    approver = site.signed_in("Approver One")
    assert approver.get(path_of(case)).status_code == 403
    assert approver.post(f"{path_of(case)}/decide", form, page="/account").status_code == 403
    assert decided(site) == {}


def test_the_page_of_an_item_leads_to_its_identical_cases(site: Site, one: Visitor) -> None:
    case = cases_with(site, PLAIN)[0]
    assert f'href="{path_of(case)}"' in one.get(f"/items/{case['example_id']}").text


def test_the_audit_log_counts_the_flags_that_were_acknowledged_for_each_case(site: Site, one: Visitor) -> None:
    cases = cases_with(site, FLAGGED)[:2]
    assert sign(one, cases[0], [case["example_id"] for case in cases]).status_code == 303
    counted = [entry.resource for entry in audit.list_entries(site.ledger) if "acknowledged" in entry.resource]
    assert len(counted) == 2
    assert not any(flag in resource for flag in cases[0]["flags"] for resource in counted)
